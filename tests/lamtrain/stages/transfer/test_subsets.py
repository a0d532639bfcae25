"""Parts of a dataset: nested, seeded, stored once; the user's store stays as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamdata import open_dataset, open_store
from lamtrain.stages.transfer.subsets import default_sizes, draw, name_of, store_subset
from tests.conftest import tree


def test_a_larger_part_holds_the_smaller_ones_and_seeds_differ() -> None:
    for seed in range(3):
        order = draw(500, 500, seed=seed)
        assert sorted(order) == list(range(500)) and np.array_equal(draw(500, 30, seed=seed), order[:30])
    assert len({tuple(draw(500, 10, seed=seed)) for seed in range(20)}) == 20
    assert abs(np.mean([draw(500, 30, seed=seed).mean() for seed in range(40)]) - 249.5) < 15, "from all over the dataset"


def test_the_order_stays_what_it_was() -> None:
    assert draw(8, 8, seed=1).tolist() == ORDER, "parts that were stored by an earlier version would no longer be nested"


ORDER = [5, 2, 4, 6, 7, 1, 3, 0]


@pytest.mark.parametrize(("frames", "sizes"), [(7, [7]), (10, [10]), (99, [10, 30]), (5000, [10, 30, 100, 300, 1000])])
def test_sizes_are_as_many_as_there_are_frames_for(frames: int, sizes: list[int]) -> None:
    assert default_sizes(frames) == sizes


def test_frames_are_the_same_in_their_own_store(away: Path, tmp_path: Path) -> None:
    store, url = tmp_path / "frames.zarr", str(away / "metals.zarr")
    before = tree(away / "metals.zarr")
    train, validation = (open_dataset(url, "mine", split=side) for side in ("train", "validation"))
    for size in (3, 6, 3):
        card = store_subset(store, train, validation, size=size, seed=4)
    assert set(open_store(store)) == {name_of("mine", size=3, seed=4), "mine-n6-s4"} and card.dataset == "mine-n3-s4"
    assert tree(away / "metals.zarr") == before
    known = {frame.origin: frame for frame in train}
    small, large = ({frame.origin: frame for frame in open_dataset(store, f"mine-n{n}-s4", split="train")} for n in (3, 6))
    assert len(small) == 3 and len(large) == 6 and small.keys() < large.keys()
    for origin, frame in large.items():
        assert frame.energy == known[origin].energy and np.array_equal(frame.forces, known[origin].forces)
    held = [{frame.origin for frame in open_dataset(store, f"mine-n{n}-s4", split="validation")} for n in (3, 6)]
    assert held[0] == held[1] == {frame.origin for frame in validation}
    assert open_dataset(store, "mine-n3-s4").theory == train.theory
