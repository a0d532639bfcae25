"""Ingest: what is in the store is what was in the files; nothing is lost, nothing is written twice, nothing half."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.io import iread

from lamdata import ingest, open_card, open_store
from lamdata.errors import ConfigErrors, DataError, SourceError
from tests.conftest import tree, write_catalog


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_catalog(tmp_path, groups=3, frames=4)


def run(folder: Path, name: str = "bulk", **options):
    return ingest(open_card(folder / f"{name}.yaml"), str(folder / "s.zarr"), base=folder, quiet=True, **options)


def test_every_number_of_every_frame_is_kept(raw: Path) -> None:
    report = run(raw)
    dataset = open_store(raw / "s.zarr")["bulk"]
    assert report.frames == len(dataset) == 12
    for i in range(len(dataset)):
        frame = dataset[i]
        name, index = frame.origin.split("#")
        atoms = list(iread(raw / name, format="extxyz"))[int(index)]
        assert frame.group == name
        assert np.array_equal(frame.positions, atoms.positions)
        assert np.array_equal(frame.cell, np.array(atoms.cell))
        assert frame.energy == atoms.get_potential_energy()
        assert np.array_equal(frame.forces, atoms.get_forces())
        assert np.allclose(frame.virial, -atoms.get_volume() * atoms.get_stress(voigt=False), rtol=1e-14)


def test_a_group_never_straddles_the_split(raw: Path) -> None:
    run(raw)
    dataset = open_store(raw / "s.zarr")["bulk"]
    sides = [{view[i].group for i in range(len(view))} for view in (dataset.select(split="train"), dataset.select(split="validation"))]
    assert not sides[0] & sides[1]


def test_doing_it_again_changes_no_byte(raw: Path) -> None:
    assert run(raw).new
    before = tree(raw / "s.zarr")
    assert not run(raw).new
    assert tree(raw / "s.zarr") == before


def test_a_store_whose_files_are_named_by_sha256_is_known_again(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr("lamdata.ingestion.run.kind_like", lambda _: "sha256")
        assert run(raw).new
    first = tree(raw / "s.zarr")
    assert not run(raw).new and tree(raw / "s.zarr") == first


def test_the_rerun_of_one_killed_after_its_commit_takes_its_staging_away(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as killed:
        killed.setattr("lamdata.ingestion.run._remove", lambda folder: None)
        run(raw)
    assert (raw / ".s.zarr.staging").is_dir()
    assert not run(raw).new and not (raw / ".s.zarr.staging").exists()


def test_no_ingest_goes_on_with_the_pieces_of_another_version(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(raw)
    clean = tree(raw / "s.zarr")
    shutil.rmtree(raw / "s.zarr")

    def kill(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as before:
        before.setattr("lamdata.ingestion.run.LAYOUT", 1)
        before.setattr("lamdata.ingestion.run.complete", kill)
        with pytest.raises(KeyboardInterrupt):
            run(raw)
    pieces = list((raw / ".s.zarr.staging").glob("*/piece-*"))
    assert pieces
    for piece in pieces:
        piece.write_bytes(b"")
    assert run(raw).new and tree(raw / "s.zarr") == clean and not (raw / ".s.zarr.staging").exists()


def test_workers_change_no_byte(raw: Path) -> None:
    run(raw)
    one = tree(raw / "s.zarr")
    shutil.rmtree(raw / "s.zarr")
    run(raw, workers=2)
    assert tree(raw / "s.zarr") == one


def test_a_changed_source_replaces_the_dataset_where_it_is_asked_to(raw: Path) -> None:
    run(raw)
    path = raw / "bulk-2.xyz"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:12]))  # two frames of four atoms
    assert run(raw, replace=True).frames == 10
    assert len(open_store(raw / "s.zarr")["bulk"]) == 10


def test_a_refused_frame_has_a_row_in_the_ledger(raw: Path) -> None:
    card = (raw / "bulk.yaml").read_text() + "checks: {max_force: 1.2, max_refused: 0.9}\n"
    (raw / "bulk.yaml").write_text(card)
    report = run(raw)
    rows = [json.loads(line) for line in Path(report.ledger).read_text().splitlines()]
    assert rows and report.rejected == {"max_force": len(rows)}
    assert report.frames + len(rows) == 12
    assert all(row["origin"].startswith("bulk-") and "#" in row["origin"] and row["value"] > 1.2 for row in rows)


def test_a_truncated_file_stops_everything_and_leaves_nothing(raw: Path) -> None:
    path = raw / "bulk-1.xyz"
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(SourceError, match=r"bulk-1\.xyz"):
        run(raw)
    assert sorted(p.name for p in raw.iterdir() if "s.zarr" in p.name) == []


def test_a_truncated_file_can_be_skipped_by_name(raw: Path) -> None:
    path = raw / "bulk-1.xyz"
    path.write_bytes(path.read_bytes()[:-60])
    report = run(raw, on_error="skip")
    assert report.rejected == {"unreadable": 1}
    assert "bulk-1.xyz" in Path(report.ledger).read_text()


def test_no_frame_left_is_an_error_that_counts_the_reasons(raw: Path) -> None:
    (raw / "bulk.yaml").write_text((raw / "bulk.yaml").read_text() + "checks: {max_force: 1.0e-9}\n")
    with pytest.raises(DataError, match="no frame of bulk passed: 12 max_force"):
        run(raw)
    assert not (raw / "s.zarr").exists()


def test_a_missing_source_is_named(raw: Path) -> None:
    (raw / "bulk.yaml").write_text((raw / "bulk.yaml").read_text().replace("bulk-*.xyz", "bluk-0.xyz"))
    with pytest.raises(SourceError, match="bluk-0.xyz"):
        run(raw)


def test_a_unit_that_makes_no_sense_is_refused_by_the_checks(raw: Path) -> None:
    text = (raw / "bulk.yaml").read_text().replace("length: Angstrom", "length: nm")
    (raw / "bulk.yaml").write_text(text + "checks: {volume_per_atom: [5.0, 100.0]}\n")
    with pytest.raises(DataError, match="volume_per_atom"):
        run(raw)


def test_an_unconfirmed_unit_stops_before_anything_is_read(raw: Path) -> None:
    (raw / "bulk.yaml").write_text((raw / "bulk.yaml").read_text().replace("energy: eV,", 'energy: "eV?",'))
    with pytest.raises(ConfigErrors, match="confirmed"):
        run(raw)


def test_structures_without_labels_keep_none(raw: Path) -> None:
    run(raw, "crystals")
    frame = open_store(raw / "s.zarr")["crystals"][0]
    assert frame.energy is None and frame.forces is None and frame.virial is None
