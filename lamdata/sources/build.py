"""Plain values of a foreign file -> Frame, or the Rejection that says why there is none.

Every reader of structures and databases ends here, so that shapes, finiteness and signs are checked in one place.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import elements
from ..frame import F64, MAX_ATOMS, Frame, Rejection
from .bytes.say import say

SMALLEST_VOLUME = 1e-3  # Å^3; below it a cell is degenerate
NUMBERS = {symbol: number for symbol, number in elements.NUMBERS.items() if number > 0} | {"D": 1, "T": 1}


class Unusable(ValueError):
    """A value that makes one frame unusable; `build` turns it into a `Rejection`."""

    def __init__(self, reason: str, value: object = None):
        super().__init__(reason)
        self.reason, self.value = reason, value


def rejects(what: str) -> Callable[[Callable[..., Frame | Rejection]], Callable[..., Frame | Rejection]]:
    """Let a function that takes `origin=` return a `Rejection` where the record that it reads is not `what` it should be."""

    def wrap(make: Callable[..., Frame | Rejection]) -> Callable[..., Frame | Rejection]:
        @functools.wraps(make)
        def made(*arguments: Any, origin: str, **named: Any) -> Frame | Rejection:
            try:
                return make(*arguments, origin=origin, **named)
            except Unusable as bad:
                return Rejection(origin=origin, reason=bad.reason, value=bad.value)
            except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, AssertionError, SyntaxError) as err:
                return Rejection(origin=origin, reason=f"not {what} ({say(err)})")

        return made

    return wrap


def number_of(symbol: object) -> int:
    """Atomic number of a chemical symbol or of a number written as text ("Fe", "fe", "26"); D and T are hydrogen."""
    if isinstance(symbol, (int, np.integer)) or (isinstance(symbol, str) and symbol.strip().isdigit()):
        number = int(symbol)
    else:
        number = NUMBERS.get(str(symbol).strip().capitalize(), 0)
    if not 1 <= number <= 118:
        raise Unusable("unknown element", str(symbol)[:40])
    return number


@functools.lru_cache(maxsize=1000)
def element(label: str) -> str:
    """Fe of Fe1, Fe_up and "Fe(": programs tell species apart by what follows the symbol."""
    found = re.match(r"[A-Za-z][a-z]?", label)
    return found[0].capitalize() if found else label


@rejects("a structure")
def build(
    *, origin: str, positions: Any, symbols: Sequence[Any] | None = None, numbers: Any = None, cell: Any = None, **labels: Any
) -> Frame | Rejection:
    """Return the frame that the values describe, or why they describe none.

    `positions` (A, 3) Å; `symbols` or `numbers` (A,); `cell` (3, 3) Å, or None. Labels: `energy` eV, `forces` (A, 3) eV/Å,
    `virial` (3, 3) eV or `stress` (3, 3) or Voigt 6 in eV/Å^3 with ASE's sign (virial = -V x stress; virial wins), and the
    remaining fields of `Frame`. `pbc` defaults to all directions where there is a cell.
    """
    atoms = len(positions)
    if not 0 < atoms <= MAX_ATOMS:
        raise Unusable("no atoms" if atoms == 0 else "too many atoms", atoms)
    if numbers is None:
        numbers = [NUMBERS.get(symbol) or number_of(symbol) for symbol in symbols or ()]
    numbers = atomic_numbers(numbers)
    cell = array(cell, (3, 3), "cell")
    along_a, along_b, along_c = labels.pop("pbc", None) or (cell is not None,) * 3
    pbc = (bool(along_a), bool(along_b), bool(along_c))
    volume = 0.0 if cell is None else abs(float(np.linalg.det(cell)))
    if all(pbc) and cell is not None and volume < SMALLEST_VOLUME:
        raise Unusable("zero volume", volume)
    stress, virial = labels.pop("stress", None), array(labels.pop("virial", None), (3, 3), "virial")
    if virial is None and stress is not None and any(pbc):
        virial = array(-volume * tensor(stress), (3, 3), "virial")
    return Frame(
        numbers=numbers,
        positions=finite(positions, (atoms, 3), "positions"),
        cell=cell,
        pbc=pbc,
        energy=scalar(labels.pop("energy", None), "energy"),
        forces=array(labels.pop("forces", None), (atoms, 3), "forces"),
        virial=virial,
        origin=origin,
        **labels,
    )


def marks_isolated(config_type: object) -> bool:
    """Say whether this is the `config_type` of a free atom, as GAP and MACE write it ("IsolatedAtom", "isolated_atom")."""
    return isinstance(config_type, str) and config_type.replace("_", "").casefold() == "isolatedatom"


def atomic_numbers(values: Any) -> NDArray[np.uint8]:
    """(A,) uint8, or `Unusable` where a value is no element."""
    found: NDArray[Any] = np.asarray(values)
    if found.ndim != 1 or found.size and found.dtype.kind not in "iu":
        raise Unusable("atomic numbers are not a list of integers")
    if found.size and not (found.min() >= 1 and found.max() <= 118):
        raise Unusable("unknown element", int(found[(found < 1) | (found > 118)][0]))
    return found.astype(np.uint8)


def array(value: Any, shape: tuple[int, ...], name: str) -> F64 | None:
    """`value` as finite float64 of the shape, or None where there is none."""
    return None if value is None else finite(value, shape, name)


def finite(value: Any, shape: tuple[int, ...], name: str) -> F64:
    """`value` as finite float64 of the shape."""
    out: F64 = np.array(value, dtype=np.float64)
    if out.shape != shape:
        if out.size != math.prod(shape):
            raise Unusable(f"{name} has shape {out.shape}, expected {shape}")
        out = out.reshape(shape)
    if not np.isfinite(out).all():
        raise Unusable("nonfinite", name)
    return out


def scalar(value: Any, name: str) -> float | None:
    """`value` as a finite float, or None where there is none."""
    if value is None:
        return None
    out = float(value)
    if not math.isfinite(out):
        raise Unusable("nonfinite", name)
    return out


def whole(value: Any, name: str) -> int:
    """An integer that may be written as a float."""
    number = float(value)
    if not number.is_integer() or abs(number) > 32_000:
        raise Unusable(f"{name} is not a whole number", str(value)[:20])
    return int(number)


def tensor(stress: Any) -> F64:
    """(3, 3) from nine values or from Voigt's six in the order xx yy zz yz xz xy."""
    flat = np.array(stress, dtype=np.float64).ravel()
    if flat.size == 6:
        flat = flat[[0, 5, 4, 5, 1, 3, 4, 3, 2]]
    if flat.size != 9:
        raise Unusable("stress has neither 6 nor 9 values", int(flat.size))
    return flat.reshape(3, 3)
