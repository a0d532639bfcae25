"""The files that a dataset was made from: an object of their own, however many they are; and stores that had them in the commit."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamdata import Card, ingest, open_card, open_store, store_frames
from lamdata.errors import ConfigError, DataError
from lamdata.places import open_place
from lamdata.store import gc
from lamdata.store.commits import commit, read_index
from lamdata.store.named import sources_in
from lamdata.validation import repair, validate
from tests.conftest import tree, write_catalog
from tests.lamdata.exporting.test_export import make_rows


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = write_catalog(tmp_path, groups=4, frames=4)
    store(folder)
    return folder


def store(folder: Path, **options) -> None:
    ingest(open_card(folder / "bulk.yaml"), str(folder / "s.zarr"), base=folder, quiet=True, **options)


def entry(folder: Path):
    return read_index(open_place(folder / "s.zarr")).entry("bulk")


def in_the_commit(folder: Path) -> None:
    """As a store was written before."""
    found = entry(folder)
    meta = dict(found.meta) | {"sources": dict(sources_in(open_place(folder / "s.zarr"), found.meta))}
    commit(str(folder / "s.zarr"), "bulk", found.segments, meta)
    assert isinstance(entry(folder).meta["sources"], dict)


def test_a_commit_does_not_grow_by_files(tmp_path: Path) -> None:
    sizes = {}
    for count in (1, 20_000):
        hashes = {f"run/{i:06d}/OUTCAR.gz": f"{i:064x}" for i in range(count)}
        card = Card(dataset="many", title="M", theory={"functional": "PBE"}, checks={"max_refused": 1.0})
        store_frames(card, str(tmp_path / f"{count}.zarr"), make_rows(40, periodic=True), sources=hashes)
        found = open_store(tmp_path / f"{count}.zarr").meta("many")
        assert sources_in(open_place(tmp_path / f"{count}.zarr"), found) == hashes
        sizes[count] = (tmp_path / f"{count}.zarr/commits/00000001.json").stat().st_size
    assert sizes[20_000] - sizes[1] < 100


@pytest.mark.parametrize("older", [False, True], ids=["now", "as_before"])
def test_who_replaces_and_who_repairs_is_told_which_files_changed(raw: Path, older: bool) -> None:
    if older:
        in_the_commit(raw)
    (raw / "bulk-0.xyz").write_text((raw / "bulk-1.xyz").read_text())
    with pytest.raises(ConfigError, match=r"1 of 4 files changed \(bulk-0.xyz\)"):
        store(raw)
    next((raw / "s.zarr/bulk").glob("*/energy/c/0")).unlink()
    with pytest.raises(DataError, match="source files changed or are gone: bulk-0.xyz"):
        repair(validate(str(raw / "s.zarr"), quiet=True), raw, quiet=True)


def test_damage_of_it_is_found_and_mended_and_what_no_commit_names_goes(raw: Path) -> None:
    before, (path,) = tree(raw / "s.zarr"), (raw / "s.zarr/sources").iterdir()
    path.write_bytes(path.read_bytes()[:50])
    report = validate(str(raw / "s.zarr"), quiet=True)
    assert [(found.segment, found.object) for found in report.findings] == [("sources", path.name)]
    mended = repair(report, raw, quiet=True)
    assert mended.ok and mended.repaired == (f"sources/{path.name}",) and tree(raw / "s.zarr") == before
    (raw / "bulk-0.xyz").unlink()
    store(raw, replace=True)
    freed = {found.path for found in gc(str(raw / "s.zarr"), keep=1, grace=0).freed}
    assert f"sources/{path.name}" in freed and validate(str(raw / "s.zarr"), quiet=True).ok
    assert list((raw / "s.zarr/sources").iterdir()) == [raw / "s.zarr" / entry(raw).meta["sources"]]
