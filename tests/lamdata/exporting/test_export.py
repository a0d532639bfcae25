"""What is exported is read back, by our readers bit for bit where a format can, by ASE and dpdata as they understand it."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from lamdata.errors import ConfigError, DataError
from lamdata.exporting import FORMATS, export
from lamdata.frame import Frame
from lamdata.frames import Frames
from lamdata.store import open_dataset
from tests.lamdata.sources.reading import frames as read_frames
from tests.lamdata.stores import write_store

SPLITS = ("train", "validation", "test")
OURS = {  # format -> the reader, where its files are, and the card's keys
    "extxyz": ("extxyz", "", {"group": "group", "weight": "weight"}),
    "ase-db": ("ase/db", "", {"group": "group", "weight": "weight"}),
    "ase-lmdb": ("ase/lmdb", "", {"group": "group", "weight": "weight"}),
    "deepmd/npy": ("deepmd/npy", "*/*/set.*/coord.npy", {}),
    "deepmd/npy/mixed": ("deepmd/npy", "*/*/set.*/coord.npy", {}),
    "deepmd/lmdb": ("deepmd/lmdb", "data.mdb", {}),
    "parquet": ("parquet", "", {}),
    "nvalchemi/zarr": ("nvalchemi/zarr", "", {}),
}
FRAME_BY_FRAME = [
    format for format in FORMATS if format != "nvalchemi/zarr"
]  # may lack labels and cells; the other is in test_nvalchemi.py
ENDING = {"extxyz": ".extxyz", "ase-db": ".db", "ase-lmdb": ".aselmdb", "parquet": ".parquet"}
EXACT = {"extxyz", "deepmd/npy", "deepmd/npy/mixed", "deepmd/lmdb", "parquet"}  # the others keep a stress, six numbers of nine
GROUPS = ("bulk/Ti O2", "12345", "1e5", "Größe", "it's", 'a "b"', "x=1, y", "True")


def make_rows(count=90, *, seed=0, periodic=None):
    """Frames of a few compositions with full mantissas; some molecules, some lack labels, some are charged."""
    rng, rows = np.random.default_rng(seed), []
    for i in range(count):
        numbers = np.array(([8, 1, 1], [22, 8, 8, 8], [1, 8, 1], [14])[i % 4], np.uint8)
        crystal = bool(rng.random() < 0.7) if periodic is None else periodic
        virial = rng.normal(size=(3, 3))
        rows.append(
            Frame(
                numbers=numbers,
                positions=rng.uniform(0, 6, (len(numbers), 3)),
                cell=rng.normal(size=(3, 3)) + 7 * np.eye(3) if crystal else None,
                pbc=(crystal, crystal, crystal),
                energy=float(rng.normal() * 300) if rng.random() < 0.8 else None,
                forces=rng.normal(size=(len(numbers), 3)) if rng.random() < 0.8 else None,
                virial=virial + virial.T if crystal and rng.random() < 0.6 else None,
                weight=(1.0, 0.1, 2.5)[i % 3],
                charge=int(rng.integers(-2, 3)) if i % 3 else 0,
                multiplicity=int(rng.integers(1, 4)) if i % 5 == 0 else None,
                group=GROUPS[i % len(GROUPS)],
                origin=f"raw/ö {i % 7}/OUTCAR.gz#{i}",
            )
        )
    return rows


def store_of(url, rows, *, split=None, card=None):
    frames = Frames.from_list(rows, shortest=[1.0] * len(rows))
    texts = [row.group for row in rows], [row.origin for row in rows]
    meta = {"card": card or {"dataset": "demo", "title": "Demo", "license": "CC0-1.0"}}
    write_store(url, frames, texts=texts, split=split, meta=meta)
    return str(url)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    rows, split = make_rows(), np.repeat([0, 1, 2], [60, 20, 10]).astype(np.uint8)
    return store_of(tmp_path_factory.mktemp("store") / "s.zarr", rows, split=split), rows, split


def read_back(path, format):
    name, inside, keys = OURS[format]
    target = path / inside if inside else path
    return read_frames(target, name, keys=keys)


def content(frame):
    """What all formats keep of a frame, to the bit."""
    arrays = (frame.numbers, frame.positions, frame.cell, frame.forces)
    return (frame.energy, frame.pbc, *(None if a is None else np.asarray(a).tobytes() for a in arrays))


@pytest.mark.parametrize("format", FRAME_BY_FRAME)
def test_every_frame_comes_back_through_our_reader_to_the_bit(tmp_path, stored, format):
    store, rows, _ = stored
    path = tmp_path / f"out{ENDING.get(format, '')}"
    report = export(store, "demo", path, format=format, quiet=True)
    back = read_back(path, format)
    assert report.frames == len(back) == len(rows) and report.atoms == sum(len(row.numbers) for row in rows)
    expected, found = {content(row): row for row in rows}, {content(frame): frame for frame in back}
    assert found.keys() == expected.keys() and len(found) == len(rows)
    for key, frame in found.items():
        row = expected[key]
        assert (frame.virial is None) == (row.virial is None)
        if row.virial is not None and format in EXACT:
            assert frame.virial.tobytes() == row.virial.tobytes()
        elif row.virial is not None:
            np.testing.assert_allclose(frame.virial, row.virial, rtol=1e-14, atol=1e-15)
        if not format.startswith("deepmd"):
            assert frame.charge == row.charge and frame.weight == row.weight
        if format == "extxyz":
            assert frame.multiplicity == row.multiplicity and frame.group.endswith(f"/{row.group}")


@pytest.mark.parametrize("format", ["extxyz", "ase-db", "ase-lmdb", "deepmd/npy", "parquet"])  # of the others frames.jsonl alone tells
def test_a_group_never_straddles_what_it_did_not_before(tmp_path, stored, format):
    """Frames of two groups are never one group afterwards."""
    store, rows, _ = stored
    path = tmp_path / f"out{ENDING.get(format, '')}"
    export(store, "demo", path, format=format, quiet=True)
    group_of, theirs = {content(row): row.group for row in rows}, {}
    for frame in read_back(path, format):
        theirs.setdefault(frame.group, set()).add(group_of[content(frame)])
    assert all(len(groups) == 1 for groups in theirs.values()) and len(theirs) >= len(GROUPS)


@pytest.mark.parametrize("format", FRAME_BY_FRAME)
def test_a_split_and_a_filter_are_exported_alone(tmp_path, stored, format):
    store, rows, split = stored
    path = tmp_path / f"out{ENDING.get(format, '')}"
    report = export(store, "demo", path, format=format, split="validation", elements=["H", "O"], natoms=(3, 3), quiet=True)
    expected = {content(row) for row, side in zip(rows, split) if side == 1 and set(row.numbers.tolist()) == {1, 8}}
    back = read_back(path, format)
    assert {content(frame) for frame in back} == expected and report.frames == len(expected) == len(back) > 3


@pytest.mark.parametrize("format", ["deepmd/npy", "deepmd/npy/mixed", "deepmd/lmdb"])
def test_what_the_format_has_no_place_for_stands_beside_it(tmp_path, stored, format):
    store, rows, split = stored
    export(store, "demo", tmp_path / "out", format=format, quiet=True)
    files = sorted((tmp_path / "out").rglob("frames.jsonl"))
    lines = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    expected = [
        {"group": row.group, "origin": row.origin, "split": SPLITS[side], "pbc": list(row.pbc)}
        | {"charge": row.charge, "multiplicity": row.multiplicity}
        | ({} if row.weight == 1.0 else {"weight": row.weight})
        for row, side in zip(rows, split)
    ]
    key = json.dumps
    assert sorted(map(key, lines)) == sorted(map(key, expected))
    about = json.loads((tmp_path / "out/dataset.json").read_text())
    assert about["card"]["license"] == "CC0-1.0" and about["units"]["energy"] == "eV" and about["elements"] == ["H", "O", "Si", "Ti"]


def test_lines_beside_a_system_are_its_rows(tmp_path, stored):
    store, rows, _ = stored
    export(store, "demo", tmp_path / "out", format="deepmd/npy/mixed", quiet=True)
    by_origin = {row.origin: row for row in rows}
    for file in (tmp_path / "out").rglob("frames.jsonl"):
        coordinates = np.load(file.parent / "set.000/coord.npy")
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        assert file.parent.parent.name == lines[0]["split"] and len(coordinates) == len(lines)
        for line, values in zip(lines, coordinates):
            assert by_origin[line["origin"]].positions.ravel().tobytes() == values.tobytes()


def test_ase_reads_extxyz(tmp_path, stored):
    from ase.io import iread

    store, rows, split = stored
    export(store, "demo", tmp_path / "out.extxyz", quiet=True)
    for atoms, row, side in zip(iread(tmp_path / "out.extxyz", index=":"), rows, split, strict=True):
        np.testing.assert_array_equal(atoms.positions, row.positions)
        np.testing.assert_array_equal(atoms.numbers, row.numbers)
        assert tuple(atoms.pbc) == row.pbc and atoms.info["split"] == SPLITS[side] and atoms.info["charge"] == row.charge
        results = {} if atoms.calc is None else atoms.calc.results
        assert results.get("energy") == row.energy and ("forces" in results) == (row.forces is not None)
        if row.forces is not None:
            np.testing.assert_array_equal(results["forces"], row.forces)
        if row.virial is not None:
            np.testing.assert_allclose(-atoms.get_stress(voigt=False) * row.volume, row.virial, rtol=1e-12, atol=1e-14)
            np.testing.assert_array_equal(atoms.info["virial"], row.virial)


def test_ase_reads_its_database(tmp_path, stored):
    from ase.db import connect

    store, rows, split = stored
    export(store, "demo", tmp_path / "out.db", quiet=True)
    with connect(tmp_path / "out.db") as database:
        assert database.metadata["card"]["license"] == "CC0-1.0" and len(database) == len(rows)
        for entry, row, side in zip(database.select(), rows, split):
            np.testing.assert_array_equal(entry.positions, row.positions)
            assert entry.get("energy") == row.energy and entry.split == SPLITS[side] and entry.origin == row.origin
            assert entry.data["group"] == row.group and entry.total_charge == row.charge and entry.get("multiplicity") == row.multiplicity
            assert (entry.get("forces") is not None) == (row.forces is not None)
            if row.virial is not None:
                assert np.array(entry.data["virial"]).tobytes() == row.virial.tobytes()
                np.testing.assert_allclose(-entry.toatoms().get_stress(voigt=False) * row.volume, row.virial, rtol=1e-12, atol=1e-14)
        assert database.count(split="test") == (split == 2).sum()


def labelled(count=40):
    return [row for row in make_rows(3 * count, periodic=True) if row.energy is not None and row.forces is not None][:count]


def test_dpdata_reads_npy(tmp_path):
    import dpdata

    rows = labelled()
    export(store_of(tmp_path / "s", rows), "demo", tmp_path / "out", format="deepmd/npy", quiet=True)
    found = {}
    for folder in sorted((tmp_path / "out").glob("*/*")):
        system = dpdata.LabeledSystem(str(folder), fmt="deepmd/npy")
        numbers = [
            int(z) for z in np.array([{"H": 1, "O": 8, "Si": 14, "Ti": 22}[name] for name in system["atom_names"]])[system["atom_types"]]
        ]
        for i in range(len(system)):
            found[system["coords"][i].tobytes()] = (
                numbers,
                system["energies"][i],
                system["forces"][i].tobytes(),
                system["cells"][i].tobytes(),
            )
    expected = {r.positions.tobytes(): (r.numbers.tolist(), r.energy, r.forces.tobytes(), r.cell.tobytes()) for r in rows}
    assert found == expected


def atoms_of(positions, forces):
    """Atoms in an order of their own: dpdata sorts those of systems that it merges by type."""
    return sorted(map(tuple, np.concatenate([positions, forces], axis=1).tolist()))


def test_dpdata_reads_mixed_types(tmp_path):
    import dpdata

    rows = labelled()
    export(store_of(tmp_path / "s", rows), "demo", tmp_path / "out", format="deepmd/npy/mixed", quiet=True)
    found = {}
    for folder in sorted((tmp_path / "out").glob("*/*")):
        for system in dpdata.MultiSystems().load_systems_from_file(str(folder), fmt="deepmd/npy/mixed"):
            found |= {e: atoms_of(c, f) for c, e, f in zip(system["coords"], system["energies"], system["forces"])}
    assert found == {row.energy: atoms_of(row.positions, row.forces) for row in rows}


def test_dpdata_reads_lmdb(tmp_path):
    import dpdata

    rows = [replace(row, virial=None) for row in labelled()]
    export(store_of(tmp_path / "s", rows), "demo", tmp_path / "out", format="deepmd/lmdb", quiet=True)
    systems = dpdata.MultiSystems().load_systems_from_file(str(tmp_path / "out"), fmt="deepmd/lmdb")
    found = {e: atoms_of(c, f) for s in systems for c, e, f in zip(s["coords"], s["energies"], s["forces"])}
    assert found == {row.energy: atoms_of(row.positions, row.forces) for row in rows}
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["data.mdb", "dataset.json", "frames.jsonl"]


def test_a_slab_keeps_its_directions_where_the_format_can(tmp_path):
    slab = replace(make_rows(1, periodic=True)[0], pbc=(True, True, False))
    store = store_of(tmp_path / "s", [slab])
    for format in FORMATS:
        path = tmp_path / f"out-{format.replace('/', '-')}{ENDING.get(format, '')}"
        export(store, "demo", path, format=format, quiet=True)
        [frame] = read_back(path, format)
        assert frame.pbc == ((True, True, True) if format.startswith("deepmd") else (True, True, False))
    flat = replace(slab, cell=slab.cell * [[1], [1], [0]], virial=None)
    store = store_of(tmp_path / "flat", [flat])
    for format in ("deepmd/npy", "deepmd/npy/mixed", "deepmd/lmdb"):
        with pytest.raises(DataError, match="OUTCAR.gz#0: DeePMD's box needs a volume"):
            export(store, "demo", tmp_path / "none", format=format, quiet=True)
    assert not (tmp_path / "none").exists() and not list(tmp_path.glob(".none*"))


@pytest.mark.parametrize("group", [f"a.xyz/{'x' * 35}", "." * 50, f"raw/data.xyz.xz/{'Vacancy' * 5}", ".hidden", "ö/é", "../up"])
def test_no_system_is_hidden_or_lies_elsewhere(tmp_path, group):
    rows = [replace(row, group=group) for row in make_rows(8)]
    export(store_of(tmp_path / "s", rows), "demo", tmp_path / "out", format="deepmd/npy", quiet=True)
    folders = [path.parent.parent for path in tmp_path.rglob("coord.npy")]
    assert folders and all(
        path.parent.name in SPLITS and not path.name.startswith(".") and path.parent.parent == tmp_path / "out" for path in folders
    )
    assert {content(frame) for frame in read_back(tmp_path / "out", "deepmd/npy")} == {content(row) for row in rows}


def test_appended_blocks_are_one_array(tmp_path, monkeypatch):
    from lamdata.exporting import deepmd_npy

    monkeypatch.setattr(deepmd_npy, "HELD", 2000)
    rows = make_rows(70)
    export(store_of(tmp_path / "s", rows), "demo", tmp_path / "out", format="deepmd/npy", quiet=True)
    assert {content(frame) for frame in read_back(tmp_path / "out", "deepmd/npy")} == {content(row) for row in rows}


@pytest.mark.parametrize("format", FRAME_BY_FRAME)
def test_an_export_that_ends_early_leaves_nothing_and_the_next_one_is_whole(tmp_path, stored, format, monkeypatch):
    from lamdata.exporting import run

    store, path = stored[0], tmp_path / f"out{ENDING.get(format, '')}"

    def broken(dataset):
        for i, row in enumerate(rows_of(dataset)):
            if i == 70:
                raise KeyboardInterrupt
            yield row

    rows_of = run.rows_of
    with monkeypatch.context() as patch:
        patch.setattr(run, "rows_of", broken)
        with pytest.raises(KeyboardInterrupt):
            export(store, "demo", path, format=format, quiet=True)
    assert list(tmp_path.iterdir()) == []
    aside = tmp_path / f".{path.name}.part"  # of one that was killed
    aside.mkdir() if format.startswith("deepmd") else aside.write_text("half")
    export(store, "demo", path, format=format, quiet=True)
    assert len(read_back(path, format)) == 90 and [p.name for p in tmp_path.iterdir()] == [path.name]


def test_what_cannot_be_done_is_said_and_nothing_is_lost(tmp_path, stored):
    store = stored[0]
    (tmp_path / "mine.db").write_text("mine")
    for path, choices, error, said in (
        ("mine.db", {}, ConfigError, "mine.db: is there already"),
        ("out.dat", {}, ConfigError, "its ending names no format; give --format"),
        ("out", {"format": "extxzy"}, ConfigError, "unknown format 'extxzy'; did you mean 'extxyz'"),
        ("out.xyz", {"natoms": (50, 60)}, DataError, "no frame of demo passes the filter"),
        ("out.xyz", {"split": "tset"}, ConfigError, "unknown split 'tset'"),
    ):
        with pytest.raises(error, match=said):
            export(store, "demo", tmp_path / path, quiet=True, **choices)
    with pytest.raises(ConfigError, match="an export goes to a folder of this machine"):
        export(store, "demo", "s3://bucket/out.xyz", quiet=True)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.db"] and (tmp_path / "mine.db").read_text() == "mine"


def test_a_name_that_a_line_cannot_hold_is_refused(tmp_path):
    rows = [replace(row, group="a\nb") for row in make_rows(2)]
    with pytest.raises(DataError, match=r"'a\\nb' has no place in a line of extended XYZ"):
        export(store_of(tmp_path / "s", rows), "demo", tmp_path / "out.xyz", quiet=True)


def test_frames_come_a_block_at_a_time(tmp_path, stored, monkeypatch):
    from lamdata.exporting import rows as module
    from lamdata.store.dataset import Dataset

    asked, frames = [], Dataset.frames
    monkeypatch.setattr(module, "AT_ONCE", 16)
    monkeypatch.setattr(Dataset, "frames", lambda self, a, b: asked.append((a, b)) or frames(self, a, b))
    found = list(module.rows_of(open_dataset(stored[0])))
    assert [row.frame.origin for row in found] == [row.origin for row in stored[1]]
    assert max(b - a for a, b in asked) == 16 and all(x[1] == y[0] for x, y in pairwise(asked))
