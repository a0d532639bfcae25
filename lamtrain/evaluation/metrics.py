"""Metrics: sums over frames -> errors and rates of each head; sums add over batches and ranks, and stay where the batches are."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..model.inputs import Batch
from ..model.lam import Output
from ..tasks import kinds_of


class Metrics:
    """Errors of each head, gathered batch by batch. `heads`: head -> kind of task."""

    def __init__(self, heads: Mapping[str, str]):
        self.heads = dict(heads)
        self.kinds = kinds_of(heads)
        self.names = list(dict.fromkeys(name for kind in self.kinds.values() for name in kind.sums))
        self._sums: Tensor | None = None  # (names, 2, heads) float64: totals and counts; nothing is read from the device before `sums`

    @torch.no_grad()
    def add(self, output: Output, batch: Batch) -> None:
        """Take in the errors of one batch."""
        sums = self.tensor(batch.types.device)
        zeros = sums.new_zeros(len(self.heads))
        for kind in self.kinds.values():
            for errors in kind.errors(output, batch):
                row = self.names.index(errors.name)
                sums[row, 0] += zeros.index_add(0, errors.head, errors.values.double().where(errors.chosen, 0.0))
                sums[row, 1] += zeros.index_add(0, errors.head, errors.chosen.double() * errors.components)

    def merge(self, other: Metrics) -> None:
        """Take in what another accumulator of the same heads saw."""
        if other._sums is not None:
            self.tensor(other._sums.device).add_(other._sums)

    def tensor(self, device: torch.device) -> Tensor:
        """(names, 2, heads) totals and counts, to be added over ranks in place."""
        self._sums = self._zeros(device) if self._sums is None else self._sums.to(device)
        return self._sums

    def _zeros(self, device: torch.device) -> Tensor:
        return torch.zeros(len(self.names), 2, len(self.heads), dtype=torch.float64, device=device)

    @property
    def sums(self) -> dict[str, dict[str, float]]:
        """Head -> name -> total, and `NAME_count` -> count, of what was seen."""
        values = [] if self._sums is None else self._sums.tolist()
        out: dict[str, dict[str, float]] = {head: {} for head in self.heads}
        for name, (totals, counts) in zip(self.names, values):
            for head, total, count in zip(self.heads, totals, counts):
                if count:
                    out[head] |= {name: total, f"{name}_count": count}
        return out

    def restore(self, sums: Mapping[str, Mapping[str, float]]) -> None:
        """Go on from what `sums` gave."""
        self._sums = self._zeros(torch.device("cpu"))
        for index, head in enumerate(self.heads):
            for row, name in enumerate(self.names):
                self._sums[row, 0, index] = sums.get(head, {}).get(name, 0.0)
                self._sums[row, 1, index] = sums.get(head, {}).get(f"{name}_count", 0.0)

    def table(self) -> dict[str, dict[str, float]]:
        """Head -> errors in the units of their names; an error that nothing was seen for is absent."""
        return {head: self.kinds[self.heads[head]].summarize(sums) for head, sums in self.sums.items()}
