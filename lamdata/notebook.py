"""Notebook: what an object is, in a few words and as a small HTML table, for `repr` and for notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .elements import SYMBOLS

NAMES = 8  # shown of a list; the rest is counted


def listed(names: Sequence[str], *, separator: str = ", ") -> str:
    """The first few of some names, and how many more there are; "none" for none."""
    more = [f"and {len(names) - NAMES} more"] if len(names) > NAMES else []
    return separator.join([*names[:NAMES], *more]) or "none"


def symbols(numbers: NDArray[np.integer]) -> list[str]:
    """Atomic numbers -> the symbols of those that occur; one that no element has as its number."""
    return [SYMBOLS[z] if z < len(SYMBOLS) else str(z) for z in np.unique(numbers).tolist()]


def sentence(title: str, facts: Mapping[str, Any]) -> str:
    """One line: the title, then each fact behind its name, those that are `None` left out."""
    said = [f"{name} {value}" for name, value in facts.items() if value is not None]
    return f"<{title}: {'; '.join(said)}>"


def facts_table(title: str, facts: Mapping[str, Any]) -> str:
    """The same as an HTML table of two columns, escaped."""
    return html_table(title, (), [(name, value) for name, value in facts.items() if value is not None])


def html_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """An HTML table, every text escaped."""
    head = f"<thead>{_row('th', columns)}</thead>" if columns else ""
    return f"<table><caption>{escape(title)}</caption>{head}<tbody>{''.join(_row('td', row) for row in rows)}</tbody></table>"


def _row(tag: str, cells: Sequence[Any]) -> str:
    return "<tr>" + "".join(f"<{tag}{_kind(tag, cell)}>{escape(_cell(cell))}</{tag}>" for cell in cells) + "</tr>"


def _kind(tag: str, value: Any) -> str:
    """Heads are of columns; numbers may be set to the right."""
    if tag == "th":
        return ' scope="col"'
    return ' class="n"' if isinstance(value, (int, float)) and not isinstance(value, bool) else ""


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}"
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def size_of(count: float, *, smallest: str = "B") -> str:
    """Bytes in the unit that suits them; `smallest` is what a byte is called."""
    for unit in (smallest, "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"
