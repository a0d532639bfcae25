"""Selection: which frames of a dataset a view holds, block by block; a filter reads only the blocks it cannot decide."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from .layout import SPLITS
from .segment import Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Keep frames of one split, made of some elements only, with some numbers of atoms and forces up to some size; `None` keeps all."""

    split: str | None = None
    elements: frozenset[int] | None = None  # atomic numbers a frame may hold
    natoms: tuple[int, int] | None = None  # smallest and largest number of atoms, both included
    max_force: float | None = None  # eV/Å, of the largest force on an atom; a frame without forces does not pass

    def __post_init__(self) -> None:
        if self.split is not None and self.split not in SPLITS:
            raise ConfigError(f"unknown split {self.split!r}", hint=f"one of {', '.join(SPLITS)}")
        if self.max_force is not None and not self.max_force >= 0:
            raise ConfigError(f"the largest force is {self.max_force}", hint="give a number of eV/Å that is not negative")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, equal for equal filters."""
        elements = None if self.elements is None else sorted(self.elements)
        found = {"split": self.split, "elements": elements, "natoms": None if self.natoms is None else list(self.natoms)}
        return found | ({} if self.max_force is None else {"max_force": self.max_force})

    @property
    def of_splits(self) -> bool:
        """Whether it asks for nothing but a split."""
        return self.elements is None and self.natoms is None and self.max_force is None

    @property
    def trivial(self) -> bool:
        return self.split is None and self.of_splits


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Blocks that hold a selected frame. S = such blocks; `rows` names the frames of those held in part."""

    blocks: NDArray[np.int64]  # (S,) block number in the segment
    counts: NDArray[np.int64]  # (S,) selected frames
    rows: Mapping[int, NDArray[np.int64]]  # block -> row in the block, only where not all its frames are selected


def select(segment: Segment, wanted: Filter, *, among: NDArray[np.bool_] | None = None) -> Selection:
    """Apply a filter to one segment: by block statistics where they decide, by the frames' own arrays elsewhere.

    `among` (F,) are the frames of the segment that are there at all, where these are not all.
    """
    plan = segment.plan
    sizes = np.full(plan.blocks, plan.block_frames, np.int64)
    sizes[-1] = plan.frames - plan.block_frames * (plan.blocks - 1)
    if wanted.trivial and among is None:
        return Selection(blocks=np.arange(plan.blocks), counts=sizes, rows={})
    some, every = _decide(segment, sizes, wanted)
    inside = sizes if among is None else np.add.reduceat(among, np.arange(plan.blocks) * plan.block_frames, dtype=np.int64)
    some &= inside > 0
    rows = {}
    for block in np.flatnonzero(some & ~(every & (inside == sizes))).tolist():
        size, first = int(sizes[block]), block * plan.block_frames
        keep = np.ones(size, bool) if every[block] else _passing(segment, block, size, wanted)
        if among is not None:
            keep &= among[first : first + size]
        rows[block] = np.flatnonzero(keep)
        sizes[block] = len(rows[block])
    blocks = np.flatnonzero(some & (sizes > 0))
    return Selection(blocks=blocks, counts=sizes[blocks], rows=rows)


def _decide(segment: Segment, sizes: NDArray[np.int64], wanted: Filter) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which blocks may hold a frame that passes the filter, and which hold nothing else."""
    some, every = np.ones(len(sizes), bool), np.full(len(sizes), wanted.max_force is None)
    if wanted.split is None and wanted.natoms is None and wanted.elements is None:
        return some, every
    statistics = segment.statistics()
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


def _passing(segment: Segment, block: int, size: int, wanted: Filter) -> NDArray[np.bool_]:
    """(F,) which frames of one block pass the filter."""
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
    if wanted.max_force is not None:
        largest = np.maximum.reduceat(_force_sizes(segment, block, int(natoms.sum())), np.cumsum(natoms) - natoms)
        keep &= _column(segment, "has_forces", block, size).astype(bool) & (largest <= wanted.max_force)
    return keep


def _force_sizes(segment: Segment, block: int, atoms: int) -> NDArray[np.float64]:
    """(A,) eV/Å, of each atom of one block."""
    array = segment.array("forces")
    if array.constant is not None:
        return np.full(atoms, math.sqrt(3) * abs(float(array.constant)))
    stored = segment.read(["forces"], [block])["forces"][0][:atoms]
    values = np.asarray(stored if array.lattice is None else array.lattice.to_values(stored), np.float64)
    sizes: NDArray[np.float64] = np.sqrt(np.square(values).sum(axis=1))
    return sizes


def _column(segment: Segment, name: str, block: int, size: int) -> np.ndarray:
    """One frame array of one block."""
    array = segment.array(name)
    if array.constant is not None:
        return np.full(size, array.constant, array.dtype)
    column: np.ndarray = segment.read([name], [block])[name][0]
    return column[:size]
