"""The loss: terms of each frame, from the kinds of tasks -> one number to minimise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..config import LossSpec
from ..model.inputs import Batch
from ..model.lam import Output
from ..tasks import Pair, TaskKind
from .schedule import Schedule


def frame_losses(kinds: Iterable[TaskKind], output: Output, batch: Batch, *, huber: float = 1.0) -> dict[str, Tensor]:
    """Return each term for each frame, (F,); 0 where a frame lacks the label. Energies in eV, forces eV/Å, displacements Å."""
    terms: dict[str, Tensor] = {}
    for kind in kinds:
        terms |= kind.losses(output, batch, huber=huber)
    return terms


def total_loss(
    terms: dict[str, Tensor],
    spec: LossSpec,
    schedule: Schedule,
    step: int,
    *,
    frames: int,
    kinds: Iterable[TaskKind],
    own: Sequence[Mapping[str, Pair]] = (),
    head: Tensor | None = None,
) -> Tensor:
    """Return sum_k p_k(step) sum_f term_kf / `frames`; `frames` counts the whole batch, over all ranks.

    `own` are the prefactors that heads have of their own, term -> pair for each head of the model; `head` (F,) is then the head of each frame.
    """
    total = torch.zeros((), dtype=torch.float64, device=next(iter(terms.values())).device)
    for name, term in terms.items():
        prefactor = _rounded(schedule.prefactor(spec.pair(name, kinds), step))
        if head is not None and any(name in pairs for pairs in own):
            values = [_rounded(schedule.prefactor(pairs[name], step)) if name in pairs else prefactor for pairs in own]
            total = total + (torch.tensor(values, dtype=torch.float64).to(term.device)[head] * term).sum() / frames
        elif prefactor > 0:
            total = total + prefactor * (term.sum() / frames)
    return total


def _rounded(prefactor: float) -> float:
    """As DeePMD-kit rounds it."""
    return float(np.float32(prefactor))
