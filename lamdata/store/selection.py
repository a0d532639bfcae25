"""Selection: which frames of a dataset a view holds, block by block; a filter reads only the blocks it cannot decide."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..located import did_you_mean
from ..where import BlockFacts, Condition, Possible, columns_of, condition_of, decide, keys_of, parse, passing
from .layout import SPLITS, infos_of
from .segment import Segment

ROUNDED = 1 + 1e-12  # a bound that is itself computed


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """An expression of frames (`lamdata.where`), and short forms of common ones, all of which a frame must pass; `None` keeps all."""

    split: str | None = None  # split == ...
    elements: frozenset[int] | None = None  # elements <= {...}, atomic numbers
    natoms: tuple[int, int] | None = None  # ... <= natoms <= ...
    max_force: float | None = None  # max_force <= ..., eV/Å; a frame without forces does not pass
    where: str | None = None

    def __post_init__(self) -> None:
        if self.split is not None and self.split not in SPLITS:
            raise ConfigError(f"unknown split {self.split!r}", hint=f"one of {', '.join(SPLITS)}")
        if self.max_force is not None and not self.max_force >= 0:
            raise ConfigError(f"the largest force is {self.max_force}", hint="give a number of eV/Å that is not negative")
        if self.where is not None:
            parse(self.where)

    @property
    def condition(self) -> Condition | None:
        """All of it as one; `None` where it keeps all."""
        return condition_of(split=self.split, elements=self.elements, natoms=self.natoms, max_force=self.max_force, where=self.where)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, equal for equal filters."""
        elements = None if self.elements is None else sorted(self.elements)
        found = {"split": self.split, "elements": elements, "natoms": None if self.natoms is None else list(self.natoms)}
        later = {"max_force": self.max_force, "where": self.where}
        return found | {name: value for name, value in later.items() if value is not None}

    @property
    def of_splits(self) -> bool:
        """Whether it asks for nothing but a split."""
        return self.elements is None and self.natoms is None and self.max_force is None and self.where is None

    @property
    def trivial(self) -> bool:
        return self.split is None and self.of_splits


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Blocks that hold a selected frame. S = such blocks; `rows` names the frames of those held in part."""

    blocks: NDArray[np.int64]  # (S,) block number in the segment
    counts: NDArray[np.int64]  # (S,) selected frames
    rows: Mapping[int, NDArray[np.int64]]  # block -> row in the block, only where not all its frames are selected


def check_keys(condition: Condition | None, meta: Mapping[str, Any]) -> None:
    """Refuse an expression that asks for a key which the card of a dataset, of what was committed with it, keeps of none of its sources."""
    card = meta.get("card", {})
    sources = card.get("sources", [])
    kept = [key for source in sources for key in source.get("info", [])]
    if condition is not None and sources and (unknown := sorted(keys_of(condition) - {*kept})):
        hint = did_you_mean(unknown[0], kept) if kept else f"add `info: [{unknown[0]}]` to its card, and `lamdata replace` it"
        raise ConfigError(f"{card['dataset']} keeps no key {unknown[0]!r} of its sources", where=f'info["{unknown[0]}"]', hint=hint)


def select(
    segment: Segment, wanted: Filter, *, among: NDArray[np.bool_] | None = None, references: Mapping[int, float] | None = None
) -> Selection:
    """Apply a filter to one segment: by what is known of blocks where that decides, by the frames' own arrays elsewhere.

    `among` (F,) are the frames of the segment that are there at all, where these are not all; `references` are energies in eV by atomic number.
    """
    plan, condition = segment.plan, wanted.condition
    sizes = np.full(plan.blocks, plan.block_frames, np.int64)
    sizes[-1] = plan.frames - plan.block_frames * (plan.blocks - 1)
    if condition is None and among is None:
        return Selection(blocks=np.arange(plan.blocks), counts=sizes, rows={})
    some, every = np.ones(plan.blocks, bool), np.ones(plan.blocks, bool)
    known: dict[Condition, Possible] = {}
    if condition is not None:
        if references is None and "references" in columns_of(condition):
            raise ConfigError(
                "there are no reference energies here", where="energy_above_references", hint="its training frames have no energy"
            )
        known = decide(condition, _facts(segment))
        some, every = known[condition].true, known[condition].true & ~known[condition].false & ~known[condition].unknown
    inside = sizes if among is None else np.add.reduceat(among, np.arange(plan.blocks) * plan.block_frames, dtype=np.int64)
    some = some & (inside > 0)
    rows = {}
    for block in np.flatnonzero(some & ~(every & (inside == sizes))).tolist():
        size, first = int(sizes[block]), block * plan.block_frames
        keep = np.ones(size, bool)
        if condition is not None and not every[block]:
            frames = _Block(segment, block, size, references or {})
            keep = passing(condition, frames, known=partial(_only, known, block))
        if among is not None:
            keep &= among[first : first + size]
        rows[block] = np.flatnonzero(keep)
        sizes[block] = len(rows[block])
    blocks = np.flatnonzero(some & (sizes > 0))
    return Selection(blocks=blocks, counts=sizes[blocks], rows=rows)


def _only(known: Mapping[Condition, Possible], block: int, node: Condition) -> bool | None:
    return known[node].only(block) if node in known else None


def _facts(segment: Segment) -> BlockFacts:
    """What is known of the blocks of a segment: their statistics, and what its plan says of all."""
    plan, statistics = segment.plan, segment.statistics()
    constants = {name: float(value) for name, value in plan.constants.items()}
    ranges: dict[str, tuple[float, float]] = {
        name: (constants[name], constants[name]) for name in ("charge", "energy", "shortest", "weight") if name in constants
    }
    if not plan.weighted:
        ranges["weight"] = (1.0, 1.0)
    if "forces" in constants:
        ranges["max_force"] = (0.0, math.sqrt(3) * abs(constants["forces"]) * ROUNDED)
    if (lattice := plan.lattices.get("energy")) is not None:
        low, high = lattice.from_stored(np.array([lattice.least, lattice.largest]) + lattice.shift).tolist()
        ranges["energy"] = (low, high)
    if (lattice := plan.lattices.get("forces")) is not None:
        ranges["max_force"] = (0.0, math.sqrt(3) * lattice.reach / lattice.scale * lattice.factor * ROUNDED)
    labels = {name: bool(constants[f"has_{name}"]) for name in ("energy", "forces", "virial") if f"has_{name}" in constants}
    return BlockFacts(
        elements=statistics.elements,
        smallest=statistics.smallest,
        largest=statistics.largest,
        splits=statistics.splits,
        ranges=ranges,
        labels=labels,
    )


class _Block:
    """The frames of one block; each array is read when it is first asked for."""

    def __init__(self, segment: Segment, block: int, size: int, references: Mapping[int, float]) -> None:
        self._segment, self._block, self._size, self._references = segment, block, size, references
        self._arrays: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return self._size

    def array(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            self._arrays[name] = self._read(name)
        return self._arrays[name]

    def _read(self, name: str) -> np.ndarray:
        array = self._segment.array(name)
        count = self._size if array.column.axis == "frame" else int(self.array("natoms").sum())
        if array.constant is not None:
            return np.full((count, *array.block_shape[1:]), array.constant, array.dtype)
        stored: np.ndarray = self._segment.read([name], [self._block])[name][0][:count]
        return stored if array.lattice is None else array.lattice.from_stored(stored)

    def texts(self, name: str) -> Sequence[str]:
        return [bytes(row).rstrip(b"\0").decode() for row in self.array(name)]

    def infos(self) -> Sequence[Mapping[str, str]]:
        return self._infos

    @cached_property
    def _infos(self) -> list[Mapping[str, str]]:
        return infos_of(self.texts("info"))

    def references(self) -> Mapping[int, float]:
        return self._references
