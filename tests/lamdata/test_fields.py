"""Values of cards and mixtures: what may be, and one line for what may not."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest
from pydantic import TypeAdapter, ValidationError

import lamdata.fields as fields
from lamdata.elements import SYMBOLS
from lamdata.fields import KEYS, Held, Name, check_atoms, check_keys, check_share, known_task
from lamdata.units import ENERGY


@pytest.mark.parametrize("name", ["a", "OC20", "H2O(l)", "mp-2020.1", "a+b_c", "x" * 100])
def test_a_name_that_is_safe_as_a_folder_and_a_word(name: str) -> None:
    assert TypeAdapter(Name).validate_python(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "-a", "_a", "é", "a\n", "a:b", "x" * 101, "a*", "~", 3, None])
def test_a_name_that_is_not(name: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(name)


@pytest.mark.parametrize("share", [0, 0.0, 0.5, 0.999, "held.txt", "0.5"])
def test_a_share_or_a_file(share: float | str) -> None:
    assert check_share(share) == share


@pytest.mark.parametrize("share", [-0.1, 1, 1.0, 2, "", float("nan"), float("inf")])
def test_neither_a_share_nor_a_file(share: float | str) -> None:
    with pytest.raises(ValueError, match="a share is at least 0 and less than 1|expected a share or the name of a file"):
        check_share(share)
    with pytest.raises(ValidationError):
        TypeAdapter(Held).validate_python(share)


@pytest.mark.parametrize("key", KEYS)
def test_labels_that_a_card_may_name(key: str) -> None:
    assert check_keys({key: "REF"}) == {key: "REF"}


@pytest.mark.parametrize(("key", "meant"), [("force", "forces"), ("Energy", "energy"), ("viral", "virial"), ("magmom", "one of: ")])
def test_labels_that_there_are_not(key: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"no label is called {key!r}; .*{meant}"):
        check_keys({"energy": "E", key: "REF"})


@pytest.mark.parametrize("symbol", ["X", "", "h", "Xx", "H2", "hydrogen"])
def test_isolated_atoms_of_what_is_no_element(symbol: str) -> None:
    with pytest.raises(ValueError, match="is no element"):
        check_atoms({"Si": -1.0, symbol: 0.0})


def test_every_element_has_a_free_atom() -> None:
    assert check_atoms(dict.fromkeys(SYMBOLS[1:], 0.0)).keys() == set(SYMBOLS[1:])


@pytest.mark.parametrize(
    ("unit", "said"), [("eV?", "write 'eV' without the question mark"), ("ev", "did you mean 'eV'?"), ("J", "unknown unit; ")]
)
def test_units_that_are_guesses_or_none(unit: str, said: str) -> None:
    check = fields.check_unit(ENERGY).func
    with pytest.raises(ValueError, match=said.replace("?", r"\?")):
        check(unit)
    assert check("Hartree") == "Hartree"


def test_a_task_is_known_by_its_entry_point_without_being_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("dipole", "no_such_module:Dipole", fields.TASK_ENTRY_POINTS)]
    monkeypatch.setattr(fields, "entry_points", lambda group: points if group == fields.TASK_ENTRY_POINTS else [])
    assert known_task("dipole") == "dipole" and known_task("denoise") == "denoise"
    with pytest.raises(ValueError, match="did you mean 'dipole'"):
        known_task("dipol")
