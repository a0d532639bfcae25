"""Frames one by one, or some at once -> `Parsed`, arrays of many: a file of many frames costs an ingest less so, and gives the same.

What was read before an error is given before it is raised, and what must not be used comes where it stood.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from numpy.typing import NDArray

from lamdata.errors import SourceError
from lamdata.frame import F64, Frame, Rejection, volume_of
from lamdata.frames import Parsed

from .build import SMALLEST_VOLUME
from .bytes.source_file import SourceFile

FRAMES_AT_ONCE = 1024
ATOMS_AT_ONCE = 1 << 16
TRUNCATED = "truncated"  # why there is no frame, where what wrote it was killed
LARGE = 1e12  # eV or Å^3: nothing that is plain is larger


@dataclass(slots=True, kw_only=True)
class Row:
    """The values of a `Frame` that a reader has checked already, on their way into arrays; fields as there."""

    numbers: NDArray[np.uint8]
    positions: F64
    cell: F64 | None
    pbc: tuple[bool, bool, bool]
    energy: float | None
    forces: F64 | None
    virial: F64 | None
    charge: int
    multiplicity: int | None
    converged: bool | None
    group: str
    origin: str
    split: str
    isolated: bool
    left_out: tuple[str, ...]
    info: Mapping[str, str] = field(default_factory=dict)
    weight: float = 1.0
    stress: F64 | None = None  # (3, 3) eV/Å^3 of ASE's sign, of a frame with a cell: becomes the virial, -V x stress


def is_sound(cell: F64) -> bool:
    """Whether the volume of a cell (3, 3) is no matter of rounding: neither nearly none, nor beyond measure, nor nan."""
    return 10 * SMALLEST_VOLUME < volume_of(cell) < LARGE


def are_sound(cells: F64) -> NDArray[np.bool_]:
    """(F,) the same of many cells (F, 3, 3), by the same operations."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = cells.transpose(1, 2, 0)
    with np.errstate(all="ignore"):
        volumes = np.abs(ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx))
    sound: NDArray[np.bool_] = (volumes > 10 * SMALLEST_VOLUME) & (volumes < LARGE)
    return sound


def is_finite(values: F64) -> bool:
    """Whether values are finite, by their sum: no plain ones add up to more than a float holds."""
    return math.isfinite(float(values.sum()))


Item = Frame | Row | Parsed | Rejection


def not_only_cut(items: Iterator[Item], said: str, *, file: SourceFile) -> Iterator[Item]:
    """The items as they are; where there is nothing but one that is truncated, that is an error of the file, unless it is a span of it."""
    for first in items:
        if file.span is None and isinstance(first, Rejection) and first.reason == TRUNCATED:
            if (second := next(items, None)) is None:
                raise SourceError(said, where=file.name)
            yield first
            first = second
        yield first
        yield from items


def gather(items: Iterable[Frame | Row | Parsed | Rejection]) -> Iterator[Parsed | Rejection]:
    """Stack frames that follow one another, about 10 MB at a time; how many of them came together changes nothing."""
    waiting = _Waiting()
    try:
        for item in items:
            if isinstance(item, Rejection):
                yield from waiting.given()
                yield item
                continue
            left: Frame | Row | Parsed | None = item
            while left is not None:
                left = waiting.add(left)
                if waiting.full:
                    yield from waiting.given()
    except Exception:
        yield from waiting.given()
        raise
    yield from waiting.given()


class _Waiting:
    """Frames that wait for more."""

    def __init__(self) -> None:
        self._parts: list[list[Frame | Row] | Parsed] = []
        self._frames = self._atoms = 0

    @property
    def full(self) -> bool:
        return self._frames >= FRAMES_AT_ONCE or self._atoms >= ATOMS_AT_ONCE

    def add(self, item: Frame | Row | Parsed) -> Parsed | None:
        """Take in a frame, or of many what there is room for; return the others."""
        if not isinstance(item, Parsed):
            if not self._parts or isinstance(self._parts[-1], Parsed):
                self._parts.append([])
            cast(list[Frame | Row], self._parts[-1]).append(item)
            self._frames, self._atoms = self._frames + 1, self._atoms + len(item.numbers)
            return None
        ends = np.cumsum(item.frames.natoms[: FRAMES_AT_ONCE - self._frames], dtype=np.int64)
        count = min(len(ends), int(np.searchsorted(ends, ATOMS_AT_ONCE - self._atoms)) + 1)
        self._parts.append(item if count == len(item) else item.part(0, count))
        self._frames, self._atoms = self._frames + count, self._atoms + int(ends[count - 1])
        return None if count == len(item) else item.part(count, len(item))

    def given(self) -> Iterator[Parsed]:
        """All of them, if there are any."""
        if self._parts:
            yield Parsed.concatenate([part if isinstance(part, Parsed) else _stack(part) for part in self._parts])
            self._parts, self._frames, self._atoms = [], 0, 0


def _stack(waiting: list[Frame | Row]) -> Parsed:
    rows = [row for row in waiting if isinstance(row, Row) and row.stress is not None]
    if rows:  # all volumes at once, which cost more than all else one by one
        volumes = np.abs(np.linalg.det(np.array([row.cell for row in rows])))
        for row, virial in zip(rows, -volumes[:, None, None] * np.array([row.stress for row in rows])):
            row.virial = virial
    return Parsed.from_list(cast(list[Frame], waiting))  # it asks for the fields alone
