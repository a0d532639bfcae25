"""Time steps of a LAMMPS dump with the same box and columns -> arrays of many; each is what the reader gives one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamdata.frame import F64
from lamdata.frames import Frames, Parsed

from ..bytes.alike import FRAMES, Alike, Line, Template
from ..bytes.files import SourceFile
from ..bytes.lines import Lines
from ..gathered import are_sound


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a plain dump are taken as a table, and where the table then has them."""

    pattern: str
    positions: tuple[int, int, int]
    id: int | None
    type: int | None  # None where elements are named
    scaled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """What the steps of a dump have in common."""

    template: Template
    columns: Columns
    types: NDArray[np.uint8]  # atomic numbers by type
    tilted: bool
    pbc: tuple[bool, ...]
    left_out: tuple[str, ...]


def template_of(box: str, names: str, columns: Columns, *, width: int) -> Template:
    """The lines of a step: `box` and `names` stand behind `BOX BOUNDS` and `ATOMS `; a row of the box has `width` numbers."""
    lines = [
        Line("=", "ITEM: TIMESTEP"),
        Line("."),
        Line("=", "ITEM: NUMBER OF ATOMS"),
        Line("#", " "),
        Line("=", f"ITEM: BOX BOUNDS{box}"),
    ]
    lines += [Line("n", pattern="n" * width)] * 3
    lines += [Line("=", f"ITEM: ATOMS {names}"), Line("a", pattern=columns.pattern)]
    return Template(lines, style="plain")


def take_alike(lines: Lines, pattern: Pattern, first: int, unit: float, file: SourceFile) -> Parsed | None:
    """The next steps, of which the first has the number `first`, as many as are plain; None, and nothing is taken, where that is none.

    `unit` is that of a length, in Å.
    """
    found = lines.alike(pattern.template, FRAMES)
    if found is None:
        return None
    cell, corner = _boxes(found, pattern.tilted)
    order, numbers, fine = _sorted(found, pattern)
    raw = np.ascontiguousarray((found.table if order is None else found.table[order])[:, pattern.columns.positions])
    ends = np.cumsum(found.natoms)
    if pattern.columns.scaled:
        places = [raw[end - n : end] @ box for n, end, box in zip(found.natoms.tolist(), ends.tolist(), cell)]
        positions = np.concatenate(places) * unit
    else:
        positions = (raw - np.repeat(corner, found.natoms, axis=0)) * unit
    cell *= unit
    fine &= are_sound(cell) & np.isfinite(np.add.reduceat(positions.sum(axis=1), ends - found.natoms))
    count = len(found) if fine.all() else int(np.argmin(fine))
    if count < len(found):
        lines.back_to(int(found.places[count]))
    if count == 0:
        return None
    atoms = int(ends[count - 1])
    frames = Frames.from_arrays(
        numbers=numbers[:atoms], positions=positions[:atoms], natoms=found.natoms[:count].astype(np.int32), cell=cell[:count]
    )
    return Parsed(
        frames=frames.with_(pbc=np.tile(np.array(pattern.pbc), (count, 1))),
        groups=[file.name] * count,
        origins=[f"{file.name}#{i}" for i in range(first, first + count)],
        unconverged=np.zeros(count, bool),
        left_out=[pattern.left_out] * count if pattern.left_out else (),
    )


def _boxes(found: Alike, tilted: bool) -> tuple[F64, F64]:
    """Cells (F, 3, 3) and corners (F, 3) of the bounds, as they are written."""
    bounds = found.values.reshape(len(found), 3, -1)
    low, high = bounds[:, :, 0].copy(), bounds[:, :, 1].copy()
    cell = np.zeros((len(found), 3, 3))
    if tilted:
        xy, xz, yz = bounds[:, :, 2].T
        zero = np.zeros(len(found))
        for ends, extreme in ((low, np.minimum), (high, np.maximum)):
            # What is added turns -0.0, which these functions may give, to the 0.0 that comes first.
            ends[:, 0] -= extreme.reduce([zero, xy, xz, xy + xz]) + 0.0
            ends[:, 1] -= extreme(zero, yz) + 0.0
        cell[:, 1, 0], cell[:, 2, 0], cell[:, 2, 1] = xy, xz, yz
    cell[:, range(3), range(3)] = high - low
    return cell, low


def _sorted(found: Alike, pattern: Pattern) -> tuple[NDArray[np.int64] | None, NDArray[np.uint8], NDArray[np.bool_]]:
    """The order of all atoms by their ids in each step, None as they are; their atomic numbers in it; (F,) which steps have good ids and types."""
    columns, fine = pattern.columns, np.ones(len(found), bool)
    starts = np.cumsum(found.natoms) - found.natoms
    numbers = found.numbers
    if columns.type is not None:
        kinds = found.table[:, columns.type]
        good = (kinds >= 1) & (kinds < len(pattern.types))
        fine &= np.logical_and.reduceat(good, starts)
        numbers = pattern.types[np.where(good, kinds, 0).astype(np.int64)]
    if columns.id is None:
        return None, numbers, fine
    ids, order = found.table[:, columns.id], None
    if not _ascend(ids, starts).all():
        order = np.lexsort((ids, np.repeat(np.arange(len(found)), found.natoms)))
        ids, numbers = ids[order], numbers[order]
    return order, numbers, fine & np.logical_and.reduceat(_ascend(ids, starts), starts)


def _ascend(ids: F64, starts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(A,) which ids are larger than the one before them in their step."""
    up = np.ones(len(ids), bool)
    up[1:] = ids[1:] > ids[:-1]
    up[starts] = True
    return up
