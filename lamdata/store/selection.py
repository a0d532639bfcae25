"""Selection: which frames of a dataset a view holds, block by block; a filter reads only the blocks it cannot decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from .layout import SPLITS
from .segment import BlockStatistics, Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Keep frames of one split, made of some elements only, with some numbers of atoms; `None` keeps all."""

    split: str | None = None
    elements: frozenset[int] | None = None  # atomic numbers a frame may hold
    natoms: tuple[int, int] | None = None  # smallest and largest number of atoms, both included

    def __post_init__(self) -> None:
        if self.split is not None and self.split not in SPLITS:
            raise ConfigError(f"unknown split {self.split!r}", hint=f"one of {', '.join(SPLITS)}")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, equal for equal filters."""
        elements = None if self.elements is None else sorted(self.elements)
        return {"split": self.split, "elements": elements, "natoms": None if self.natoms is None else list(self.natoms)}

    @property
    def trivial(self) -> bool:
        return self.split is None and self.elements is None and self.natoms is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Blocks that hold a selected frame. S = such blocks; `rows` names the frames of those held in part."""

    blocks: NDArray[np.int64]  # (S,) block number in the segment
    counts: NDArray[np.int64]  # (S,) selected frames
    rows: Mapping[int, NDArray[np.int64]]  # block -> row in the block, only where not all its frames are selected


def select(segment: Segment, wanted: Filter) -> Selection:
    """Apply a filter to one segment: by block statistics where they decide, by the frames' own arrays elsewhere."""
    plan = segment.plan
    sizes = np.full(plan.blocks, plan.block_frames, np.int64)
    sizes[-1] = plan.frames - plan.block_frames * (plan.blocks - 1)
    if wanted.trivial:
        return Selection(blocks=np.arange(plan.blocks), counts=sizes, rows={})
    statistics = segment.statistics()
    some, every = _decide(statistics, sizes, wanted)
    rows = {}
    for block in np.flatnonzero(some & ~every).tolist():
        kept = _rows(segment, block, int(sizes[block]), wanted)
        rows[block] = kept
        sizes[block] = len(kept)
    blocks = np.flatnonzero(some & (sizes > 0))
    return Selection(blocks=blocks, counts=sizes[blocks], rows=rows)


def _decide(statistics: BlockStatistics, sizes: NDArray[np.int64], wanted: Filter) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which blocks may hold a selected frame, and which hold nothing else."""
    some, every = np.ones(len(sizes), bool), np.ones(len(sizes), bool)
    if wanted.split is not None:
        inside = statistics.splits[:, SPLITS.index(wanted.split)]
        some &= inside > 0
        every &= inside == sizes
    if wanted.natoms is not None:
        low, high = wanted.natoms
        some &= (statistics.largest >= low) & (statistics.smallest <= high)
        every &= (statistics.smallest >= low) & (statistics.largest <= high)
    if wanted.elements is not None:
        allowed = np.zeros(statistics.elements.shape[1], bool)
        allowed[list(wanted.elements)] = True
        some &= (statistics.elements & allowed).any(axis=1)
        every &= ~(statistics.elements & ~allowed).any(axis=1)
    return some, every


def _rows(segment: Segment, block: int, size: int, wanted: Filter) -> NDArray[np.int64]:
    """Rows of one block that pass the filter."""
    keep = np.ones(size, bool)
    if wanted.split is not None:
        keep &= _column(segment, "split", block, size) == SPLITS.index(wanted.split)
    natoms = _column(segment, "natoms", block, size)
    if wanted.natoms is not None:
        keep &= (natoms >= wanted.natoms[0]) & (natoms <= wanted.natoms[1])
    if wanted.elements is not None:
        numbers = segment.read(["numbers"], [block])["numbers"][0]
        foreign = ~np.isin(numbers[: natoms.sum()], list(wanted.elements))
        keep &= ~np.logical_or.reduceat(foreign, np.cumsum(natoms) - natoms)
    return np.flatnonzero(keep)


def _column(segment: Segment, name: str, block: int, size: int) -> np.ndarray:
    """One frame array of one block."""
    array = segment.array(name)
    if array.constant is not None:
        return np.full(size, array.constant, array.dtype)
    column: np.ndarray = segment.read([name], [block])[name][0]
    return column[:size]
