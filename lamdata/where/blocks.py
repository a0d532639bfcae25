"""Blocks: a tree and what is known of blocks without reading them -> in which of them it can be true, and where it is true of all. B = blocks.

Of a number the range in a block is known, of a condition which of true, false and unknown it can be there. Both are bounds: what is
called possible need not occur, but what occurs is possible.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..frame import F64
from .tree import (
    AllOf,
    Arithmetic,
    Both,
    Compare,
    Condition,
    CountOf,
    Either,
    HasLabel,
    Info,
    InSplit,
    Not,
    Number,
    Numeric,
    OnlyOf,
    Quantity,
    TextIn,
    TextLike,
)

Bools = NDArray[np.bool_]
LABEL_OF = {"energy": "energy", "energy_above_references": "energy", "max_force": "forces"}  # without it, the quantity is unknown
OFTEN_UNKNOWN = ("multiplicity", "shortest", "volume", "energy_above_references")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFacts:
    """What is known of blocks."""

    elements: Bools  # (B, 120) which atomic numbers occur
    smallest: NDArray[np.integer]  # (B,) atoms of the smallest frame
    largest: NDArray[np.integer]  # (B,)
    splits: NDArray[np.integer]  # (B, 3) frames in train, validation and test
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # quantity -> bounds in all blocks, where it is known
    labels: Mapping[str, bool] = field(default_factory=dict)  # label -> whether all frames have it, or none; others are not known

    def __len__(self) -> int:
        return len(self.smallest)


class Possible(NamedTuple):
    """What a condition can be in each block, (B,) each."""

    true: Bools
    false: Bools
    unknown: Bools

    def only(self, block: int) -> bool | None:
        """True or false where it is that of all frames of a block."""
        if self.unknown[block] or self.true[block] == self.false[block]:
            return None
        return bool(self.true[block])


class _Range(NamedTuple):
    """Bounds of a number in each block (B,), and where it may be known and unknown."""

    low: F64
    high: F64
    known: Bools
    unknown: Bools


def decide(condition: Condition, facts: BlockFacts) -> dict[Condition, Possible]:
    """What the condition, and each that it is made of, can be."""
    found: dict[Condition, Possible] = {}
    _decide(condition, facts, found)
    return found


def _decide(node: Condition, facts: BlockFacts, found: dict[Condition, Possible]) -> Possible:
    if node not in found:
        found[node] = _possible(node, facts, found)
    return found[node]


def _possible(node: Condition, facts: BlockFacts, found: dict[Condition, Possible]) -> Possible:
    none, every = np.zeros(len(facts), bool), np.ones(len(facts), bool)
    match node:
        case Both(left, right):
            return _both(_decide(left, facts, found), _decide(right, facts, found))
        case Either(left, right):
            return _not(_both(_not(_decide(left, facts, found)), _not(_decide(right, facts, found))))
        case Not(of):
            return _not(_decide(of, facts, found))
        case Compare(operator, left, right):
            return _compared(operator, _range(left, facts), _range(right, facts))
        case OnlyOf(elements):
            allowed = _mask(facts, elements)
            return Possible(np.any(facts.elements & allowed, axis=1), np.any(facts.elements & ~allowed, axis=1), none)
        case AllOf(elements):
            wanted = _mask(facts, elements)
            whole = ~np.any(wanted & ~facts.elements, axis=1)
            alone = whole & (facts.elements.sum(axis=1) == 1)  # every frame has some element
            return Possible(whole, ~alone & bool(elements), none)
        case InSplit(splits):
            inside = facts.splits[:, sorted(splits)].sum(axis=1)
            return Possible(inside > 0, inside < facts.splits.sum(axis=1), none)
        case HasLabel(name) if name in facts.labels:
            return Possible(np.full(len(facts), facts.labels[name]), np.full(len(facts), not facts.labels[name]), none)
        case TextIn(Info(), _) | TextLike(Info(), _):
            return Possible(every, every, every)
    return Possible(every, every, none)  # of labels and texts nothing is known


def _mask(facts: BlockFacts, elements: frozenset[int]) -> Bools:
    mask = np.zeros(facts.elements.shape[1], bool)
    mask[sorted(elements)] = True
    return mask


def _both(a: Possible, b: Possible) -> Possible:
    unknown = (a.unknown & (b.true | b.unknown)) | (b.unknown & (a.true | a.unknown))
    return Possible(a.true & b.true, a.false | b.false, unknown)


def _not(of: Possible) -> Possible:
    return Possible(of.false, of.true, of.unknown)


def _compared(operator: str, a: _Range, b: _Range) -> Possible:
    known = a.known & b.known
    if operator == "<":
        true, false = a.low < b.high, a.high >= b.low
    elif operator == "<=":
        true, false = a.low <= b.high, a.high > b.low
    else:
        true, false = (a.low <= b.high) & (b.low <= a.high), ~((a.low == a.high) & (b.low == b.high) & (a.low == b.low))
    return Possible(known & true, known & false, a.unknown | b.unknown)


def _range(node: Numeric, facts: BlockFacts) -> _Range:
    none, every = np.zeros(len(facts), bool), np.ones(len(facts), bool)
    match node:
        case Number(value):
            return _Range(np.full(len(facts), value), np.full(len(facts), value), every, none)
        case Info():
            return _Range(np.full(len(facts), -np.inf), np.full(len(facts), np.inf), every, every)
        case Quantity("natoms"):
            return _Range(facts.smallest.astype(float), facts.largest.astype(float), every, none)
        case Quantity("nelements"):
            return _Range(np.ones(len(facts)), facts.elements.sum(axis=1).astype(float), every, none)
        case CountOf(element):
            there = facts.elements[:, element]
            alone = there & (facts.elements.sum(axis=1) == 1)
            return _Range(np.where(alone, facts.smallest, 0.0), np.where(there, facts.largest, 0.0), every, none)
        case Quantity(name):
            label = facts.labels.get(LABEL_OF.get(name, ""))
            low, high = facts.ranges.get(name, (-np.inf, np.inf))
            unknown = name in OFTEN_UNKNOWN or (name in LABEL_OF and label is not True)
            return _Range(
                np.full(len(facts), low), np.full(len(facts), high), np.full(len(facts), label is not False), np.full(len(facts), unknown)
            )
        case Arithmetic(operator, left, right):
            found = _calculated(operator, _range(left, facts), _range(right, facts))
            share = operator == "/" and isinstance(left, CountOf) and right == Quantity("natoms")
            return found._replace(high=np.minimum(found.high, 1.0)) if share else found
    raise AssertionError(node)


def _calculated(operator: str, a: _Range, b: _Range) -> _Range:
    """Each operation is monotone in each side, and so is rounding: its bounds are among the corners."""
    with np.errstate(all="ignore"):
        if operator == "+":
            corners = [a.low + b.low, a.high + b.high]
        elif operator == "-":
            corners = [a.low - b.high, a.high - b.low]
        elif operator == "*":
            corners = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
        else:
            corners = [x / y for x in (a.low, a.high) for y in (b.low, b.high)]
    table = np.array(corners)
    open_ = ~np.isfinite(table).all(axis=0)
    if operator == "/":
        open_ |= (b.low <= 0) & (b.high >= 0)
    low, high = np.where(open_, -np.inf, table.min(axis=0)), np.where(open_, np.inf, table.max(axis=0))
    return _Range(low, high, a.known & b.known, a.unknown | b.unknown | open_)
