"""Repair: damaged objects come back with every byte, from the raw files, or not at all."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest

from lamdata import ingest, open_card
from lamdata.errors import DataError
from lamdata.store.shard import write_shard
from lamdata.store.survey import plan_segment
from lamdata.validation import repair, validate
from tests.conftest import command, tree, write_catalog


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = write_catalog(tmp_path, groups=3, frames=4)
    ingest(open_card(folder / "bulk.yaml"), str(folder / "s.zarr"), base=folder, quiet=True)
    return folder


def validate_command(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command("lamdata", "validate", *args), capture_output=True, text=True)


def flip(path: Path, at: int = -7) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def segment_of(raw: Path) -> Path:
    return next(path for path in (raw / "s.zarr/bulk").iterdir() if path.is_dir())


DAMAGE = {
    "a flipped bit": lambda segment: flip(segment / "positions/c/0/0"),
    "a lost object": lambda segment: (segment / "energy/c/0").unlink(),
    "a cut object": lambda segment: (segment / "forces/c/0/0").write_bytes(b"short"),
    "another attribute": lambda segment: flip(segment / "energy/zarr.json"),
    "no manifest, and a flipped bit": lambda segment: ((segment / "manifest.json").unlink(), flip(segment / "positions/c/0/0")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_repaired_store_has_every_byte_again(raw: Path, damage: str) -> None:
    before = tree(raw / "s.zarr")
    DAMAGE[damage](segment_of(raw))
    assert not (report := validate(str(raw / "s.zarr"), quiet=True)).ok
    mended = repair(report, raw, quiet=True)
    assert mended.ok and mended.repaired and tree(raw / "s.zarr") == before
    assert not list(raw.glob(".*staging*"))


def test_a_store_of_the_first_packing_is_repaired_as_it_was_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_catalog(tmp_path, groups=3, frames=400)
    trees = []
    for store, packing in (("first.zarr", 1), ("s.zarr", 2)):
        monkeypatch.setattr("lamdata.store.survey.PACKING", packing)
        ingest(open_card(folder / "bulk.yaml"), str(folder / store), base=folder, quiet=True)
        trees.append(tree(folder / store))
    assert trees[0] != trees[1]
    segment = next(path for path in (folder / "first.zarr/bulk").iterdir() if path.is_dir())
    for array in ("positions/c/0/0", "numbers/c/0", "origin/c/0/0"):
        flip(segment / array)
    assert repair(validate(str(folder / "first.zarr"), quiet=True), folder, quiet=True).ok
    assert tree(folder / "first.zarr") == trees[0]


def test_only_damaged_shards_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamdata.ingestion.run.plan_segment", partial(plan_segment, block_frames=2, shard_blocks=2))
    folder = write_catalog(tmp_path, groups=3, frames=4)
    ingest(open_card(folder / "bulk.yaml"), str(folder / "s.zarr"), base=folder, quiet=True)
    before, written = tree(folder / "s.zarr"), []
    flip(segment_of(folder) / "positions/c/1/0")
    monkeypatch.setattr("lamdata.ingestion.run.write_shard", lambda *args, **more: (written.append(args[2]), write_shard(*args, **more)))
    assert repair(validate(str(folder / "s.zarr"), quiet=True), folder, quiet=True).ok
    assert written == [1] and tree(folder / "s.zarr") == before


def test_changed_sources_repair_nothing(raw: Path) -> None:
    flip(segment_of(raw) / "positions/c/0/0")
    damaged, source = tree(raw / "s.zarr"), raw / "bulk-1.xyz"
    source.write_text(source.read_text() + "\n")
    with pytest.raises(DataError, match=r"source files changed or are gone: bulk-1.xyz.*ingest"):
        repair(validate(str(raw / "s.zarr"), quiet=True), raw, quiet=True)
    assert tree(raw / "s.zarr") == damaged


def test_the_command_says_what_it_did(raw: Path) -> None:
    store = str(raw / "s.zarr")
    flip(segment_of(raw) / "positions/c/0/0")
    refused = validate_command(store)
    assert refused.returncode == 1 and "frames 0..11" in refused.stdout and "--repair" in refused.stderr
    mended = validate_command(store, "--repair", "--catalog", str(raw), "--json")
    assert mended.returncode == 0 and json.loads(mended.stdout)["repaired"] == [f"bulk/{segment_of(raw).name}/positions/c/0/0"]
    shutil.rmtree(raw / "s.zarr" / "bulk")
    assert validate_command(store).returncode == 1
    assert validate_command(store, "--repair", "--catalog", str(raw)).returncode == 0
