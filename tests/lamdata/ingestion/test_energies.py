"""Energies in a store: objects of their own that a commit names, found damaged, written again, let go; and stores that had them in the commit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lamdata import ingest, open_card, open_dataset, open_store
from lamdata.energies import fit_references
from lamdata.errors import DataError, StoreError
from lamdata.ingestion import run
from lamdata.listing import describe, list_datasets
from lamdata.places import open_place
from lamdata.statistics import formula_of
from lamdata.store import gc, select
from lamdata.store.commits import commit, read_index
from lamdata.validation import repair, validate
from tests.conftest import tree, write_catalog


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = write_catalog(tmp_path, groups=4, frames=4)
    store(folder)
    return folder


def store(folder: Path, **options) -> None:
    ingest(open_card(folder / "bulk.yaml"), str(folder / "s.zarr"), base=folder, quiet=True, **options)


def meta_of(folder: Path) -> dict:
    return dict(read_index(open_place(folder / "s.zarr")).entry("bulk").meta)


def objects(folder: Path) -> list[Path]:
    return sorted((folder / "s.zarr/energies").iterdir())


def test_a_commit_holds_their_names_and_a_reader_their_content(raw: Path) -> None:
    meta = meta_of(raw)
    assert sorted(meta["energies"]) == ["test", "train", "validation"] and not any(
        "energies" in part for part in meta["statistics"].values()
    )
    assert {f"energies/{path.name}" for path in objects(raw)} == set(meta["energies"].values())
    for side in (None, "train", "test"):
        view = open_dataset(raw / "s.zarr", split=side)
        measured = view.measure()[1]
        assert view.energies.frames == measured.frames == len(view) and view.energies.elements == measured.elements
        found, expected = fit_references(view.energies), fit_references(measured)
        assert [*found.energies.values(), found.std_before, found.std_after] == pytest.approx(
            [*expected.energies.values(), expected.std_before, expected.std_after], abs=1e-9
        )
    assert fit_references(open_dataset(raw / "s.zarr", split="train").energies).to_json() == meta["references"]
    assert open_dataset(raw / "s.zarr", natoms=(4, 4)).energies.frames == len(open_dataset(raw / "s.zarr", natoms=(4, 4)))


def as_version_2(folder: Path) -> None:
    """The commit as it was before: energies by composition, in the statistics of each split."""
    (path,) = (folder / "s.zarr/commits").glob("0*.json")
    said = json.loads(path.read_text())
    meta = said["datasets"]["bulk"]["meta"]
    for side, part in meta["statistics"].items():
        cells: dict[str, list[float]] = {}
        for frame in open_dataset(folder / "s.zarr", split=side):
            numbers, counts = np.unique(frame.numbers, return_counts=True)
            formula = formula_of({{13: "Al", 29: "Cu"}[z]: n for z, n in zip(numbers.tolist(), counts.tolist())})
            cells.setdefault(formula, []).append(frame.energy)
        part["energies"] = {
            formula: [len(values), float(np.mean(values)), float(np.var(values) * len(values)), min(values), max(values)]
            for formula, values in sorted(cells.items())
        }
    del meta["energies"]
    path.write_text(json.dumps(said | {"version": 2}))
    shutil.rmtree(folder / "s.zarr/energies")


def test_a_store_of_version_2_opens_as_before(raw: Path) -> None:
    new = open_dataset(raw / "s.zarr", split="train").energies
    as_version_2(raw)
    old = open_dataset(raw / "s.zarr", split="train")
    found, expected = fit_references(old.energies), fit_references(new)
    assert [*found.energies.values(), found.std_before, found.std_after] == pytest.approx(
        [*expected.energies.values(), expected.std_before, expected.std_after], abs=1e-9
    )
    assert old.energies.frames == len(old) and old.statistics.frames == len(old)
    assert describe(str(raw / "s.zarr"), "bulk")["datasets"]["bulk"]["splits"]["train"]["frames"] == len(old)
    assert list_datasets(str(raw / "s.zarr"))[0]["frames"] == 16 and validate(str(raw / "s.zarr"), quiet=True).ok
    assert gc(str(raw / "s.zarr"), keep=1, grace=0).freed == ()


def test_what_is_added_to_a_store_of_version_2_leaves_it_as_it_is(raw: Path) -> None:
    as_version_2(raw)
    before = meta_of(raw)
    store(raw)  # nothing to do
    select(str(raw / "s.zarr"), "bulk", name="small", natoms=(4, 4))
    assert meta_of(raw) == before and len(open_dataset(raw / "s.zarr", "small").energies.elements) == 1
    ingest(open_card(raw / "cluster.yaml"), str(raw / "s.zarr"), base=raw, quiet=True)
    assert open_dataset(raw / "s.zarr", "bulk").energies.frames == 16 and open_dataset(raw / "s.zarr", "cluster").energies.frames == 16


DAMAGE = {
    "flipped": lambda path: path.write_bytes(path.read_bytes().replace(b'"rows":', b'"rowz":')),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:99]),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_told_found_and_mended_to_the_byte(raw: Path, damage: str) -> None:
    before = tree(raw / "s.zarr")
    path = raw / "s.zarr" / meta_of(raw)["energies"]["train"]
    DAMAGE[damage](path)
    with pytest.raises(StoreError, match="the energies of a dataset are (missing|damaged); run `lamdata validate"):
        _ = open_dataset(raw / "s.zarr", split="train").energies
    assert len(open_dataset(raw / "s.zarr", split="train").frames()) > 0, "frames do not need them"
    report = validate(str(raw / "s.zarr"), quiet=True)
    assert [(found.dataset, found.segment, found.object) for found in report.findings] == [("bulk", "energies", path.name)]
    mended = repair(report, raw, quiet=True)
    assert mended.ok and mended.repaired == (f"energies/{path.name}",) and tree(raw / "s.zarr") == before


def test_energies_and_frames_are_mended_together(raw: Path) -> None:
    before = tree(raw / "s.zarr")
    objects(raw)[0].unlink()
    next((raw / "s.zarr/bulk").glob("*/energy/c/0")).unlink()
    mended = repair(validate(str(raw / "s.zarr"), quiet=True), raw, quiet=True)
    assert mended.ok and len(mended.repaired) == 2 and tree(raw / "s.zarr") == before


def test_what_no_commit_names_goes_and_the_rest_stays(raw: Path) -> None:
    kept, url = {path.name for path in objects(raw)}, str(raw / "s.zarr")
    (raw / "bulk-0.xyz").unlink()
    store(raw, replace=True)
    assert len(objects(raw)) > len(kept)
    assert gc(url, keep=1).freed == (), "young"
    freed = {found.path for found in gc(url, keep=1, grace=0).freed}
    named = set(meta_of(raw)["energies"].values())
    assert {f"energies/{path.name}" for path in objects(raw)} == named and freed >= {f"energies/{name}" for name in kept} - named
    assert validate(url, quiet=True).ok and open_dataset(url).energies.frames == 12


def test_a_commit_whose_energies_went_is_refused(raw: Path) -> None:
    entry = read_index(open_place(raw / "s.zarr")).entry("bulk")
    objects(raw)[0].unlink()
    with pytest.raises(StoreError, match="is not there; run the command again"):
        commit(str(raw / "s.zarr"), "bulk", entry.segments, {**entry.meta, "rejected": {"x": 1}})


def test_an_ingest_killed_before_its_first_commit_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_catalog(tmp_path, frames=2)

    def killed(*args) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(run, "commit", killed)
        store(folder)
    left = {path.name for path in objects(folder)}
    with pytest.raises(StoreError, match="no store here"):
        open_store(folder / "s.zarr")
    store(folder)
    assert {path.name for path in objects(folder)} == left and open_dataset(folder / "s.zarr").energies.frames == 8


def test_other_raw_files_mend_nothing(raw: Path) -> None:
    objects(raw)[0].unlink()
    report = validate(str(raw / "s.zarr"), quiet=True)
    shutil.copy(raw / "bulk-1.xyz", raw / "bulk-0.xyz")
    with pytest.raises(DataError, match="source files changed"):
        repair(report, raw, quiet=True)
