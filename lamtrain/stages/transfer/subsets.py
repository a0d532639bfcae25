"""Subsets: a dataset -> nested parts of its training frames, each with the same validation frames as a dataset of a store of its own.

The order in which frames are drawn is a pure function of the seed and of a frame's place in its dataset, so that a larger part holds the
smaller ones, and more parts can be asked for later. The user's store is never written to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamdata import Card, store_frames
from lamdata.catalog import CheckSpec, SplitSpec
from lamdata.counter import philox
from lamdata.frame import Frame
from lamdata.store import Dataset

VALIDATION = 200  # frames at most, the same for all parts
NO_CHECKS = CheckSpec.model_validate(  # the frames are those of a store, whose card has checked them
    {"converged": False, "implausible": "report", "max_refused": 0.0}
    | dict.fromkeys(("min_distance", "max_force", "net_force", "virial_asymmetry", "volume_per_atom"))
)


def draw(frames: int, size: int, *, seed: int) -> NDArray[np.int64]:
    """(size,) rows of so many frames, in the order in which they are drawn: the first rows are those of a smaller size."""
    counter = np.zeros((4, frames), np.uint32)
    counter[0] = np.arange(frames)
    key = np.full((2, frames), [[seed & 0xFFFFFFFF], [seed >> 32]], np.uint32)
    words = philox(counter, key).astype(np.uint64)
    return np.argsort(words[0] << np.uint64(32) | words[1], kind="stable")[:size]


def default_sizes(frames: int) -> list[int]:
    """10, 30, 100, ... up to 1,000, as many as there are frames; all of them where there are fewer than 10."""
    sizes = [size for size in (10, 30, 100, 300, 1000) if size <= frames]
    return sizes or [frames]


def store_subset(store: Path, train: Dataset, validation: Dataset, *, size: int, seed: int) -> Card:
    """Store one part, if it is not there; return its card."""
    rows = draw(len(train), size, seed=seed)
    card = train.card.model_copy(
        update={"dataset": name_of(train.name, size=size, seed=seed), "sources": [], "checks": NO_CHECKS, "split": SplitSpec()}
    )
    kept = min(VALIDATION, len(validation))
    made_of = {f"dataset: {train.name}": train.content_hash or "", "part": f"{size} of {len(train)}, seed {seed}; validation {kept}"}
    store_frames(card, str(store), _frames(train, rows, validation, kept), sources=made_of)
    return card


def name_of(dataset: str, *, size: int, seed: int) -> str:
    """Of a part, as a dataset."""
    return f"{dataset[:70]}-n{size}-s{seed}"


def _frames(train: Dataset, rows: NDArray[np.int64], validation: Dataset, kept: int) -> Iterator[Frame]:
    for dataset, chosen, split in ((train, np.sort(rows), "train"), (validation, np.arange(kept), "validation")):
        for start in range(0, len(chosen), 1024):
            for frame in dataset[chosen[start : start + 1024]]:
                yield replace(frame, split=split)
