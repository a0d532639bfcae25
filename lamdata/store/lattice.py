"""Lattice: the decimals a source printed its numbers in, found in the float64 values that a reader gave.

A code prints 1.234567; a reader parses it and perhaps multiplies by a unit factor. Both steps are one correctly rounded
operation each, so `(n / 10**decimals) * factor` with the integer n gives every bit back. Where that holds for all values,
integers of the last decimal are stored instead of noise-like mantissas: 9 bytes per atom for coordinates instead of 24.

`_lattice.c` looks where it could be compiled at installation; NumPy, several times slower, does the same to the bit where it could not.

Integers are shifted where that leaves whole bytes of them zero: such bytes cost nothing to store and little to decode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from .. import units

compiled: ModuleType | None
try:
    from . import _lattice as compiled
except ImportError:
    compiled = None

MOST_DECIMALS = 14
LARGEST = 2**44  # beyond it an integer saves little over the float64 itself
SAMPLE = 256  # values that decide whether a candidate is worth the full check

# The factors a reader may have multiplied by, for each stored quantity. Names are those of `lamdata.units`.
FACTORS: dict[str, dict[str, float]] = {
    "positions": units.LENGTH,
    "cell": units.LENGTH,
    "forces": units.FORCE,
    "energy": units.ENERGY,
    "virial": units.ENERGY,
}


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """Values that equal `(n / 10**decimals) * factor` to the last bit, with integer least <= n <= largest; 0 is among them."""

    unit: str
    factor: float
    decimals: int
    least: int
    largest: int

    @cached_property
    def reach(self) -> int:
        """The largest |n|."""
        return max(-self.least, self.largest)

    @cached_property
    def dtype(self) -> np.dtype:
        """The smaller of two integer types that holds every n."""
        return np.dtype("<i4") if self.reach < 2**31 else np.dtype("<i8")

    @cached_property
    def shift(self) -> int:
        """What is added to n before it is stored: with it stored numbers are not negative and leave their upper bytes zero.

        The middle of the range of bytes where possible: the upper bits of small numbers of either sign are then copies of one another.
        """
        size = -(-(self.largest - self.least).bit_length() // 8)
        if size >= self.dtype.itemsize or (self.least == 0 and self.largest < 256**size):
            return 0
        half = 256**size // 2
        return half if -half <= self.least and self.largest < half else -self.least

    @cached_property
    def scale(self) -> float:
        """10**decimals, exact in float64 up to 22 decimals."""
        return float(10**self.decimals)

    def merge(self, other: Lattice) -> Lattice | None:
        """The lattice that holds both, or `None` where the integers would pass `LARGEST`."""
        decimals = max(self.decimals, other.decimals)
        finer = [(x, 10 ** (decimals - x.decimals)) for x in (self, other)]
        least, largest = min(x.least * times for x, times in finer), max(x.largest * times for x, times in finer)
        merged = Lattice(unit=self.unit, factor=self.factor, decimals=decimals, least=least, largest=largest)
        return merged if merged.reach <= LARGEST else None

    def to_stored(self, values: NDArray[np.float64], *, room: tuple[int, ...] | None = None) -> NDArray[np.integer] | None:
        """Return n + `shift` for each value, and zeros behind them in an array with more rows; None where one of them is not on this lattice."""
        stored: NDArray[np.integer] = np.empty(room or values.shape, self.dtype)
        stored[len(values) :] = self.shift
        out = stored[: len(values)]
        reach = _onto(values, factor=self.factor, scale=self.scale, low=self.least, high=self.largest, out=out, shift=self.shift)
        return None if reach is None else stored

    def from_stored(self, stored: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the float64 values: a correctly rounded division of n, then the reader's own multiplication."""
        values: NDArray[np.float64] = np.true_divide(stored - self.dtype.type(self.shift), self.scale)
        if self.factor != 1.0:
            np.multiply(values, self.factor, out=values)
        return values


def find_lattices(
    values: NDArray[np.float64], factors: Mapping[str, float], known: Mapping[str, Lattice] | None = None
) -> dict[str, Lattice]:
    """Return, for each unit whose factor works, the coarsest lattice that holds every value exactly.

    Where others are `known` with which these will be merged: for each of their units one that is not coarser than theirs.
    """
    flat = np.asarray(values, np.float64).reshape(-1)
    if known is not None:
        each = {unit: _coarsest(flat, unit, other.factor, first=other.decimals) for unit, other in known.items()}
        return {unit: lattice for unit, lattice in each.items() if lattice is not None}
    if not np.isfinite(flat).all():
        return {}
    sample = flat[:: max(1, len(flat) // SAMPLE)]
    found = {}
    for unit, factor in factors.items():
        of_sample = _coarsest(sample, unit, factor, first=0)
        lattice = None if of_sample is None else _coarsest(flat, unit, factor, first=of_sample.decimals)
        if lattice is not None:
            found[unit] = lattice
    return found


def merge_lattices(first: Mapping[str, Lattice], second: Mapping[str, Lattice]) -> dict[str, Lattice]:
    """Return the lattices that hold both sets of values: what each piece of an ingest found, put together."""
    merged = {unit: first[unit].merge(second[unit]) for unit in first if unit in second}
    return {unit: lattice for unit, lattice in merged.items() if lattice is not None}


def best_lattice(found: Mapping[str, Lattice]) -> Lattice | None:
    """The one with the smallest integers; the project's own unit wins a tie."""
    return min(found.values(), key=lambda x: (x.reach, x.factor != 1.0, x.unit), default=None)


def _coarsest(values: NDArray[np.float64], unit: str, factor: float, *, first: int) -> Lattice | None:
    """The lattice with the fewest decimals, from `first` on, that reproduces every value; `None` if there is none in reach."""
    for decimals in range(first, MOST_DECIMALS + 1):
        reach = _onto(values, factor=factor, scale=10.0**decimals, low=-LARGEST, high=LARGEST)
        if reach is not None:
            return Lattice(unit=unit, factor=factor, decimals=decimals, least=reach[0], largest=reach[1])
    return None


def _onto(
    values: NDArray[np.float64], *, factor: float, scale: float, low: int, high: int, out: np.ndarray | None = None, shift: int = 0
) -> tuple[int, int] | None:
    """The least and largest of the n of all values and 0; None where a value is not exactly `(n / scale) * factor` or n is out of bounds.

    `out`, of the shape of the values, gets n + `shift`.
    """
    if compiled is not None:
        room, size = (bytearray(), 0) if out is None else (out, out.itemsize)
        reach: tuple[int, int] | None = compiled.onto(np.ascontiguousarray(values), room, size, shift, scale, factor, low, high)
        return reach
    integers = np.rint(values / factor * scale)
    least, largest = integers.min(initial=0), integers.max(initial=0)
    if not (low <= least and largest <= high and np.array_equal(integers / scale * factor, values)):
        return None
    if out is not None:
        np.add(integers.astype(out.dtype), out.dtype.type(shift), out=out)
    return int(least), int(largest)
