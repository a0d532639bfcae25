"""The sample of training frames: the same for the same structures, in whatever order and however often."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from lamdata import ingest, open_card, open_dataset
from lamdata.store import Dataset
from lamtrain.prediction.structures import content_of
from lamtrain.stages.cover import sample
from lamtrain.stages.cover.sample import draw_sample

CARD = "dataset: d\ntitle: d\nlicense: null\ntheory: {code: null, functional: null}\nsplit: {validation: 0.0}\nsources:\n  - {path: d.xyz, format: extxyz}\n"


def stored(folder: Path, frames: list[Atoms]) -> Dataset:
    folder.mkdir(parents=True)
    write(folder / "d.xyz", frames, format="extxyz")
    (folder / "d.yaml").write_text(CARD)
    ingest(open_card(folder / "d.yaml"), str(folder / "s.zarr"), base=folder, quiet=True)
    return open_dataset(folder / "s.zarr", "d", split="train")


def gases(count: int, *, rare: int = 2) -> list[Atoms]:
    rng = np.random.default_rng(0)
    out = []
    for number in range(count):
        symbols = "HHCO" if number % (count // rare) else "HNHe"
        out.append(Atoms(symbols, positions=rng.permutation(np.eye(4)[: len(symbols) - ("He" in symbols), :3]) * 2 + rng.normal(size=3)))
    return out


def test_order_and_repetition_change_nothing(tmp_path: Path) -> None:
    frames = gases(40)
    once = draw_sample([stored(tmp_path / "a", frames)], atoms=60)
    again = draw_sample([stored(tmp_path / "b", [*frames[::-1], *frames])], atoms=60)
    for name in ("frames", "paired"):
        mine, theirs = ([content_of(frame) for frame in getattr(drawn, name)] for drawn in (once, again))
        assert mine == theirs
    assert 60 <= sum(len(frame.numbers) for frame in once.frames) < 64
    assert (once.frames_of_all, again.frames_of_all) == (40, 80)


def test_several_datasets_are_one_whatever_their_order(tmp_path: Path) -> None:
    parts = [stored(tmp_path / "a", gases(40)[:25]), stored(tmp_path / "b", gases(40)[20:])]
    one, other = draw_sample(parts, atoms=60), draw_sample(parts[::-1], atoms=60)
    assert [content_of(frame) for frame in one.frames] == [content_of(frame) for frame in other.frames]


def test_a_rare_element_is_drawn_and_its_pairs_are(tmp_path: Path) -> None:
    drawn = draw_sample([stored(tmp_path / "a", gases(100))], atoms=12)
    assert {1, 2, 6, 7, 8} <= {z for frame in drawn.frames for z in frame.numbers.tolist()}


def test_another_seed_draws_others(tmp_path: Path) -> None:
    dataset = stored(tmp_path / "a", gases(60))
    drawn = [[content_of(frame) for frame in draw_sample([dataset], atoms=40, seed=seed).frames] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_what_is_kept_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "OF_ELEMENT", 3)
    rankings = sample._Rankings()
    rng = np.random.default_rng(1)
    ranks = rng.integers(1 << 40, size=500).tolist()
    for row, rank in enumerate(ranks):
        rankings.add(rank, [1, 6], (0, row, 2))
    assert sorted(rankings.turns()) == sorted(ranks)[:3]
    assert len(rankings.places) == len(rankings.uses) == 3
    monkeypatch.setattr(sample, "READ", 5)
    assert draw_sample([stored(tmp_path / "a", gases(20))], atoms=1000).ranked == 5
