"""Energies: total energies and compositions of any number of frames -> two triangles that merge, and the reference energies they give.

Reference energies e (eV by element) of frames with n_fZ atoms of element Z and total energies E_f are those of least squares, and what is
shown of them are the spreads of (E_f - sum_Z n_fZ e_Z) / N_f. Both follow from the triangular factors R of the matrices [n | E] and
[n/N | E/N], whatever the number of frames: for any e, |E - n e| = |R (-e, 1)|, and R has the singular values of its matrix. A factor of
one part over that of another has the factor of both together (Demmel, Grigori, Hoemmen and Langou 2012, "TSQR"): so parts merge.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .elements import NUMBERS
from .frame import F64
from .frames import Frames
from .statistics import Compositions, Moments

ROWS_AT_ONCE = 4096  # compositions of an older store that are taken in together
# As `numpy.linalg.lstsq`, machine precision times the number of rows, of which factors of factors leave few: no whole numbers of
# atoms have a singular value so small that is not zero, and rounding leaves none so large of one that is.
LEAST_ROWS = 1024


def _none() -> F64:
    return np.zeros((1, 1))


@dataclass(slots=True)
class Energies:
    """What is known of the energies of a set of frames. Z = elements; the last column of a factor is that of the energies."""

    elements: list[str] = field(default_factory=list)  # that its frames hold, by atomic number; of those without an energy, too
    frames: int = 0  # that have an energy
    rows: int = 0  # compositions that were taken in, one that came again counted again
    total: F64 = field(default_factory=_none)  # (Z + 1, Z + 1) R of [n | E], eV
    by_atom: F64 = field(default_factory=_none)  # (Z + 1, Z + 1) R of [n/N | E/N], eV/atom

    def add(self, frames: Frames, *, rows: NDArray[np.bool_] | None = None, compositions: Compositions | None = None) -> None:
        """Take in frames, or some `rows` (F,) of them; `compositions` are of all."""
        some = np.ones(len(frames), bool) if rows is None else rows
        if not some.any():
            return
        made = compositions or Compositions.of(frames)
        labelled = frames.has_energy & some
        of, energy = made.kind[labelled], frames.energy[labelled]
        count = np.bincount(of, minlength=len(made.kinds))
        mean = np.bincount(of, energy, minlength=len(made.kinds)) / np.maximum(count, 1)
        squares = np.bincount(of, np.square(energy - mean[of]), minlength=len(made.kinds))
        met, (elements, columns) = count > 0, made.present(some)
        self._take(elements, made.kinds[met][:, columns], count[met], mean[met], squares[met])

    @staticmethod
    def of(cells: Sequence[tuple[Mapping[str, int], Moments]], *, elements: Iterable[str] = ()) -> Energies:
        """From atoms of each element and total energies (eV) by composition; `elements` may name more than these have."""
        named = sorted({*elements, *(symbol for counts, _ in cells for symbol in counts)}, key=NUMBERS.__getitem__)
        column, found = {symbol: i for i, symbol in enumerate(named)}, Energies()
        for first in range(0, max(1, len(cells)), ROWS_AT_ONCE):
            some = cells[first : first + ROWS_AT_ONCE]
            counts = np.zeros((len(some), len(named)))
            for row, (atoms, _) in enumerate(some):
                for symbol, number in atoms.items():
                    counts[row, column[symbol]] = number
            moments = [[m.count, m.mean, m.squares] for _, m in some]
            found._take(named, counts, *np.array(moments, np.float64).reshape(-1, 3).T)
        return found

    def merge(self, other: Energies) -> None:
        """Take in what another accumulator saw."""
        self._widen(other.elements)
        more = other._over(self.elements)
        self.total = _triangle(np.concatenate([self.total, more.total]))
        self.by_atom = _triangle(np.concatenate([self.by_atom, more.by_atom]))
        self.frames, self.rows = self.frames + other.frames, self.rows + other.rows

    def _take(self, elements: Sequence[str], counts: np.ndarray, frames: np.ndarray, mean: np.ndarray, squares: np.ndarray) -> None:
        """Take in compositions (C, elements): frames, mean energy and squared deviations from it (eV^2), each (C,)."""
        self._widen(elements)
        wide = np.zeros((len(counts) + 1, len(self.elements) + 1))
        wide[:-1, [self.elements.index(symbol) for symbol in elements]] = counts
        wide[:-1, -1] = mean
        atoms, root = counts.sum(axis=1), np.sqrt(frames)
        for name, weight in (("total", root), ("by_atom", root / atoms)):
            rows = wide * np.append(weight, 1.0)[:, None]
            rows[-1, -1] = np.sqrt((squares / (atoms**2 if name == "by_atom" else 1)).sum())  # inside a composition only the energy varies
            setattr(self, name, _triangle(np.concatenate([getattr(self, name), rows])))
        self.frames, self.rows = self.frames + int(frames.sum()), self.rows + len(counts)

    def _widen(self, elements: Iterable[str]) -> None:
        if more := set(elements) - set(self.elements):
            wide = self._over(sorted({*self.elements, *more}, key=NUMBERS.__getitem__))
            self.elements, self.total, self.by_atom = wide.elements, wide.total, wide.by_atom

    def _over(self, elements: list[str]) -> Energies:
        """The same over more elements: columns of zeros, and no longer triangles."""
        places = [*(elements.index(symbol) for symbol in self.elements), -1]
        wide = [np.zeros((len(elements) + 1, len(elements) + 1)) for _ in range(2)]
        for into, factor in zip(wide, (self.total, self.by_atom)):
            into[: len(factor), places] = factor
        return Energies(elements, self.frames, self.rows, *wide)

    @property
    def tolerance(self) -> float:
        """The part of the largest singular value of the compositions below which one is zero."""
        return float(np.finfo(np.float64).eps) * max(self.rows, LEAST_ROWS)

    def left(self, energies: Mapping[str, float]) -> tuple[float, float]:
        """Root mean square, and standard deviation, of (E - sum n e) / N over all frames, eV/atom; an element without a value has 0."""
        values = np.array([energies.get(symbol, 0.0) for symbol in self.elements])
        apart, ones = self.by_atom @ np.append(-values, 1.0), self.by_atom[:, :-1].sum(axis=1)  # R of the column n/N 1 = 1
        mean = float(apart @ ones) / self.frames
        root = float(np.sqrt(self.frames))
        return float(np.linalg.norm(apart)) / root, float(np.linalg.norm(apart - mean * ones)) / root

    def to_json(self) -> dict[str, Any]:
        """As plain data; equal for equal accumulators."""
        factors = {name: _packed(getattr(self, name)) for name in ("total", "by_atom")}
        return {"elements": list(self.elements), "frames": self.frames, "rows": self.rows, **factors}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Energies:
        """Back from `to_json`. Raises ValueError for what that cannot have been."""
        elements, frames, rows = list(data["elements"]), int(data["frames"]), int(data["rows"])
        if elements != sorted(set(elements) & NUMBERS.keys(), key=NUMBERS.__getitem__) or min(frames, rows) < 0:
            raise ValueError("not energies by element")
        return Energies(elements, frames, rows, *(_unpacked(data[name], len(elements) + 1) for name in ("total", "by_atom")))


def merge_energies(parts: Iterable[Energies]) -> Energies:
    """Merge accumulators in the order given; one alone keeps its bits."""
    first, *others = [*parts] or [Energies()]
    total = replace(first)
    for part in others:
        total.merge(part)
    return total


def _triangle(rows: F64) -> F64:
    """R of a matrix, square: equal rows give equal bits on one kind of processor, whatever the number of threads."""
    columns = rows.shape[1]
    factor = np.linalg.qr(rows, mode="r")
    return np.concatenate([factor, np.zeros((columns - len(factor), columns))])


def _packed(factor: F64) -> str:
    """The upper triangle, row by row, as little-endian float64 in base 64."""
    return base64.b64encode(np.ascontiguousarray(factor[np.triu_indices(len(factor))], "<f8").tobytes()).decode()


def _unpacked(text: str, size: int) -> F64:
    values = np.frombuffer(base64.b64decode(text, validate=True), "<f8")
    if len(values) != size * (size + 1) // 2 or not np.isfinite(values).all():
        raise ValueError(f"a triangle of {size} columns has {size * (size + 1) // 2} finite numbers")
    factor = np.zeros((size, size))
    factor[np.triu_indices(size)] = values
    return factor


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """Energies of free atoms as far as the data tell them: E = sum_Z n_Z e_Z + what is left."""

    energies: dict[str, float]  # element -> eV; least squares of least norm, so 0 for an element that is not there
    std_before: float  # eV/atom, spread of energy per atom
    std_after: float  # eV/atom, spread of (E - sum n e) per atom

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"energies": self.energies, "std_before": self.std_before, "std_after": self.std_after}


def fit_references(energies: Energies, *, rcond: float | None = None) -> References | None:
    """Fit element energies to the total energies by least squares; `None` where there is no energy.

    The solution of minimal norm, as DeePMD-kit's `compute_stats_from_redu`. `rcond` is the smallest singular value of the compositions
    that is kept, relative to the largest; None is machine precision.
    """
    if not energies.frames:
        return None
    kept = energies.tolerance if rcond is None else rcond
    solution = np.linalg.lstsq(energies.total[:, :-1], energies.total[:, -1], rcond=kept)[0]
    return _references(energies, dict(zip(energies.elements, solution.tolist())))


def references_of_atoms(energies: Energies, atoms: Mapping[str, float]) -> References | None:
    """Take the energies of isolated atoms (element -> eV), which must hold every element; `None` where there is no energy."""
    return _references(energies, {symbol: atoms[symbol] for symbol in energies.elements}) if energies.frames else None


def _references(energies: Energies, table: dict[str, float]) -> References:
    return References(energies=table, std_before=energies.left({})[1], std_after=energies.left(table)[1])
