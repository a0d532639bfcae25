"""A structure that moves -> energies, forces and virial in one call, straight from its list with a skin: for a DPA-1 on a CPU."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from lamdata.frame import Frame

from ..model.dpa1_step import one_call
from ..model.kernels.fused.step import StepModel, StepResult, step
from ..model.lam import LamModel
from .batch import type_indices
from .neighbors import SkinList


class Moving:
    """Answers of one head, a structure at a time. The weights are those that the model has when this is made."""

    def __init__(self, net: LamModel, model: StepModel, neighbors: SkinList):
        self.config, self.model, self.neighbors = net.config, model, neighbors
        self._numbers: NDArray[np.uint8] | None = None

    @classmethod
    def of(cls, net: LamModel, *, head: str, neighbors: SkinList) -> Self | None:
        """None where there is no operator for the model."""
        model = one_call(net, head)
        return None if model is None else cls(net, model, neighbors)

    def answer(self, frame: Frame) -> StepResult:
        """As the model would say it of the frame."""
        if self._numbers is not frame.numbers:
            self._numbers, self._types = frame.numbers, torch.from_numpy(type_indices(frame.numbers, self.config))
        cell, points = np.zeros((3, 3)) if frame.cell is None else frame.cell, np.ascontiguousarray(frame.positions, np.float64)
        neighbors, offsets = self.neighbors.table(points, cell=cell, pbc=np.array(frame.pbc))
        return step(self.model, self._types, *map(torch.from_numpy, (points, neighbors, offsets)))
