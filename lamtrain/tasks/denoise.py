"""Denoising: how far each atom was pushed, and which element hides under the mask; labels, losses, errors, and how they are shown.

A frame adds p_x <smoothL1(dx)> over its displaced atoms, by component, p_v <smoothL1(|dx|)>, and p_t <cross-entropy> over its hidden types.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lamdata.elements import SYMBOLS
from lamdata.frames import MASKED, Frames
from lamdata.located import Spec
from lamdata.statistics import Statistics

from . import Column, Errors, Pair, Sums
from .sums import flags, mean, mean_of_atoms, pairs, root_mean_square

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..model.heads import HeadKind
    from ..model.inputs import Batch
    from ..model.lam import Output


class DenoiseLoss(Spec):
    """Prefactors [start, limit] of a denoise head."""

    displacement: Pair = (1.0, 1.0)
    """Of the smooth-L1 distance between predicted and true displacement on displaced atoms, Å."""
    displacement_vector: Pair = (0.0, 0.0)
    """Of the same of the length of the vector between them, which no rotation changes."""
    types: Pair = (1.0, 1.0)
    """Of the cross-entropy of hidden types."""


class Denoise:
    """The kind `denoise`."""

    name = "denoise"
    needs = ()
    prefactors = DenoiseLoss().model_dump()
    sums = ("displacement", "displacement_zero", "types", "right")
    logged = ("displacement_rmse_angstrom", "type_cross_entropy", "type_accuracy")
    drawn = ("displacement_rmse_angstrom", "type_cross_entropy")
    columns = (
        Column("displacement_rmse_angstrom", "displacement RMSE Å"),
        Column("displacement_zero_rmse_angstrom", "zero"),
        Column("type_cross_entropy", "type entropy"),
        Column("type_frequency_entropy", "frequency"),
        Column("type_accuracy", "right"),
    )
    relative = (
        ("displacement_rmse_angstrom", "displacement_zero_rmse_angstrom"),
        ("type_cross_entropy", "type_frequency_entropy"),
    )

    @property
    def head(self) -> HeadKind:
        """Nets over the pair channel and over the descriptor."""
        from ..model.denoise import DENOISE

        return DENOISE

    def labels(self, frames: Frames, chosen: NDArray[np.bool_], *, dtype: torch.dtype) -> dict[str, Tensor]:
        """`displacement` (A, 3) Å from the noised to the clean position, `noised` and `masked` (A,) bool."""
        import torch

        natoms, atoms = len(frames.numbers), np.repeat(chosen, frames.natoms)
        return {
            "displacement": torch.zeros(natoms, 3, dtype=dtype) if frames.noise is None else torch.from_numpy(-frames.noise).to(dtype),
            "noised": torch.zeros(natoms, dtype=torch.bool) if frames.noised is None else flags(frames.noised & atoms),
            "masked": flags((frames.numbers == MASKED) & atoms),
        }

    def losses(self, output: Output, batch: Batch, *, huber: float) -> dict[str, Tensor]:
        """The terms `displacement` and `types` of each frame."""
        import torch.nn.functional as F

        labels, terms = batch.labels, {}
        if output.displacement is not None:
            distance = F.smooth_l1_loss(output.displacement, labels["displacement"], beta=huber, reduction="none").mean(-1)
            terms["displacement"] = mean_of_atoms(distance, labels["noised"], batch)
            left = (output.displacement - labels["displacement"]).square().sum(-1)
            terms["displacement_vector"] = mean_of_atoms(smooth_length(left, huber), labels["noised"], batch)
        if output.type_logits is not None:
            terms["types"] = mean_of_atoms(type_cross_entropy(output.type_logits, batch), labels["masked"], batch)
        return terms

    def errors(self, output: Output, batch: Batch) -> Iterator[Errors]:
        """Of displacements by component, beside predicting none; of types in nats, and whether the likeliest is right."""
        labels, head = batch.labels, batch.atom_head
        if output.displacement is not None:
            left = (output.displacement - labels["displacement"]).double().square().sum(-1)
            yield Errors("displacement", left, labels["noised"], head, components=3)
            zero = labels["displacement"].double().square().sum(-1)
            yield Errors("displacement_zero", zero, labels["noised"], head, components=3)
        if output.type_logits is not None:
            yield Errors("types", type_cross_entropy(output.type_logits, batch), labels["masked"], head)
            right = (output.type_logits.argmax(-1) == batch.clean_types).double()
            yield Errors("right", right, labels["masked"], head)

    def summarize(self, sums: Sums) -> dict[str, float]:
        """Root mean squares of displacements, means of what concerns types."""
        lengths = root_mean_square(
            sums, displacement=("displacement_rmse_angstrom", 1.0), displacement_zero=("displacement_zero_rmse_angstrom", 1.0)
        )
        return lengths | mean(sums, types="type_cross_entropy", right="type_accuracy")

    def spread(self, references: NDArray[np.float64], statistics: Statistics) -> FrequencyEntropy:
        """The entropy of guessing by frequency."""
        return FrequencyEntropy(statistics)

    def parity(self, frames: Frames, output: Output, references: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Displacement components."""
        if output.displacement is None or frames.noise is None or frames.noised is None:
            return {}
        return {"displacement (Å)": pairs(-frames.noise, output.displacement, frames.noised)}


def smooth_length(square: Tensor, beta: float) -> Tensor:
    """Smooth L1 of lengths, from their squares: x^2 / 2b below b, x - b/2 above; with a derivative at 0."""
    import torch

    straight = square.clamp(min=beta**2).sqrt() - 0.5 * beta
    return torch.where(square < beta**2, square / (2.0 * beta), straight)


def type_cross_entropy(logits: Tensor, batch: Batch) -> Tensor:
    """(A,) cross-entropy in nats of the true type under the predicted logits (A, elements); 0 on atoms whose type is not hidden."""
    import torch.nn.functional as F

    masked = batch.labels["masked"]
    entropy = F.cross_entropy(logits, batch.clean_types.where(masked, 0), reduction="none")
    return entropy.where(masked, 0.0)


class FrequencyEntropy:
    """Cross-entropy of hidden elements under their frequencies in training."""

    def __init__(self, statistics: Statistics):
        counts = np.array([statistics.element_atoms.get(symbol, 0) for symbol in SYMBOLS], np.float64)
        self.frequency = counts / counts.sum() if counts.any() else None  # no training frames here
        self.entropy = self.masked = 0.0

    def add(self, frames: Frames) -> None:
        """Take in the hidden elements of some frames."""
        if frames.clean_numbers is not None and self.frequency is not None:
            hidden = frames.clean_numbers[frames.numbers == MASKED]
            seen = np.maximum(self.frequency[hidden], 1e-12)  # an element never seen in training would cost infinitely much
            self.entropy -= float(np.log(seen).sum())
            self.masked += len(hidden)

    def table(self) -> dict[str, float]:
        """The entropy under the name that stands beside the error."""
        return {"type_frequency_entropy": self.entropy / self.masked} if self.masked else {}


DENOISE = Denoise()
