"""Overlap: copies inside and between datasets of stores, leaks into held-out frames, energies that disagree."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lamdata import ingest, open_card, open_store
from lamdata.errors import ConfigError, StoreError
from lamdata.frame import Frame
from lamdata.overlap import overlap
from lamdata.store.selection import SPLITS
from tests.lamdata.overlap.planted import disguise, rattled

CARD = """dataset: {name}
title: {name}
license: CC0-1.0
theory: {{code: none, functional: {functional}, dispersion: none, hubbard_u: none, spin: none}}
sources:
  - {{path: "{name}-*.xyz", format: extxyz, group: file, units: {{energy: eV, length: Angstrom}}}}
split: {{validation: 0.4, seed: {seed}}}
"""
FILES, FRAMES = 6, 3


def write_dataset(
    folder: Path, name: str, frames: list[Frame], *, functional: str = "PBE", seed: int = 2, store: str = "both.zarr"
) -> None:
    """Ingest frames as FILES files of FRAMES each, so as many groups."""
    from ase.io import write

    for i in range(FILES):
        write(folder / f"{name}-{i}.xyz", [frame.to_ase() for frame in frames[i * FRAMES : (i + 1) * FRAMES]], format="extxyz")
    card = folder / f"{name}.yaml"
    card.write_text(CARD.format(name=name, functional=functional, seed=seed))
    ingest(open_card(card), str(folder / store), base=folder, quiet=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores: `first`, `second` (its copies, one with another energy), `third` (copies by another functional), `bench` elsewhere."""
    folder, rng = tmp_path_factory.mktemp("overlap"), np.random.default_rng(0)
    crystals = (frame for frame in rattled(rng) if any(frame.pbc))
    first = [replace(next(crystals), energy=float(-i)) for i in range(FILES * FRAMES)]
    copies = [disguise(frame, "permuted", "turned", "supercell", "noise", rng=rng) for frame in first]
    second = [replace(copy, energy=frame.energy * len(copy.numbers) / len(frame.numbers)) for copy, frame in zip(copies, first)]
    second[4] = replace(second[4], energy=second[4].energy + 0.005 * len(second[4].numbers))
    third = [replace(frame, energy=frame.energy + 9) for frame in first]
    write_dataset(folder, "first", first)
    write_dataset(folder, "second", second, seed=3)
    write_dataset(folder, "third", third, functional="SCAN")
    write_dataset(folder, "bench", [*first[:2], *(next(crystals) for _ in range(FILES * FRAMES - 2))], store="bench.zarr")
    return folder


def splits(store: Path, name: str) -> dict[int, str]:
    """Frame number (file, then index) -> split."""
    data = open_store(store)[name]
    _, origins, codes = data.labels(0, len(data))
    places = [origin.rsplit("-", 1)[1].split(".xyz#") for origin in origins]
    return {int(file) * FRAMES + int(index): SPLITS[code] for (file, index), code in zip(places, codes)}


def test_copies_between_two_datasets_and_leaks_are_counted(folder: Path) -> None:
    report = overlap(str(folder / "both.zarr"), "first", "second", quiet=True)
    assert report.frames == {"first": 18, "second": 18}
    assert report.copies == {"first": 0, "second": 0}
    (shared,) = report.shared
    assert (shared.first, shared.second, shared.first_frames, shared.second_frames) == ("first", "second", 18, 18)
    one, other = splits(folder / "both.zarr", "first"), splits(folder / "both.zarr", "second")
    expected = {
        ("first", "second"): sum(one[i] == "train" != other[i] for i in one),
        ("second", "first"): sum(other[i] == "train" != one[i] for i in one),
    }
    assert {(leak.train, leak.held_out): leak.frames for leak in report.leaks} == {k: n for k, n in expected.items() if n}
    assert sum(expected.values())
    assert all(len({member.origin.rsplit("-", 1)[1] for member in found.members}) == 1 for found in report.sets)


def test_one_structure_with_two_energies_of_one_theory_is_a_conflict(folder: Path) -> None:
    report = overlap(str(folder / "both.zarr"), "first", "second", quiet=True)
    (found,) = report.conflicts
    assert found.conflict == pytest.approx(0.005, abs=1e-6)
    assert {member.origin.rsplit("-", 1)[1] for member in found.members} == {"1.xyz#1"}
    assert "5.0 meV/atom" in report.text()
    other_theory = overlap(str(folder / "both.zarr"), "first", "third", quiet=True)
    assert len(other_theory.sets) == 18
    assert not other_theory.conflicts


def test_a_dataset_is_compared_with_another_store(folder: Path) -> None:
    report = overlap(str(folder / "both.zarr"), "first", str(folder / "bench.zarr"), quiet=True)
    (shared,) = report.shared
    assert {shared.first_frames, shared.second_frames} == {2}
    assert f"{folder / 'bench.zarr'}:bench" in report.frames


def test_without_names_every_dataset_is_compared_with_every_other(folder: Path) -> None:
    report = overlap(str(folder / "both.zarr"), quiet=True)
    assert len(report.frames) == 3 and len(report.shared) == 3
    assert all(len(found.members) == 3 for found in report.sets)


def test_the_command_prints_one_json_document(folder: Path) -> None:
    code = "import sys; from lamdata.cli import main; sys.argv = sys.argv[1:]; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "lamdata", "overlap", str(folder / "both.zarr"), "first", "second", "--json", "--quiet"],
        capture_output=True,
        text=True,
        check=True,
    )
    out = json.loads(done.stdout)
    assert out["conflicts"] == 1 and len(out["sets"]) == 18
    assert out["sets"][0]["members"][0].keys() == {"dataset", "index", "split", "origin", "energy_per_atom"}


def test_impossible_questions_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="tolerance"):
        overlap(str(folder / "both.zarr"), tolerance=0.5)
    with pytest.raises(StoreError, match="did you mean `second`"):
        overlap(str(folder / "both.zarr"), "first", "secnd")
