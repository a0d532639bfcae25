"""Share: what one of several ranks gets of each window of a stream.

Each rank decodes some of the frames, all know how large each is, all deal the batches alike, and each is sent its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..frames import Frames
from ..store.batching import cut_points
from ..store.gather import gather, reorder
from .dealing import deal
from .exchange import Exchange, pack, unpack


@dataclass(frozen=True, slots=True)
class Dealt:
    """The frames of this rank, of whole batches."""

    frames: Frames
    ends: list[int]  # of each batch among `frames`
    lengths: list[int]  # frames of each batch, over all ranks


class Share:
    """Takes the windows of a stream in order. F frames of a window, those of the others included."""

    def __init__(self, *, rank: int, world: int, exchange: Exchange | None, batch_frames: int | None, batch_atoms: int | None):
        self._rank, self._world, self._exchange = rank, world, exchange
        self._batch_frames, self._batch_atoms = batch_frames, batch_atoms
        self._rest = Frames.empty()  # of this rank, behind the last batch that was full
        self._rest_natoms, self._rest_owner = np.empty(0, np.int32), np.empty(0, np.int32)

    def take(self, frames: Frames, owner: NDArray[np.int32], ends: Sequence[int] | None) -> Dealt:
        """Deal a window. `frames` are those that this rank decoded, `owner` (F,) says who decoded which; `ends` of the batches, where they
        are known beforehand."""
        natoms = self._tell(frames.natoms, owner)
        if ends is None:
            held = self._rest
            frames = Frames.concatenate([held, frames]) if len(held) and len(frames) else frames if len(frames) else held
            natoms, owner = np.concatenate([self._rest_natoms, natoms]), np.concatenate([self._rest_owner, owner])
            ends = cut_points(natoms, batch_frames=self._batch_frames, batch_atoms=self._batch_atoms)[:-1]
            whole = ends[-1] if ends else 0
            kept = int(np.count_nonzero(owner[:whole] == self._rank))
            self._rest = frames.part(kept, len(frames))
            self._rest_natoms, self._rest_owner = natoms[whole:], owner[whole:]
            frames, natoms, owner = frames.part(0, kept), natoms[:whole], owner[:whole]
        ranks = deal(natoms, ends, self._world)
        mine = ranks == self._rank
        counted = np.concatenate([[0], np.cumsum(mine)])
        lengths = np.diff([0, *ends]).tolist()
        return Dealt(self._swap(frames, owner, ranks), counted[list(ends)].tolist(), lengths)

    def _tell(self, natoms: NDArray[np.int32], owner: NDArray[np.int32]) -> NDArray[np.int32]:
        """(F,) atoms of all frames of a window, from those of the frames that this rank decoded."""
        if self._exchange is None:
            return natoms
        told = np.ascontiguousarray(natoms, np.int32).view(np.uint8)
        all_natoms = np.empty(len(owner), np.int32)
        all_natoms[np.argsort(owner, kind="stable")] = np.concatenate(self._exchange([told] * self._world)).view(np.int32)
        return all_natoms

    def _swap(self, frames: Frames, owner: NDArray[np.int32], ranks: NDArray[np.int32]) -> Frames:
        """The frames that were dealt to this rank, in the order of the window."""
        if self._exchange is None:
            return reorder(frames, np.flatnonzero(ranks == self._rank))
        to = ranks[owner == self._rank]  # of each frame that was decoded here
        sent = [np.empty(0, np.uint8)] * self._world
        for rank in np.unique(to).tolist():
            sent[rank] = pack(reorder(frames, np.flatnonzero(to == rank)))
        got = self._exchange(sent)
        parts = [(rank, unpack(data)) for rank, data in enumerate(got) if len(data)]
        if not parts:
            return Frames.empty(frames.positions.dtype)
        mine = owner[ranks == self._rank]
        places = np.concatenate([np.flatnonzero(mine == rank) for rank, _ in parts])
        return gather([part for _, part in parts], np.argsort(places))
