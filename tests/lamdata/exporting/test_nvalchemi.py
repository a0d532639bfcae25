"""A dataset for nvalchemi-toolkit: read back to the bit by ours, and by its own reader as what it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from lamdata.errors import DataError
from lamdata.exporting import export
from lamdata.store import open_dataset
from tests.lamdata.exporting.test_export import SPLITS, content, make_rows, store_of
from tests.lamdata.sources.reading import frames, stated


def labelled(count: int = 60, **changes) -> list:
    """Crystals that have every label."""
    rows, rng = make_rows(count, periodic=True), np.random.default_rng(1)
    virials = rng.normal(size=(count, 3, 3))
    return [
        replace(
            row,
            energy=float(rng.normal()) * 300,
            forces=rng.normal(size=row.positions.shape),
            virial=virial + virial.T,
            multiplicity=1 + i % 3,
            **changes,
        )
        for i, (row, virial) in enumerate(zip(rows, virials))
    ]


def test_there_and_back_every_bit_is_the_same(tmp_path: Path) -> None:
    rows, split = labelled(), np.repeat([0, 1, 2], [30, 20, 10]).astype(np.uint8)
    store = store_of(tmp_path / "s.zarr", rows, split=split, card={"dataset": "demo", "title": "D", "theory": {"functional": "PBE"}})
    report = export(store, "demo", tmp_path / "out", format="nvalchemi/zarr", quiet=True)
    back = frames(tmp_path / "out", "nvalchemi/zarr", keys={"split": "frame_split"})
    assert report.left_out == () and report.frames == len(back) == 60
    for i, (row, frame) in enumerate(zip(rows, back)):
        assert content(frame) == content(row) and frame.virial.tobytes() == row.virial.tobytes()
        assert (frame.charge, frame.multiplicity, frame.weight, frame.split) == (row.charge, row.multiplicity, row.weight, SPLITS[split[i]])
        assert frame.left_out == ()
    groups = {frame.group: row.group for row, frame in zip(rows, back)}
    assert len(groups) == len(set(groups.values())) == len({row.group for row in rows})
    lines = [json.loads(line) for line in (tmp_path / "out/frames.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(line["origin"], line["group"]) for line in lines] == [(row.origin, row.group) for row in rows]
    assert stated(tmp_path / "out/zarr.json") == ("nvalchemi/zarr", {"functional": "PBE"})


def test_a_label_that_some_frames_lack_is_left_out_of_all_and_said(tmp_path: Path) -> None:
    rows = labelled()
    rows[7], rows[9] = replace(rows[7], forces=None), replace(rows[9], forces=None, multiplicity=None)
    store = store_of(tmp_path / "s.zarr", rows)
    report = export(store, "demo", tmp_path / "out", format="nvalchemi/zarr", quiet=True)
    forces = "forces: 2 of 60 frames have none; `--where 'has(forces)'` exports the others with them"
    assert report.left_out == (forces, "multiplicity: 1 of 60 frames have none")
    assert all(frame.forces is None and frame.energy == row.energy for frame, row in zip(frames(tmp_path / "out", "nvalchemi/zarr"), rows))
    report = export(store, "demo", tmp_path / "with", format="nvalchemi/zarr", where="has(forces)", quiet=True)
    assert report.frames == 58 and report.left_out == ()
    bare = store_of(tmp_path / "b.zarr", [row.bare() for row in rows])
    assert export(bare, "demo", tmp_path / "bare", format="nvalchemi/zarr", quiet=True).left_out == (
        "multiplicity: 1 of 60 frames have none",
    )


def test_molecules_have_no_cell_and_a_mixture_is_refused(tmp_path: Path) -> None:
    free = [replace(row, virial=None, cell=None, pbc=(False,) * 3, multiplicity=None) for row in labelled(20)]
    export(store_of(tmp_path / "s.zarr", free), "demo", tmp_path / "out", format="nvalchemi/zarr", quiet=True)
    assert set(zarr.open_group(tmp_path / "out")["core"].array_keys()) == {"positions", "atomic_numbers", "energy", "forces", "charge"}
    assert [content(frame) for frame in frames(tmp_path / "out", "nvalchemi/zarr")] == [content(row) for row in free]
    mixed = store_of(tmp_path / "m.zarr", [*free, *labelled(20)])
    with pytest.raises(DataError, match="some frames have a cell and others none"):
        export(mixed, "demo", tmp_path / "mixed", format="nvalchemi/zarr", quiet=True)
    assert not (tmp_path / "mixed").exists() and not list(tmp_path.glob(".mixed*"))
    assert export(mixed, "demo", tmp_path / "mixed", format="nvalchemi/zarr", where="volume > 0", quiet=True).frames == 20


def test_many_objects_are_as_one(tmp_path: Path, monkeypatch) -> None:
    rows = labelled(40)
    monkeypatch.setattr("lamdata.exporting.nvalchemi.CHUNK", 4)
    monkeypatch.setattr("lamdata.exporting.nvalchemi.SHARD", 16)
    export(store_of(tmp_path / "s.zarr", rows), "demo", tmp_path / "out", format="nvalchemi/zarr", quiet=True)
    assert len(list((tmp_path / "out/core/positions/c").iterdir())) > 4
    assert [content(frame) for frame in frames(tmp_path / "out", "nvalchemi/zarr")] == [content(row) for row in rows]


@pytest.mark.slow  # it needs nvalchemi-toolkit, which brings torch, warp and more
def test_its_own_reader_takes_what_is_exported(tmp_path: Path) -> None:
    pytest.importorskip("nvalchemi.data")
    datapipes = pytest.importorskip("nvalchemi.data.datapipes")
    rows = labelled(40)
    store = store_of(tmp_path / "s.zarr", rows)
    export(store, "demo", tmp_path / "out", format="nvalchemi/zarr", quiet=True)
    reader = datapipes.AtomicDataZarrReader(str(tmp_path / "out"))
    reader.check_integrity()
    assert len(reader) == 40
    for validated in (False, True):
        dataset = datapipes.Dataset(reader, device="cpu", skip_validation=not validated)
        (batch,) = dataset.load_batches([list(range(40))])
        assert batch.num_graphs == 40
        starts = np.cumsum([0, *(len(row.numbers) for row in rows)])
        for i, row in enumerate(rows):
            atoms = slice(starts[i], starts[i + 1])
            assert np.array_equal(batch.positions[atoms].numpy(), row.positions) and np.array_equal(batch.forces[atoms].numpy(), row.forces)
            assert np.array_equal(batch.atomic_numbers[atoms].numpy(), row.numbers) and float(batch.energy[i]) == row.energy
            assert np.array_equal(batch.cell[i].numpy(), row.cell) and np.array_equal(batch.virial[i].numpy(), row.virial)
            assert np.allclose(batch.stress[i].numpy(), -row.virial / row.volume, rtol=1e-15) and float(batch.charge[i]) == row.charge
    assert len(open_dataset(store, "demo")) == 40
