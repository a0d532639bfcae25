"""Neighbouring frames -> by which factors their forces and virials are off from what their energies say.

Between two frames whose atoms move by dr in the cell and whose cell strains by e, E2 - E1 = -sum F.dr - W:e with the mean F and W of
both, up to third order. So where E2 - E1 is fitted by the two terms, both coefficients are 1 if energies, forces and virials have the
units and signs that they are taken to have, whatever the material; that of W is 1/10 where kbar was taken for GPa. Pairs count by how
little the terms change between their ends. Sums of products are all that is kept, so that parts merge.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .distances import heights
from .frame import F64
from .frames import Frames

MOST_TRIED = 32  # pairs with one cell, and pairs with two, of the frames that are added at once
FURTHEST, MOST_STRAIN = 0.4, 0.08  # Å and 1; beyond it the third order counts
LEAST_WORK = 1e-3  # eV, below which the digits of an energy end
ENOUGH, EXPLAINED = 5, 0.85  # pairs, and the share of the energies' differences that the fit must explain
SURE, PRECISE = 6.0, 0.25  # standard errors that a coefficient is from 1, and its relative error
ALIKE = 0.12  # decades that a factor is from that of a confusion
OFF = 1.6  # a factor nearer to 1 than this is no other unit


@dataclass(frozen=True, slots=True)
class Pair:
    """Two neighbouring frames, and the terms between them in eV."""

    first: int  # row of the first
    energy: float  # E2 - E1
    forces: float  # -sum F.dr
    virial: float  # -W:e; 0 where the cell stays or a virial is missing
    change: float  # half of what both terms change from one end to the other


@dataclass(slots=True)
class WorkSums:
    """Weighted sums of products of (forces, virial, energy) over pairs."""

    pairs: int = 0
    sums: F64 = field(default_factory=lambda: np.zeros((3, 3)))

    def add(self, pairs: Iterable[Pair]) -> None:
        """Take in more pairs."""
        for pair in pairs:
            terms = np.array([pair.forces, pair.virial, pair.energy]) / (pair.change + LEAST_WORK)
            self.sums = self.sums + np.outer(terms, terms)
            self.pairs += 1

    def merge(self, other: WorkSums) -> None:
        """Take in what another saw."""
        self.sums = self.sums + other.sums
        self.pairs += other.pairs

    def factors(self) -> dict[str, float]:
        """By how many times forces and virial are too large, where that is sure and far from 1; negative for a wrong sign."""
        used = [i for i in (0, 1) if self.sums[i, i] > 0]
        total = float(self.sums[2, 2])
        if self.pairs < ENOUGH or not used or total <= 0:
            return {}
        inverse = np.linalg.pinv(self.sums[np.ix_(used, used)], rcond=1e-10, hermitian=True)
        found = inverse @ self.sums[used, 2]
        left = max(total - float(found @ self.sums[used, 2]), 0.0)
        if left > (1 - EXPLAINED) * total:
            return {}
        errors = np.sqrt(np.diag(inverse) * left / max(1, self.pairs - len(used)))
        out = {}
        for i, value, error in zip(used, found.tolist(), errors.tolist()):
            sure = abs(value - 1) > SURE * error and error < PRECISE * abs(value)
            if sure and not 1 / OFF < value < OFF:
                out[("forces", "virial")[i]] = 1 / value
        return out

    def to_json(self) -> list[float]:
        """As plain numbers."""
        return [self.pairs, *self.sums.ravel().tolist()]

    @staticmethod
    def from_json(data: list[float]) -> WorkSums:
        """Back from `to_json`."""
        return WorkSums(int(data[0]), np.array(data[1:], np.float64).reshape(3, 3))


def neighbouring_pairs(frames: Frames) -> list[Pair]:
    """Frames and the next, where both are crystals or both molecules of the same atoms with energies and forces, near each other."""
    starts, out = frames.starts, list[Pair]()
    rows = _alike(frames)
    cells, after = (np.asarray(frames.cell[rows + shift], np.float64) for shift in (0, 1))
    inverses = [heights(cell)[2] for cell in (cells, after, 0.5 * (cells + after))]
    for i, cell, cell_after, *inverse in zip(rows.tolist(), cells, after, *inverses):
        one, two = slice(starts[i], starts[i + 1]), slice(starts[i + 1], starts[i + 2])
        if not np.array_equal(frames.numbers[one], frames.numbers[two]):
            continue
        start, end = (np.asarray(frames.positions[atoms], np.float64) for atoms in (one, two))
        moved, strain = end - start, np.zeros((3, 3))
        if frames.pbc[i].any():
            apart = end @ inverse[1] - start @ inverse[0]
            moved = (apart - np.rint(apart)) @ (0.5 * (cell + cell_after))
            strain = inverse[2] @ (cell_after - cell)
        both = bool(frames.has_virial[i] and frames.has_virial[i + 1])
        still = np.abs(strain).max() < 1e-6
        if not (np.abs(moved).max() < FURTHEST and np.abs(strain).max() < MOST_STRAIN and (both or still)):
            continue
        ends = [float((frames.forces[atoms] * moved).sum()) for atoms in (one, two)]
        cell_ends = [float((frames.virial[f] * strain).sum()) if not still else 0.0 for f in (i, i + 1)]
        out.append(
            Pair(
                first=i,
                energy=float(frames.energy[i + 1] - frames.energy[i]),
                forces=-0.5 * sum(ends),
                virial=-0.5 * sum(cell_ends),
                change=0.5 * (abs(ends[1] - ends[0]) + abs(cell_ends[1] - cell_ends[0])),
            )
        )
    return out


def _alike(frames: Frames) -> NDArray[np.int64]:
    """Rows whose next frame has as many atoms, energies and forces, and the same periods: all or none."""
    labelled = frames.has_energy & frames.has_forces
    full = np.logical_and.reduce(frames.pbc, axis=1)
    none = ~np.logical_or.reduce(frames.pbc, axis=1)
    same = (full[1:] & full[:-1]) | (none[1:] & none[:-1])
    rows = np.flatnonzero((frames.natoms[1:] == frames.natoms[:-1]) & labelled[1:] & labelled[:-1] & same)
    strained = np.abs(frames.cell[rows + 1] - frames.cell[rows]).max(axis=(1, 2), initial=0.0) > 1e-6
    virials = frames.has_virial[rows] & frames.has_virial[rows + 1]
    return np.concatenate([_some(rows[~strained]), _some(rows[strained & virials])])


def _some(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most `MOST_TRIED` of them, from all over."""
    return rows if len(rows) <= MOST_TRIED else rows[np.linspace(0, len(rows) - 1, MOST_TRIED).astype(np.int64)]


def name_factor(factor: float, table: Mapping[str, float]) -> str:
    """Which confusion of units in `table`, or of sign, a factor looks like: ": kbar taken for GPa?"; "" where it looks like none."""
    if abs(math.log10(abs(factor))) < ALIKE:
        return ": of the opposite sign?"
    pairs = ((true, taken) for true in table for taken in table if true != taken)
    near = sorted((abs(math.log10(abs(factor) * table[true] / table[taken])), f"{true} taken for {taken}") for true, taken in pairs)
    texts = [text for apart, text in near if apart < ALIKE][:2]
    return f": {', or '.join(texts)}{', and of the opposite sign' * (factor < 0)}?" if texts else ""
