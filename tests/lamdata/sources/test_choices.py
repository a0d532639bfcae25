"""What a card says of a source is heeded, or refused by name: a key, a unit or an option that would be without effect never passes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import h5py
import numpy as np
import pytest
from structure_writers import calypso, jarvis, optimade, poscar
from writers import ase_db, deepmd_hdf5, deepmd_lmdb, deepmd_npy, deepmd_raw, emt_frames, extxyz

from lamdata.catalog import SourceSpec, TaskSpec
from lamdata.errors import ConfigError, LamError, SourceError
from lamdata.sources import SourceFile, expand, guess_format, read_all, reader
from lamdata.units import HARTREE

DUMP = """ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
0 10
0 10
0 10
ITEM: ATOMS id{kind} x y z{element}
1{one} 0 0 0{fe}
2{two} 1 1 1{o}
"""


def read(path: Path, format: str, **choices):
    spec = SourceSpec(path=str(path), format=format, **choices)
    return [item for file in expand(spec, base=path.parent) for item in read_all(file, spec)]


@pytest.mark.parametrize("path", ["one.xyz", "*.xyz", "one.xyz.gz", "*/one.xyz"])
def test_members_of_a_plain_file_are_refused(tmp_path, path):
    for name in ("one.xyz", "one.xyz.gz", "sub/one.xyz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    assert expand(SourceSpec(path=path), base=tmp_path)
    with pytest.raises(
        ConfigError, match="one.xyz.*: `members` are of archives and folders, and this is a plain file; leave `members` out"
    ):
        expand(SourceSpec(path=path, members="*"), base=tmp_path)


def test_members_of_a_folder_and_of_folders_by_a_pattern_are_heeded(tmp_path):
    (tmp_path / "runs/a").mkdir(parents=True)
    (tmp_path / "runs/a/OUTCAR").write_text("x")
    (tmp_path / "runs/a/notes").write_text("x")
    for path in ("runs", "run*"):
        assert [f.name for f in expand(SourceSpec(path=path, members="**/OUTCAR"), base=tmp_path)] == ["runs/a/OUTCAR"]


@pytest.mark.parametrize(
    ("format", "choices", "said"),
    [
        ("jarvis", {"units": {"force": "eV/Angstrom"}}, "jarvis has no unit of force to be stated; leave `units: {force}` out"),
        ("jarvis", {"units": {"energy": "Hartree"}}, "reads none; name its key: `keys: {energy: KEY}`"),
        ("jarvis", {"options": {"energy": "per_atom"}}, "says how the energy is to be read, and reads none"),
        ("jarvis", {"keys": {"forces": "F"}}, "jarvis reads no key for forces; leave `keys: forces` out, or set it to ''"),
        ("jarvis", {"keys": {"group": "jid"}}, "jarvis reads no key for group; leave `keys: group` out$"),
        ("optimade", {"units": {"energy": "Hartree"}}, "reads none; name its key"),
        ("optimade", {"units": {"length": "bohr"}}, "optimade has no unit of length to be stated"),
        ("optimade", {"keys": {"split": "set"}}, "optimade reads no key for split"),
        ("lammps/dump", {"units": {"energy": "eV"}}, "lammps/dump has no unit of energy to be stated"),
        ("lammps/dump", {"keys": {"forces": "fx"}}, "lammps/dump fixes its keys"),
        ("n2p2", {"units": {"stress": "GPa"}}, "n2p2 has no unit of stress to be stated"),
        ("n2p2", {"keys": {"energy": "energy"}}, "n2p2 fixes its keys"),
        ("qe/pw", {"units": {"energy": "eV"}}, "qe/pw fixes its units"),
        ("vasp/outcar", {"keys": {"stress": ""}}, "vasp/outcar cannot leave out 'stress'; say `keys: {virial: ''}`"),
        ("vasp/xml", {"keys": {"charge": ""}}, "vasp/xml cannot leave out 'charge'"),
        ("deepmd/npy", {"keys": {"group": ""}}, "deepmd/npy cannot leave out 'group'"),
    ],
)
def test_what_a_format_does_not_leave_open_is_refused(tmp_path, format, choices, said):
    (tmp_path / "file").write_text("[]")
    with pytest.raises(ConfigError, match=said):
        read(tmp_path / "file", format, **choices)


def test_what_it_leaves_open_is_heeded(tmp_path):
    path = optimade(emt_frames(), tmp_path)
    path.write_text(path.read_text().replace('"species_at_sites"', '"my_e": -2.0, "species_at_sites"'))
    energies = [f.energy for f in read(path, "optimade", keys={"energy": "my_e"}, units={"energy": "Hartree"})]
    assert energies == [-2.0 * HARTREE] * 3
    assert [f.energy for f in read(path, "optimade", keys={"energy": "", "forces": ""})] == [None] * 3
    (frame, *_) = read(extxyz(emt_frames(), tmp_path), "extxyz", keys={"stress": "", "virial": "", "charge": ""})
    assert frame.virial is None and frame.energy is not None


@pytest.mark.parametrize(("write", "format"), [(jarvis, "jarvis"), (optimade, "optimade")])
def test_a_record_without_the_key_of_the_energy_is_a_frame_that_says_so(tmp_path, write, format):
    found = read(write(emt_frames(), tmp_path), format, keys={"energy": "e0"})
    assert [f.energy for f in found] == [None] * 3 and all("energy: its key 'e0' is not there" in f.left_out for f in found)


@pytest.mark.parametrize("write", [deepmd_npy, deepmd_raw, deepmd_hdf5, deepmd_lmdb])
def test_a_type_map_that_is_not_that_of_the_system_is_refused(tmp_path, write):
    path = write(emt_frames(), tmp_path)
    file = next(f for f in expand(SourceSpec(path=str(path)), base=tmp_path) if guess(f).startswith("deepmd"))
    use = reader(guess(file))
    names = [f.numbers.tolist() for f in read_all(file, SourceSpec(path="x"), use=use)]
    for same in ("Au Cu", "Au Cu Pt"):
        assert [f.numbers.tolist() for f in read_all(file, SourceSpec(path="x", options={"type_map": same}), use=use)] == names
    with pytest.raises(SourceError, match="its type_map says Au of type 0, the card says Cu; leave `options: {type_map}` out"):
        list(read_all(file, SourceSpec(path="x", options={"type_map": "Cu Au"}), use=use))


def guess(file: SourceFile) -> str:
    try:
        return guess_format(file)
    except LamError:
        return "none"


def test_symbols_of_a_search_that_are_not_its_inputs_are_refused(tmp_path):
    path = calypso(emt_frames(), tmp_path)
    assert len(read(path, "calypso", options={"symbols": "Au Cu"})) == 3
    with pytest.raises(SourceError, match="input.dat says that its atoms are Au Cu, the card says Cu Au; leave `options: {symbols}` out"):
        read(path, "calypso", options={"symbols": "Cu Au"})


@pytest.mark.parametrize(
    ("kind", "element", "elements", "said"),
    [
        (True, True, "Fe O", None),
        (True, True, "O Fe", "names its elements, Fe O; the card says O Fe"),
        (False, True, "Fe O", "leave `options: {elements}` out"),
        (True, False, "Fe O", None),
    ],
)
def test_elements_of_a_dump_that_names_its_own_must_be_these(tmp_path, kind, element, elements, said):
    words = {"kind": " type" * kind, "one": " 1" * kind, "two": " 2" * kind, "element": " element" * element, "fe": " Fe" * element}
    (tmp_path / "a.dump").write_text(DUMP.format(**words, o=" O" * element))
    if said is None:
        (frame,) = read(tmp_path / "a.dump", "lammps/dump", options={"elements": elements})
        assert frame.numbers.tolist() == [26, 8]
    else:
        with pytest.raises(SourceError, match=said):
            read(tmp_path / "a.dump", "lammps/dump", options={"elements": elements})


@pytest.mark.parametrize(("comment", "charge"), [("energy=-1", -1), ("energy=-1 charge=-1", -1), ("energy=-1 charge=1", None)])
def test_the_charge_of_the_card_may_not_contradict_the_file(tmp_path, comment, charge):
    (tmp_path / "a.xyz").write_text(f"1\nProperties=species:S:1:pos:R:3 {comment}\nH 0 0 0\n")
    if charge is not None:
        assert read(tmp_path / "a.xyz", "extxyz", options={"charge": -1})[0].charge == charge
    else:
        with pytest.raises(SourceError, match="says a charge of 1, the card says -1; leave `options: {charge}` out"):
            read(tmp_path / "a.xyz", "extxyz", options={"charge": -1})


def test_a_split_of_the_source_and_one_of_its_frames_are_one_too_many():
    with pytest.raises(ValueError, match="`split: test` is of all frames, `keys: {split: set}` of each: say one of them"):
        SourceSpec(path="a", split="test", keys={"split": "set"})
    assert SourceSpec(path="a", split="test", keys={"split": ""}).split == "test"


def test_references_of_a_denoise_head_are_refused():
    augment = {"noise": {"kind": "gaussian", "scale": 0.1, "probability": 0.2}}
    with pytest.raises(ValueError, match="a denoise head has no energies"):
        TaskSpec.model_validate({"head": "a", "dataset": "a", "task": "denoise", "augment": augment, "references": "isolated"})


# A format is known by content: files of the same name that hold something else are not taken for it.


def not_ase(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE users (id INTEGER)")


def not_deepmd(path: Path) -> None:
    with h5py.File(path, "w") as root:
        root["weights"] = np.zeros(3)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pso_opt_1", "a list of what was optimized\n" * 9),
        ("pso_ini_3", "1.0 2.0 3.0\n" * 9),
        ("coord.raw", "raw bytes of a camera\n" * 4),
        ("coord.raw", "1.0 2.0 3.0 4.0\n" * 4),
        ("coord.raw", "1.0 2.0 3.x\n"),
        ("detailed.out", "a detailed report\n" * 9),
        ("users.db", not_ase),
        ("model.h5", not_deepmd),
        ("model.hdf5", not_deepmd),
    ],
)
def test_a_name_alone_is_no_format(tmp_path, name, content):
    content(tmp_path / name) if callable(content) else (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match="the format is not recognised"):
        guess_format(SourceFile(name=name, path=str(tmp_path / name)))


@pytest.mark.parametrize(
    ("write", "format"),
    [(calypso, "calypso"), (deepmd_raw, "deepmd/raw"), (deepmd_hdf5, "deepmd/hdf5"), (ase_db, "ase/db"), (poscar, "vasp/poscar")],
)
def test_the_real_ones_are_known(tmp_path, write, format):
    path = write(emt_frames(), tmp_path)
    found = {guess(file) for file in expand(SourceSpec(path=str(path)), base=tmp_path)}
    assert format in found


def test_rows_that_are_longer_than_a_guess_may_look_are_known(tmp_path):
    (tmp_path / "coord.raw").write_text(" ".join(["-1.25"] * 9000) + "\n")
    assert guess_format(SourceFile(name="coord.raw", path=str(tmp_path / "coord.raw"))) == "deepmd/raw"


@pytest.mark.parametrize(
    "first", ["Calculation with static geometry", "Geometry optimization step: 0", "MD step: 0", " Fermi distribution function"]
)
def test_dftb_without_self_consistency_is_known_by_its_first_lines(tmp_path, first):
    (tmp_path / "detailed.out").write_text(f"{first}\n\nTotal energy: -1.0 H\n")
    assert guess_format(SourceFile(name="detailed.out", path=str(tmp_path / "detailed.out"))) == "dftbplus/detailed"
