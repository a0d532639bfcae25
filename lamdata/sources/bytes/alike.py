"""Frames that are written alike: a template says what each line of one is, and as many as follow one another are taken at once into arrays.

`_scan.c` does it where it could be compiled at installation; where it could not, no frame is taken so. A frame that is not plainly as the
template has it ends the work: its reader then reads it in its own way, to the same bits, and may go on with the template behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lamdata.frame import F64

from . import scan

FRAMES, ATOMS = 1024, 1 << 16  # that are taken at once, at most


class Line(NamedTuple):
    """What a line of a frame is, by the kinds of `_frames.h`."""

    kind: str
    text: str = ""
    pattern: str = ""
    pairs: tuple[tuple[str, str, str], ...] = ()  # key, kind, text of each


@dataclass(frozen=True, slots=True)
class Alike:
    """Frames that were taken; F = frames, A = all their atoms."""

    natoms: NDArray[np.int64]  # (F,)
    values: F64  # (F, numbers of a frame), in the order of the template
    table: F64  # (A, numbers of an atom)
    numbers: NDArray[np.uint8]  # (A,) atomic numbers, where the pattern has symbols
    places: NDArray[np.int64]  # (F,) where they begin, as `Lines.mark`
    _texts: NDArray[np.int64]  # (F, texts, 2)
    _buffer: bytes

    def __len__(self) -> int:
        return len(self.natoms)

    def texts(self, number: int) -> list[str]:
        """(F,) what is written in a place of which the template notes the text."""
        return [self._buffer[begin:end].decode("utf-8", "replace") for begin, end in self._texts[:, number].tolist()]


class Template:
    """The lines of a frame, and room for many; `titles` are those among which an output is searched."""

    def __init__(self, lines: Iterable[Line], *, style: scan.Style, titles: tuple[str, ...] = ()):
        self._style = scan.STYLES[style]
        self._known, lines = None, list(lines)
        words = {word for line in lines for word in (line.text, *(word for pair in line.pairs for word in pair))}
        if scan.compiled is None or any("\0" in word for word in words):  # with which no text of C goes on
            return
        searched = scan.compiled.titles(tuple(text.encode() for text in titles)) if titles else None
        self._known = scan.compiled.template(tuple(_encoded(line) for line in lines), searched)
        table = next(line.pattern for line in lines if line.kind in "a*")
        values = sum(_values(line) for line in lines)
        texts = sum(_texts(line) for line in lines)
        self._places, self._natoms = np.empty(FRAMES, np.int64), np.empty(FRAMES, np.int64)
        self._texts, self._values = np.empty((FRAMES, texts, 2), np.int64), np.empty((FRAMES, values))
        self._table, self._numbers = np.empty((ATOMS, _width(table))), np.empty(ATOMS, np.uint8)

    def take(self, buffer: bytes, at: int, most: int, *, base: int) -> tuple[Alike | None, int, bool]:
        """Frames from `buffer[at:]` on, at most so many; where the next begins, and whether the text ended before it was known what that is.

        `base` is added to places.
        """
        if self._known is None or scan.compiled is None:
            return None, at, False
        frames, atoms, behind, ended = scan.compiled.frames(
            self._known, buffer, at, self._places[:most], self._natoms, self._texts, self._values, self._table, self._numbers,
            scan.ELEMENTS, self._style,
        )  # fmt: skip
        if not frames:
            return None, at, bool(ended)
        found = Alike(
            self._natoms[:frames].copy(), self._values[:frames].copy(), self._table[:atoms].copy(), self._numbers[:atoms].copy(),
            self._places[:frames] + base, self._texts[:frames].copy(), buffer,
        )  # fmt: skip  # copies: whoever has them may hold on to them when the next are taken
        return found, behind, bool(ended)


def repeating(titles: tuple[str, ...], kinds: Mapping[str, str]) -> Line:
    """Lines of titles that repeat: `c` counts them, `t` notes the last."""
    return Line("r", "".join(kinds.get(title, ".") for title in titles))


def _encoded(line: Line) -> tuple[str, bytes, bytes, tuple[tuple[bytes, str, bytes], ...]]:
    pairs = tuple((key.encode(), kind, text.encode()) for key, kind, text in line.pairs)
    return line.kind, line.text.encode(), line.pattern.encode(), pairs


def _width(pattern: str) -> int:
    """Numbers in a line of a pattern."""
    return pattern.count("n") + pattern.count("i")


def _values(line: Line) -> int:
    own = _width(line.pattern) if line.kind in "nw" else line.text.count("c") if line.kind == "r" else 0
    return own + sum(_width(text) for _, kind, text in line.pairs if kind == "n")


def _texts(line: Line) -> int:
    return (line.text.count("t") if line.kind == "r" else 0) + sum(kind == "t" for _, kind, _ in line.pairs)
