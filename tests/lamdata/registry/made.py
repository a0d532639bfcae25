"""A small store of one dataset with several shards, as an ingest would leave it, and its registry."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lamdata.catalog import Card
from lamdata.registry import draft_dataset, publish
from lamdata.statistics import Statistics
from lamdata.store.layout import SPLITS
from tests.lamdata.stores import make_frames, make_split, write_store

FRAMES = 300  # in shards of 64


def make_store(path: Path, *, name: str = "demo", seed: int = 0, **card: object) -> Path:
    """Frames in the order train, validation, test."""
    frames, split = make_frames(FRAMES, seed=seed), make_split(FRAMES)
    sides = {}
    for number, side in enumerate(SPLITS):
        (rows,) = np.nonzero(split == number)
        part = frames.part(int(rows[0]), int(rows[-1]) + 1)
        sides[side] = Statistics()
        sides[side].add(part, shortest=part.shortest)
    said = {"license": "CC-BY-4.0", "theory": {"functional": "PBE"}, "citations": ["A. Uthor (2026)"]} | card
    made = Card.model_validate({"dataset": name, "title": f"The {name} frames"} | said)
    meta = {"card": made.model_dump(mode="json"), "statistics": {side: found.to_json() for side, found in sides.items()}}
    write_store(path, frames, name=name, split=split, meta=meta | {"references": None, "rejected": {}})
    return path


def published(folder: Path, *, version: str = "1.0.0", **card: object) -> Path:
    """A registry below `folder` that holds demo@VERSION."""
    store = make_store(folder / "store.zarr", **card)
    publish(draft_dataset(str(store), "demo", version=version), str(folder / "registry"), quiet=True)
    return folder / "registry"
