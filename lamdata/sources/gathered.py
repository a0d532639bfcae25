"""Frames one by one -> `Parsed`, arrays of many: a file of many frames costs an ingest less so, and gives the same.

What was read before an error is given before it is raised, and what must not be used comes where it stood.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from lamdata.frame import F64, Frame, Rejection, volume_of
from lamdata.frames import Parsed

from .build import SMALLEST_VOLUME

FRAMES_AT_ONCE = 1024
ATOMS_AT_ONCE = 1 << 16
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
    weight: float = 1.0
    stress: F64 | None = None  # (3, 3) eV/Å^3 of ASE's sign, of a frame with a cell: becomes the virial, -V x stress


def is_sound(cell: F64) -> bool:
    """Whether the volume of a cell (3, 3) is no matter of rounding: neither nearly none, nor beyond measure, nor nan."""
    return 10 * SMALLEST_VOLUME < volume_of(cell) < LARGE


def is_finite(values: F64) -> bool:
    """Whether values are finite, by their sum: no plain ones add up to more than a float holds."""
    return math.isfinite(float(values.sum()))


def gather(items: Iterable[Frame | Row | Rejection]) -> Iterator[Parsed | Rejection]:
    """Stack frames that follow one another, about 10 MB at a time."""
    waiting: list[Frame | Row] = []
    atoms = 0
    try:
        for item in items:
            if isinstance(item, Rejection):
                if waiting:
                    yield _stack(waiting)
                    waiting, atoms = [], 0
                yield item
                continue
            waiting.append(item)
            atoms += len(item.numbers)
            if len(waiting) >= FRAMES_AT_ONCE or atoms >= ATOMS_AT_ONCE:
                yield _stack(waiting)
                waiting, atoms = [], 0
    except Exception:
        if waiting:
            yield _stack(waiting)
        raise
    if waiting:
        yield _stack(waiting)


def _stack(waiting: list[Frame | Row]) -> Parsed:
    rows = [row for row in waiting if isinstance(row, Row) and row.stress is not None]
    if rows:  # all volumes at once, which cost more than all else one by one
        volumes = np.abs(np.linalg.det(np.array([row.cell for row in rows])))
        for row, virial in zip(rows, -volumes[:, None, None] * np.array([row.stress for row in rows])):
            row.virial = virial
    return Parsed.from_list(cast(list[Frame], waiting))  # it asks for the fields alone
