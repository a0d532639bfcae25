"""A step of a structure that moves, in one call and without a graph; see cpp/step.h."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..native import run


@dataclass(frozen=True, slots=True, kw_only=True)
class StepModel:
    """What a step needs of a model, in the order of cpp/step.h: tensors that stay as they are, sizes and numbers."""

    dtype: torch.dtype
    arrays: list[Tensor | None]
    sizes: list[int]
    numbers: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """Of N atoms."""

    energies: Tensor  # (N,) float64 eV
    forces: Tensor  # (N, 3) eV/Å
    virial: Tensor  # (3, 3) float64 eV
    outside: int  # edges shorter than a table reaches
    truncated: int  # atoms with more neighbours than the model keeps


def step(model: StepModel, types: Tensor, points: Tensor, neighbors: Tensor, offsets: Tensor) -> StepResult:
    """`types` (N,) int64, `points` (N, 3), `neighbors` (N, M) and `offsets` (3, N, M) Å as `SkinList.table` gives them, contiguous."""
    n, width = neighbors.shape
    energies, forces = torch.empty(n, dtype=torch.float64), torch.empty(n, 3, dtype=model.dtype)
    virial, counts = torch.empty(3, 3, dtype=torch.float64), torch.empty(2, dtype=torch.int64)
    given = [points, neighbors, offsets, types]
    lead = int(types[0]) if n else 0
    run("step_value", forces, [*given, *model.arrays, energies, forces, virial, counts], [n, width, lead, *model.sizes], model.numbers)
    outside, truncated = counts.tolist()
    return StepResult(energies=energies, forces=forces, virial=virial, outside=outside, truncated=truncated)
