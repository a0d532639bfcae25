"""Theories: what each file of a card states of how its labels were computed -> where two files disagree.

Potentials and Hubbard parameters are compared element by element where a file says which element they are of: another compound has others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..catalog import Card
from ..errors import DataError
from ..theory import Theory

Statement = tuple[str, str]  # field of `Theory`, and of what: an element, a list of potentials, or "" for the whole
OF_ELEMENT = re.compile(r"(?:^|[\s,;])([A-Z][a-z]?)(?=[\s._:-])")
FIELDS = tuple(Theory.model_fields)


class Theories:
    """The first statement of each kind and the file that makes it, and where later files disagree with one."""

    def __init__(self, first: dict[Statement, tuple[Any, str]] | None = None, differences: list[str] | None = None):
        self._first = first or {}
        self.differences = differences or []  # one for each field, at most

    def add(self, file: str, stated: Mapping[str, Any]) -> None:
        """Take in what a file states."""
        for statement, value in _statements(stated):
            self._take(statement, value, file)

    def merge(self, others: Iterable[Theories]) -> Theories:
        """Take in what others saw, in the order given."""
        for other in others:
            for statement, (value, file) in other._first.items():
                self._take(statement, value, file)
            for line in other.differences:
                self._note(line)
        return self

    def _take(self, statement: Statement, value: Any, file: str) -> None:
        known, where = self._first.setdefault(statement, (value, file))
        name, of = statement
        if not _agree(statement, known, value):
            self._note(f"{name}{f' of {of}' * bool(of)} is {known} in {where} and {value} in {file}")

    def _note(self, line: str) -> None:
        if line.split()[0] not in {known.split()[0] for known in self.differences}:
            self.differences.append(line)

    def to_json(self) -> list[Any]:
        """As plain data."""
        return [[[*statement, value, file] for statement, (value, file) in self._first.items()], self.differences]

    @staticmethod
    def from_json(data: list[Any]) -> Theories:
        """Back from `to_json`."""
        rows, differences = data
        return Theories({(name, of): (value, file) for name, of, value, file in rows}, list(differences))


def _statements(stated: Mapping[str, Any]) -> Iterator[tuple[Statement, Any]]:
    """The statements of a file that another file of the same theory must repeat."""
    for name in FIELDS:
        value = stated.get(name)
        if value is None:
            continue
        if name == "core":
            yield from _of_elements(name, str(value))
        elif name == "hubbard_u":
            yield (name, ""), value
            yield from () if _is_none(value) else _of_elements(name, str(value), of=str(stated.get("core")))
        else:
            yield (name, ""), value


def _of_elements(name: str, text: str, *, of: str = "") -> Iterator[tuple[Statement, Any]]:
    """Its entries, each by its element; or the whole by `of` where an entry names none, or two name the same."""
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    found = [OF_ELEMENT.search(entry) for entry in entries]
    elements = [one[1] for one in found if one]
    if len(elements) == len(entries) and len(set(elements)) == len(elements):
        yield from (((name, element), entry) for element, entry in zip(elements, entries))
    elif len(entries) == 1 or of:
        yield (name, of), text


def _agree(statement: Statement, one: Any, other: Any) -> bool:
    name, of = statement
    if statement == ("hubbard_u", ""):  # with or without; the values are compared by element
        return _is_none(one) == _is_none(other)
    if of or name == "core":
        return str(one).casefold().split() == str(other).casefold().split()
    return not Theory.model_validate({name: one}).conflicts({name: other})


def _is_none(value: Any) -> bool:
    return str(value).casefold() == "none"


def check_theories(card: Card, theories: Theories) -> None:
    """Refuse files whose theories differ, unless the card says why they may."""
    if theories.differences and not card.allow_theory:
        raise DataError(
            f"the files of {card.dataset} differ in theory: {'; '.join(theories.differences)}",
            hint="give each theory its own card, or say why in `allow_theory: [reason]`",
        )
