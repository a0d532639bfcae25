"""Labels beside what a model says -> its errors after references are fitted to other frames, over what compositions alone would give.

Frames are halved by a hash of what they are. To the energies of one half two fits by element are made, of E - E_model and of E; what they leave
of the other half are the model's error and that of the composition-only guess, whose forces are zero. Both halves take both parts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lamdata.elements import SYMBOLS
from lamdata.units import FORCE

from ...prediction.shift import Differences, Shift, fit_shift
from ...tasks import MILLI
from .scores import Scored

CORRELATED, ALIKE = 0.8, math.log(1.1)  # from which on forces tell a unit, and how near to its factor
USUAL = math.log(2.0)  # how near a factor is to that on held-out frames: units are further apart


@dataclass(slots=True)
class Half:
    """Energies by composition of one half of the frames, eV."""

    left: Differences = field(default_factory=Differences)  # label minus prediction
    plain: Differences = field(default_factory=Differences)  # label


@dataclass(slots=True)
class Labels:
    """An accumulator of what is known of errors."""

    halves: tuple[Half, Half] = field(default_factory=lambda: (Half(), Half()))
    energies: int = 0
    raw: float = 0.0  # sum of squares of the error of energies as they are, (eV/atom)^2
    forces: int = 0  # frames
    components: int = 0
    label2: float = 0.0  # sums over force components, (eV/Å)^2
    predicted2: float = 0.0
    product: float = 0.0
    error2: dict[int, list[float]] = field(default_factory=dict)  # atomic number -> sum of squares, components
    virials: int = 0

    def add(self, scored: Scored) -> None:
        """Take in one frame; one that did not converge says nothing."""
        label, predicted = scored.answer.label, scored.answer.predicted
        if label.converged is False:
            return
        self.virials += label.virial is not None
        if label.energy is not None and predicted.energy is not None:
            half = self.halves[scored.content[0] & 1]
            half.left.add(label.numbers, label.energy - predicted.energy)
            half.plain.add(label.numbers, label.energy)
            self.energies += 1
            self.raw += ((label.energy - predicted.energy) / len(label.numbers)) ** 2
        if label.forces is not None and predicted.forces is not None:
            self.forces += 1
            self.components += label.forces.size
            self.label2 += float(np.square(label.forces).sum())
            self.predicted2 += float(np.square(predicted.forces).sum())
            self.product += float((label.forces * predicted.forces).sum())
            squares = np.square(predicted.forces - label.forces).sum(1)
            for z in np.unique(label.numbers).tolist():
                sums = self.error2.setdefault(z, [0.0, 0.0])
                mine = squares[label.numbers == z]
                sums[0] += float(mine.sum())
                sums[1] += 3 * len(mine)

    def energy_table(self) -> dict[str, Any]:
        """Errors of energies by atom; {} without energies. What a half does not determine in the other is not scored."""
        if not self.energies:
            return {}
        out: dict[str, Any] = {"frames": self.energies, "rmse_as_they_are_mev_per_atom": MILLI * math.sqrt(self.raw / self.energies)}
        if not all(half.left.energies for half in self.halves):
            return out | {"scored_after_a_fit": 0}
        model = _left(self.halves, "left")
        guess = _left(self.halves, "plain")
        out["scored_after_a_fit"] = model[1]
        if model[1]:
            out["rmse_after_a_fit_mev_per_atom"] = MILLI * math.sqrt(model[0] / model[1])
            out["composition_guess_mev_per_atom"] = MILLI * math.sqrt(guess[0] / guess[1])
            out["over_guess"] = math.sqrt(model[0] / guess[0]) if guess[0] else None
        return out

    def force_table(self) -> dict[str, Any]:
        """Errors of force components; {} without forces."""
        if not self.forces:
            return {}
        total = sum(sums[0] for sums in self.error2.values())
        return {
            "frames": self.forces,
            "rmse_mev_per_angstrom": MILLI * math.sqrt(total / self.components),
            "zero_guess_mev_per_angstrom": MILLI * math.sqrt(self.label2 / self.components),
            "over_guess": math.sqrt(total / self.label2) if self.label2 else None,
            "by_element": {SYMBOLS[z]: MILLI * math.sqrt(s / n) for z, (s, n) in sorted(self.error2.items())},
        }

    def unit_of_forces(self, *, usual: float | None = None) -> dict[str, Any]:
        """The factor between labels and predictions, and the unit that it looks like, where it looks like another than eV/Å.

        `usual` is the factor on held-out frames of the training: a model that was hardly trained predicts forces that are far too small, and that is no unit.
        """
        if not self.label2 or not self.predicted2:
            return {"factor": None, "correlation": None, "looks_like": None}
        factor = self.product / self.predicted2
        as_usual = usual is not None and factor * usual > 0.0 and abs(math.log(factor / usual)) <= USUAL
        correlation = self.product / math.sqrt(self.label2 * self.predicted2)
        looks_like = None
        if abs(correlation) >= CORRELATED and not as_usual:
            signed = {f"{sign}{name}": size for name, one in FORCE.items() for sign, size in (("", 1.0 / one), ("minus ", -1.0 / one))}
            near = min(signed, key=lambda name: abs(math.log(abs(factor / signed[name]))) + (10.0 if factor * signed[name] < 0 else 0.0))
            alike = abs(math.log(abs(factor / signed[near]))) <= ALIKE
            looks_like = near if alike and near != "eV/Angstrom" else None
        return {"factor": factor, "correlation": correlation, "looks_like": looks_like}


def _left(halves: tuple[Half, Half], name: str) -> tuple[float, int]:
    """Sum of squares by atom, eV^2, and number of frames, of what fits to each half leave of the other."""
    total, frames = 0.0, 0
    for fitted, other in (halves, halves[::-1]):
        shift: Shift = fit_shift(getattr(fitted, name).factored())
        differences: Differences = getattr(other, name)
        for composition, moments in differences.energies.items():
            numbers = np.repeat(*np.array(composition).T).astype(np.uint8)
            if (more := shift.of(numbers)) is not None:
                total += (moments.squares + moments.count * (moments.mean - more) ** 2) / len(numbers) ** 2
                frames += moments.count
    return total, frames
