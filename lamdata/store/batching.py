"""Cut a run of frames into batches by a number of frames or a budget of atoms."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..frames import Frames


def cut_points(natoms: NDArray[np.integer], *, batch_frames: int | None = None, batch_atoms: int | None = None) -> list[int]:
    """Return the ends of the batches; the last one may be short of its budget.

    A batch takes frames until the next would pass either limit; a frame larger than `batch_atoms` is a batch of its own.
    """
    if batch_atoms is None:
        if batch_frames is None:
            raise ConfigError("a batch needs a size", hint="give batch_frames or batch_atoms")
        return [*range(batch_frames, len(natoms), batch_frames), len(natoms)] if len(natoms) else []
    ends = np.cumsum(natoms, dtype=np.int64)
    points, start = [], 0
    while start < len(natoms):
        before = int(ends[start - 1]) if start else 0
        stop = max(int(np.searchsorted(ends, before + batch_atoms, side="right")), start + 1)
        start = stop if batch_frames is None else min(stop, start + batch_frames)
        points.append(start)
    return points


def cut_batches(frames: Frames, *, batch_frames: int | None = None, batch_atoms: int | None = None) -> Iterator[Frames]:
    """Yield the batches as views."""
    starts, first = frames.starts.tolist(), 0
    for stop in cut_points(frames.natoms, batch_frames=batch_frames, batch_atoms=batch_atoms):
        yield frames.cut(first, stop, starts[first], starts[stop])
        first = stop
