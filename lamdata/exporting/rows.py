"""A view of a dataset -> single frames with all that a store knows of each, a block in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..frame import Frame
from ..store import Dataset
from ..store.layout import SPLITS

AT_ONCE = 1024  # frames
UNITS = {"length": "Angstrom", "energy": "eV", "force": "eV/Angstrom", "virial": "eV, -volume x stress", "charge": "e"}


@dataclass(frozen=True, slots=True)
class Row:
    """One frame, with its group and origin, and its split."""

    frame: Frame
    split: str  # "train", "validation" or "test"

    def facts(self) -> dict[str, Any]:
        """What formats of bare arrays have no place for, as plain data."""
        frame = self.frame
        out: dict[str, Any] = {"group": frame.group, "origin": frame.origin, "split": self.split, "pbc": list(frame.pbc)}
        seldom: dict[str, Any] = {"weight": frame.weight} if frame.weight != 1.0 else {}
        seldom |= {"info": dict(frame.info)} if frame.info else {}
        return out | {"charge": frame.charge, "multiplicity": frame.multiplicity} | seldom

    def line(self) -> str:
        """The same as a line of JSON."""
        return json.dumps(self.facts(), ensure_ascii=False) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What holds for all rows."""

    dataset: str
    elements: list[str]  # symbols, by atomic number: the types of formats that number them
    card: dict[str, Any]
    lossless: bool = True  # False where the store has float32

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {"dataset": self.dataset, "units": UNITS, "elements": self.elements, "card": self.card}


def about(dataset: Dataset) -> About:
    """Of a dataset."""
    return About(dataset=dataset.name, elements=dataset.elements, card=dict(dataset.meta["card"]), lossless=dataset.lossless)


def rows_of(dataset: Dataset) -> Iterator[Row]:
    """Every frame of a view in store order."""
    for start in range(0, len(dataset), AT_ONCE):
        stop = min(start + AT_ONCE, len(dataset))
        labels = zip(*dataset.labels(start, stop), dataset.infos(start, stop))
        for frame, (group, origin, split, info) in zip(dataset.frames(start, stop), labels):
            yield Row(replace(frame, group=group, origin=origin, info=info), SPLITS[split])
