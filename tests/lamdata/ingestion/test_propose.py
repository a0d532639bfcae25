"""A card proposed from raw files: what it says, and that ingest refuses it until the guesses are confirmed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "conformance"))

from structure_writers import mp_task, poscar
from writers import ase_traj, deepmd_npy, emt_frames, extxyz, extxyz_text, oc20_lmdb

from lamdata.catalog import Card, open_card
from lamdata.errors import ConfigError, SourceError
from lamdata.ingestion.propose import choose_patterns, propose_card
from lamdata.located import parse_yaml
from lamdata.sources import expand, read_all
from lamdata.sources.unit_guess import guess_energy_unit


def confirmed(text: str, folder: Path) -> Card:
    """The card after a person took the question marks away."""
    (folder / "card.yaml").write_text(text.replace('?"', '"'))
    return open_card(folder / "card.yaml")


def test_units_are_doubtful_until_confirmed(tmp_path):
    text = propose_card([extxyz(emt_frames(), tmp_path)], base=tmp_path)
    assert 'energy: "eV?"' in text and 'force: "eV/Angstrom?"' in text and "format: extxyz  # guess" in text
    (tmp_path / "card.yaml").write_text(text)
    with pytest.raises(ConfigError, match="a guess to be confirmed"):
        open_card(tmp_path / "card.yaml")


@pytest.mark.parametrize("write", [extxyz, deepmd_npy, ase_traj, mp_task, poscar])
def test_a_confirmed_card_reads_what_was_there(tmp_path, write):
    frames = emt_frames()
    card = confirmed(propose_card([write(frames, tmp_path)], base=tmp_path), tmp_path)
    (spec,) = card.sources
    back = [frame for file in expand(spec, base=tmp_path) for frame in read_all(file, spec)]
    assert len(back) == len(frames)


def test_units_that_the_file_states_are_not_guessed(tmp_path):
    (tmp_path / "a.xyz").write_text(extxyz_text(emt_frames(1), extra="energy_unit=eV forces_unit=eV/A stress_unit=eV/A^3 my_key=1"))
    text = propose_card([tmp_path / "a.xyz"], base=tmp_path)
    assert 'units: {length: "Angstrom?"}' in text and "keys that are not read: " in text and "my_key" in text


def test_formats_that_state_no_units_ask_for_them(tmp_path):
    structure = "begin\nlattice 9 0 0\nlattice 0 9 0\nlattice 0 0 9\natom 0 0 0 Si 0 0 0 0 1\natom 2 2 2 Si 0 0 0 0 -1\nenergy -8.1\ncharge 0\nend\n"
    (tmp_path / "input.data").write_text(structure)
    assert 'units: {length: "bohr?", energy: "Hartree?", force: "Hartree/bohr?"}' in propose_card([tmp_path / "input.data"], base=tmp_path)
    dump = (
        "ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n1\nITEM: BOX BOUNDS pp pp pp\n0 5\n0 5\n0 5\nITEM: ATOMS id element x y z\n1 Si 0 0 1\n"
    )
    for stated, expected in (("", True), ("ITEM: UNITS\nmetal\n", False)):
        (tmp_path / "a.dump").write_text(stated + dump)
        assert ('units: {length: "Angstrom?"}' in propose_card([tmp_path / "a.dump"], base=tmp_path)) is expected


def test_the_theory_that_files_state_is_in_the_card(tmp_path):
    text = propose_card([mp_task(emt_frames(1), tmp_path)], base=tmp_path)
    assert "code: VASP 5.4.4  # stated by task.json" in text and "functional: null  # not stated" in text


def test_files_of_one_kind_become_one_pattern_only_if_it_matches_no_other(tmp_path):
    for name in ("a1.xyz", "a2.xyz", "b.xyz"):
        (tmp_path / name).write_text(extxyz_text(emt_frames(1)))
    both = propose_card([tmp_path / "a1.xyz", tmp_path / "a2.xyz"], base=tmp_path)
    assert 'path: "a*"' in both and both.count("- path") == 1
    assert propose_card([tmp_path / "a1.xyz", tmp_path / "b.xyz"], base=tmp_path).count("- path") == 2


def test_the_folder_of_the_card_need_not_exist_yet(tmp_path):
    for name in ("a.xyz", "b.xyz"):
        (tmp_path / name).write_text(extxyz_text(emt_frames(1)))
    text = propose_card([tmp_path / "a.xyz", tmp_path / "b.xyz"], base=tmp_path / "new")
    assert 'path: "../*.xyz"' in text


def test_patterns_match_what_is_wanted_and_nothing_else():
    present = ["x/OUTCAR", "y/OUTCAR", "x/INCAR", "x/a.json", "y/b.json"]
    assert choose_patterns(present[:2], present) == ["**/OUTCAR"]
    assert choose_patterns(present[3:], present) == ["**/*.json"]
    assert choose_patterns(["x/OUTCAR", "x/a.json"], present) == ["x/OUTCAR", "x/a.json"]


def test_an_oc20_lmdb_needs_a_decision(tmp_path):
    pytest.importorskip("torch")
    text = propose_card([oc20_lmdb(emt_frames(1), tmp_path)], base=tmp_path)
    assert 'options: {energy: "total?"}' in text


def test_files_of_no_format_are_one_line(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(SourceError, match="none of the files has a format"):
        propose_card([tmp_path / "notes.txt"], base=tmp_path)


@pytest.mark.parametrize("unit", ["Hartree", "Rydberg", "kcal/mol", "kJ/mol", "eV"])
def test_all_electron_energies_tell_their_unit(unit):
    from ase.build import molecule

    from lamdata.frame import Frame
    from lamdata.units import ENERGY, HARTREE

    ethanol = molecule("CH3CH2OH")  # -154.7 hartree
    energy = -154.7 * HARTREE / ENERGY[unit]
    frame = Frame(numbers=ethanol.numbers.astype("uint8"), positions=ethanol.positions, energy=energy)
    assert guess_energy_unit(frame)[0] == unit


def test_the_proposal_is_yaml_whatever_the_names(tmp_path):
    odd = tmp_path / "with # and: {odd} [names]"
    odd.mkdir()
    extxyz(emt_frames(1), odd)
    data, _ = parse_yaml(propose_card([odd / "data.extxyz"], base=tmp_path), where="card")
    assert data["sources"][0]["path"] == "with # and: {odd} [names]/data.extxyz"
