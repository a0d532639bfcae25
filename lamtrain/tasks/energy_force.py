"""Energies, forces and virials: their labels, losses, errors, and how they are shown.

Loss of the DPA-2 paper: L = (1/B) sum_f [ p_e (dE)^2 / N + p_f / (3N) sum |dF|^2 + p_v / (9N) sum dV^2 ], B frames in the batch whatever
their sizes. Equal to DeePMD-kit's `EnergyStdLoss` where all frames have N atoms: there the mean over frames and components is the same
mean. To its last digit: there 1/N and the prefactors are rounded to float32, and so they are here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lamdata.frames import Frames
from lamdata.located import Spec
from lamdata.statistics import Statistics

from . import MILLI, Column, Errors, Pair, Sums
from .sums import flags, mean_of_atoms, pairs, root_mean_square

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..model.heads import HeadKind
    from ..model.inputs import Batch
    from ..model.lam import Output


FORCE_HUBER = 0.01  # eV/Å, as SevenNet and DeePMD-kit


class EnergyForceLoss(Spec):
    """Prefactors [start, limit] of an energy/force head."""

    energy: Pair = (0.02, 1.0)
    """Of (dE)^2 / N, eV."""
    force: Pair = (1000.0, 1.0)
    """Of the mean (dF)^2 over components, eV/Å."""
    virial: Pair = (0.0, 0.0)
    """Of the mean (dV)^2 / N over components, eV."""
    energy_absolute: Pair = (0.0, 0.0)
    """Of |dE| / N, eV."""
    force_norm: Pair = (0.0, 0.0)
    """Of the mean length of dF over atoms, eV/Å: turns with the frame, and one bad label weighs little."""
    force_huber: Pair = (0.0, 0.0)
    """Of the mean Huber loss of dF over components, square below 0.01 eV/Å and straight above: (eV/Å)^2."""


class EnergyForce:
    """The kind `energy_force`."""

    name = "energy_force"
    needs = ("energy", "forces")
    prefactors = EnergyForceLoss().model_dump()
    sums = ("energy", "force", "virial")
    logged = ("energy_rmse_mev_per_atom", "force_rmse_mev_per_angstrom")
    drawn = logged
    columns = (
        Column("energy_rmse_mev_per_atom", "energy RMSE meV/atom"),
        Column("energy_std_mev_per_atom", "spread"),
        Column("force_rmse_mev_per_angstrom", "force RMSE meV/Å"),
        Column("force_std_mev_per_angstrom", "spread"),
    )
    relative = (
        ("energy_rmse_mev_per_atom", "energy_std_mev_per_atom"),
        ("force_rmse_mev_per_angstrom", "force_std_mev_per_angstrom"),
    )

    @property
    def head(self) -> HeadKind:
        """Dense nets whose energies are differentiated."""
        from ..model.fitting import ENERGY

        return ENERGY

    def labels(self, frames: Frames, chosen: NDArray[np.bool_], *, dtype: torch.dtype) -> dict[str, Tensor]:
        """`energy` (F,) float64 eV, `forces` (A, 3) eV/Å, `virial` (F, 3, 3) eV; `has_` of each (F,)."""
        import torch

        return {
            "energy": torch.from_numpy(frames.energy.astype(np.float64)),
            "forces": torch.from_numpy(np.ascontiguousarray(frames.forces)).to(dtype),
            "virial": torch.from_numpy(np.ascontiguousarray(frames.virial)).to(dtype),
            "has_energy": flags(frames.has_energy & chosen),
            "has_forces": flags(frames.has_forces & chosen),
            "has_virial": flags(frames.has_virial & chosen),
        }

    def losses(self, output: Output, batch: Batch, *, huber: float) -> dict[str, Tensor]:
        """The terms `energy`, `force` and `virial` of each frame, and those that grow in a line."""
        import torch
        import torch.nn.functional as F

        labels, terms = batch.labels, {}
        one_over_n = (1.0 / batch.natoms.to(torch.float32)).to(torch.float64)
        if output.energy is not None:
            terms["energy"] = (output.energy - labels["energy"]).square() * one_over_n * labels["has_energy"]
            terms["energy_absolute"] = (output.energy - labels["energy"]).abs() * one_over_n * labels["has_energy"]
        if output.forces is not None:
            left, chosen = output.forces - labels["forces"], labels["has_forces"][batch.frame]
            terms["force"] = mean_of_atoms(left.square().mean(-1), chosen, batch)
            terms["force_norm"] = mean_of_atoms(torch.linalg.vector_norm(left, dim=-1), chosen, batch)
            robust = F.huber_loss(output.forces, labels["forces"], delta=FORCE_HUBER, reduction="none").mean(-1)
            terms["force_huber"] = mean_of_atoms(robust, chosen, batch)
        if output.virial is not None:
            square = (output.virial - labels["virial"]).square().mean((-2, -1))
            terms["virial"] = square * one_over_n * labels["has_virial"]
        return terms

    def errors(self, output: Output, batch: Batch) -> Iterator[Errors]:
        """Of energies by atom, of forces by component, of virials by atom and component."""
        labels = batch.labels
        if output.energy is not None:
            square = ((output.energy - labels["energy"]) / batch.natoms).square()
            yield Errors("energy", square, labels["has_energy"], batch.head)
        if output.forces is not None:
            force = (output.forces - labels["forces"]).double().square().sum(-1)
            yield Errors("force", force, labels["has_forces"][batch.frame], batch.atom_head, components=3)
        if output.virial is not None:
            virial = ((output.virial - labels["virial"]).double() / batch.natoms[:, None, None]).square().sum((-2, -1))
            yield Errors("virial", virial, labels["has_virial"], batch.head, components=9)

    def summarize(self, sums: Sums) -> dict[str, float]:
        """Root mean squares."""
        return root_mean_square(
            sums,
            energy=("energy_rmse_mev_per_atom", MILLI),
            force=("force_rmse_mev_per_angstrom", MILLI),
            virial=("virial_rmse_mev_per_atom", MILLI),
        )

    def spread(self, references: NDArray[np.float64], statistics: Statistics) -> LabelSpread:
        """Standard deviations of the labels."""
        return LabelSpread(references)

    def parity(self, frames: Frames, output: Output, references: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Energies by atom above the references, and force components."""
        found = {}
        if output.energy is not None:
            numbers = frames.numbers if frames.clean_numbers is None else frames.clean_numbers
            base = np.add.reduceat(references[numbers], frames.starts[:-1])
            pair = np.stack([frames.energy - base, output.energy.detach().cpu().numpy() - base], 1) / frames.natoms[:, None]
            found["energy (eV/atom)"] = pair[frames.has_energy]
        if output.forces is not None:
            labelled = np.repeat(frames.has_forces, frames.natoms)
            found["force (eV/Å)"] = pairs(frames.forces, output.forces, labelled)
        return found


class LabelSpread:
    """The spread of energies above the references, and of forces."""

    def __init__(self, references: NDArray[np.float64]):
        self.references = references
        self.energy: list[float] = []
        self.force_sum = self.force_count = 0.0

    def add(self, frames: Frames) -> None:
        """Take in the labels of some frames."""
        if len(frames):
            left = (frames.energy - np.add.reduceat(self.references[frames.numbers], frames.starts[:-1])) / frames.natoms
            self.energy += left[frames.has_energy].tolist()
        labelled = np.repeat(frames.has_forces, frames.natoms)
        self.force_sum += float(np.square(frames.forces[labelled], dtype=np.float64).sum())
        self.force_count += 3 * int(labelled.sum())

    def table(self) -> dict[str, float]:
        """Standard deviations under the names that stand beside the errors."""
        out = {}
        if self.energy:
            out["energy_std_mev_per_atom"] = float(np.std(self.energy)) * MILLI
        if self.force_count:
            out["force_std_mev_per_angstrom"] = math.sqrt(self.force_sum / self.force_count) * MILLI
        return out


ENERGY_FORCE = EnergyForce()
