"""Spans: a large file that several workers share gives what it gives whole."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from writers import ase_db, ase_traj, deepmd_mixed, deepmd_npy, emt_frames, extxyz

from lamdata import ingest
from lamdata.catalog import Card, SourceSpec, SplitSpec
from lamdata.errors import SourceError
from lamdata.frame import Frame
from lamdata.ingestion import parse
from lamdata.ingestion.splits import read_splitter
from lamdata.sources import SourceFile, expand, read_all, reader
from tests.lamdata.sources.codes.test_trajectories import N2P2

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


def dumped(steps: int) -> str:
    rng = np.random.default_rng(0)
    head = "ITEM: TIMESTEP\n{}\nITEM: NUMBER OF ATOMS\n{}\nITEM: BOX BOUNDS pp pp pp\n0 10\n0 10\n0 10\nITEM: ATOMS id type x y z\n"
    rows = [
        [f"{i + 1} 1 {x:.4f} {y:.4f} {z:.4f}\n" for i, (x, y, z) in enumerate(rng.uniform(0, 9, (6 + step % 3, 3)))]
        for step in range(steps)
    ]
    return "".join(head.format(100 * step, len(atoms)) + "".join(atoms) for step, atoms in enumerate(rows))


TEXTS = {
    "lammps/dump": ("traj.dump", dumped(40), {"elements": "Cu"}, ("ITEM: UNITS\nnano\n", "ITEM: TIMESTEP\n7\n", " ITEM: TIMESTEP\n")),
    "n2p2": ("input.data", 20 * N2P2, {}, ("end\n", "begin\n", " begin\n", "comment ended\n", "end\nbegin\n")),
}


def changed(text: str, words: tuple[str, ...]) -> Iterator[str]:
    """As it is; with words put in, lines taken out, or runs that were killed and gone on with in the same file."""
    yield text
    lines, rng = text.splitlines(keepends=True), random.Random(0)
    for _ in range(60):
        at, to = sorted(rng.sample(range(len(lines)), 2))
        yield "".join([*lines[:at], rng.choice([*words, lines[to]]), *lines[at:]])
        yield "".join([*lines[:at], *lines[at + 1 :]])
        yield "".join(lines[:to]) + rng.choice(["", lines[to][: len(lines[to]) // 2]]) + "".join(lines)
    yield text.replace("\n", "\r\n")


def said(file: SourceFile, spec: SourceSpec) -> Iterator[tuple]:
    """What is read, and last the error that ends it."""
    try:
        for item in read_all(file, spec):
            if isinstance(item, Frame):
                yield item.origin, item.group, item.numbers.tobytes(), item.positions.tobytes(), item.energy
            else:
                yield item.origin, item.reason, item.value
    except SourceError as err:
        yield ("error", str(err))


@pytest.mark.parametrize("format", TEXTS)
def test_a_text_in_spans_is_read_as_the_whole_whatever_is_wrong_with_it(tmp_path: Path, format: str) -> None:
    name, text, options, words = TEXTS[format]
    spec, path, cut = SourceSpec(path=name, format=format, options=options), tmp_path / name, 0
    for other in changed(text, words):
        path.write_bytes(other.encode())
        file = SourceFile(name=name, path=str(path))
        spans = reader(format).spans(file, 600)
        if not spans:
            continue
        assert (spans[0].offset, spans[-1].end) == (0, len(other)) and all(a.end == b.offset for a, b in zip(spans, spans[1:]))
        cut += len(spans) > 3
        whole, parts = list(said(file, spec)), [one for span in spans for one in said(replace(file, span=span), spec)]
        end = next((i + 1 for i, one in enumerate(parts) if one[0] == "error"), len(parts))
        assert parts[:end] == whole
    assert cut > 20, "most of what was read went on in spans"
