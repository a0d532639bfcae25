"""Rows -> a Markdown table whose cells may hold anything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with the given columns."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines) + "\n"


def code(value: object) -> str:
    """A value as code, also where it holds a backquote."""
    text = str(value)
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _cell(value: str) -> str:
    """A bar ends a cell, unless it stands in code."""
    parts = re.split(r"(`+.+?`+)", " ".join(value.split()))
    return "".join(part if part.startswith("`") else part.replace("|", "\\|") for part in parts)
