"""In which unit are these energies? A guess from their size, for a person to confirm.

An all-electron atom of number Z has about -0.5 Z^2.4 hartree (within 5% from hydrogen to gold), and binding changes that by less than
1%. So the ratio of a total energy to that sum is close to the unit's size in hartree, if electrons were not left out
by pseudopotentials; otherwise nothing follows, and eV, the custom, is the guess.
"""

from __future__ import annotations

import numpy as np

from ..frame import Frame
from ..units import ENERGY, HARTREE

FORCE_OF = {
    "eV": "eV/Angstrom",
    "meV": "meV/Angstrom",
    "Hartree": "Hartree/bohr",
    "Rydberg": "Rydberg/bohr",
    "kcal/mol": "kcal/mol/Angstrom",
    "kJ/mol": "kJ/mol/Angstrom",
}
CLOSE = 0.12  # relative


def guess_energy_unit(frame: Frame) -> tuple[str, str]:
    """Return (unit, why) for the energy of a frame that was read as if it were in eV."""
    if frame.energy is None:
        return "eV", "no energy in the first frame"
    whole = -0.5 * float((frame.numbers.astype(np.float64) ** 2.4).sum())  # hartree
    for unit, size in ENERGY.items():
        if abs(frame.energy / (whole * HARTREE / size) - 1.0) < CLOSE:
            return unit, f"about the all-electron energy of its atoms in {unit}"
    return "eV", "no unit is stated; eV is the custom"
