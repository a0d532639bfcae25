"""Spans: a large file that several workers share gives what it gives whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from writers import ase_db, ase_traj, deepmd_mixed, deepmd_npy, emt_frames, extxyz

from lamdata import ingest
from lamdata.catalog import Card, SourceSpec, SplitSpec
from lamdata.errors import SourceError
from lamdata.ingestion import parse
from lamdata.ingestion.splits import read_splitter
from lamdata.sources import expand

WRITERS = {"extxyz": extxyz, "ase/db": ase_db, "ase/traj": ase_traj, "deepmd/npy": deepmd_npy, "mixed": deepmd_mixed}


def card_of(path: Path, format: str) -> Card:
    members = "**/coord.npy" if path.is_dir() else None
    source = SourceSpec(path=path.name, format=format.replace("mixed", "deepmd/npy"), members=members)
    return Card(dataset="a", title="a", sources=[source], split=SplitSpec(validation=0))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("format", WRITERS)
def test_a_file_in_spans_gives_the_same_store_with_any_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str) -> None:
    path = WRITERS[format](emt_frames(23), tmp_path)
    card = card_of(path, format)
    stores = []
    for size, workers in ((parse.LEAST_PART, 1), (600, 1), (600, 2)):
        monkeypatch.setattr(parse, "LEAST_PART", size)
        store = tmp_path / f"{len(stores)}.zarr"
        assert ingest(card, str(store), base=tmp_path, quiet=True, workers=workers).frames == 23
        stores.append(tree(store))
    assert stores[1] == stores[2]
    (file,) = expand(card.sources[0], base=tmp_path)
    parts = parse.parts_of([(file, card.sources[0])], card=card, splitter=read_splitter(card, tmp_path), staging=tmp_path, on_error="stop")
    assert len(parts) > 2
    sums = ("commits/", "energies/")  # may differ in last digits, by how they were grouped
    said = [{name: store.pop(name) for name in list(store) if name.startswith(sums)} for store in stores]
    assert len(said[0]) == len(said[1]) and {name for name in said[0] if "energies" not in name} <= said[1].keys()
    assert stores[0] == stores[1]


def test_a_damaged_frame_of_a_file_in_spans_is_named_by_its_place_in_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = extxyz(emt_frames(23), tmp_path)
    text = path.read_text().split("\n")
    text[18 * 6 + 3] = "Cu 0.0 nothing"
    path.write_text("\n".join(text))
    monkeypatch.setattr(parse, "LEAST_PART", 600)
    with pytest.raises(SourceError, match="#18: a line of 3 columns"):
        ingest(card_of(path, "extxyz"), str(tmp_path / "s.zarr"), base=tmp_path, quiet=True)
    path.write_text("\n".join(text[: 18 * 6 + 3]))
    with pytest.raises(SourceError, match="#18: 4 atoms announced, 1 found"):
        ingest(card_of(path, "extxyz"), str(tmp_path / "s.zarr"), base=tmp_path, quiet=True)
