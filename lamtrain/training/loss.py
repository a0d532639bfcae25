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
    """Return each term for each frame, (F,); 0 where a frame lacks the label, and by its weight. Energies in eV, forces eV/Å, displacements Å."""
    terms: dict[str, Tensor] = {}
    for kind in kinds:
        terms |= kind.losses(output, batch, huber=huber)
    return terms if batch.weight is None else {name: term * batch.weight for name, term in terms.items()}


OwnPair = tuple[Tensor, Tensor]  # (heads,) float64, where a prefactor starts and its limit


def own_prefactors(
    spec: LossSpec, heads: Sequence[Mapping[str, Pair]], kinds: Iterable[TaskKind], *, device: torch.device
) -> dict[str, OwnPair]:
    """Term -> pair for each head of the model, of the terms that one of `heads` has a pair of its own for."""
    out = {}
    for name in dict.fromkeys(name for pairs in heads for name in pairs):
        pairs = [pairs[name] if name in pairs else spec.pair(name, kinds) for pairs in heads]
        starts, limits = torch.tensor(pairs, dtype=torch.float64).t().to(device)
        out[name] = starts, limits
    return out


def total_loss(
    terms: dict[str, Tensor],
    spec: LossSpec,
    schedule: Schedule,
    step: int,
    *,
    frames: int | Tensor,
    kinds: Iterable[TaskKind],
    own: Mapping[str, OwnPair] | None = None,
    head: Tensor | None = None,
    rate: Tensor | None = None,
) -> Tensor:
    """Return sum_k p_k(step) sum_f term_kf / `frames`; `frames` counts the whole batch, over all ranks.

    `own` are the terms of which heads have prefactors of their own; `head` (F,) is then the head of each frame. Where the `rate` of the step is
    given on the device, () float64, nothing of the step is known to the host: all terms are added that ever have a prefactor.
    """
    now = schedule.rate(step) if rate is None else rate
    total = torch.zeros((), dtype=torch.float64, device=next(iter(terms.values())).device)
    for name, term in terms.items():
        if own is not None and head is not None and name in own:
            start, limit = own[name]
            prefactors = (limit + (start - limit) * now / schedule.spec.start).float().double()  # as `_rounded`
            total = total + (prefactors[head] * term).sum() / frames
        elif rate is not None:
            first, last = spec.pair(name, kinds)
            if max(first, last) > 0:
                total = total + (last + (first - last) * rate / schedule.spec.start).float().double() * (term.sum() / frames)
        elif (prefactor := _rounded(schedule.prefactor(spec.pair(name, kinds), step))) > 0:
            total = total + prefactor * (term.sum() / frames)
    return total


def _rounded(prefactor: float) -> float:
    """As DeePMD-kit rounds it."""
    return float(np.float32(prefactor))
