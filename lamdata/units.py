"""Factors from the units that codes print to eV, Å and eV/Å.

CODATA 2018 (https://physics.nist.gov/cuu/Constants). The only physical constants of the project.
"""

from __future__ import annotations

HARTREE = 27.211386245988  # eV
RYDBERG = HARTREE / 2  # eV
BOHR = 0.529177210903  # Å
ELEMENTARY_CHARGE = 1.602176634e-19  # C, exact
AVOGADRO = 6.02214076e23  # 1/mol, exact
KCAL_PER_MOL = 4184.0 / (ELEMENTARY_CHARGE * AVOGADRO)  # eV
KJ_PER_MOL = 1000.0 / (ELEMENTARY_CHARGE * AVOGADRO)  # eV
GPA = 1e9 * 1e-30 / ELEMENTARY_CHARGE  # eV/Å^3
KBAR = 0.1 * GPA  # eV/Å^3

ENERGY = {"eV": 1.0, "meV": 1e-3, "Hartree": HARTREE, "Rydberg": RYDBERG, "kcal/mol": KCAL_PER_MOL, "kJ/mol": KJ_PER_MOL}
LENGTH = {"Angstrom": 1.0, "bohr": BOHR, "nm": 10.0}
STRESS = {"eV/Angstrom^3": 1.0, "GPa": GPA, "kbar": KBAR, "Hartree/bohr^3": HARTREE / BOHR**3, "Rydberg/bohr^3": RYDBERG / BOHR**3}
FORCE = {
    "eV/Angstrom": 1.0,
    "meV/Angstrom": 1e-3,
    "Hartree/bohr": HARTREE / BOHR,
    "Rydberg/bohr": RYDBERG / BOHR,
    "Hartree/Angstrom": HARTREE,
    "kcal/mol/Angstrom": KCAL_PER_MOL,
    "kJ/mol/Angstrom": KJ_PER_MOL,
    "kJ/mol/nm": KJ_PER_MOL / 10.0,
}
