"""Fields: what one value of a card or mixture may be -> the value, or why it may not."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from .elements import SYMBOLS
from .located import did_you_mean

TASKS = ("energy_force", "denoise")
TASK_ENTRY_POINTS = "lamtrain.tasks"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._+()-]{0,99}$"
Name = Annotated[str, Field(pattern=NAME, max_length=100)]
"""A name that is safe as a folder, a key and a command-line word."""


SplitName = Literal["train", "validation", "test"]
KEYS = ("energy", "forces", "virial", "stress", "charge", "multiplicity", "weight", "group", "split")  # what a card may name in a source


def check_unit(table: Mapping[str, float]) -> AfterValidator:
    """Refuse a unit that the table does not have, and one that is a guess."""

    def check(unit: str) -> str:
        if unit.endswith("?"):
            raise ValueError(f"a guess to be confirmed; write {unit[:-1]!r} without the question mark if it is right")
        if unit not in table:
            raise ValueError(f"unknown unit; {did_you_mean(unit, list(table))}")
        return unit

    return AfterValidator(check)


def check_keys(keys: dict[str, str]) -> dict[str, str]:
    """Refuse a label that no source has."""
    for key in keys:
        if key not in KEYS:
            raise ValueError(f"no label is called {key!r}; {did_you_mean(key, list(KEYS))}")
    return keys


def check_atoms(energies: dict[str, float]) -> dict[str, float]:
    """Refuse what is no element."""
    for symbol in energies:
        if symbol not in SYMBOLS[1:]:
            raise ValueError(f"{symbol!r} is no element; {did_you_mean(symbol, SYMBOLS[1:])}")
    return energies


def check_share(held: float | str) -> float | str:
    """Refuse what is neither a share nor the name of a file."""
    if not isinstance(held, str) and not 0 <= held < 1:
        raise ValueError("a share is at least 0 and less than 1")
    if held == "":
        raise ValueError("expected a share or the name of a file")
    return held


Held = Annotated[float | str, AfterValidator(check_share)]


def known_task(name: str) -> str:
    """Refuse a kind of task that neither comes with lamtrain nor is installed; nothing is imported."""
    if name in TASKS:  # installed packages are searched for what is not ours alone: that takes longer than a mixture
        return name
    known = [*TASKS, *(point.name for point in entry_points(group=TASK_ENTRY_POINTS))]
    if name not in known:
        raise ValueError(did_you_mean(name, known).rstrip("?"))
    return name
