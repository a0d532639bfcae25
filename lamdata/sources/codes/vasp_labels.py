"""What the numbers of a VASP run mean, whichever of its outputs holds them: energy, stress, charge, convergence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lamdata.frame import F64
from lamdata.units import KBAR

ORDER = "XX YY ZZ XY YZ ZX"  # of the six components that VASP prints
SETTLED = 1e-5  # eV/atom
FREE = "e_fr_energy"  # of which forces and stress are the derivatives
CLOSE = 1e-3  # of a virial in eV
FIXED = 10  # ICHARG from which on the charge density stays that of a file


def settled(loops: int, most: int, change: float | None, ediff: float, natoms: int, *, said: bool | None = None) -> bool:
    """Say whether a self-consistency loop of `loops` steps ended before `most` (NELM), or had nothing left to change.

    What the run says of itself (`said`) decides. Else, since hybrid runs chain loops and count on, a count that reaches NELM proves
    nothing by itself: the last change of the energy then decides, against EDIFF or 1e-5 eV/atom, far below what any model resolves.
    """
    if said is not None:
        return said
    return loops < most or not most or (change is not None and abs(change) <= max(ediff, SETTLED * natoms))


def electronic_end(line: str) -> bool | None:
    """What `aborting loop ...` says of convergence: that it was not reached counts; VASP 5 says that it was even at NELM."""
    return False if "not reached" in line or "hard stop" in line else None


def energy_of(
    step: Mapping[str, float | None], last: Mapping[str, float | None], name: str, *, pstress: float, volume: float
) -> float | None:
    """The energy of an ionic step in eV, from the energies that are stated for it and for its `last` electronic step.

    Under PSTRESS (kbar) the step's energy is the enthalpy E + pV. Its e_0_energy is wrong in many versions
    (https://www.vasp.at/forum/viewtopic.php?t=16942): the difference to the free energy in the last electronic step is right, and
    holds for the step.
    """
    free = step.get(FREE)
    if free is None:
        return None
    free -= pstress * KBAR * volume
    if name == FREE:
        return free
    same, other = last.get(FREE), last.get(name)
    return None if same is None or other is None else free + other - same


def charge_of(electrons: float, valence: Sequence[float], counts: Sequence[int]) -> float:
    """The charge of the cell in e: the valence electrons of its atoms less NELECT."""
    return sum(n * z for n, z in zip(counts, valence, strict=True)) - electrons


def stress_of(six: Sequence[float], order: str = ORDER) -> F64:
    """(3, 3) eV/Å^3, positive when compressed, of six numbers in kbar in the order that the table's header names."""
    if _places(order) is None or len(six) != 6:
        raise ValueError(f"the stress has components {order!r}")
    stress: F64 = stresses_of(np.array([six]), order)[0]
    return stress


def stresses_of(six: F64, order: str) -> F64:
    """(F, 3, 3) the same of many (F, 6), where the order is a known one."""
    values: F64 = six[:, _places(order)] * KBAR
    return values


def differ(virial: F64, other: F64) -> NDArray[np.bool_]:
    """(F,) whether virials (F, 3, 3) in eV, of which the first is printed with five decimals, are not the same."""
    apart: NDArray[np.bool_] = (np.abs(virial - other) > CLOSE * (1 + np.abs(virial).max(axis=(1, 2), keepdims=True))).any(axis=(1, 2))
    return apart


@lru_cache(maxsize=16)
def _places(order: str) -> NDArray[np.intp] | None:
    """(3, 3) which of the six each component is; None where they are not six."""
    axes = ["".join(sorted(pair)) for pair in order.split()]
    if set(axes) != {"XX", "YY", "ZZ", "XY", "YZ", "XZ"}:
        return None
    return np.array([[max(i for i, pair in enumerate(axes[:6]) if pair == "".join(sorted(a + b))) for b in "XYZ"] for a in "XYZ"])


def unusable(tags: Mapping[str, str]) -> str | None:
    """Why no energy of a run is that of its atoms, or `None`."""
    if number(tags, "ICHARG") >= FIXED:
        return "the charge density is that of a file: not self-consistent"
    return None


def number(tags: Mapping[str, str], name: str, default: float = 0.0) -> float:
    """A tag's number; the default where there is none."""
    try:
        return float(tags.get(name, default))
    except ValueError:
        return default
