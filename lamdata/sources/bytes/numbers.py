"""Numbers in the fixed columns of Fortran codes, which run together when they are large."""

from __future__ import annotations

import re

NUMBER = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[EeDd][-+]?\d+)?")
GLUED = re.compile(rf"(?:{NUMBER.pattern})+")


def floats(text: str) -> list[float]:
    """The numbers somewhere in a text; for a line of a known form, where words surround them."""
    return [_float(word) for word in NUMBER.findall(text)]


def columns(text: str) -> list[float]:
    """The numbers of a row of a table, which holds nothing else.

    `1.5-2.5` is two numbers, `1.0D-3` one; `****`, a number too wide for its column, is nan. Brackets are passed over.
    """
    try:
        return list(map(float, text.split()))
    except ValueError:
        words = text.replace("(", " ").replace(")", " ").split()
        return [number for word in words for number in _split(word)]


def _split(word: str) -> list[float]:
    if "*" in word:
        return [float("nan")]
    if GLUED.fullmatch(word) is None:
        raise ValueError(f"not a number: {word[:40]!r}")
    return floats(word)


def _float(word: str) -> float:
    return float(word.replace("D", "E").replace("d", "e"))
