"""Frames with labels and what a model says of them -> errors, where what it says nothing of counts as the guess that needs no model.

The guess is the composition alone: E = sum_Z n_Z e_Z with e_Z fitted by least squares to the labels of some frames; no forces, no virial.
A model that is asked about labels of another reference is shifted by the same kind of fit, E_model + sum_Z n_Z d_Z, to the same frames.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamdata.frames import Frames
from lamdata.store import cut_batches

from ...evaluation.evaluate import BATCH_ATOMS
from ...prediction.model import Model, nonfinite
from ...prediction.shift import Differences, Shift, fit_shift
from ...prediction.structures import refusals
from ...tasks import MILLI

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a model says of F frames with A atoms; where it was not asked or answered with no number, zeros that mean nothing."""

    energy: F64  # (F,) eV
    forces: F64  # (A, 3) eV/Å
    virial: F64  # (F, 3, 3) eV
    answered: NDArray[np.bool_]  # (F,)


def ask(model: Model, head: str, frames: Frames) -> Said:
    """Ask a head about every frame that it knows the elements of."""
    energy, forces = np.zeros(len(frames)), np.zeros((len(frames.numbers), 3))
    virial, answered = np.zeros((len(frames), 3, 3)), np.zeros(len(frames), bool)
    first = atom = 0
    for part in cut_batches(frames, batch_atoms=BATCH_ATOMS):
        refused = refusals(part, elements=model.elements[head])
        rows = np.array([row for row in range(len(part)) if row not in refused], np.int64)
        if len(rows):
            found = model.evaluate(part.take(rows), head=head)
            fine = ~nonfinite(found)
            energy[first + rows[fine]] = found.energies[fine]
            virial[first + rows[fine]] = found.virials[fine]
            answered[first + rows[fine]] = True
            asked, whole = np.isin(np.arange(len(part)), rows), np.isin(np.arange(len(part)), rows[fine])
            kept = np.repeat(whole[asked], part.natoms[asked])
            forces[atom + np.flatnonzero(np.repeat(whole, part.natoms))] = found.forces[kept]
        first, atom = first + len(part), atom + len(part.numbers)
    return Said(energy=energy, forces=forces, virial=virial, answered=answered)


def fit(frames: Frames, energy: F64 | None = None, *, among: NDArray[np.bool_] | None = None) -> Shift | None:
    """Fit label - `energy` by element (eV), of the frames `among` that have a label; None where there is none. Without `energy`, the guess."""
    apart = frames.energy if energy is None else frames.energy - energy
    wanted = frames.has_energy if among is None else frames.has_energy & among
    differences, starts = Differences(), frames.starts
    for f in np.flatnonzero(wanted).tolist():
        differences.add(frames.numbers[starts[f] : starts[f + 1]], float(apart[f]))
    return fit_shift(differences.factored()) if differences.energies else None


def shifts_of(frames: Frames, shift: Shift | None) -> F64:
    """(F,) eV that a shift adds; NaN where the frames that it was fitted to do not determine it."""
    values = np.full(len(frames), math.nan)
    if shift is not None:
        starts = frames.starts
        for f in range(len(frames)):
            found = shift.of(frames.numbers[starts[f] : starts[f + 1]])
            values[f] = math.nan if found is None else found
    return values


def errors_of(
    frames: Frames, said: Said | None, *, guess: Shift | None, shift: Shift | None = None, shifted: bool = True
) -> dict[str, Any]:
    """Root mean squares under the names of test.json, and how many frames there were; without `said`, those of the guess.

    Energies are of frames for which the guess is determined, the same for every model; the others are counted as `energies_not_scored`.
    `shifted` asks for `shift` on top of the model's energies. What the model has no answer for counts as the guess, and is counted.
    """
    count, atoms = len(frames), len(frames.numbers)
    guessed = shifts_of(frames, guess)
    scored = frames.has_energy & np.isfinite(guessed)
    energy, force, virial = guessed.copy(), np.zeros((atoms, 3)), np.zeros((count, 3, 3))
    answered = np.zeros(count, bool) if said is None else said.answered.copy()
    if said is not None:
        of_model = said.energy + (shifts_of(frames, shift) if shifted else 0.0)
        energy = np.where(answered & np.isfinite(of_model), of_model, guessed)
        force[np.repeat(answered, frames.natoms)] = said.forces[np.repeat(answered, frames.natoms)]
        virial[answered] = said.virial[answered]
    labelled = np.repeat(frames.has_forces, frames.natoms)
    left: dict[str, F64] = {
        "energy_rmse_mev_per_atom": ((frames.energy - energy) / frames.natoms)[scored],
        "force_rmse_mev_per_angstrom": (frames.forces - force)[labelled],
        "virial_rmse_mev_per_atom": ((frames.virial - virial) / frames.natoms[:, None, None])[frames.has_virial],
    }
    found: dict[str, Any] = {name: MILLI * float(np.sqrt(np.mean(np.square(x)))) for name, x in left.items() if x.size}
    found["frames"] = count
    for name, missed in (("energies_not_scored", frames.has_energy & ~scored), ("frames_not_answered", ~answered)):
        if missed.any() and (said is not None or name == "energies_not_scored"):
            found[name] = int(missed.sum())
    return found
