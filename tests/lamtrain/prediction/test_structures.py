"""Structures as people hold them: what becomes a frame, and what a model cannot be asked about."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms

from lamdata.errors import DataError
from lamdata.frame import Frame
from lamdata.frames import MASKED, Frames
from lamtrain.prediction.structures import as_frame, is_structure, refusals, refuse

WATER = Atoms("H2O", [[0.0, 0, 0], [0, 0, 1.5], [0, 0.6, 0.8]])
GOOD = Frame(numbers=np.array([1, 8], np.uint8), positions=np.array([[0.0, 0, 0], [0, 0, 1.0]]), cell=np.eye(3) * 6, pbc=(True,) * 3)


@pytest.mark.parametrize("pbc", [False, True, (True, True, False)])
def test_atoms_become_a_frame_with_their_cell(pbc: object) -> None:
    frame = as_frame(Atoms(WATER.numbers, WATER.positions, cell=[4, 5, 6], pbc=pbc))
    assert frame.pbc == ((pbc,) * 3 if isinstance(pbc, bool) else pbc) and frame.cell is not None and frame.numbers.tolist() == [1, 1, 8]
    assert as_frame(WATER).cell is None and as_frame(GOOD) is GOOD


def test_a_frame_does_not_share_the_positions_of_its_atoms() -> None:
    atoms = WATER.copy()
    frame = as_frame(atoms)
    atoms.positions[:] = 9.0
    assert frame.positions[1, 2] == 1.5


@pytest.mark.parametrize("thing", ["H2O", 3, None, [WATER], {"a": 1}, np.zeros((2, 3))])
def test_what_is_no_structure_is_said_by_its_type(thing: object) -> None:
    assert not is_structure(thing)
    with pytest.raises(TypeError, match=f"ase.Atoms or lamdata.Frame, not {type(thing).__name__}"):
        as_frame(thing)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"charge": 1}, "info['charge'] is 1"),
        ({"total_charge": -2}, "info['total_charge'] is -2"),
        ({"spin": 1}, "info['spin'] is 1"),
        ({"multiplicity": 3}, "info['multiplicity'] is 3"),
        ({"spin_multiplicity": 2}, "info['spin_multiplicity'] is 2"),
    ],
)
def test_a_charge_or_a_spin_that_would_be_passed_over_is_an_error(info: dict, said: str) -> None:
    atoms = WATER.copy()
    atoms.info |= info
    with pytest.raises(DataError) as caught:
        as_frame(atoms)
    assert f"H2O: {said}, and the model takes neither charge nor spin; take the key out" == str(caught.value)


@pytest.mark.parametrize("info", [{"charge": 0}, {"spin": 0}, {"multiplicity": 1}, {"charge": None}, {"name": "charge 3"}])
def test_a_charge_of_zero_asks_for_nothing(info: dict) -> None:
    atoms = WATER.copy()
    atoms.info |= info
    assert len(as_frame(atoms).numbers) == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [("set_initial_charges", "atoms have initial charges"), ("set_initial_magnetic_moments", "atoms have initial magnetic moments")],
)
def test_charges_and_moments_of_atoms_are_an_error(change: str, said: str) -> None:
    atoms = WATER.copy()
    getattr(atoms, change)([0.0, 0.0, 0.5])
    with pytest.raises(DataError, match=f"H2O: {said}, and the model takes none; set them to zero"):
        as_frame(atoms)
    getattr(atoms, change)([0.0, 0.0, 0.0])
    assert as_frame(atoms).charge == 0


@pytest.mark.parametrize("number", [119, 255, 257, 300, -1])
def test_a_number_that_is_no_element_is_not_taken_for_one(number: int) -> None:
    """257 in one byte would be hydrogen."""
    with pytest.raises(DataError, match=f"^{number} is no atomic number$"):
        as_frame(Atoms(numbers=[1, number], positions=np.zeros((2, 3))))


def test_ase_s_own_sign_for_no_element_is_none_that_a_model_knows() -> None:
    frames = Frames.from_list([as_frame(Atoms("HX", np.zeros((2, 3))))])
    assert refusals(frames, elements=["H"]) == {0: "the model does not know a hidden element; it knows H"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"numbers": np.array([1, 26], np.uint8)}, "the model does not know Fe; it knows H, O"),
        ({"numbers": np.array([26, 79], np.uint8)}, "the model does not know Fe, Au"),
        ({"numbers": np.array([1, MASKED], np.uint8)}, "the model does not know a hidden element"),
        ({"charge": -1}, "charge -1, and the model takes no charge"),
        ({"multiplicity": 4}, "spin multiplicity 4"),
        ({"multiplicity": 1}, None),  # not looked at: nobody meant one unpaired electron less than there are
        ({"multiplicity": 2}, None),  # nine electrons
        ({"positions": np.full((2, 3), np.nan)}, "positions or cell are not finite"),
        ({"cell": np.full((3, 3), np.inf)}, "positions or cell are not finite"),
        ({"cell": np.zeros((3, 3))}, "cell has no volume"),
        ({"cell": np.diag([4.0, 4.0, 1e-5])}, "cell has no volume"),
        ({"cell": np.diag([4.0, 4.0, 0.0]), "pbc": (True, True, False)}, None),
    ],
)
def test_each_reason_is_said_of_its_row_alone(changes: dict, said: str | None) -> None:
    frames = Frames.from_list([GOOD, replace(GOOD, **changes), GOOD])
    found = refusals(frames, elements=["H", "O"])
    assert list(found) == ([] if said is None else [1]) and (said or "") in found.get(1, "")
    if said is not None:
        with pytest.raises(DataError, match="^structure 1: "):
            refuse(frames, elements=["H", "O"])
        with pytest.raises(DataError) as caught:
            refuse(frames.part(1, 2), elements=["H", "O"])
        assert not str(caught.value).startswith("structure")


def test_the_first_reason_of_a_frame_stands() -> None:
    frames = Frames.from_list([replace(GOOD, numbers=np.array([1, 26], np.uint8), charge=2, cell=np.zeros((3, 3)))])
    assert refusals(frames, elements=["H"])[0].startswith("the model does not know Fe")


def test_good_frames_and_no_frames_are_not_refused() -> None:
    refuse(Frames.from_list([GOOD] * 3), elements=["O", "H"])
    assert refusals(Frames.empty(), elements=["H"]) == {}
