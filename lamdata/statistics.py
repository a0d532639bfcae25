"""Statistics: frames -> counts and moments; accumulators that merge exactly in any grouping of ordered parts.

Everything a trainer needs before step one is gathered while frames pass through ingest, so that no run ever starts with a pass
over the data. What reference energies need is gathered beside it (`energies.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .elements import NUMBERS, SYMBOLS
from .frame import F64
from .frames import Frames

Rows = slice | NDArray[np.integer] | NDArray[np.bool_]  # some of many frames
ITERATIONS, CLOSEST = 50, 1e-2  # of a robust fit, and eV/atom


@dataclass(frozen=True, slots=True)
class Compositions:
    """How many atoms of each element frames have, and which of them have the same."""

    elements: list[str]  # present, by atomic number
    counts: NDArray[np.int64]  # (F, elements)
    kinds: NDArray[np.int64]  # (K, elements) the compositions that differ
    kind: NDArray[np.int64]  # (F,) which of them each frame has

    @staticmethod
    def of(frames: Frames) -> Compositions:
        """Those of some frames."""
        present = np.flatnonzero(np.bincount(frames.numbers, minlength=1))
        column = np.zeros(256, np.int64)
        column[present] = np.arange(len(present))
        places = np.repeat(np.arange(len(frames)) * len(present), frames.natoms) + column[frames.numbers]
        counts = np.bincount(places, minlength=len(frames) * len(present)).reshape(len(frames), -1)
        texts = np.ascontiguousarray(counts, ">u4").view(f"S{4 * len(present)}").ravel()  # they sort as the numbers, and far more quickly
        _, first, kind = np.unique(texts, return_index=True, return_inverse=True)
        return Compositions([SYMBOLS[z] for z in present], counts, counts[first], kind.ravel())

    def present(self, rows: Rows) -> tuple[list[str], NDArray[np.intp]]:
        """Elements of some of the frames, and their columns."""
        columns = np.flatnonzero(self.counts[rows].any(axis=0))
        return [self.elements[column] for column in columns.tolist()], columns


@dataclass(slots=True)
class Moments:
    """Count, mean and sum of squared deviations of one quantity (Chan, Golub and LeVeque 1983), with its range."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, values: np.ndarray) -> None:
        """Take in more values."""
        values = np.asarray(values, np.float64).ravel()
        if values.size:
            mean = float(values.sum()) / values.size
            apart = values - mean
            self.merge(Moments(values.size, mean, float(apart @ apart), float(values.min()), float(values.max())))

    def merge(self, other: Moments) -> None:
        """Take in what another accumulator saw."""
        if other.count == 0:
            return
        total, delta = self.count + other.count, other.mean - self.mean
        self.squares += other.squares + delta * delta * self.count * other.count / total
        self.mean += delta * other.count / total
        self.count, self.low, self.high = total, min(self.low, other.low), max(self.high, other.high)

    @property
    def std(self) -> float:
        """Standard deviation; 0 for fewer than two values."""
        return math.sqrt(self.squares / self.count) if self.count > 1 else 0.0

    def to_json(self) -> list[float]:
        """As plain numbers."""
        return [self.count, self.mean, self.squares, self.low, self.high] if self.count else [0, 0.0, 0.0, 0.0, 0.0]

    @staticmethod
    def from_json(data: list[float]) -> Moments:
        """Back from `to_json`."""
        return Moments(int(data[0]), *map(float, data[1:])) if data[0] else Moments()


@dataclass(slots=True)
class Statistics:
    """What is known of a set of frames."""

    frames: int = 0
    atoms: int = 0
    smallest: int = 0  # atoms of the smallest frame
    largest: int = 0
    element_atoms: dict[str, int] = field(default_factory=dict)
    element_frames: dict[str, int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)  # frames that carry energy, forces, virial
    force: Moments = field(default_factory=Moments)  # force components, eV/Å
    virial: Moments = field(default_factory=Moments)  # virial components per atom, eV
    shortest: Moments = field(default_factory=Moments)  # Å

    def add(
        self, frames: Frames, *, shortest: np.ndarray, rows: NDArray[np.bool_] | None = None, compositions: Compositions | None = None
    ) -> None:
        """Take in frames and their shortest distances (F,) in Å, or some `rows` (F,) of both; `compositions` are of all frames."""
        some = slice(None) if rows is None or rows.all() else np.flatnonzero(rows)
        natoms = frames.natoms[some]
        if not len(natoms):
            return
        self.frames += len(natoms)
        self.atoms += int(natoms.sum())
        self.smallest = min(self.smallest or int(natoms.min()), int(natoms.min()))
        self.largest = max(self.largest, int(natoms.max()))
        made = compositions or Compositions.of(frames)
        elements, columns = made.present(some)
        counts = made.counts[some][:, columns]
        _add_counts(self.element_atoms, dict(zip(elements, counts.sum(axis=0).tolist())))
        _add_counts(self.element_frames, dict(zip(elements, (counts > 0).sum(axis=0).tolist())))
        has = {"energy": frames.has_energy, "forces": frames.has_forces, "virial": frames.has_virial}
        _add_counts(self.labels, {name: count for name, flags in has.items() if (count := int(flags[some].sum()))})
        forces = frames.has_forces if rows is None else frames.has_forces & rows
        self.force.add(frames.forces if forces.all() else frames.forces[np.repeat(forces, frames.natoms)])
        self.virial.add((frames.virial[some] / natoms[:, None, None])[frames.has_virial[some]])
        shortest = shortest[some]
        self.shortest.add(shortest[np.isfinite(shortest)])

    def merge(self, other: Statistics) -> None:
        """Take in what another accumulator saw."""
        self.frames += other.frames
        self.atoms += other.atoms
        self.smallest = min(filter(None, (self.smallest, other.smallest)), default=0)
        self.largest = max(self.largest, other.largest)
        for name in ("element_atoms", "element_frames", "labels"):
            _add_counts(getattr(self, name), getattr(other, name))
        for name in ("force", "virial", "shortest"):
            getattr(self, name).merge(getattr(other, name))

    @property
    def elements(self) -> list[str]:
        """Elements present, by atomic number."""
        return sorted(self.element_atoms, key=NUMBERS.__getitem__)

    def to_json(self) -> dict[str, Any]:
        """As plain data, keys sorted so that equal statistics have equal bytes."""
        return {
            "frames": self.frames,
            "atoms": self.atoms,
            "smallest": self.smallest,
            "largest": self.largest,
            "element_atoms": dict(sorted(self.element_atoms.items())),
            "element_frames": dict(sorted(self.element_frames.items())),
            "labels": dict(sorted(self.labels.items())),
            "force": self.force.to_json(),
            "virial": self.virial.to_json(),
            "shortest": self.shortest.to_json(),
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Statistics:
        """Back from `to_json`."""
        return Statistics(
            frames=data["frames"],
            atoms=data["atoms"],
            smallest=data["smallest"],
            largest=data["largest"],
            element_atoms=dict(data["element_atoms"]),
            element_frames=dict(data["element_frames"]),
            labels=dict(data["labels"]),
            force=Moments.from_json(data["force"]),
            virial=Moments.from_json(data["virial"]),
            shortest=Moments.from_json(data["shortest"]),
        )


def merge(parts: Iterable[Statistics]) -> Statistics:
    """Merge accumulators in the order given."""
    total = Statistics()
    for part in parts:
        total.merge(part)
    return total


def robust_residuals(cells: Sequence[tuple[Mapping[str, int], int, float]]) -> F64:
    """(C,) eV/atom that reference energies leave of cells (atoms of each element, frames, mean energy in eV).

    The references are those of the least absolute deviation, by least squares that are weighted again and again, so that what is far
    from the rest, up to nearly half of the frames, does not pull them.
    """
    column = {symbol: i for i, symbol in enumerate(sorted({symbol for counts, _, _ in cells for symbol in counts}))}
    share, energy = np.zeros((len(cells), len(column))), np.zeros(len(cells))
    for row, (counts, _, mean) in enumerate(cells):
        atoms = sum(counts.values())
        energy[row] = mean / atoms
        for symbol, number in counts.items():
            share[row, column[symbol]] = number / atoms
    frames = np.array([count for _, count, _ in cells], np.float64)
    weight, left = frames, energy
    for _ in range(ITERATIONS):
        scaled = share * weight[:, None]
        normal = scaled.T @ share
        ridge = 1e-12 * max(float(np.trace(normal)), 1e-300) * np.eye(len(column))
        left = energy - share @ np.linalg.lstsq(normal + ridge, scaled.T @ energy, rcond=None)[0]
        weight = frames / np.maximum(np.abs(left), CLOSEST)
    return left


def weighted_median(values: F64, weights: F64) -> float:
    """The value in the middle, each counted `weights` times."""
    order = np.argsort(values, kind="stable")
    ends = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(ends, ends[-1] / 2)]])


def _add_counts(into: dict[str, int], more: dict[str, int]) -> None:
    for key, value in more.items():
        into[key] = into.get(key, 0) + value


def formula_of(counts: dict[str, int]) -> str:
    """A composition as text, "Cu3 Au1"."""
    return " ".join(f"{symbol}{number}" for symbol, number in counts.items())


def formulas_in(elements: Sequence[str], kinds: NDArray[np.integer], *, between: str = " ") -> list[str]:
    """(K,) `formula_of` of compositions (K, elements), with something else between the words perhaps."""
    rows, columns = np.nonzero(kinds)
    words = [f"{elements[column]}{number}" for column, number in zip(columns.tolist(), kinds[rows, columns].tolist())]
    ends = np.cumsum(np.bincount(rows, minlength=len(kinds))).tolist()
    return [between.join(words[begin:end]) for begin, end in zip([0, *ends], ends)]


def parse_formula(formula: str) -> dict[str, int]:
    """Back from `formula_of`."""
    return {(symbol := word.rstrip("0123456789")): int(word[len(symbol) :]) for word in formula.split()}
