"""Window: slots of a stream that are put together at a time, and the pieces of decoded buffers that fill them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..frames import Frames
from ..store.gather import reorder


class Held:
    """A buffer on its way: asked for, perhaps far ahead, then decoded."""

    def __init__(self, asked: Future[Callable[[], Frames]]):
        self.asked = asked
        self.decoded: Future[Frames] | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """Frames of one buffer that go into one window."""

    head: int
    epoch: int
    buffer: Held
    rows: slice | NDArray[np.int64]  # of what is decoded of the buffer
    places: NDArray[np.int64]  # of the window, ascending

    def frames(self) -> Frames:
        """A view where the frames lie one after the other."""
        assert self.buffer.decoded is not None, "windows are submitted with their buffers"
        whole = self.buffer.decoded.result()
        if isinstance(self.rows, slice):
            return whole.part(self.rows.start, self.rows.stop)
        found = reorder(whole, self.rows)
        found.epoch = np.full(len(found), self.epoch)  # a whole head is decoded once for all epochs
        return found


@dataclass(frozen=True, slots=True)
class Window:
    """Slots that are put together at a time. F = their frames."""

    slots: range
    pieces: list[Piece]  # that are decoded here
    owner: NDArray[np.int32]  # (F,) the rank that decodes each frame
    ends: list[int] | None  # of its batches, counted in frames; None where their borders depend on atoms
