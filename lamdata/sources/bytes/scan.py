"""Scan: the next of some titles, whole tables of numbers, and lines of pairs, in a text that is still bytes.

`_scan.c` does it where it could be compiled at installation. Where it could not, titles are found by a regular expression, and nothing is
taken as a whole: the caller then reads word by word, as it does with all that is not plainly what it should be, and to the same bits.
"""

from __future__ import annotations

import re
from functools import lru_cache
from types import ModuleType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lamdata.elements import NUMBERS
from lamdata.frame import F64

compiled: ModuleType | None
try:
    from . import _scan as compiled
except ImportError:
    compiled = None

Style = Literal["plain", "fortran", "columns"]
STYLES: dict[Style, int] = {"plain": 0, "fortran": 1, "columns": 2}  # as `float` reads it; 1.0D-3 too; columns that ran together, and stars
NO_NUMBERS = np.empty(0, np.uint8)


def _place(symbol: str) -> int:
    """Where the table of elements has a symbol: by its capital, then by its small letter or none."""
    return (ord(symbol[0]) - ord("A")) * 27 + (ord(symbol[1]) - ord("a") + 1 if symbol[1:] else 0)


_places = {_place(symbol): number for symbol, number in NUMBERS.items() if 0 < number < 119}
ELEMENTS = bytes(_places.get(place, 0) for place in range(26 * 27))  # D and T, which are hydrogen of another name, are for the caller


def _any_of(titles: tuple[bytes, ...]) -> re.Pattern[bytes]:
    """A pattern that finds the next title. Branching once on the first letter is quickest."""
    rests: dict[bytes, list[bytes]] = {}
    for title in titles:
        rests.setdefault(title[:1], []).append(re.escape(title[1:]))
    return re.compile(b"|".join(re.escape(first) + b"(?:" + b"|".join(rest) + b")" for first, rest in rests.items()))


class Titles:
    """Texts that are looked for all at once."""

    def __init__(self, texts: tuple[str, ...]):
        self.texts = tuple(sorted(texts))
        known = tuple(text.encode() for text in self.texts)
        self._known = compiled.titles(known) if compiled is not None else None
        self._pattern = _any_of(known)
        self._masks: dict[frozenset[str], bytes] = {frozenset(): b""}

    def find(
        self, text: bytes, start: int, stop: int, passing: frozenset[str] = frozenset()
    ) -> tuple[str | None, int, int, list[tuple[str, int, int]]]:
        """The first title in `text[start:stop]`, of several at one place the least; None where there is none.

        With it, where its line begins and ends, 0 where the end lies beyond `stop`. Titles that are `passing` are passed over with their
        lines, where this is compiled; then with each its number of lines and the place of the last.
        """
        if compiled is None or self._known is None:
            found = self._pattern.search(text, start, stop)
            if found is None:
                return None, 0, 0, []
            inside = found.start() + found[0].startswith(b"\n")
            return found[0].decode(), max(start, text.rfind(b"\n", start, inside) + 1), text.find(b"\n", inside, stop) + 1, []
        if (mask := self._masks.get(passing)) is None:
            mask = self._masks[passing] = bytes(title in passing for title in self.texts)
        which, begin, end, seen = compiled.find(self._known, text, start, stop, mask)
        passed = [(self.texts[i], count, last) for i, count, last in seen] if seen else []
        return self.texts[which] if which >= 0 else None, begin, end, passed


NOTHING = Titles(("\0\0",))  # what no text is asked for


@lru_cache(maxsize=100)
def titles_of(texts: tuple[str, ...]) -> Titles:
    """The titles of a format, prepared once."""
    return Titles(texts)


def take_rows(
    text: bytes,
    at: int,
    pattern: str,
    out: F64,
    *,
    numbers: NDArray[np.uint8] = NO_NUMBERS,
    after: bytes = b"",
    until: bytes = b"",
    style: Style = "columns",
) -> tuple[int, int]:
    """Read whole lines from `text[at:]` into the rows of `out`; return how many there were, and where the next one begins.

    `pattern` has a letter for each word of a line: n a number, i an integer, e a chemical symbol, w any word; at its end + lets more numbers
    follow, * anything. Numbers and integers go into `out` (rows, one column each), atomic numbers into `numbers` (rows,). Of a line only
    what stands behind `after` and before `until` is read. The first line that is not plainly so ends it: fewer rows than `out` has.
    """
    if compiled is None:
        return 0, at
    stop = until[0] if until else -1
    taken: tuple[int, int] = compiled.rows(text, at, pattern, len(out), out, numbers, ELEMENTS, after, stop, STYLES[style])
    return taken


def skip_lines(text: bytes, at: int, count: int) -> tuple[int, int]:
    """Pass over `count` whole lines of `text[at:]`, or as many as there are; return how many, and where the next one begins."""
    if compiled is not None:
        skipped: tuple[int, int] = compiled.skip(text, at, count)
        return skipped
    for passed in range(count):
        end = text.find(b"\n", at)
        if end < 0:
            return passed, at
        at = end + 1
    return count, at


def hop_frames(text: bytes, at: int, upto: int) -> tuple[int, int]:
    """Pass over frames of a plain number of atoms, a comment and a line for each, as long as they begin before `upto` and are whole.

    Return how many, and where the next one begins; none where nothing is compiled.
    """
    if compiled is None:
        return 0, at
    hopped: tuple[int, int] = compiled.hop(text, at, upto)
    return hopped


def plain_pairs(line: bytes) -> dict[str, str] | None:
    """The pairs of a line of `key=value` and `key="some words"`; None where anything else is in it, which is for the caller to read."""
    return None if compiled is None else compiled.pairs(line)


def plain_numbers(text: str, count: int) -> F64 | None:
    """(count,) the numbers of a text that holds so many and nothing else; None where it does not."""
    out = np.empty((1, count))
    done, _ = take_rows(text.encode() + b"\n", 0, "n" * count, out, style="fortran")
    return out[0] if done else None


def plain_elements(text: bytes, start: int, stop: int, paths: tuple[bytes, ...]) -> list[tuple[int, int, int]] | None:
    """Where wanted elements stand in the one element of XML that `text[start:stop]` is: which path, and begin and end of the content.

    A path is that of the names below the element, as `/structure/varray@positions`, where the last may have an attribute `name`. Given in the
    order of the text; None where it is not well formed, or not as plain as programs write it.
    """
    return None if compiled is None else compiled.elements(text, start, stop, paths)
