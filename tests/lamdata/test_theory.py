"""Theory: compared field by field; the state of an energy is never taken for granted, and costs nothing where it is the usual one."""

from __future__ import annotations

import pytest

from lamdata.theory import Theory


def test_a_theory_of_the_ground_state_is_written_as_before_there_was_a_state():
    names = ["code", "functional", "core", "cutoff", "dispersion", "hubbard_u", "spin"]
    assert list(Theory(functional="PBE").model_dump()) == names
    assert list(Theory(functional="PBE").model_dump(mode="json")) == names
    assert Theory(state="TD root 2 (triplet)").model_dump()["state"] == "TD root 2 (triplet)"
    assert Theory.model_validate(Theory(functional="PBE").model_dump()) == Theory(functional="PBE")


def test_theories_of_two_states_differ():
    ground, excited = Theory(functional="PBE0"), Theory(functional="PBE0", state="TD root 1 (singlet)")
    assert ground.differences(excited) == ["state: the ground state, in vacuum against TD root 1 (singlet)"]
    assert excited.differences(Theory(functional="pbe0", state="td ROOT 1 (singlet)")) == []
    assert excited.summary() == "PBE0, TD root 1 (singlet)"


def test_a_file_of_another_state_contradicts_a_card_that_says_nothing_of_it():
    found = {"code": "ORCA 6.0.1", "functional": "PBE0", "state": "TD root 1"}
    assert Theory(functional="PBE0").conflicts(found) == ["state is TD root 1 in the file, the ground state, in vacuum in the card"]
    assert Theory(functional="PBE0", state="TD root 1").conflicts(found) == []


def test_a_file_of_the_ground_state_contradicts_a_card_of_another():
    """A program whose reader would say the state says by its silence that it is the usual one; of the others nothing is known."""
    card = Theory(functional="PBE0", state="TD root 1")
    assert card.conflicts({"code": "Psi4 1.7", "functional": "PBE0"}) == [
        "state is the ground state, in vacuum in the file, TD root 1 in the card"
    ]
    assert card.conflicts({"code": "VASP 6.3.0", "functional": "PBE0"}) == card.conflicts({"code": "Psi4 1.7", "functional": "PBE0"})
    assert card.conflicts({"code": "SIESTA 4.1", "functional": "PBE0"}) == []
    assert card.conflicts({}) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Gaussian 16 A.03", "Gaussian 16 C.01"),
        ("Gaussian 09 D.01", "Gaussian 16 C.02"),
        ("ORCA 5.0.3", "ORCA 6.0.1"),
        ("CP2K 9.1", "CP2K v2024.1"),
    ],
)
def test_another_release_of_a_program_is_the_same_theory(one, other):
    assert Theory(code=one, functional="HF").differences(Theory(code=other, functional="HF")) == []
    assert Theory(code=one).differences(Theory(code="FHI-aims 210716", functional="HF"))
