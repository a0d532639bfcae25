"""One frame: what fits together, what does not, and what ASE is given."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lamdata.errors import DataError
from lamdata.frame import LARGEST, Frame

CELL = np.array([[4.0, 0, 0], [1.0, 5.0, 0], [0.5, -0.5, 6.0]])


def frame(**changes) -> Frame:
    values = {"numbers": np.array([1, 8], np.uint8), "positions": np.arange(6.0).reshape(2, 3), "origin": "a.out#3"}
    return Frame(**values | changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"positions": np.zeros((3, 3))}, r"positions has shape \(3, 3\), expected \(2, 3\)"),
        ({"positions": np.zeros((2, 2))}, r"positions has shape \(2, 2\)"),
        ({"positions": np.zeros(6)}, r"positions has shape \(6,\)"),
        ({"forces": np.zeros((1, 3))}, r"forces has shape \(1, 3\)"),
        ({"cell": np.zeros(3)}, r"cell has shape \(3,\)"),
        ({"virial": np.zeros(6)}, r"virial has shape \(6,\), expected \(3, 3\)"),
        ({"numbers": np.array([], np.uint8), "positions": np.zeros((0, 3))}, "no atoms"),
        ({"pbc": (True, False, False)}, "periodic but without a cell"),
        ({"charge": LARGEST + 1}, "charge 32768, multiplicity None"),
        ({"charge": -LARGEST - 1}, "charge -32768"),
        ({"multiplicity": LARGEST + 1}, "multiplicity 32768"),
    ],
)
def test_what_does_not_fit_together_is_an_error_with_the_origin(changes: dict, said: str) -> None:
    with pytest.raises(DataError, match=f"^a.out#3: .*{said}"):
        frame(**changes)


@pytest.mark.parametrize(
    "changes", [{"charge": LARGEST}, {"charge": -LARGEST}, {"multiplicity": LARGEST}, {"multiplicity": 0}, {"cell": CELL}]
)
def test_what_a_store_can_keep_is_a_frame(changes: dict) -> None:
    assert frame(**changes).origin == "a.out#3"


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.float64, (3, 3), elements=st.floats(-20, 20)))
def test_the_volume_is_the_size_of_the_determinant_whatever_the_hand(cell: np.ndarray) -> None:
    assert frame(cell=cell).volume == pytest.approx(abs(np.linalg.det(cell)), abs=1e-9)
    assert frame(cell=cell[::-1]).volume == pytest.approx(frame(cell=cell).volume, abs=1e-9)


def test_a_molecule_has_no_volume() -> None:
    assert frame().volume is None


def test_ase_is_given_every_label_in_its_own_sign() -> None:
    virial = np.array([[3.0, 0.1, 0.2], [0.1, 2.0, 0.3], [0.2, 0.3, 1.0]])
    one = frame(cell=CELL, pbc=(True, True, False), energy=-3.5, forces=np.full((2, 3), 0.25), virial=virial)
    atoms = one.to_ase()
    assert atoms.get_potential_energy() == -3.5 and (atoms.get_forces() == 0.25).all() and atoms.pbc.tolist() == [True, True, False]
    np.testing.assert_allclose(atoms.get_stress(voigt=False), -virial / one.volume)
    np.testing.assert_array_equal(atoms.cell.array, CELL)


@pytest.mark.parametrize("labels", [{}, {"energy": -1.0}, {"forces": np.zeros((2, 3))}, {"virial": np.eye(3)}])
def test_ase_is_given_no_label_that_is_not_there(labels: dict) -> None:
    atoms = frame(**labels).to_ase()
    found = {} if atoms.calc is None else {name for name, value in atoms.calc.results.items() if value is not None}
    assert set(found) == set(labels) - {"virial"}  # a molecule has no stress


def test_a_force_of_zero_is_a_label() -> None:
    assert (frame(forces=np.zeros((2, 3))).to_ase().get_forces() == 0).all() and frame(energy=0.0).to_ase().get_potential_energy() == 0.0
