"""A structure that moves -> the batch of a step, straight from its list with a skin: for descriptors that ask for no order among neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lamdata.frame import Frame

from ..model.config import ModelConfig
from ..model.inputs import Batch, Chunk, HeadRows
from ..model.kernels.fused.edges import near
from .batch import type_indices
from .neighbors import SkinList


class Moving:
    """Batches of one frame, all of whose atoms are one chunk, in their own order. Needs the compiled operators; without labels."""

    def __init__(self, config: ModelConfig, *, head: str, dtype: torch.dtype, neighbors: SkinList):
        (self.name, self.wanted), *others = config.descriptor.lists.items()
        assert not others, "shorter lists are the leading slots of an ordered one"
        self.config, self.head, self.dtype, self.neighbors = config, head, dtype, neighbors
        self._numbers: NDArray[np.uint8] | None = None

    def batch(self, frame: Frame) -> Batch:
        """The frame as `collate` would have it, but for the order of atoms and of their neighbours."""
        if self._numbers is None or not np.array_equal(self._numbers, frame.numbers):
            self._numbers, self._fixed = frame.numbers.copy(), self._parts(frame.numbers)
        cell = np.zeros((3, 3)) if frame.cell is None else frame.cell
        list_, offsets = self.neighbors.table(frame.positions, cell=cell, pbc=np.array(frame.pbc))
        slots = max(1, min(list_.shape[1], self.wanted.nsel))
        points = torch.from_numpy(np.ascontiguousarray(frame.positions, np.float64))
        vectors, rows, counts = near(
            points, torch.from_numpy(list_), torch.from_numpy(offsets), cutoff=self.wanted.rcut, slots=slots, dtype=self.dtype
        )
        truncated = int((counts > self.wanted.nsel).sum())
        chunk = Chunk(start=0, stop=len(points), vectors=vectors, neighbors=rows, widths={self.name: slots}, with_forces=True)
        return Batch(**self._fixed, labels={}, tiles={}, chunks=(chunk,), truncated={self.name: truncated})

    def _parts(self, numbers: NDArray[np.uint8]) -> dict[str, Any]:
        """What stays while the atoms are the same."""
        types, rows, one = (
            torch.from_numpy(type_indices(numbers, self.config)),
            torch.arange(len(numbers)),
            torch.zeros(1, dtype=torch.int64),
        )
        return {
            "natoms": one + len(numbers),
            "frame": torch.zeros_like(rows),
            "head": one + list(self.config.heads).index(self.head),
            "types": types,
            "clean_types": types,
            "order": rows,
            "rank": rows,
            "heads": (HeadRows(name=self.head, rows=rows, by_chunk=(rows,)),),
        }
