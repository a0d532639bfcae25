"""The calculator: forces and stress are slopes of the energy, symmetries hold, energy is conserved, and what is not known is refused."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from lamdata.errors import ConfigError, DataError
from lamtrain import Calculator, load_model
from lamtrain.data.neighbors import SkinList, find_neighbors
from lamtrain.properties.nve import drift_of
from tests.lamtrain.model_cases import structure
from tests.lamtrain.prediction_cases import TWO, write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model.pt")


def atoms_of(natoms: int = 7, **how) -> Atoms:
    return structure(natoms, **how).to_ase()


def with_calculator(atoms: Atoms, model: Path, **options) -> Atoms:
    atoms.calc = Calculator(model, device="cpu", **options)
    return atoms


def test_forces_and_stress_are_those_by_finite_difference(model: Path) -> None:
    atoms = with_calculator(atoms_of(5, seed=4), model)
    np.testing.assert_allclose(atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-5), atol=2e-8)
    np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-5), atol=2e-8)


def test_the_energy_is_the_sum_over_atoms_and_the_free_energy(model: Path) -> None:
    atoms = with_calculator(atoms_of(), model)
    assert atoms.get_potential_energy() == pytest.approx(atoms.get_potential_energies().sum(), abs=1e-12)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()


def test_translation_rotation_and_permutation_change_nothing_but_the_axes(model: Path) -> None:
    atoms = with_calculator(atoms_of(seed=2), model)
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    atoms.positions += [0.3, -7.0, 11.0]
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-10)
    turned = atoms.copy()
    turned.rotate(37, (1, 2, 3), rotate_cell=True)
    with_calculator(turned, model)
    matrix = np.linalg.solve(atoms.cell, turned.cell)
    assert turned.get_potential_energy() == pytest.approx(energy, abs=1e-10)
    np.testing.assert_allclose(turned.get_forces(), forces @ matrix, atol=1e-10)
    order = np.random.default_rng(0).permutation(len(atoms))
    mixed = with_calculator(atoms[order], model)
    assert mixed.get_potential_energy() == pytest.approx(energy, abs=1e-10)
    np.testing.assert_allclose(mixed.get_forces(), forces[order], atol=1e-10)


def test_energy_is_conserved_through_searches_of_the_list(model: Path) -> None:
    atoms = with_calculator(atoms_of(6, seed=5), model, skin=0.2)
    BFGS(atoms, logfile=None).run(fmax=1.0, steps=20)
    atoms.set_momenta(np.random.default_rng(3).normal(size=(6, 3)) * np.sqrt(900 * units.kB * atoms.get_masses())[:, None])
    drifts = {}
    for step in (0.4, 0.2):
        trial = with_calculator(atoms.copy(), model, skin=0.2)
        dynamics = VelocityVerlet(trial, timestep=step * units.fs)
        before, apart = trial.get_total_energy(), []
        dynamics.attach(lambda trial=trial, before=before, apart=apart: apart.append(abs(trial.get_total_energy() - before)))
        dynamics.run(round(16 / step))
        drifts[step] = max(apart)
        searches, steps = trial.calc.neighbors.searches, len(apart)
        assert 1 < searches < steps / 2
    assert drifts[0.4] < 2e-2  # eV
    assert drifts[0.4] / drifts[0.2] == pytest.approx(4, abs=1.5)  # of second order: what is left is the integrator's


@pytest.mark.slow(reason="2,000 steps of 192 atoms")
def test_two_thousand_steps_of_64_waters_drift_by_less_than_a_tenth_of_a_millielectronvolt(model: Path) -> None:
    box, rng = Atoms(cell=np.eye(3) * 12.42, pbc=True), np.random.default_rng(2)
    for place in np.ndindex(4, 4, 4):
        one = molecule("H2O")
        one.rotate(47 * sum(place), (1, 2, 3))
        one.translate(np.array(place) * 12.42 / 4)
        box += one
    with_calculator(box, model, dtype="float64")
    BFGS(box, logfile=None).run(fmax=0.5, steps=40)
    box.set_momenta(rng.normal(size=(192, 3)) * np.sqrt(330 * units.kB * box.get_masses())[:, None])
    run, energies = VelocityVerlet(box, timestep=0.5 * units.fs), []
    run.attach(lambda: energies.append(box.get_total_energy() / len(box)))
    run.run(2000)
    assert abs(drift_of(0.5e-3 * np.arange(2001), energies)["drift_ev_per_atom_per_ps"]) < 1e-4
    assert 1 < box.calc.neighbors.searches < 1000


def test_threads_are_those_that_are_asked_for(model: Path) -> None:
    before = torch.get_num_threads()
    try:
        atoms = with_calculator(atoms_of(), model, threads=1)
        assert torch.get_num_threads() == 1 and np.isfinite(atoms.get_potential_energy())
    finally:
        torch.set_num_threads(before)


def test_a_relaxation_ends_at_small_forces(model: Path) -> None:
    atoms = with_calculator(atoms_of(4, seed=6), model)
    before = atoms.get_potential_energy()
    assert BFGS(atoms, logfile=None).run(fmax=0.05, steps=300)
    assert atoms.get_potential_energy() < before and np.abs(atoms.get_forces()).max() < 0.05


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False), (False, False, False)])
def test_the_calculator_says_what_predict_says(model: Path, pbc: tuple[bool, bool, bool]) -> None:
    atoms = with_calculator(atoms_of(seed=8, periodic=pbc), model)
    rng = np.random.default_rng(1)
    for _ in range(4):
        atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
        want = load_model(model, device="cpu").predict(atoms)
        assert atoms.get_potential_energy() == pytest.approx(want.energies[0], abs=1e-12)
        np.testing.assert_allclose(atoms.get_forces(), want.forces, atol=1e-12)
        if any(pbc):
            np.testing.assert_allclose(atoms.get_stress(voigt=False) * -atoms.get_volume(), want.virials[0], atol=1e-10)
        else:
            with pytest.raises(PropertyNotImplementedError):
                atoms.get_stress()


def test_single_precision_is_close_and_is_not_double(model: Path) -> None:
    one, two = (with_calculator(atoms_of(), model, dtype=dtype) for dtype in ("float32", "float64"))
    apart = abs(one.get_potential_energy() - two.get_potential_energy())
    assert 0 < apart < 1e-4


def test_a_head_is_named_where_there_are_several(tmp_path: Path) -> None:
    path = write_model(tmp_path / "two.pt", heads=TWO)
    with pytest.raises(ConfigError, match="2 heads give energies; choose one of: pbe, hse"):
        Calculator(path, device="cpu")
    with pytest.raises(ConfigError, match="no energies"):
        Calculator(path, device="cpu", head="clean")
    with pytest.raises(ConfigError, match="no head 'pbf'.*pbe"):
        Calculator(path, device="cpu", head="pbf")
    one, other = (with_calculator(atoms_of(), path, head=head).get_potential_energy() for head in ("pbe", "hse"))
    assert one != other


def test_a_stale_head_predicts_nothing_and_leaves_the_other_alone(tmp_path: Path) -> None:
    path = write_model(tmp_path / "stale.pt", heads=TWO, about={"hse": {"stale": True}})
    assert Calculator(path, device="cpu").head == "pbe"
    with pytest.raises(DataError, match="'hse' is stale"):
        Calculator(path, device="cpu", head="hse")
    assert Calculator(path, device="cpu", head="pbe").head == "pbe"


def test_charge_spin_and_strange_elements_are_errors_and_never_numbers(model: Path) -> None:
    def asked(change) -> Atoms:
        atoms = with_calculator(atoms_of(3), model)
        atoms.get_potential_energy()
        change(atoms)
        return atoms

    changes = {
        "initial charges": lambda atoms: atoms.set_initial_charges([1, 0, 0]),
        "magnetic moments": lambda atoms: atoms.set_initial_magnetic_moments([0, 0, 2.5]),
        "charge": lambda atoms: atoms.info.update(charge=-1),
        "spin_multiplicity": lambda atoms: atoms.info.update(spin_multiplicity=3),
        "does not know Fe": lambda atoms: atoms.symbols.__setitem__(1, "Fe"),
        "not finite": lambda atoms: atoms.positions.__setitem__((0, 0), np.nan),
        "no volume": lambda atoms: atoms.set_cell(np.diag([5.0, 5.0, 0.0])),
    }
    for words, change in changes.items():
        with pytest.raises(DataError, match=words):
            asked(change).get_potential_energy()


def test_what_did_not_change_is_not_evaluated_again_and_what_did_is(model: Path) -> None:
    atoms = with_calculator(atoms_of(5), model)
    calculator = atoms.calc
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    assert calculator.check_state(atoms) == [] and calculator.check_state(atoms.copy()) == []
    changes = {
        "positions": lambda atoms: atoms.rattle(0.01),
        "cell": lambda atoms: atoms.set_cell(atoms.cell.array * 1.001),
        "pbc": lambda atoms: atoms.set_pbc([True, True, False]),
        "numbers": lambda atoms: atoms.numbers.__setitem__(slice(None), atoms.numbers[::-1].copy()),
    }
    for what, change in changes.items():
        changed = atoms.copy()
        change(changed)
        atoms.get_potential_energy()
        assert calculator.check_state(changed) == [what]
        changed.calc = calculator
        assert changed.get_potential_energy() != energy
    assert atoms.get_potential_energy() == energy and np.array_equal(atoms.get_forces(), forces)


def test_an_element_that_only_another_head_has_seen_is_refused(tmp_path: Path) -> None:
    about = {"hse": {"references": {"energies": {"H": -1.0, "O": -2.0}}}}
    path = write_model(tmp_path / "few.pt", heads=TWO, about=about)
    atoms = Atoms("CO", [[0, 0, 0], [0, 0, 1.2]])
    assert np.isfinite(with_calculator(atoms, path, head="pbe").get_potential_energy())
    with pytest.raises(DataError, match="does not know C; it knows H, O"):
        with_calculator(atoms, path, head="hse").get_potential_energy()


def test_atoms_on_top_of_each_other_have_no_energy(model: Path) -> None:
    with pytest.raises(DataError, match="not finite"):
        with_calculator(Atoms("H2", [[0, 0, 0], [0, 0, 0]]), model).get_potential_energy()


def equal(a, b) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("starts", "neighbors", "vectors", "distances", "truncated"))


@pytest.mark.parametrize("pbc", list(itertools.product([True, False], repeat=3)))
def test_edges_from_a_skin_are_those_of_a_search(pbc: tuple[bool, bool, bool]) -> None:
    frame, rng = structure(6, length=5.0, seed=3), np.random.default_rng(4)
    positions, cell, flags, skin = frame.positions.copy(), frame.cell.copy(), np.array(pbc), SkinList(cutoff=4.0, most=30, skin=0.8)
    for step in range(24):
        found = skin.edges(positions, cell=cell, pbc=flags)
        assert equal(found, find_neighbors(positions, cell=cell, pbc=flags, cutoff=4.0, most=30)), step
        positions += rng.normal(scale=0.05, size=positions.shape)
        if step % 3 == 2:  # the atoms go with the cell
            deformation = np.eye(3) + rng.normal(scale=0.01, size=(3, 3))
            cell, positions = cell @ deformation, positions @ deformation
    assert 1 < skin.searches < 24 and (all(pbc) or not any(pbc) or skin.searches >= 8)


def test_a_list_is_searched_anew_for_other_atoms_other_periods_and_a_small_skin() -> None:
    frame, skin = structure(8, seed=3), SkinList(cutoff=4.0, skin=1.0)
    one = {"cell": frame.cell, "pbc": np.ones(3, bool)}
    skin.edges(frame.positions, **one)
    skin.edges(frame.positions + 0.28, **one)  # 0.485 Å
    assert skin.searches == 1
    skin.edges(frame.positions + 0.30, **one)  # 0.52 Å
    skin.edges(frame.positions[:5], **one)
    skin.edges(frame.positions[:5], cell=frame.cell, pbc=np.array([True, True, False]))
    assert skin.searches == 4
    bare = SkinList(cutoff=4.0, skin=0.0)
    bare.edges(frame.positions, **one)
    bare.edges(frame.positions + 1e-9, **one)
    assert bare.searches == 2
    with pytest.raises(ValueError, match="at least 0"):
        SkinList(cutoff=4.0, skin=-1.0)


def test_a_crystal_whose_distances_are_equal_has_the_edges_of_a_search() -> None:
    from ase.build import bulk

    atoms = bulk("Cu", cubic=True) * 2
    asked = {"cell": np.array(atoms.cell), "pbc": atoms.pbc}
    skin = SkinList(cutoff=5.0, skin=0.5)
    found, want = skin.edges(atoms.positions, **asked), find_neighbors(atoms.positions, cutoff=5.0, **asked)
    np.testing.assert_array_equal(found.starts, want.starts)
    np.testing.assert_allclose(found.distances, want.distances, atol=1e-12)
    assert (np.diff(found.distances)[np.diff(np.repeat(np.arange(len(atoms)), found.counts)) == 0] >= 0).all()
