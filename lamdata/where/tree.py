"""Tree: what an expression says, as frozen data that the language makes and two evaluations read.

A number that a frame does not have (the largest force of a frame without forces) is unknown, and so is what is compared with it: neither true nor
false, also under `not`. Only frames of which the whole expression is true are kept (Kleene's strong logic of three values).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

QUANTITIES = (  # what a frame has one number of
    "natoms",  # atoms
    "nelements",  # elements
    "charge",  # e
    "multiplicity",  # 2S + 1; unknown where the source does not say
    "weight",  # of its labels in a loss
    "max_force",  # largest force on an atom, eV/Å; unknown without forces
    "energy",  # total energy as computed, eV; unknown where there is none
    "energy_above_references",  # less the dataset's reference energies, eV/atom; unknown without an energy, or with an element without a reference
    "shortest",  # shortest distance between two atoms, Å, images included; infinite for one atom
    "volume",  # of the cell, Å^3; unknown without one
)
TEXTS = ("group", "origin", "file")  # trajectory or material; file#index; the part of `origin` before #
LABELS = ("energy", "forces", "virial")
NEEDS = {  # arrays that a quantity is made of, beside `natoms`
    "nelements": ("numbers",),
    "max_force": ("has_forces", "forces"),
    "energy": ("has_energy", "energy"),
    "energy_above_references": ("has_energy", "energy", "numbers"),
    "volume": ("cell",),
}


@dataclass(frozen=True, slots=True)
class Number:
    """A number that stands in the expression."""

    value: float


@dataclass(frozen=True, slots=True)
class Quantity:
    """One of QUANTITIES."""

    name: str


@dataclass(frozen=True, slots=True)
class CountOf:
    """How many atoms of an element."""

    element: int


@dataclass(frozen=True, slots=True)
class Info:
    """What the source says under a key that its card keeps: a text, or the number that it is; unknown where it says nothing, or no number."""

    key: str


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Of two numbers; unknown where it has no finite value."""

    operator: str  # + - * /
    left: Numeric
    right: Numeric


Numeric = Number | Quantity | CountOf | Info | Arithmetic


@dataclass(frozen=True, slots=True)
class Compare:
    """Two numbers."""

    operator: str  # < <= ==
    left: Numeric
    right: Numeric


@dataclass(frozen=True, slots=True)
class OnlyOf:
    """No other elements than these."""

    elements: frozenset[int]


@dataclass(frozen=True, slots=True)
class AllOf:
    """Each of these elements."""

    elements: frozenset[int]


@dataclass(frozen=True, slots=True)
class HasLabel:
    """A label that the source has."""

    name: str


@dataclass(frozen=True, slots=True)
class InSplit:
    """One of these splits: 0 train, 1 validation, 2 test."""

    splits: frozenset[int]


@dataclass(frozen=True, slots=True)
class TextIn:
    """One of these texts."""

    column: str | Info  # one of TEXTS, or a key
    texts: frozenset[str]


@dataclass(frozen=True, slots=True)
class TextLike:
    """A text that a pattern with * and ? fits."""

    column: str | Info
    pattern: str


@dataclass(frozen=True, slots=True)
class Both:
    """Both are true."""

    left: Condition
    right: Condition


@dataclass(frozen=True, slots=True)
class Either:
    """One of them is true, or both."""

    left: Condition
    right: Condition


@dataclass(frozen=True, slots=True)
class Not:
    """It is false."""

    of: Condition


Condition = Compare | OnlyOf | AllOf | HasLabel | InSplit | TextIn | TextLike | Both | Either | Not


def all_of(*conditions: Condition | None) -> Condition | None:
    """All that are given together."""
    found: Condition | None = None
    for condition in conditions:
        if condition is not None:
            found = condition if found is None else Both(found, condition)
    return found


def columns_of(node: Condition | Numeric) -> set[str]:
    """Names of what must be read of frames to evaluate it: arrays, `references`, and `group`, `origin` or `info`."""
    return {name for part in _walk(node) for name in _own_columns(part)}


def keys_of(node: Condition | Numeric) -> set[str]:
    """The keys of the source that it asks for."""
    columns = (part.column if isinstance(part, (TextIn, TextLike)) else part for part in _walk(node))
    return {column.key for column in columns if isinstance(column, Info)}


def _walk(node: Condition | Numeric) -> Iterator[Condition | Numeric]:
    yield node
    match node:
        case Both(left, right) | Either(left, right) | Compare(_, left, right) | Arithmetic(_, left, right):
            yield from _walk(left)
            yield from _walk(right)
        case Not(of):
            yield from _walk(of)


def _own_columns(node: Condition | Numeric) -> tuple[str, ...]:
    match node:
        case Quantity("energy_above_references"):
            return (*NEEDS[node.name], "references")
        case Quantity(name):
            return NEEDS.get(name, (name,))
        case CountOf() | OnlyOf() | AllOf():
            return ("numbers",)
        case HasLabel(name):
            return (f"has_{name}",)
        case InSplit():
            return ("split",)
        case Info() | TextIn(Info(), _) | TextLike(Info(), _):
            return ("info",)
        case TextIn(str(column), _) | TextLike(str(column), _):
            return ("origin" if column == "file" else column,)
    return ()
