"""`lamdata init --from`: a card for each theory, a denoise head for structures, the split that a file has, and what is not read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lamdata.catalog import open_catalog
from lamdata.cli import app
from lamdata.ingestion.example import write_example
from lamdata.ingestion.propose import choose_patterns
from tests.lamdata.sources.codes.outcars import HEAD, step

from .carbon_monoxide import atom, frame, run
from .test_theories import HSE06

CIF = """data_x
_cell_length_a 4.0
_cell_length_b 4.0
_cell_length_c 4.0
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Cs1 Cs 0 0 0
Cl1 Cl 0.5 0.5 0.5
"""


def confirm(folder: Path) -> None:
    """Take the question marks away."""
    for path in folder.glob("*.yaml"):
        path.write_text(path.read_text().replace('?"', '"'))


def outcars(folder: Path, **heads: str) -> list[Path]:
    """A run for each head."""
    for name, head in heads.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "OUTCAR").write_text(head + step(1))
    return [folder / name / "OUTCAR" for name in heads]


def test_files_of_two_theories_get_a_card_each_and_a_head_each(tmp_path: Path) -> None:
    files = outcars(tmp_path / "raw", a=HEAD, b=HSE06, c=HEAD)
    write_example(tmp_path / "demo", from_files=files)
    catalog = open_catalog(tmp_path / "demo")
    assert set(catalog.cards) == {"demo-PBE", "demo-HSE06"}
    assert {card.theory.functional for card in catalog.cards.values()} == {"PBE", "HSE06"}
    assert [(task.head, task.dataset, task.task) for task in catalog.mixtures["demo"].heads] == [
        ("demo-PBE", "demo-PBE", "energy_force"),
        ("demo-HSE06", "demo-HSE06", "energy_force"),
    ]


def test_a_folder_of_two_theories_is_parted_by_its_files(tmp_path: Path) -> None:
    heads = {
        f"run{i:02d}": HSE06 if i % 3 == 0 else HEAD for i in range(12)
    }  # more than are named one by one, and no glob tells them apart
    outcars(tmp_path / "raw", **heads)
    write_example(tmp_path / "demo", from_files=[tmp_path / "raw"])
    catalog = open_catalog(tmp_path / "demo")
    inside = {name: {spec.members for spec in card.sources} for name, card in catalog.cards.items()}
    assert inside["demo-HSE06"] == {f"run{i:02d}/OUTCAR" for i in (0, 3, 6, 9)} and len(inside["demo-PBE"]) == 8


def test_one_theory_stays_one_card_named_as_the_folder(tmp_path: Path) -> None:
    outcars(tmp_path / "raw", a=HEAD, b=HEAD)
    write_example(tmp_path / "demo", from_files=[tmp_path / "raw"])
    catalog = open_catalog(tmp_path / "demo")
    assert list(catalog.cards) == ["demo"] and catalog.mixtures["demo"].heads[0].head == "main"


def xyz(path: Path, *, count: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    one = '1\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.0\nCu 0.1 0.2 0.3 0.0 0.0 0.1\n'
    path.write_text(one * count)


def sources_of_a_glob(folder: Path, pattern: str) -> list[tuple[str, str | None]]:
    """Of the card that `init` proposes and `ingest` takes, from files that a quoted glob names."""
    write_example(folder / "demo", from_files=[folder / pattern])
    confirm(folder / "demo")
    done = CliRunner().invoke(app, ["ingest", *map(str, (folder / "demo").glob("demo*.yaml")), "-o", str(folder / "demo.zarr"), "--quiet"])
    assert done.exit_code == 0, done.output
    return [(spec.path, spec.members) for card in open_catalog(folder / "demo").cards.values() for spec in card.sources]


def test_a_glob_of_files_stays_the_glob(tmp_path: Path) -> None:
    for number in range(12):
        xyz(tmp_path / f"copper-{number}.xyz")
    xyz(tmp_path / "other.xyz")
    assert sources_of_a_glob(tmp_path, "copper-*.xyz") == [("../copper-*.xyz", None)]


def test_a_glob_over_folders_stays_the_glob(tmp_path: Path) -> None:
    for name in "ab":
        xyz(tmp_path / name / "frames.xyz")
    assert sources_of_a_glob(tmp_path, "*/frames.xyz") == [("../*/frames.xyz", None)]


def test_a_glob_that_names_other_files_too_is_narrowed(tmp_path: Path) -> None:
    for number in range(12):
        xyz(tmp_path / f"copper-{number}.xyz")
    (tmp_path / "notes.xyz").write_text("nothing of the kind\n")
    assert sources_of_a_glob(tmp_path, "*.xyz") == [("../copper-*", None)]


def test_structures_get_a_denoise_head(tmp_path: Path) -> None:
    (tmp_path / "salt.cif").write_text(CIF)
    write_example(tmp_path / "one", from_files=[tmp_path / "salt.cif"])
    (task,) = open_catalog(tmp_path / "one").mixtures["one"].heads
    assert (task.task, task.dataset) == ("denoise", "one") and task.augment is not None
    files = [tmp_path / "salt.cif", *outcars(tmp_path / "raw", a=HEAD)]
    write_example(tmp_path / "two", from_files=files)
    heads = open_catalog(tmp_path / "two").mixtures["two"].heads
    assert {(task.dataset, task.task) for task in heads} == {("two-structures", "denoise"), ("two-PBE", "energy_force")}


def test_the_group_key_and_the_published_split_of_extxyz_are_in_the_card_and_ingest(tmp_path: Path) -> None:
    words = [("train", 1), ("train", 1), ("val", 2), ("test", 3), ("train", 4), ("train", 4), ("test", 3)]
    text = "".join(frame(-10 - 0.1 * i, stretch=0.01 * i, words=f"subset={side} mol_id=m{mol}") for i, (side, mol) in enumerate(words))
    (tmp_path / "a.xyz").write_text(text)
    write_example(tmp_path / "demo", from_files=[tmp_path / "a.xyz"])
    card = tmp_path / "demo/demo.yaml"
    assert "a published split under 'subset': train 4, val 1, test 2 of the first 7 frames" in card.read_text()
    assert "keys that are not read" not in card.read_text()  # they are proposed
    confirm(tmp_path / "demo")
    report = run(card)
    assert report.groups == {"train": 2, "validation": 1, "test": 1} and report.test_frames == 2


def test_a_published_split_that_parts_groups_makes_frames_their_own_groups(tmp_path: Path) -> None:
    text = "".join(frame(-10 - 0.1 * i, words=f"split={'test' if i % 4 == 0 else 'train'}") for i in range(8))
    (tmp_path / "a.xyz").write_text(text)
    write_example(tmp_path / "demo", from_files=[tmp_path / "a.xyz"])
    confirm(tmp_path / "demo")
    assert open_catalog(tmp_path / "demo").cards["demo"].sources[0].group == "frame"
    assert run(tmp_path / "demo/demo.yaml").test_frames == 2


def test_what_is_not_read_is_printed_and_stands_in_the_card(tmp_path: Path) -> None:
    good = frame(-10.0, words="other_virial_tensor=1 my_stress='1 2 3 4 5 6'")
    bad = good.replace("energy=-10.0", "energy=-10.0 charge=half")
    (tmp_path / "a.xyz").write_text(good + good + bad + atom("C", -1.0))
    result = CliRunner().invoke(app, ["init", str(tmp_path / "demo"), "--from", str(tmp_path / "a.xyz"), "--json"])
    notes = json.loads(result.stdout)["notes"]
    assert any(note.startswith("demo: refused: 1 of the first 4 frames, as a.xyz#2") for note in notes)
    assert any("left out in 2 frames, as a.xyz#0: " in note and "my_stress" in note for note in notes)
    text = (tmp_path / "demo/demo.yaml").read_text()
    assert (
        "# left out in 2 frames, as a.xyz#0: " in text
        and "isolated atoms of C, as a.xyz#3: reference energies, not frames; none of O, so the references of its head are fitted" in text
    )


@pytest.mark.parametrize(("atoms", "references"), [("C O", "isolated"), ("C", "fitted"), ("", "fitted"), ("C O H", "isolated")])
def test_isolated_atoms_of_all_elements_become_the_references_of_the_head(tmp_path: Path, atoms: str, references: str) -> None:
    lone = "".join(atom(symbol, -float(number)) for number, symbol in enumerate(atoms.split(), 1))
    (tmp_path / "a.xyz").write_text("".join(frame(-10.0 - i, stretch=0.01 * i) for i in range(60)) + lone)
    write_example(tmp_path / "demo", from_files=[tmp_path / "a.xyz"])
    confirm(tmp_path / "demo")
    (task,) = open_catalog(tmp_path / "demo").mixtures["demo"].heads
    assert task.references == references
    assert ("none of O" in (tmp_path / "demo/demo.yaml").read_text()) is (atoms == "C")


def test_isolated_atoms_in_another_file_or_in_a_database_count_too(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text(frame(-10.0) + frame(-10.5))
    (tmp_path / "atoms.xyz").write_text(atom("C", -1.0) + atom("O", -2.0))
    write_example(tmp_path / "one", from_files=[tmp_path / "a.xyz", tmp_path / "atoms.xyz"])
    assert "references: isolated" in (tmp_path / "one/mixture.yaml").read_text()
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.db import connect

    with connect(tmp_path / "b.db") as out:
        for symbols, marks in (("O", {"config_type": "IsolatedAtom"}), ("O2", {})):
            atoms = Atoms(symbols, [[0, 0, 1.2 * i] for i in range(len(Atoms(symbols)))])
            atoms.calc = SinglePointCalculator(atoms, energy=-2.0 * len(atoms))
            out.write(atoms, key_value_pairs=marks)
    write_example(tmp_path / "two", from_files=[tmp_path / "b.db"])
    assert "references: isolated" in (tmp_path / "two/mixture.yaml").read_text()


def test_a_folder_that_is_called_mixture_loses_no_card(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text(frame(-10.0))
    written = write_example(tmp_path / "mixture", from_files=[tmp_path / "a.xyz"])
    confirm(tmp_path / "mixture")
    assert len({path.name for path in written.files}) == 2 and list(open_catalog(tmp_path / "mixture").cards) == ["mixture-1"]


@pytest.mark.parametrize("exact", [False, True])
def test_a_pattern_that_must_be_exact_has_no_other_file(exact: bool) -> None:
    present = [f"r{i}/OUTCAR" for i in range(20)]
    wanted = present[::2]
    assert choose_patterns(wanted, present, exact=exact) == (wanted if exact else ["**/OUTCAR"])
