"""The loss: terms of each frame, from the kinds of tasks -> one number to minimise."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from ..config import LossSpec
from ..model.inputs import Batch
from ..model.lam import Output
from ..tasks import TaskKind
from .schedule import Schedule


def frame_losses(kinds: Iterable[TaskKind], output: Output, batch: Batch, *, huber: float = 1.0) -> dict[str, Tensor]:
    """Return each term for each frame, (F,); 0 where a frame lacks the label. Energies in eV, forces eV/Å, displacements Å."""
    terms: dict[str, Tensor] = {}
    for kind in kinds:
        terms |= kind.losses(output, batch, huber=huber)
    return terms


def total_loss(
    terms: dict[str, Tensor], spec: LossSpec, schedule: Schedule, step: int, *, frames: int, kinds: Iterable[TaskKind]
) -> Tensor:
    """Return sum_k p_k(step) sum_f term_kf / `frames`; `frames` counts the whole batch, over all ranks."""
    total = torch.zeros((), dtype=torch.float64, device=next(iter(terms.values())).device)
    for name, term in terms.items():
        prefactor = float(np.float32(schedule.prefactor(spec.pair(name, kinds), step)))  # as DeePMD-kit rounds it
        if prefactor > 0:
            total = total + prefactor * (term.sum() / frames)
    return total
