"""Checks: each reason, and the shortest distance against brute force over images."""

from __future__ import annotations

import numpy as np
import pytest

from lamdata.catalog import CheckSpec
from lamdata.checks import check
from lamdata.distances import shortest_distance, shortest_distances
from lamdata.errors import DataError
from lamdata.frame import Frame, Rejection
from lamdata.frames import Frames, Parsed


def frame(**changes) -> Frame:
    values = {
        "numbers": np.array([14, 14], np.uint8),
        "positions": np.array([[0.0, 0, 0], [1.36, 1.36, 1.36]]),
        "cell": np.array([[0.0, 2.7, 2.7], [2.7, 0, 2.7], [2.7, 2.7, 0]]),
        "pbc": (True,) * 3,
        "energy": -10.0,
        "forces": np.array([[0.1, 0, 0], [-0.1, 0, 0]]),
        "virial": np.eye(3),
        "origin": "f#0",
    }
    return Frame(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "spec", "reason"),
    [
        ({"converged": False}, {}, "unconverged"),
        ({"positions": np.array([[0.0, 0, 0], [0.2, 0, 0]])}, {}, "min_distance"),
        ({"forces": np.array([[300.0, 0, 0], [-300.0, 0, 0]])}, {}, "max_force"),
        ({"forces": np.array([[0.5, 0, 0], [0.5, 0, 0]])}, {}, "net_force"),
        ({"virial": np.array([[1.0, 0.4, 0], [0, 1, 0], [0, 0, 1]])}, {}, "virial_asymmetry"),
        ({"virial": 100 * np.eye(3)}, {"max_virial": 8.0}, "max_virial"),
        ({}, {"energy_per_atom": (-25.0, -6.0)}, "energy_per_atom"),
        ({"cell": 1e-3 * np.eye(3)}, {}, "flat_cell"),
        ({"cell": 0.5 * np.eye(3)}, {}, "volume_per_atom"),
        ({"positions": np.array([[0.0, 0, 0], [np.nan, 0, 0]])}, {}, "nonfinite"),
        ({"positions": np.array([[0.0, 0, 0], [0, 0, 1e200]]), "pbc": (True, True, False)}, {}, "nonfinite"),
        ({"energy": np.inf}, {}, "nonfinite"),
        ({"cell": np.diag([5.0, 5.0, 0.0]), "pbc": (True, True, True)}, {}, "flat_cell"),
        ({"cell": np.array([[5.0, 0, 0], [5.0, 0.01, 0], [0, 0, 9.0]]), "pbc": (True, True, False)}, {}, "flat_cell"),
        ({"numbers": np.array([14, 119], np.uint8)}, {}, "elements"),
        ({"numbers": np.array([14, 300])}, {}, "elements"),
        ({}, {"elements": ["C"]}, "elements"),
    ],
)
def test_each_reason_refuses_and_names_its_value(changes: dict, spec: dict, reason: str) -> None:
    refused, shortest = check(Parsed.from_list([frame(), frame(**changes, origin="f#1"), frame()]), CheckSpec(**spec))
    rejection = refused.get(1)
    assert rejection is not None
    assert (rejection.origin, rejection.reason) == ("f#1", reason)
    assert rejection.value is not None
    assert np.isnan(shortest[1])
    if not spec:  # the others pass as they do alone
        assert set(refused) == {1}
        assert shortest[0] == shortest[2] == shortest_distance(frame())


def test_a_frame_with_two_faults_is_refused_for_the_first_of_them() -> None:
    bad = frame(converged=False, forces=np.array([[300.0, 0, 0], [-300.0, 0, 0]]))
    refused, _ = check(Parsed.from_list([bad]), CheckSpec())
    assert refused == {0: Rejection(origin="f#0", reason="unconverged", value="self-consistency not reached")}


def test_a_missing_label_is_not_judged() -> None:
    bare = frame(energy=None, forces=None, virial=None)
    spec = CheckSpec(energy_per_atom=(-25.0, -6.0), max_virial=1e-3, max_force=1e-3, net_force=1e-6)
    assert check(Parsed.from_list([bare]), spec)[0] == {}


def test_a_good_frame_passes_with_its_shortest_distance() -> None:
    refused, shortest = check(Parsed.from_list([frame()]), CheckSpec())
    assert refused == {}
    assert shortest == pytest.approx([np.sqrt(2 * 1.34**2 + 1.36**2)], abs=1e-9)  # to the image one lattice vector away


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False), (False, False, True)])
def test_the_shortest_distance_equals_brute_force_over_images(pbc: tuple[bool, bool, bool]) -> None:
    rng = np.random.default_rng(sum(pbc))
    for _ in range(20):
        cell = rng.normal(size=(3, 3)) * 1.5 + 3 * np.eye(3)
        positions = rng.random((rng.integers(1, 6), 3)) @ cell
        f = Frame(numbers=np.full(len(positions), 6, np.uint8), positions=positions, cell=cell, pbc=pbc)
        reach = [range(-4, 5) if p else range(1) for p in pbc]
        shifts = np.array(np.meshgrid(*reach)).reshape(3, -1).T @ cell
        d = np.linalg.norm(positions[None, :, None] - positions[:, None, None] + shifts, axis=-1)
        assert shortest_distance(f) == pytest.approx(d[d > 1e-9].min(), rel=1e-9)


def test_a_lone_atom_in_open_space_has_no_neighbour() -> None:
    assert shortest_distance(Frame(numbers=np.array([2], np.uint8), positions=np.zeros((1, 3)))) == np.inf


def test_two_atoms_far_apart_in_open_space_are_measured() -> None:
    positions = np.array([[0.0, 0, 0], [200.0, 0, 0]])
    assert shortest_distance(Frame(numbers=np.array([2, 2], np.uint8), positions=positions)) == pytest.approx(200.0)


def test_frames_of_all_sizes_and_periods_together_measure_as_alone() -> None:
    rng = np.random.default_rng(1)
    frames = []
    for i in range(48):
        atoms = int(rng.choice([1, 2, 5, 20, 90, 100]))
        skew = np.eye(3) + rng.normal(size=(3, 3)) * (0.1, 0.6)[i % 2]
        cell = skew * 2.5 * (atoms / max(abs(np.linalg.det(skew)), 0.05)) ** (1 / 3)
        pbc = [(True,) * 3, (False,) * 3, (True, True, False)][i % 3]
        positions = (rng.random((atoms, 3)) + rng.integers(-2, 3, (atoms, 3)) * (i % 5 == 0)) @ cell
        frames.append(Frame(numbers=np.full(atoms, 6, np.uint8), positions=positions, cell=cell, pbc=pbc))
    together = shortest_distances(Frames.from_list(frames))
    for one, distance in zip(frames, together):
        far = 6 if len(one.numbers) < 20 else 3  # cells: the more atoms, the nearer the nearest
        reach = [range(-far, far + 1) if p else range(1) for p in one.pbc]
        shifts = np.array(np.meshgrid(*reach)).reshape(3, -1).T @ one.cell
        home = one.positions - np.floor(one.positions @ np.linalg.inv(one.cell)) * one.pbc @ one.cell
        least = np.inf
        for shift in shifts:
            d = np.linalg.norm(home[None] - home[:, None] + shift, axis=-1)
            least = min(least, d[d > 1e-9].min(initial=np.inf))
        assert distance == pytest.approx(least, rel=1e-9)


def test_two_atoms_at_one_place_have_no_distance() -> None:
    cell = np.diag([4.0, 5.0, 6.0])
    numbers, positions = np.array([6, 6], np.uint8), np.array([[1.0, 1, 1], [1.0, 1, 1]])
    assert shortest_distance(Frame(numbers=numbers, positions=positions, cell=cell, pbc=(True,) * 3)) == 0.0


@pytest.mark.parametrize("changes", [{"charge": 40_000}, {"charge": -40_000}, {"multiplicity": 70_000}])
def test_a_charge_that_no_store_can_keep_is_refused(changes: dict) -> None:
    with pytest.raises(DataError, match="0000"):
        frame(**changes)
