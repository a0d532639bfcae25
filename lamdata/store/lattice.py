"""Lattice: the decimals a source printed its numbers in, found in the float64 values that a reader gave.

A code prints 1.234567; a reader parses it and perhaps multiplies by a unit factor. Both steps are one correctly rounded
operation each, so `(n / 10**decimals) * factor` with the integer n gives every bit back. Where that holds for all values,
integers of the last decimal are stored instead of noise-like mantissas: 9 bytes per atom for coordinates instead of 24.

Integers are shifted where that leaves whole bytes of them zero: such bytes cost nothing to store and little to decode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .. import units

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

    def to_integers(self, values: NDArray[np.float64]) -> NDArray[np.integer]:
        """Return n for each value; exactness is the caller's to check with `to_values`."""
        integers: NDArray[np.integer] = np.rint(values / self.factor * self.scale).astype(self.dtype)
        return integers

    def to_values(self, integers: NDArray[np.integer], *, out: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Return the float64 values: a correctly rounded division, then the reader's own multiplication."""
        values: NDArray[np.float64] = np.true_divide(integers, self.scale, out=out)
        if self.factor != 1.0:
            np.multiply(values, self.factor, out=values)
        return values


def find_lattices(values: NDArray[np.float64], factors: Mapping[str, float]) -> dict[str, Lattice]:
    """Return, for each unit whose factor works, the coarsest lattice that holds every value exactly."""
    flat = np.asarray(values, np.float64).reshape(-1)
    if not np.isfinite(flat).all():
        return {}
    sample = flat[:: max(1, len(flat) // SAMPLE)]
    found = {}
    for unit, factor in factors.items():
        decimals = _decimals(sample, factor, first=0)
        decimals = None if decimals is None else _decimals(flat, factor, first=decimals)
        if decimals is not None:
            integers = np.rint(flat / factor * 10.0**decimals)
            least, largest = int(integers.min(initial=0)), int(integers.max(initial=0))
            found[unit] = Lattice(unit=unit, factor=factor, decimals=decimals, least=least, largest=largest)
    return found


def merge_lattices(first: Mapping[str, Lattice], second: Mapping[str, Lattice]) -> dict[str, Lattice]:
    """Return the lattices that hold both sets of values: what each piece of an ingest found, put together."""
    merged = {unit: first[unit].merge(second[unit]) for unit in first if unit in second}
    return {unit: lattice for unit, lattice in merged.items() if lattice is not None}


def best_lattice(found: Mapping[str, Lattice]) -> Lattice | None:
    """The one with the smallest integers; the project's own unit wins a tie."""
    return min(found.values(), key=lambda x: (x.reach, x.factor != 1.0, x.unit), default=None)


def _decimals(values: NDArray[np.float64], factor: float, *, first: int) -> int | None:
    """The fewest decimals, from `first` on, that reproduce every value; `None` if there are none in reach."""
    source = values / factor
    for decimals in range(first, MOST_DECIMALS + 1):
        scale = 10.0**decimals
        integers = np.rint(source * scale)
        if np.abs(integers).max(initial=0.0) > LARGEST:
            return None
        if np.array_equal(integers / scale * factor, values):
            return decimals
    return None
