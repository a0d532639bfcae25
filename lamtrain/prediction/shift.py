"""Labels of another reference -> a shift of the energy of each element, as far as some frames determine it, and no farther."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamdata.elements import NUMBERS, SYMBOLS
from lamdata.energies import Energies
from lamdata.statistics import Moments

from ..tasks import MILLI

INSIDE = 1e-8  # of a composition that is a combination of others, the part that is left


@dataclass(slots=True)
class Differences:
    """Label minus prediction, by composition."""

    energies: dict[tuple[tuple[int, int], ...], Moments] = field(default_factory=dict)  # composition -> eV

    def add(self, numbers: NDArray[np.uint8], difference: float) -> None:
        """Take in one frame, in eV."""
        self.energies.setdefault(_composition(numbers), Moments()).add(np.array([difference]))

    def factored(self) -> Energies:
        """What `fit_shift` needs of them."""
        return Energies.of([({SYMBOLS[z]: count for z, count in kind}, moments) for kind, moments in sorted(self.energies.items())])


@dataclass(frozen=True, kw_only=True)
class Shift:
    """E = E_model + sum_Z n_Z d_Z, where the frames that it was fitted to determine that sum."""

    numbers: NDArray[np.int64]  # (Z,) atomic numbers that the fit has seen
    values: NDArray[np.float64]  # (Z,) eV; of a combination that is not determined they say nothing
    basis: NDArray[np.float64]  # (rank, Z) rows that span the compositions of the fit
    frames: int
    residual: float  # eV/atom, root mean square of what the shift leaves

    @property
    def rank(self) -> int:
        """How many compositions of the fit are not combinations of others."""
        return len(self.basis)

    def of(self, numbers: NDArray[np.uint8]) -> float | None:
        """eV of one structure; None where its composition is no combination of those of the fit."""
        counts = np.array([np.count_nonzero(numbers == z) for z in self.numbers.tolist()], np.float64)
        if counts.sum() != len(numbers) or not self._determines(counts):
            return None
        return float(counts @ self.values)

    def _determines(self, counts: NDArray[np.float64]) -> bool:
        left = counts - self.basis.T @ (self.basis @ counts)
        return bool(np.linalg.norm(left) <= INSIDE * np.linalg.norm(counts))

    @cached_property
    def alone(self) -> dict[int, float]:
        """Atomic number -> eV, of the elements whose own shift is determined."""
        each = np.eye(len(self.numbers))
        return {z: float(self.values[i]) for i, z in enumerate(self.numbers.tolist()) if self._determines(each[i])}

    def of_atoms(self, numbers: NDArray[np.uint8]) -> NDArray[np.float64] | None:
        """(A,) eV of each atom; None where one of them has no shift of its own."""
        if not set(numbers.tolist()) <= self.alone.keys():
            return None
        return np.array([self.alone[z] for z in numbers.tolist()])

    def to_json(self, *, known: Sequence[str]) -> dict[str, Any]:
        """As plain data; `known` are the elements of the model."""
        seen, alone = [SYMBOLS[z] for z in self.numbers.tolist()], {SYMBOLS[z]: value for z, value in self.alone.items()}
        return {
            "frames": self.frames,
            "rank": self.rank,
            "shift_ev": alone,
            "collinear": [symbol for symbol in seen if symbol not in alone],
            "absent": [symbol for symbol in known if symbol not in seen],
            "residual_rmse_mev_per_atom": MILLI * self.residual,
        }


def fit_shift(energies: Energies) -> Shift:
    """Least squares over all frames, of the elements that those with an energy have."""
    present = np.flatnonzero(energies.total[:, :-1].any(axis=0))
    left, singular, right = np.linalg.svd(energies.total[:, present])
    rank = int(np.count_nonzero(singular > energies.tolerance * singular[0]))
    values = right[:rank].T @ ((left[:, :rank].T @ energies.total[:, -1]) / singular[:rank])
    symbols = [energies.elements[i] for i in present.tolist()]
    return Shift(
        numbers=np.array([NUMBERS[symbol] for symbol in symbols], np.int64),
        values=values,
        basis=right[:rank],
        frames=energies.frames,
        residual=energies.left(dict(zip(symbols, values.tolist())))[0],
    )


def _composition(numbers: NDArray[np.uint8]) -> tuple[tuple[int, int], ...]:
    kinds, counts = np.unique(numbers, return_counts=True)
    return tuple(zip(kinds.tolist(), counts.tolist()))
