"""Properties of potentials whose answers are known: a crystal of nearest neighbours in closed form, published constants of Tersoff's silicon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator

from lamdata.errors import ConfigError, DataError
from lamtrain.properties import PROPERTIES, measure
from lamtrain.properties.crystal import find_crystal, relax, repeat_to
from lamtrain.properties.measure import draw_properties
from lamtrain.properties.nve import drift_of
from lamtrain.properties.nve import measure as run_dynamics

EPSILON, DISTANCE, MASS = 0.4, 2.6, 63.546  # eV, Å, amu
STIFFNESS = 72 * EPSILON / DISTANCE**2  # eV/Å^2, second derivative of the pair at its minimum
EDGE = DISTANCE * np.sqrt(2)  # Å, of the cube of an fcc crystal
CHEAP = "eos,elastic"


def pairs() -> LennardJones:
    """A pair potential that reaches the twelve nearest neighbours of fcc and no others, within all strains of a measurement."""
    return LennardJones(sigma=DISTANCE / 2 ** (1 / 6), epsilon=EPSILON, rc=1.25 * DISTANCE)


def copper(edge: float = EDGE, **how: Any) -> Atoms:
    return bulk("Cu", "fcc", a=edge, **how)


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, Any]]:
    """From a strained cube with shifted atoms: what is measured is of the crystal at rest."""
    start = copper(1.01 * EDGE, cubic=True)
    start.rattle(0.02, seed=2)
    return measure(start, pairs(), "eos,elastic,phonon,vacancy")


def test_the_crystal_is_at_rest_in_its_primitive_cell(found: dict) -> None:
    crystal = found["crystal"]
    assert (crystal["formula"], crystal["space_group"]) == ("Cu", "Fm-3m")
    assert crystal["lengths_angstrom"] == pytest.approx([EDGE] * 3, abs=1e-4)
    assert crystal["angles_degree"] == pytest.approx([90.0] * 3, abs=1e-3)
    shifted = EPSILON * (1 + 4 * ((1.25 * 2 ** (1 / 6)) ** -12 - (1.25 * 2 ** (1 / 6)) ** -6))  # the pair is zero at its cutoff
    assert crystal["energy_ev_per_atom"] == pytest.approx(-6 * shifted, abs=1e-6)


def test_the_equation_of_state_is_that_of_twelve_neighbours(found: dict) -> None:
    eos = found["eos"]
    assert eos["volume_angstrom3_per_atom"] == pytest.approx(EDGE**3 / 4, rel=1e-4)
    assert eos["bulk_modulus_gpa"] == pytest.approx(4 * STIFFNESS / (3 * EDGE) / units.GPa, rel=1e-2)
    # B' = 1 - r phi''' / (3 phi'') at the minimum, where Lennard and Jones have phi''' = -21 phi'' / r
    assert eos["bulk_modulus_slope"] == pytest.approx(8.0, rel=0.03)
    assert len(eos["volumes_angstrom3_per_atom"]) == 11 and eos["residual_ev_per_atom"] < 1e-3
    ratio = np.array(eos["volumes_angstrom3_per_atom"]) / (EDGE**3 / 4)
    assert ratio[[0, -1]] == pytest.approx([0.9, 1.1], rel=1e-3)


def test_the_elastic_constants_are_those_of_twelve_neighbours(found: dict) -> None:
    unit = STIFFNESS / EDGE / units.GPa
    want = np.diag([2.0, 2, 2, 1, 1, 1]) + np.pad(1 - np.eye(3), (0, 3))  # C11 = 2 k/a, C12 = C44 = k/a
    for name in ("tensor_gpa", "tensor_held_gpa"):
        np.testing.assert_allclose(np.array(found["elastic"][name]) / unit, want, atol=5e-3)
    assert found["elastic"]["stable"] and found["elastic"]["asymmetry_gpa"] < 0.2
    assert found["elastic"]["bulk_modulus_gpa"] / unit == pytest.approx(4 / 3, rel=5e-3)
    assert found["elastic"]["shear_modulus_voigt_gpa"] / unit == pytest.approx(0.8, rel=5e-3)
    assert found["elastic"]["shear_modulus_reuss_gpa"] / unit == pytest.approx(5 / 7, rel=5e-3)


def test_the_frequencies_are_those_of_twelve_neighbours(found: dict) -> None:
    unit = np.sqrt(STIFFNESS * units._e / 1e-20 / (MASS * units._amu)) / (2 * np.pi) / 1e12
    phonon = found["phonon"]
    assert phonon["highest_thz"] / unit == pytest.approx(np.sqrt(8), rel=2e-3)  # longitudinal at X
    assert phonon["mean_square_thz2"] / unit**2 == pytest.approx(4.0, rel=2e-3)  # a third of the trace of the force on the atom itself
    assert phonon["imaginary_share"] == 0 and phonon["lowest_thz"] > -0.01


def test_the_heat_capacity_is_that_of_the_frequencies_and_of_dulong_and_petit(found: dict) -> None:
    capacity = dict(zip(*found["phonon"]["heat_capacity"].values()))
    square = found["phonon"]["mean_square_thz2"] * 1e24 * (units._hplanck / units._k / 1000) ** 2
    assert capacity[0.0] == 0 and square < 0.2
    want = 3 * units._k * units._Nav * (1 - square / 12)  # the first terms of high temperatures
    assert capacity[1000.0] == pytest.approx(want, rel=1e-3)
    assert 0.8 < found["phonon"]["heat_capacity_300k_j_per_k_mol"] / capacity[1000.0] < 0.9


def test_a_vacancy_costs_half_the_bonds_that_it_breaks(found: dict) -> None:
    """Every bond that is left is at its minimum, so the atoms stay where they are."""
    want = -found["crystal"]["energy_ev_per_atom"]
    assert found["vacancy"]["formation_energy_held_ev"] == pytest.approx(want, rel=1e-6)
    assert found["vacancy"]["formation_energy_ev"] == pytest.approx(want, rel=1e-5)


def test_atoms_around_a_vacancy_come_to_rest() -> None:
    found = measure(copper(3.6), EMT(), "vacancy")["vacancy"]
    assert 0.5 < found["formation_energy_ev"] < found["formation_energy_held_ev"] - 0.01


def test_silicon_of_tersoff_has_its_published_constants() -> None:
    tersoff = pytest.importorskip("ase.calculators.tersoff")
    # J. Tersoff, Phys. Rev. B 38, 9902 (1988), and Balamane, Halicioglu and Tiller, Phys. Rev. B 46, 2250 (1992)
    silicon = tersoff.TersoffParameters(
        m=3.0, gamma=1.0, lambda3=0.0, c=100390.0, d=16.217, h=-0.59825, n=0.78734, beta=1.1e-6, lambda2=1.73222, B=471.18, R=2.85, D=0.15,
        lambda1=2.4799, A=1830.8,
    )  # fmt: skip
    found = measure(bulk("Si", "diamond", a=5.4), tersoff.Tersoff({("Si", "Si", "Si"): silicon}), "eos,elastic")
    assert found["crystal"]["lengths_angstrom"][0] == pytest.approx(5.432, abs=2e-3)
    assert found["crystal"]["energy_ev_per_atom"] == pytest.approx(-4.63, abs=0.01)
    at_rest, held = (np.array(found["elastic"][name]) for name in ("tensor_gpa", "tensor_held_gpa"))
    assert [at_rest[0, 0], at_rest[0, 1], at_rest[3, 3], held[3, 3]] == pytest.approx([142.5, 75.4, 69.0, 118.8], rel=0.02)
    assert found["eos"]["bulk_modulus_gpa"] == pytest.approx(98, rel=0.02)


def test_of_a_hexagonal_crystal_both_ways_give_one_bulk_modulus() -> None:
    found = measure(bulk("Cu", "hcp", a=2.55, c=4.1), EMT(), CHEAP)
    assert found["crystal"]["space_group"] == "P6_3/mmc"
    assert found["elastic"]["bulk_modulus_reuss_gpa"] == pytest.approx(found["eos"]["bulk_modulus_gpa"], rel=0.02)


def test_a_crystal_turned_in_space_has_the_same_tensor() -> None:
    turned = copper(3.6, cubic=True)
    turned.rotate(31, (1, 2, 3), rotate_cell=True)
    one, other = (np.array(measure(atoms, EMT(), "elastic")["elastic"]["tensor_gpa"]) for atoms in (turned, copper(3.6)))
    np.testing.assert_allclose(one, other, atol=0.3)


def test_a_saddle_has_imaginary_modes_and_no_heat_capacity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamtrain.properties.phonon.HEIGHT", 7.0)
    found = measure(bulk("Cu", "bcc", a=2.9), EMT(), "phonon,elastic")
    assert found["phonon"]["imaginary_share"] > 0.005 and found["phonon"]["lowest_thz"] < -0.1
    assert not [name for name in found["phonon"] if "heat" in name]
    assert not found["elastic"]["stable"] and "bulk_modulus_reuss_gpa" not in found["elastic"]


class Drifting(EMT):
    """EMT whose energies grow with the calls, and so with time."""

    rate, calls = 0.0, 0

    def calculate(self, *args: Any, **how: Any) -> None:
        super().calculate(*args, **how)
        self.calls += 1
        shift = self.rate * self.calls * 2e-3 * len(self.atoms)  # 2 fs a call
        self.results["energy"] += shift
        self.results["free_energy"] += shift


@pytest.mark.parametrize("rate", [1e-3, -1e-3])
def test_a_planted_drift_is_read_back_within_a_hundredth(rate: float) -> None:
    calculator = Drifting()
    calculator.rate = rate
    found = run_dynamics(copper(3.59), calculator, steps=400, timestep=2.0)
    assert found["drift_ev_per_atom_per_ps"] == pytest.approx(rate, rel=0.01)
    assert found["stopped_by"] is None and found["steps_done"] == 400


def test_energy_is_conserved_near_the_temperature_that_was_asked_for() -> None:
    found = run_dynamics(copper(3.59), EMT(), steps=600, timestep=2.0)
    assert abs(found["drift_ev_per_atom_per_ps"]) < 2e-5 and found["scatter_ev_per_atom"] < 1e-4
    assert found["temperature_k"] == pytest.approx(300, rel=0.15) and found["hottest_k"] == pytest.approx(600, rel=0.01)
    assert found["atoms"] >= 32 and len(found["series"]["times_ps"]) <= 301


def test_the_line_is_laid_through_what_follows_the_first_fifth() -> None:
    times = np.linspace(0, 2, 201)
    energies = 3.0 + 1e-3 * times + 1e-5 * np.sin(40 * times)
    energies[:40] += 5.0
    assert drift_of(times, energies)["drift_ev_per_atom_per_ps"] == pytest.approx(1e-3, rel=0.01)
    assert drift_of(times, energies)["scatter_ev_per_atom"] == pytest.approx(1e-5 / np.sqrt(2), rel=0.1)


class Refusing(EMT):
    """A calculator that refuses its hundredth structure."""

    calls = 0

    def calculate(self, *args: Any, **how: Any) -> None:
        self.calls += 1
        if self.calls == 100:
            raise DataError("energy or forces are not finite")
        super().calculate(*args, **how)


def test_dynamics_that_are_refused_end_there_and_have_no_drift() -> None:
    found = run_dynamics(copper(3.59), Refusing(), steps=400)
    assert found["steps_done"] == 98 and "not finite" in found["stopped_by"] and "drift_ev_per_atom_per_ps" not in found


@pytest.mark.parametrize(
    ("atoms", "calculator", "words"),
    [
        (Atoms("Cu2", [[0, 0, 0], [0, 0, 2.4]], cell=np.eye(3) * 9, pbc=(True, True, False)), EMT(), "periodic in all directions"),
        (copper(3.6), Refusing(), "not finite"),
    ],
)
def test_a_structure_without_a_crystal_says_why(atoms: Atoms, calculator: Any, words: str) -> None:
    if isinstance(calculator, Refusing):
        calculator.calls = 99
    found = measure(atoms, calculator, CHEAP)
    assert words in found["crystal"]["failed"] and found["eos"]["failed"] == found["elastic"]["failed"] != ""


def test_what_does_not_come_to_rest_is_said_with_its_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamtrain.properties.crystal.STEPS", 2)
    with pytest.raises(DataError, match="not at rest after 2 steps of relaxation: largest force .*, wanted 0.0001"):
        relax(copper(3.4), EMT())


def test_a_cell_that_falls_together_is_no_crystal() -> None:
    atoms = copper(3.6)
    calculator = SinglePointCalculator(atoms, energy=0.0, free_energy=0.0, forces=np.zeros((1, 3)), stress=np.array([0.1] * 3 + [0.0] * 3))
    calculator.get_property = lambda name, *_, **__: calculator.results[name]
    calculator.calculation_required = lambda *_: False
    with pytest.raises(DataError, match="the relaxation changed the volume .* times"):
        relax(atoms, calculator)


def test_forces_that_vanish_by_symmetry_are_no_rest() -> None:
    squeezed = find_crystal(copper(3.4), EMT())
    assert np.abs(squeezed.get_stress()).max() / units.GPa < 0.01 and squeezed.cell.cellpar()[0] == pytest.approx(
        3.59 / np.sqrt(2), abs=0.01
    )


def test_only_a_crystal_of_one_element_has_a_vacancy() -> None:
    alloy = bulk("Cu", "fcc", a=3.8, cubic=True)
    alloy.symbols[0] = "Au"
    assert "one element" in measure(alloy, EMT(), "vacancy")["vacancy"]["failed"]


@pytest.mark.parametrize(("asked", "words"), [("eso", "no property 'eso'.*eos"), ("", "no property is named.*eos,elastic,phonon")])
def test_a_property_that_there_is_not_is_named(asked: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        measure(copper(), pairs(), asked)


def test_cells_are_repeated_until_they_are_wide_enough_and_no_further() -> None:
    slab = Atoms("Cu", cell=[[3.0, 0, 0], [1.5, 2.6, 0], [0, 0, 10.0]], pbc=True)
    assert repeat_to(slab, height=10.0) == (4, 4, 1)
    assert repeat_to(slab, height=0.1, atoms=7) == (3, 3, 1)


def test_all_is_json_and_is_drawn_with_what_failed(found: dict, tmp_path: Path) -> None:
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    rows = {"pairs": found, "none": {"crystal": {"failed": "x"}, **{name: {"failed": "not at rest"} for name in PROPERTIES}}}
    for name in ("a.png", "b.png"):
        draw_properties(rows, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes() != b""
