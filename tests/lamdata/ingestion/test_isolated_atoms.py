"""Free atoms are reference energies, not frames, unless the card asks for both."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamdata import open_store
from lamdata.errors import ConfigError, DataError

from .carbon_monoxide import atom, frame, origins, run, source, stored, write

NONE = "split: {validation: 0.0}"


def test_frames_that_the_file_marks_are_references_and_no_frames(tmp_path: Path) -> None:
    card = write(tmp_path, groups=2, rest=NONE)
    (tmp_path / "co-7.xyz").write_text(atom("C", -1.25) + frame(-9.5) + atom("O", -2.5))
    report = run(card)
    assert report.isolated_atoms == {"C": {"energy": -1.25, "origin": "co-7.xyz#0"}, "O": {"energy": -2.5, "origin": "co-7.xyz#2"}}
    assert stored(card).isolated_atoms == {"C": -1.25, "O": -2.5} and report.rejected == {}
    assert "co-7.xyz#1" in origins(stored(card)) and report.frames == 7
    assert open_store(tmp_path / "s.zarr").meta("co")["isolated_atoms"] == report.isolated_atoms


def test_they_are_frames_of_the_train_split_as_well_where_the_card_asks(tmp_path: Path) -> None:
    rest = "split: {validation: 0.3, seed: 4}\nchecks: {volume_per_atom: null}"
    card = write(tmp_path, sources=source(more='isolated_atoms: "also frames"'), rest=rest)
    (tmp_path / "co-7.xyz").write_text(atom("C", -1.25) + atom("O", -2.5))
    report = run(card)
    assert report.frames == 20 and set(report.isolated_atoms) == {"C", "O"}
    assert {"co-7.xyz#0", "co-7.xyz#1"} <= origins(stored(card, "train"))


def test_a_source_may_hold_nothing_else(tmp_path: Path) -> None:
    card = write(
        tmp_path, groups=2, sources=source() + source("atoms.xyz", more="isolated_atoms: all"), rest=f"{NONE}\nchecks: {{max_refused: 0.2}}"
    )
    (tmp_path / "atoms.xyz").write_text(atom("C", -1.25, words="") + frame(-9.0))
    report = run(card)
    assert report.frames == 6 and report.isolated_atoms == {"C": {"energy": -1.25, "origin": "atoms.xyz#0"}}
    assert report.rejected == {"not an isolated atom": 1}


def test_the_card_may_state_them_and_may_not_contradict_the_files(tmp_path: Path) -> None:
    card = write(tmp_path, groups=2, rest=f"{NONE}\nisolated_atoms: {{O: -2.75, C: -1.5}}")
    assert run(card).isolated_atoms == {"C": {"energy": -1.5, "origin": "card"}, "O": {"energy": -2.75, "origin": "card"}}
    card.write_text(card.read_text().replace("C: -1.5", "C: -1.625"))
    assert run(card).changed == ("isolated_atoms",) and stored(card).isolated_atoms["C"] == -1.625
    (tmp_path / "co-7.xyz").write_text(atom("C", -1.25))
    with pytest.raises(DataError, match=r"the isolated atom C has two energies, -1.250000 eV \(co-7.xyz#0\) and -1.625000 eV \(card\)"):
        run(card, replace=True)


def test_two_energies_of_one_atom_are_refused(tmp_path: Path) -> None:
    card = write(tmp_path, groups=2, rest=NONE)
    (tmp_path / "co-7.xyz").write_text(atom("C", -1.25) + atom("C", -1.5))
    with pytest.raises(DataError, match="co-7.xyz#0.*co-7.xyz#1"):
        run(card)


def test_nothing_but_atoms_is_no_dataset(tmp_path: Path) -> None:
    card = write(tmp_path, groups=0, rest=NONE)
    (tmp_path / "co-7.xyz").write_text(atom("C", -1.25))
    with pytest.raises(DataError, match="no frame of co passed: all of them are isolated atoms"):
        run(card)


def test_atoms_that_are_to_be_frames_too_must_be_there(tmp_path: Path) -> None:
    card = write(tmp_path, sources=source(more='isolated_atoms: "also frames"'))
    with pytest.raises(ConfigError, match="no frame of co is marked as an isolated atom, and its card says `isolated_atoms: also frames`"):
        run(card)
