"""Without a compiler at the installation a store is the same, to the byte."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lamdata import distances, ingest
from lamdata.catalog import Card, CheckSpec, SourceSpec
from lamdata.sources.bytes import alike, scan
from lamdata.store import lattice, rows
from tests.conftest import tree
from tests.lamdata.sources.bytes.scan_fuzz import TEXTS

TOGETHER = ("extxyz of many", "lammps/dump of many", "n2p2 of many", "vasp/outcar of many", "vasp/xml")


COMPILED = (scan, rows, distances, lattice)


@pytest.mark.skipif(any(module.compiled is None for module in COMPILED), reason="the C files could not be compiled at installation")
def test_a_store_has_the_same_bytes_without_the_compiled_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources, taken = [], []
    for name in TOGETHER:
        file, reader, text, choices = TEXTS[name]
        (folder := tmp_path / reader.replace("/", "-")).mkdir()
        (folder / file).write_text(text())
        sources.append(SourceSpec(path=f"{folder.name}/{file}", format=reader, group="frame", **choices))
    lax = CheckSpec(min_distance=None, net_force=None, max_force=None)
    card = Card(dataset="bench", title="bench", sources=sources, checks=lax)
    take = alike.Template.take
    monkeypatch.setattr(alike.Template, "take", lambda self, *where, **how: taken.append(take(self, *where, **how)) or taken[-1])
    frames = ingest(card, str(tmp_path / "s.zarr"), base=tmp_path, quiet=True).frames
    assert sum(len(found) for found, *_ in taken if found is not None) > 20, "frames were taken many at once"
    compiled = tree(tmp_path / "s.zarr")
    shutil.rmtree(tmp_path / "s.zarr")
    for module in COMPILED:
        monkeypatch.setattr(module, "compiled", None)
    taken.clear()
    assert ingest(card, str(tmp_path / "s.zarr"), base=tmp_path, quiet=True).frames == frames > 40
    assert all(found is None for found, *_ in taken) and tree(tmp_path / "s.zarr") == compiled
