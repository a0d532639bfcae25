"""Shown: a dataset or a store -> the few facts that tell a person what it is; of a whole dataset nothing is read for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..elements import SYMBOLS
from ..notebook import listed
from .arrays import LABELS, View, frame_values
from .commits import DatasetEntry
from .layout import SPLITS

STORE_COLUMNS = ("dataset", "frames", "atoms", "elements", "labels", *SPLITS, "licence")


def dataset_facts(dataset: View) -> dict[str, Any]:
    """Of a view: its own frames, atoms and labels."""
    wanted = dataset.filter
    whole, frames = wanted.trivial and dataset.view is None, len(dataset)
    natoms = None if wanted.natoms is None else f"{wanted.natoms[0]} to {wanted.natoms[1]}"
    return {
        "frames": f"{frames:,}",
        "atoms": f"{sum(segment.entry.atoms for segment in dataset.segments) if whole else int(dataset.natoms.sum()):,}",
        "elements": listed(dataset.elements, separator=" "),
        "labels": _labels_of(dataset),
        "split": wanted.split or "all",
        "atoms in a frame": natoms,
        "largest force": None if wanted.max_force is None else f"up to {wanted.max_force:g} eV/Å",
        "where": wanted.where,
        "view of": None if dataset.view is None else dataset.view.of,
        "licence": licence(dataset.meta),
    }


def store_rows(entries: Mapping[str, DatasetEntry]) -> list[list[Any]]:
    """A row of STORE_COLUMNS for each dataset, from the commit alone."""
    rows: list[list[Any]] = []
    for name, entry in entries.items():
        numbers = sorted({z for segment in entry.segments for z in segment.elements})
        frames, atoms = (sum(getattr(segment, count) for segment in entry.segments) for count in ("frames", "atoms"))
        splits = [sum(segment.splits[i] for segment in entry.segments) for i in range(len(SPLITS))]
        labels = _labels_of_meta(entry.meta, SPLITS, frames)
        rows.append([name, frames, atoms, listed([SYMBOLS[z] for z in numbers], separator=" "), labels, *splits, licence(entry.meta)])
    return rows


def licence(meta: Mapping[str, Any]) -> str:
    """What the card says."""
    return str(meta.get("card", {}).get("license") or "unknown")


def _labels_of(dataset: View) -> str:
    wanted = dataset.filter
    if wanted.of_splits:
        said = _labels_of_meta(dataset.meta, (wanted.split,) if wanted.split else SPLITS, len(dataset))
        if said is not None:
            return said
    blocks = range(len(dataset.block_counts))
    return _counted({name: int(frame_values(dataset, flag, blocks).sum()) for name, flag in LABELS.items()}, len(dataset))


def _labels_of_meta(meta: Mapping[str, Any], splits: tuple[str, ...], frames: int) -> str | None:
    """As measured at ingest; `None` where a writer left no statistics."""
    if "statistics" not in meta:
        return None
    parts = [part["labels"] for side, part in meta["statistics"].items() if side in splits]
    return _counted({name: sum(part.get(name, 0) for part in parts) for name in LABELS}, frames)


def _counted(counts: Mapping[str, int], frames: int) -> str:
    """Labels that there are, with a number where not all frames have them."""
    return listed([name if count == frames else f"{name} (of {count:,})" for name, count in counts.items() if count])
