"""Numbers in the fixed columns of Fortran codes, which run together when they are large."""

from __future__ import annotations

import re

NUMBER = re.compile(r"[-+]?(?:\d+\.\d*|\.\d+|\d+)(?:[EeDd][-+]?\d+)?")
SIGN = re.compile(r"(?<![EeDd])(?=[-+])")  # where the next number begins, unless it is an exponent's
LONG = re.compile(r"[-+]\d{3}")  # an exponent of three digits, before which Fortran prints no E
ENDING = re.compile(r"\.(\d+)([EeDd][-+]\d+)?$")  # decimals, and the exponent, of the last number of a word
NAN = float("nan")


def floats(text: str) -> list[float]:
    """The numbers somewhere in a text; for a line of a known form, where words surround them."""
    return [_float(word) for word in NUMBER.findall(text)]


def first_number(text: str) -> float:
    """The first number of a text, nan where stars (a number too wide for its column) come before it."""
    found = NUMBER.search(text)
    if "*" in text[: found.start() if found else None]:
        return NAN
    if found is None:
        raise ValueError(f"no number in {text.strip()[:40]!r}")
    return _float(found[0])


def columns(text: str, *, count: int | None = None) -> list[float]:
    """The numbers of a row of a table, which holds nothing else.

    Words that ran together are taken apart at signs, and else by their decimals: a column has one format, so the last number of
    a word says how many decimals each has (`0.000000000108.808388788` is 0 and 108.808388788). Where that does not come out, they are
    refused. `1.0D-3` and `1.0-103` have exponents; brackets are passed over. `****`, a number too wide for its column, is nan; where
    stars of several columns ran together, so that there are fewer than `count` numbers, none of the row is known.
    """
    try:
        return list(map(float, text.split()))
    except ValueError:
        words = text.replace("(", " ").replace(")", " ").split()
        numbers = [number for word in words for number in _split(word)]
        return [NAN] * count if count is not None and len(numbers) < count and "*" in text else numbers


def _split(word: str) -> list[float]:
    if NUMBER.fullmatch(word):
        return [_float(word)]
    numbers: list[float] = []
    for part in re.findall(r"\*+|[^*]+", word):
        numbers += [NAN] if part[0] == "*" else [_float(piece) for signed in _at_signs(part) for piece in _by_decimals(signed, word)]
    return numbers


def _at_signs(part: str) -> list[str]:
    """Pieces with a sign of their own; `1.0-103` stays one."""
    pieces: list[str] = []
    for piece in filter(None, SIGN.split(part)):
        if pieces and "." in pieces[-1] and LONG.fullmatch(piece):
            pieces[-1] += f"E{piece}"
        else:
            pieces.append(piece)
    return pieces


def _by_decimals(piece: str, word: str) -> list[str]:
    """One number, or several of as many decimals as the last of them."""
    if NUMBER.fullmatch(piece):
        return [piece]
    if last := ENDING.search(piece):
        one = rf"[-+]?\d+\.\d{{{len(last[1])}}}" + (r"[EeDd][-+]\d\d" if last[2] else "")
        if re.fullmatch(f"(?:{one})+", piece):
            return re.findall(one, piece)
    raise ValueError(f"not a number: {word[:40]!r}")


def _float(word: str) -> float:
    return float(word.replace("D", "E").replace("d", "e"))
