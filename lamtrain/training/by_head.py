"""Gradients by head: each limited by itself, their sum, and the share that each has in the gradient of the descriptor, which all heads move."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..model.lam import LamModel
from .ranks import Ranks


class GradientsByHead:
    """Takes the gradients of heads off the parameters, one after the other, and gives their sum back.

    With g_h the gradient of the mean over the frames of head h, w_h the share that these have in the batch, and c the limit, the sum is
    sum_h w_h g_h min(1, c / |g_h|). What is on the descriptor is limited apart from what is on the head's own parameters, which would else decide:
    a new head's gradient is nearly all its own.
    """

    def __init__(self, model: LamModel, ranks: Ranks, *, limit: float):
        self.model, self.ranks, self.limit = model, ranks, limit
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        shared = set(model.descriptor.parameters())
        self._sides = [[p for p in self._parameters if (p in shared) == side] for side in (True, False)]
        self._sums: list[Tensor | None] = [None] * len(self._parameters)
        self.shares: dict[str, Tensor] = {}  # head -> norm of what it gives to the gradient of the descriptor

    def take(self, head: str, *, share: float) -> None:
        """Take the gradient of a head, which is on the parameters; all ranks must call it."""
        self.ranks.sum_gradients(self.model)
        for side in self._sides:
            torch.nn.utils.clip_grad_norm_(side, self.limit, foreach=True)
        self.shares[head] = share * norm_on_descriptor(self.model)
        for k, parameter in enumerate(self._parameters):
            if parameter.grad is not None:
                before, own = self._sums[k], parameter.grad.mul_(share)
                self._sums[k] = own if before is None else before.add_(own)
                parameter.grad = None

    def give(self) -> None:
        """Put the sum on the parameters."""
        for parameter, total in zip(self._parameters, self._sums):
            parameter.grad = total


def norm_on_descriptor(model: LamModel) -> Tensor:
    """The norm of the gradient of the descriptor's parameters."""
    grads = [p.grad for p in model.descriptor.parameters() if p.grad is not None]
    return torch.stack([torch.linalg.vector_norm(grad) for grad in grads]).norm() if grads else torch.zeros(())


def share_lines(sums: Mapping[str, float], weights: Mapping[str, float]) -> list[str]:
    """A table of what each head gives to the gradient of the descriptor, beside its weight; heads with the largest excess first."""
    whole, weight = sum(sums.values()), sum(weights.values())
    if not whole:
        return []
    rows = sorted(
        ((sums.get(head, 0.0) / whole, of / weight, head) for head, of in weights.items() if of), key=lambda row: -row[0] / row[1]
    )
    width = max(len(head) for _, _, head in rows)
    lines = [f"{'gradient of the descriptor':{width}}    share   weight    ratio"]
    return lines + [f"{head:{width}} {share:8.4f} {of:8.4f} {share / of:8.2g}" for share, of, head in rows]
