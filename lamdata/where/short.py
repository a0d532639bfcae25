"""Short forms: the options of commands and calls -> the condition that an expression would say."""

from __future__ import annotations

from collections.abc import Iterable

from .language import SPLITS, parse
from .tree import Compare, Condition, InSplit, Number, OnlyOf, Quantity, all_of


def condition_of(
    *,
    split: str | None = None,
    elements: Iterable[int] | None = None,
    natoms: tuple[int, int] | None = None,
    max_force: float | None = None,
    where: str | None = None,
) -> Condition | None:
    """`split == ...`, `elements <= {...}`, `... <= natoms <= ...`, `max_force <= ...` and an expression together; `None` where none is given."""
    size, (low, high) = Quantity("natoms"), natoms or (0, 0)
    return all_of(
        None if split is None else InSplit(frozenset([SPLITS.index(split)])),
        None if elements is None else OnlyOf(frozenset(elements)),
        None if natoms is None else all_of(Compare("<=", Number(low), size), Compare("<=", size, Number(high))),
        None if max_force is None else Compare("<=", Quantity("max_force"), Number(max_force)),
        None if where is None else parse(where),
    )
