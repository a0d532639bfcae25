"""Frames: a tree and the arrays of some frames -> of which of them it is true. F = frames, A = their atoms."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import translate
from typing import Protocol

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
    columns_of,
)

Bools = NDArray[np.bool_]
Truth = tuple[Bools, Bools]  # (F,) true, and (F,) false; neither where it is unknown
COST = {"forces": 4, "group": 3, "origin": 3, "info": 3, "numbers": 2, "cell": 1}  # of reading; all else is one number a frame
OPERATIONS: dict[str, Callable[[F64, F64], F64]] = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}
COMPARED: dict[str, Callable[[F64, F64], Bools]] = {"<": np.less, "<=": np.less_equal, "==": np.equal}


class Columns(Protocol):
    """Frames whose arrays are read when they are asked for; each as `lamdata.frames.Frames` has it."""

    def __len__(self) -> int: ...

    def array(self, name: str) -> np.ndarray:
        """`natoms`, `energy`, `split`, ... (F,), `cell` (F, 3, 3), `numbers` (A,), `forces` (A, 3)."""

    def texts(self, name: str) -> Sequence[str]:
        """(F,) `group` or `origin`."""

    def infos(self) -> Sequence[Mapping[str, str]]:
        """(F,) what the source says under the keys that its card keeps."""

    def references(self) -> Mapping[int, float]:
        """Reference energies in eV by atomic number."""


def passing(condition: Condition, frames: Columns, *, known: Callable[[Condition], bool | None] = lambda _: None) -> Bools:
    """(F,) of which frames it is true; `known` says what is true, or false, of all of them beforehand."""
    return _truth(condition, frames, known)[0]


def _truth(node: Condition, frames: Columns, known: Callable[[Condition], bool | None]) -> Truth:
    decided = known(node)
    if decided is not None:
        return np.full(len(frames), decided), np.full(len(frames), not decided)
    match node:
        case Both():
            return _join(node, frames, known)
        case Either(left, right):
            true, false = _join(Both(Not(left), Not(right)), frames, known)
            return false, true
        case Not(of):
            true, false = _truth(of, frames, known)
            return false, true
        case Compare(operator, left, right):
            (a, has_a), (b, has_b) = _number(left, frames), _number(right, frames)
            found = COMPARED[operator](a, b)
            return found & has_a & has_b, ~found & has_a & has_b
        case TextIn(Info(key), _) | TextLike(Info(key), _):
            has = np.array([key in info for info in frames.infos()], bool)
            found = _flag(node, frames)
            return found & has, ~found & has
    found = _flag(node, frames)
    return found, ~found


def _join(node: Both, frames: Columns, known: Callable[[Condition], bool | None]) -> Truth:
    """The cheaper side first; where it is false of all, the other is not read."""
    first, second = sorted((node.left, node.right), key=_cost)
    true, false = _truth(first, frames, known)
    if not false.all():
        other_true, other_false = _truth(second, frames, known)
        true, false = true & other_true, false | other_false
    return true, false


def _cost(node: Condition) -> int:
    return max((COST.get(name, 0) for name in columns_of(node)), default=0)


def _flag(node: Condition, frames: Columns) -> Bools:
    """Of what is true or false, and never unknown."""
    match node:
        case OnlyOf(elements):
            return ~_any_atom(~np.isin(frames.array("numbers"), list(elements)), frames)
        case AllOf(elements):
            numbers, found = frames.array("numbers"), np.ones(len(frames), bool)
            for z in sorted(elements):
                found &= _any_atom(numbers == z, frames)
            return found
        case HasLabel(name):
            return frames.array(f"has_{name}").astype(bool)
        case InSplit(splits):
            return np.isin(frames.array("split"), list(splits))
        case TextIn(column, texts):
            return np.array([text in texts for text in _texts(column, frames)], bool)
        case TextLike(column, pattern):
            fits = re.compile(translate(pattern)).match
            return np.array([fits(text) is not None for text in _texts(column, frames)], bool)
    raise AssertionError(node)


def _texts(column: str | Info, frames: Columns) -> Sequence[str]:
    if isinstance(column, Info):
        return [info.get(column.key, "") for info in frames.infos()]
    return [text.rpartition("#")[0] for text in frames.texts("origin")] if column == "file" else frames.texts(column)


def _number(node: Numeric, frames: Columns) -> tuple[F64, Bools]:
    """(F,) values, and where they are known."""
    every = np.ones(len(frames), bool)
    match node:
        case Number(value):
            return np.full(len(frames), value), every
        case Info(key):
            said = np.array([_as_number(info.get(key, "")) for info in frames.infos()], np.float64)
            return said, ~np.isnan(said)
        case CountOf(element):
            return _sum_atoms((frames.array("numbers") == element).astype(np.float64), frames), every
        case Arithmetic(operator, left, right):
            (a, has_a), (b, has_b) = _number(left, frames), _number(right, frames)
            with np.errstate(all="ignore"):
                found = OPERATIONS[operator](a, b)
            return found, has_a & has_b & np.isfinite(found)
        case Quantity("natoms" | "charge" | "weight" as name):
            return frames.array(name).astype(np.float64), every
        case Quantity("multiplicity"):
            values = frames.array("multiplicity")
            return values.astype(np.float64), values > 0
        case Quantity("shortest"):
            values = frames.array("shortest").astype(np.float64)
            return values, ~np.isnan(values)
        case Quantity("nelements"):
            numbers, count = frames.array("numbers"), np.zeros(len(frames))
            for z in np.unique(numbers):
                count += _any_atom(numbers == z, frames)
            return count, every
        case Quantity("volume"):
            cell = np.asarray(frames.array("cell"), np.float64)
            return np.abs(np.einsum("fi,fi->f", cell[:, 0], np.cross(cell[:, 1], cell[:, 2]))), np.any(cell != 0, axis=(1, 2))
        case Quantity("energy"):
            return frames.array("energy").astype(np.float64), frames.array("has_energy").astype(bool)
        case Quantity("max_force"):
            return _largest_forces(frames), frames.array("has_forces").astype(bool)
    return _above_references(frames)


def _as_number(text: str) -> float:
    """nan for what is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _largest_forces(frames: Columns) -> F64:
    forces = np.asarray(frames.array("forces"), np.float64)
    found: F64 = np.maximum.reduceat(np.sqrt(np.square(forces).sum(axis=1)), _starts(frames))
    return found


def _above_references(frames: Columns) -> tuple[F64, Bools]:
    table = np.full(256, np.nan)
    for number, reference in frames.references().items():
        table[number] = reference
    energy, has = _number(Quantity("energy"), frames)
    base = _sum_atoms(table[frames.array("numbers")], frames)
    return (energy - base) / frames.array("natoms"), has & ~np.isnan(base)


def _starts(frames: Columns) -> NDArray[np.int64]:
    natoms = frames.array("natoms").astype(np.int64)
    return np.cumsum(natoms) - natoms


def _sum_atoms(values: F64, frames: Columns) -> F64:
    found: F64 = np.add.reduceat(values, _starts(frames))
    return found


def _any_atom(flags: Bools, frames: Columns) -> Bools:
    found: Bools = np.logical_or.reduceat(flags, _starts(frames))
    return found
