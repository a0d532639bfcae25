"""Predictions beside labels -> errors by frame, by element and by group, the worst frames, and points to draw; in bounded memory."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamdata.elements import SYMBOLS
from lamdata.frame import Frame

from ..tasks import MILLI

POINTS = 10_000  # of a panel, at least, where there are so many
QUANTITIES = ("energy", "force", "virial")
NAMES = {
    "energy": "energy_rmse_mev_per_atom",
    "force": "force_rmse_mev_per_angstrom",
    "virial": "virial_rmse_mev_per_atom",
}


@dataclass(slots=True)
class Sums:
    """Squares of errors and their number, of each quantity."""

    squares: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    frames: int = 0

    def add(self, quantity: str, errors: NDArray[np.float64]) -> None:
        """Take in errors of single components."""
        self.squares[quantity] = self.squares.get(quantity, 0.0) + float(np.square(errors).sum())
        self.counts[quantity] = self.counts.get(quantity, 0) + errors.size

    def table(self) -> dict[str, float]:
        """Root mean squares under the names of test.json; a quantity without labels is absent."""
        return {NAMES[q]: MILLI * math.sqrt(self.squares[q] / n) for q in QUANTITIES if (n := self.counts.get(q))}


class Points:
    """Pairs of label and prediction, every so-manieth of them once there are too many."""

    def __init__(self) -> None:
        self._kept: list[NDArray[np.float64]] = []
        self._count, self._step, self._seen = 0, 1, 0

    def add(self, label: NDArray[np.float64], predicted: NDArray[np.float64]) -> None:
        """Take in two arrays of the same shape."""
        pairs = np.stack([np.ravel(label), np.ravel(predicted)], axis=1)
        first = -self._seen % self._step
        self._seen += len(pairs)
        self._kept.append(pairs[first :: self._step])
        self._count += len(self._kept[-1])
        if self._count >= 2 * POINTS:
            halved = np.concatenate(self._kept)[::2]
            self._kept, self._count, self._step = [halved], len(halved), 2 * self._step

    def array(self) -> NDArray[np.float64]:
        """(n, 2)."""
        return np.concatenate([np.empty((0, 2)), *self._kept])


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One frame with its errors; what has no label is absent."""

    label: Frame
    predicted: Frame
    errors: dict[str, float]  # energy_error_mev_per_atom (with its sign), force_rmse_..., largest_force_error_..., virial_rmse_...

    def row(self) -> dict[str, Any]:
        """As plain data."""
        return {"origin": self.label.origin, "group": self.label.group, "atoms": len(self.label.numbers), **self.errors}


COLUMNS = ("energy_error_mev_per_atom", NAMES["force"], "largest_force_error_mev_per_angstrom", NAMES["virial"])


class Scores:
    """Errors of all frames that have labels. `references` are eV by symbol, taken off energies where they are drawn."""

    def __init__(self, references: Mapping[str, float], *, worst: int):
        self.total, self.elements, self.groups = Sums(), dict[str, Sums](), dict[str, Sums]()
        self.points = {"energy (eV/atom)": Points(), "force (eV/Å)": Points()}
        self._references = np.zeros(256)
        self._references[[SYMBOLS.index(symbol) for symbol in references]] = list(references.values())
        self._worst, self._number = worst, 0
        self._heaps: dict[str, list[tuple[float, int, Scored]]] = {"energy": [], "force": []}

    def add(self, label: Frame, predicted: Frame) -> Scored | None:
        """Take in one frame; None where it has nothing to be compared with."""
        natoms, errors = len(label.numbers), dict[str, float]()
        group = self.groups.setdefault(label.group, Sums())
        parts = (self.total, group)
        if label.energy is not None and predicted.energy is not None:
            apart = np.array([(predicted.energy - label.energy) / natoms])
            errors[COLUMNS[0]] = MILLI * float(apart[0])
            _add("energy", apart, parts)
            base = float(self._references[label.numbers].sum())
            self.points["energy (eV/atom)"].add(*((np.array([e]) - base) / natoms for e in (label.energy, predicted.energy)))
        if label.forces is not None and predicted.forces is not None:
            apart = predicted.forces - label.forces
            errors[COLUMNS[1]] = MILLI * float(np.sqrt(np.square(apart).mean()))
            errors[COLUMNS[2]] = MILLI * float(np.linalg.norm(apart, axis=1).max())
            _add("force", apart, parts)
            for z in np.unique(label.numbers).tolist():
                self.elements.setdefault(SYMBOLS[z], Sums()).add("force", apart[label.numbers == z])
            self.points["force (eV/Å)"].add(label.forces, predicted.forces)
        if label.virial is not None and predicted.virial is not None:
            apart = (predicted.virial - label.virial) / natoms
            errors[COLUMNS[3]] = MILLI * float(np.sqrt(np.square(apart).mean()))
            _add("virial", apart, parts)
        if not errors:
            if not group.frames:
                del self.groups[label.group]
            return None
        for part in parts:
            part.frames += 1
        scored = Scored(label=label, predicted=predicted, errors=errors)
        self._keep(scored)
        return scored

    def _keep(self, scored: Scored) -> None:
        """Hold on to a frame that is among the worst so far; of equal ones, to the first."""
        self._number += 1
        for quantity, column in (("energy", COLUMNS[0]), ("force", COLUMNS[1])):
            if column in scored.errors and self._worst:
                heapq.heappush(self._heaps[quantity], (abs(scored.errors[column]), -self._number, scored))
                if len(self._heaps[quantity]) > self._worst:
                    heapq.heappop(self._heaps[quantity])

    def worst(self, quantity: str) -> list[Scored]:
        """The worst frames by the error of the energy or of the forces, the worst first."""
        return [scored for _, _, scored in sorted(self._heaps[quantity], key=lambda item: item[:2], reverse=True)]

    def panels(self) -> list[tuple[str, NDArray[np.float64], NDArray[np.float64]]]:
        """Axis label, points (n, 2), and those of the worst frames (m, 2)."""
        worst = {"energy (eV/atom)": self._energies(self.worst("energy")), "force (eV/Å)": _forces(self.worst("force"))}
        return [(label, points.array(), worst[label]) for label, points in self.points.items() if len(points.array())]

    def _energies(self, frames: list[Scored]) -> NDArray[np.float64]:
        pairs = [
            [(energy - self._references[one.label.numbers].sum()) / len(one.label.numbers) for energy in energies]
            for one in frames
            if None not in (energies := (one.label.energy, one.predicted.energy))
        ]
        return np.array(pairs, np.float64).reshape(-1, 2)


def _forces(frames: list[Scored]) -> NDArray[np.float64]:
    pairs = [
        np.stack([one.label.forces.ravel(), one.predicted.forces.ravel()], 1)
        for one in frames
        if one.label.forces is not None and one.predicted.forces is not None
    ]
    return np.concatenate([np.empty((0, 2)), *pairs])


def _add(quantity: str, apart: NDArray[np.float64], parts: tuple[Sums, ...]) -> None:
    for part in parts:
        part.add(quantity, apart)
