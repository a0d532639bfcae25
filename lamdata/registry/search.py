"""Search: words and filters -> the versions of a registry that have them, from its index alone."""

from __future__ import annotations

from collections.abc import Sequence

from ..elements import SYMBOLS
from ..errors import ConfigError
from ..located import did_you_mean
from ..notebook import listed
from ..places import open_place
from .entry import Entry, read_index


def search(
    registry: str,
    words: Sequence[str] = (),
    *,
    kind: str | None = None,
    elements: Sequence[str] = (),
    license: str | None = None,
) -> list[Entry]:
    """Versions in which every word occurs, of a kind, with all of some elements, whose licence contains a text; by name and version."""
    if wrong := [symbol for symbol in elements if symbol not in SYMBOLS[1:]]:
        raise ConfigError(f"{wrong[0]!r} is no element", where="--elements", hint=did_you_mean(wrong[0], SYMBOLS[1:]))
    return [
        entry
        for entry in read_index(open_place(registry))
        if kind in (None, entry.kind)
        and set(elements) <= set(entry.elements)
        and (license or "").casefold() in (entry.license or "").casefold()
        and all(word.casefold() in _text(entry) for word in words)
    ]


def _text(entry: Entry) -> str:
    said = [entry.address, entry.title, entry.license or "", *entry.theory, *entry.heads, *entry.data, *entry.parents, *entry.citations]
    return "\n".join(said).casefold()


COLUMNS = ("address", "kind", "title", "licence", "elements", "frames", "theory or heads")


def row(entry: Entry) -> list[str | int | None]:
    """A version as a row of COLUMNS."""
    said = ", ".join(entry.heads) or "; ".join(entry.theory)
    frames = sum(entry.frames.values()) if entry.frames else None
    return [entry.address, entry.kind, entry.title, entry.license or "unknown", listed(entry.elements, separator=" "), frames, said]
