"""Losses: a model's output and a batch -> one number to minimise, with the terms of each frame.

F = frames, A = atoms. DPA-2 paper: L = (1/B) sum_f [ p_e (dE)^2 / N + p_f / (3N) sum |dF|^2 + p_v / (9N) sum dV^2 ], B frames in the
batch whatever their sizes. Equal to DeePMD-kit's `EnergyStdLoss` where all frames have N atoms: there the mean over frames and
components is the same mean. To its last digit: there 1/N and the prefactors are rounded to float32, and so they are here.
A frame of a denoise head adds p_x <smoothL1(dx)> over its displaced atoms and p_t <cross-entropy> over its hidden types.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..config import LossSpec
from ..model.inputs import Batch
from ..model.lam import Output
from .schedule import Schedule


def frame_losses(output: Output, batch: Batch, *, huber: float = 1.0) -> dict[str, Tensor]:
    """Return each term for each frame, (F,); 0 where a frame lacks the label. Energies in eV, forces eV/Å, displacements Å."""
    one_over_n = (1.0 / batch.natoms.to(torch.float32)).to(torch.float64)
    terms = {}
    if output.energy is not None:
        terms["energy"] = (output.energy - batch.energy).square() * one_over_n * batch.has_energy
    if output.forces is not None:
        square = (output.forces - batch.forces).square().mean(-1)
        terms["force"] = _mean_of_atoms(square, batch.has_forces[batch.frame], batch)
    if output.virial is not None:
        square = (output.virial - batch.virial).square().mean((-2, -1))
        terms["virial"] = square * one_over_n * batch.has_virial
    if output.displacement is not None:
        distance = F.smooth_l1_loss(output.displacement, batch.displacement, beta=huber, reduction="none").mean(-1)
        terms["displacement"] = _mean_of_atoms(distance, batch.noised, batch)
    if output.type_logits is not None and batch.masked.any():
        terms["types"] = _mean_of_atoms(type_cross_entropy(output, batch), batch.masked, batch)
    return terms


def type_cross_entropy(output: Output, batch: Batch) -> Tensor:
    """(A,) cross-entropy in nats of the true type under the predicted logits; 0 on atoms whose type is not hidden."""
    rows = batch.masked.nonzero().squeeze(-1)
    entropy = F.cross_entropy(output.type_logits[rows], batch.clean_types[rows], reduction="none")
    return torch.zeros(len(batch.masked), dtype=entropy.dtype, device=entropy.device).index_copy(0, rows, entropy)


def total_loss(terms: dict[str, Tensor], spec: LossSpec, schedule: Schedule, step: int, *, frames: int) -> Tensor:
    """Return sum_k p_k(step) sum_f term_kf / `frames`; `frames` counts the whole batch, over all ranks."""
    total = torch.zeros((), dtype=torch.float64, device=next(iter(terms.values())).device)
    for name, term in terms.items():
        prefactor = float(np.float32(schedule.prefactor(getattr(spec, name), step)))
        if prefactor > 0:
            total = total + prefactor * (term.sum() / frames)
    return total


def _mean_of_atoms(values: Tensor, chosen: Tensor, batch: Batch) -> Tensor:
    """(F,) mean of `values` (A,) over the chosen atoms of each frame; 0 where none is chosen."""
    zero = torch.zeros(batch.nframes, dtype=torch.float64, device=values.device)
    counts = zero.index_add(0, batch.frame, chosen.to(torch.float64))
    sums = zero.index_add(0, batch.frame, (values * chosen).to(torch.float64))
    return sums / counts.clamp(min=1.0)
