"""The last word of a file that ends without a line break -> whether it may lack its end.

A file that was cut within its last number is still text, and reads as another number. It was not where its last word has the form that
the same column has in other lines: as many decimals, or the very word.
"""

from __future__ import annotations

from collections.abc import Iterable


def may_be_cut(word: str, others: Iterable[str]) -> bool:
    """Whether the last word of a file may lack its end; `others` are those of the same column."""
    form = _form(word)
    return all(_form(other) != form for other in others)


def _form(word: str) -> str | int:
    """Decimals of a number that is written with a point and no exponent; else the word."""
    whole, point, decimals = word.partition(".")
    return len(decimals) if point and decimals.isdigit() and whole.lstrip("+-").isdigit() else word
