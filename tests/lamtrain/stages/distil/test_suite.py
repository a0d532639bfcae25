"""The acceptance suite: radial distributions, conserved energy, and what passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from lamtrain.stages.distil.config import AcceptSpec, ExploreSpec
from lamtrain.stages.distil.explore import Trajectory
from lamtrain.stages.distil.structure import FARTHEST, WIDTH, apart, radial_distributions
from lamtrain.stages.distil.suite import compare_structure, conserve, verdicts


def trajectory(
    positions: np.ndarray, *, side: float = 14.0, numbers: tuple[int, ...] = (), pbc: bool = True, stopped: str = ""
) -> Trajectory:
    count, atoms = positions.shape[:2]
    cells = np.tile(side * np.eye(3) if pbc else np.zeros((3, 3)), (count, 1, 1))
    kinds = np.array(numbers or [29] * atoms, np.uint8)
    return Trajectory(numbers=kinds, pbc=np.full(3, pbc), cells=cells, positions=positions, planned=count, steps=count, stopped=stopped)


def test_a_gas_without_forces_has_a_radial_distribution_of_one() -> None:
    points = np.random.default_rng(0).uniform(0, 14.0, (30, 200, 3))
    radii, found = radial_distributions(trajectory(points, numbers=(1,) * 120 + (8,) * 80))
    assert list(found) == ["H-H", "H-O", "O-O"] and len(radii) == round(FARTHEST / WIDTH)
    for values in found.values():
        assert values[radii > 2].mean() == pytest.approx(1.0, abs=0.02)


def test_neighbours_of_a_crystal_are_counted() -> None:
    atoms = bulk("Cu", cubic=True) * 3
    one = trajectory(atoms.positions[None], side=float(atoms.cell[0, 0]))
    radii, found = radial_distributions(one)
    density = len(atoms) / atoms.get_volume()
    shells = 4 / 3 * np.pi * ((radii + WIDTH / 2) ** 3 - (radii - WIDTH / 2) ** 3)
    near = radii < 3.0
    assert (found["Cu-Cu"] * shells * density)[near].sum() == pytest.approx(12, abs=0.2)  # less one atom of 108 in the density


def test_molecules_have_shares_of_pairs() -> None:
    points = np.array([[[0.0, 0, 0], [0.975, 0, 0]]])
    radii, found = radial_distributions(trajectory(points, numbers=(1, 1), pbc=False))
    assert found["H-H"].sum() * WIDTH == pytest.approx(1.0) and radii[found["H-H"].argmax()] == pytest.approx(0.975)


def test_how_far_two_distributions_are_apart_is_between_nothing_and_two() -> None:
    one, other = np.array([1.0, 1, 0, 0]), np.array([0.0, 0, 2, 2])
    assert apart({"a": one, "b": one}, {"a": one, "b": 0 * one}) == {"a": 0.0}
    assert apart({"a": one}, {"a": one[::-1]}) == {"a": 2.0}
    assert apart({"a": 0 * one}, {"a": other}) == {"a": 1.0}


def test_a_trajectory_that_blew_up_has_no_structure_to_compare() -> None:
    fine = trajectory(np.zeros((10, 2, 3)) + [[0, 0, 0], [2, 0, 0]])
    assert compare_structure(fine, fine)["apart"] == {"Cu-Cu": 0.0}
    broken = trajectory(np.zeros((3, 2, 3)), stopped="too hot")
    assert compare_structure(fine, broken) == {"not_measured": "dynamics of the student blew up after 3 steps: too hot"}


class Leaking(EMT):
    """EMT whose energy rises from call to call by a part that is no force's work."""

    added = 0.0

    def calculate(self, *args: Any, **options: Any) -> None:
        super().calculate(*args, **options)
        self.results["energy"] += self.added
        self.added += 4 * 1e-3 * 1e-3 * 2.0  # of 4 atoms, 1e-3 eV/atom/ps at 2 fs


def test_a_planted_drift_is_read_back_and_dynamics_that_blow_up_have_none() -> None:
    spec = ExploreSpec(steps=200, every=1, timestep=2.0)
    slopes = [conserve(bulk("Cu", cubic=True), one, spec, temperature=50, seed=1)["drift_ev_per_atom_per_ps"] for one in (EMT(), Leaking())]
    assert slopes[1] - slopes[0] == pytest.approx(1e-3, rel=0.01)
    hot = conserve(bulk("Cu", cubic=True), EMT(), spec.model_copy(update={"max_force": 1e-3}), temperature=300, seed=1)
    assert hot["stopped_by"] and "drift_ev_per_atom_per_ps" not in hot and hot["steps_done"] < 200


SUITE = {
    "nve": {"drift_ev_per_atom_per_ps": -2e-4, "stopped_by": None},
    "rdf": {"apart": {"H-H": 0.02, "H-O": 0.05}, "halves_of_teacher": {"H-H": 0.03, "H-O": 0.01}},
    "speed": {"times_faster": {"student": [12.0, 11.0, 13.0]}, "atoms": 192},
}
ERRORS = {name: {"force_rmse_mev_per_angstrom": value} for name, value in (("teacher", 40.0), ("student", 50.0))}
ROUNDS = [{}, {"force_rmse_mev_per_angstrom": 30.0}]


def passed(accept: AcceptSpec, **changes: Any) -> dict[str, bool]:
    checks = verdicts(accept, SUITE | changes, errors=ERRORS, rounds=ROUNDS)
    return {check.name: check.passed for check in checks}


def test_each_check_passes_and_fails_by_the_threshold_in_the_file() -> None:
    fine = AcceptSpec(force_ratio=1.25, force_rmse=30, drift=2e-4, rdf=0.05, faster=12)
    assert passed(fine) == dict.fromkeys(("force_ratio", "force_rmse", "drift", "rdf", "faster"), True)
    strict = AcceptSpec(force_ratio=1.24, force_rmse=29, drift=1.9e-4, rdf=0.049, faster=12.1)
    assert passed(strict) == dict.fromkeys(passed(fine), False)
    assert list(passed(AcceptSpec(force_ratio=None, rdf=None))) == ["force_rmse", "drift", "faster"]


def test_what_could_not_be_measured_has_not_passed() -> None:
    broken = {"nve": {"stopped_by": "too hot"}, "rdf": {"not_measured": "it blew up"}}
    found = passed(AcceptSpec(), **broken)
    assert not found["drift"] and not found["rdf"] and found["faster"]


def test_speed_is_that_of_the_compressed_student_where_there_is_one() -> None:
    both = {"times_faster": {"student": [2.0, 2.0, 2.0], "compressed": [15.0, 14.0, 16.0]}, "atoms": 192}
    (check,) = verdicts(
        AcceptSpec(force_rmse=None, force_ratio=None, drift=None, rdf=None), SUITE | {"speed": both}, errors={}, rounds=ROUNDS
    )
    assert (check.name, check.value, check.passed) == ("faster", 15.0, True) and "compressed" in check.what
