"""Units: factors against CODATA's own numbers, and every name a card may say."""

from __future__ import annotations

import pytest

from lamdata import units


@pytest.mark.parametrize(
    ("factor", "value", "digits"),
    [
        (units.HARTREE, 27.211386245988, 1e-12),
        (units.RYDBERG, 13.605693122994, 1e-12),
        (units.BOHR, 0.529177210903, 1e-12),
        (units.KCAL_PER_MOL, 0.0433641042, 1e-9),
        (units.KJ_PER_MOL, 0.0103642697, 1e-8),
        (1 / units.GPA, 160.2176634, 1e-9),
        (1 / units.KBAR, 1602.176634, 1e-9),
        (units.STRESS["Hartree/bohr^3"] / units.GPA, 29421.015697, 1e-9),
        (units.FORCE["Hartree/bohr"], 51.422067476, 1e-9),
        (units.STRESS["Rydberg/bohr^3"] / units.STRESS["Hartree/bohr^3"], 0.5, 1e-15),
        (units.FORCE["kJ/mol/nm"] * 10, units.FORCE["kJ/mol/Angstrom"], 1e-15),
        (units.KCAL_PER_MOL / units.KJ_PER_MOL, 4.184, 1e-15),
    ],
)
def test_factors_are_those_of_codata(factor: float, value: float, digits: float) -> None:
    assert factor == pytest.approx(value, rel=digits)


@pytest.mark.parametrize("name", units.FORCE)
def test_a_unit_of_force_is_that_of_energy_over_that_of_length(name: str) -> None:
    energy, length = name.rsplit("/", 1)
    assert units.FORCE[name] == pytest.approx(units.ENERGY[energy] / units.LENGTH[length], rel=1e-15)


@pytest.mark.parametrize("name", [name for name in units.STRESS if "^3" in name])
def test_a_unit_of_stress_is_that_of_energy_over_a_volume(name: str) -> None:
    energy, length = name.removesuffix("^3").rsplit("/", 1)
    assert units.STRESS[name] == pytest.approx(units.ENERGY[energy] / units.LENGTH[length] ** 3, rel=1e-15)


def test_our_own_units_are_one() -> None:
    for table, name in ((units.ENERGY, "eV"), (units.LENGTH, "Angstrom"), (units.FORCE, "eV/Angstrom"), (units.STRESS, "eV/Angstrom^3")):
        assert table[name] == 1.0 and all(factor > 0 for factor in table.values())


def test_ase_knows_the_same() -> None:
    ase = pytest.importorskip("ase.units")
    for ours, theirs in ((units.HARTREE, ase.Hartree), (units.BOHR, ase.Bohr), (units.GPA, ase.GPa), (units.KJ_PER_MOL, ase.kJ / ase.mol)):
        assert ours == pytest.approx(theirs, rel=1e-6)  # ASE has CODATA of 2014
