"""Extended XYZ: units that the file states, those of the card, and what is no unit."""

from __future__ import annotations

import numpy as np
import pytest

from lamdata import units
from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError

from .extxyz_lines import CELL, COLUMNS, one


@pytest.mark.parametrize("unit", ["hartree", "Ha", "au", "a.u."])
def test_units_in_the_comment_are_heeded(tmp_path, unit):
    frame = one(tmp_path, f'{CELL} {COLUMNS} energy=-0.5 energy-unit={unit} force-unit=hartree/bohr virial="1 0 0 0 1 0 0 0 1"')
    assert frame.energy == pytest.approx(-0.5 * units.HARTREE)
    np.testing.assert_allclose(frame.forces[0], np.array([1, 2, 3]) * units.HARTREE / units.BOHR)
    np.testing.assert_allclose(frame.virial, np.eye(3) * units.HARTREE)


@pytest.mark.parametrize(("unit", "factor"), [("GPa", units.GPA), ("kbar", units.KBAR), ("eV/A^3", 1.0)])
def test_stress_units(tmp_path, unit, factor):
    frame = one(tmp_path, f'{CELL} {COLUMNS} stress="1 0 0 0 1 0 0 0 1" stress_unit={unit}')
    np.testing.assert_allclose(frame.virial, -8 * factor * np.eye(3))


def test_units_of_the_card(tmp_path):
    frame = one(tmp_path, f"{CELL} {COLUMNS} energy=1", units={"energy": "kcal/mol", "force": "kcal/mol/Angstrom"})
    assert frame.energy == pytest.approx(units.KCAL_PER_MOL) and frame.forces[0, 0] == pytest.approx(units.KCAL_PER_MOL)


@pytest.mark.parametrize(
    ("comment", "spec", "match"),
    [
        (f"{COLUMNS} energy=1 energy-unit=nonsense", {}, "unknown energy unit"),
        (f"{COLUMNS} energy=1 energy-unit=Ha", {}, "energies have a unit, forces have none"),
        (f"{COLUMNS} energy=1 energy-unit=Ha force-unit=Ha/bohr", {"units": {"energy": "eV"}}, "the file says energy in Hartree"),
        ("Properties=species:S:1:pos:R:2 energy=1", {}, "no pos:R:3"),
        ("Properties=pos:R:3:forces:R:3 energy=1", {}, "neither species nor Z"),
    ],
)
def test_doubtful_units_and_columns_are_refused(tmp_path, comment, spec, match):
    with pytest.raises(SourceError, match=match):
        one(tmp_path, comment, **spec)


def test_a_guessed_unit_must_be_confirmed():
    with pytest.raises(ValueError, match="a guess to be confirmed"):
        SourceSpec(path="a", units={"energy": "eV?"})


@pytest.mark.parametrize(
    "statement",
    [
        "energy_units=kcal/mol force_units=kcal/mol/A",
        'units="kcal/mol Angstrom kcal/mol/Ang"',
        "units=real",
        "EnergyUnit=kcal/mol forces_unit=kcal/mol/angstrom",
    ],
)
def test_every_way_to_state_units_is_heeded(tmp_path, statement):
    frame = one(tmp_path, f"{CELL} {COLUMNS} energy=-2 {statement}")
    assert frame.energy == pytest.approx(-2 * units.KCAL_PER_MOL)
    np.testing.assert_allclose(frame.forces[0], np.array([1, 2, 3]) * units.KCAL_PER_MOL)


def test_lengths_in_bohr_are_heeded(tmp_path):
    frame = one(tmp_path, f"{CELL} {COLUMNS} energy=-2 length_unit=bohr")
    np.testing.assert_allclose(frame.cell, 2 * units.BOHR * np.eye(3))


def test_the_unit_in_the_name_of_a_key_is_heeded(tmp_path):
    frame = one(
        tmp_path, "Properties=species:S:1:pos:R:3:forces_Ha_bohr:R:3 energy_Ha=-2", keys={"energy": "energy_Ha", "forces": "forces_Ha_bohr"}
    )
    assert frame.energy == pytest.approx(-2 * units.HARTREE)
    assert frame.forces[0, 2] == pytest.approx(3 * units.HARTREE / units.BOHR)


@pytest.mark.parametrize(
    ("comment", "match"),
    [
        (f"{COLUMNS} energy=1 units=furlong", "units is 'furlong'"),
        (f"{CELL} {COLUMNS} energy=1 energy_unit=eV/atom", "unknown energy unit 'eV/atom'"),
        (f'{CELL} {COLUMNS} stress="1 0 0 0 1 0 0 0 1" units=metal', "unknown stress unit 'bar'"),
        (f'{CELL} Properties=species:S:1:pos:R:3:x:R:3 energy=1 energy_unit=Ha stress="1 0 0 0 1 0 0 0 1"', "stresses have none"),
    ],
)
def test_units_that_are_not_understood_are_refused(tmp_path, comment, match):
    with pytest.raises(SourceError, match=match):
        one(tmp_path, comment)


def test_numbers_about_units_are_no_units(tmp_path):
    assert one(tmp_path, f"{CELL} {COLUMNS} energy=1 formula_units=4 n_units=2 unit_cell=primitive").energy == 1.0
