"""Metrics: sums over frames -> root mean square errors and rates of each head; sums add over batches and ranks."""

from __future__ import annotations

import math
from collections import defaultdict

import torch

from ..model.inputs import Batch
from ..model.lam import Output
from ..training.loss import type_cross_entropy

MILLI = 1000.0  # errors are shown in meV and meV/Å, as the field's tables do
Sums = dict[str, float]


class Metrics:
    """Errors of each head, gathered batch by batch."""

    def __init__(self, heads: list[str]):
        self.heads = heads
        self.sums: dict[str, Sums] = {head: defaultdict(float) for head in heads}

    @torch.no_grad()
    def add(self, output: Output, batch: Batch) -> None:
        """Take in the errors of one batch."""
        atom_head = batch.head[batch.frame]
        if output.energy is not None:
            self._add("energy", ((output.energy - batch.energy) / batch.natoms).square(), batch.has_energy, batch.head)
        if output.forces is not None:
            force = (output.forces - batch.forces).double().square().sum(-1)
            self._add("force", force, batch.has_forces[batch.frame], atom_head, components=3)
        if output.virial is not None:
            virial = ((output.virial - batch.virial).double() / batch.natoms[:, None, None]).square().sum((-2, -1))
            self._add("virial", virial, batch.has_virial, batch.head, components=9)
        if output.displacement is not None:
            left = (output.displacement - batch.displacement).double().square().sum(-1)
            self._add("displacement", left, batch.noised, atom_head, components=3)
            self._add("displacement_zero", batch.displacement.double().square().sum(-1), batch.noised, atom_head, components=3)
        if output.type_logits is not None and batch.masked.any():
            self._add("types", type_cross_entropy(output, batch), batch.masked, atom_head)
            self._add("right", (output.type_logits.argmax(-1) == batch.clean_types).double(), batch.masked, atom_head)

    def _add(self, name: str, values: torch.Tensor, chosen: torch.Tensor, head: torch.Tensor, *, components: int = 1) -> None:
        count = torch.bincount(head[chosen], minlength=len(self.heads)).tolist()
        total = torch.zeros(len(self.heads), dtype=torch.float64, device=values.device)
        total = total.index_add(0, head[chosen], values[chosen].double()).tolist()
        for index, key in enumerate(self.heads):
            if count[index]:
                self.sums[key][name] += total[index]
                self.sums[key][f"{name}_count"] += count[index] * components

    def add_sums(self, other: Metrics) -> None:
        """Take in what another accumulator saw."""
        for head, sums in other.sums.items():
            for name, value in sums.items():
                self.sums[head][name] += value

    def table(self) -> dict[str, dict[str, float]]:
        """Head -> errors in the units of their names; an error that nothing was seen for is absent."""
        return {head: _errors(sums) for head, sums in self.sums.items()}


def _errors(sums: Sums) -> dict[str, float]:
    out = {}
    for name, key, scale in (
        ("energy", "energy_rmse_mev_per_atom", MILLI),
        ("force", "force_rmse_mev_per_angstrom", MILLI),
        ("virial", "virial_rmse_mev_per_atom", MILLI),
        ("displacement", "displacement_rmse_angstrom", 1.0),
        ("displacement_zero", "displacement_zero_rmse_angstrom", 1.0),
    ):
        if sums.get(f"{name}_count"):
            out[key] = math.sqrt(sums[name] / sums[f"{name}_count"]) * scale
    for name, key in (("types", "type_cross_entropy"), ("right", "type_accuracy")):
        if sums.get(f"{name}_count"):
            out[key] = sums[name] / sums[f"{name}_count"]
    return out
