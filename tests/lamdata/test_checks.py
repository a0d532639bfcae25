"""Checks: each reason, and the shortest distance against brute force over images."""

from __future__ import annotations

import numpy as np
import pytest

from lamdata.catalog import CheckSpec
from lamdata.checks import check, shortest_distance
from lamdata.frame import Frame


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
        ({"positions": np.array([[0.0, 0, 0], [np.nan, 0, 0]])}, {}, "not_finite"),
        ({}, {"elements": ["C"]}, "elements"),
    ],
)
def test_each_reason_refuses_and_names_its_value(changes: dict, spec: dict, reason: str) -> None:
    rejection, _ = check(frame(**changes), CheckSpec(**spec))
    assert rejection is not None
    assert (rejection.origin, rejection.reason) == ("f#0", reason)
    assert rejection.value is not None


def test_a_good_frame_passes_with_its_shortest_distance() -> None:
    rejection, shortest = check(frame(), CheckSpec())
    assert rejection is None
    assert shortest == pytest.approx(np.sqrt(2 * 1.34**2 + 1.36**2), abs=1e-9)  # to the image one lattice vector away


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
