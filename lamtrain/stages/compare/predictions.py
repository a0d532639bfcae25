"""Predictions in a file, in any order -> the same in the order of the frames that were asked about, and what is wrong with them.

A frame is known by its structure: elements in their order, positions and cell. So rows may change places, and a number that stands at
another structure is the prediction of that one. What is missing, not finite, or said twice and differently, is no answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lamdata import open_store, read_frames
from lamdata.errors import DataError, LamError
from lamdata.frame import Frame, Rejection
from lamdata.frames import Frames
from lamdata.store.layout import FRAMES_PER_BLOCK

from ..submitted import file_inside

SAME = 1e-3  # Å by which a coordinate of one structure may differ, as where a file has fewer decimals
EQUAL = (1e-4, 1e-3)  # eV/atom and eV/Å by which two predictions of one structure may differ, as in other batches
SPARE = 1000  # frames that were not asked for and are still read
MOST_ATOMS = 1 << 23  # of a block of a store, which is decoded at once
BYTES = (1 << 20, 2048)  # that a file may have, and by atom and frame

Key = tuple[bytes, tuple[bool, bool, bool]]


@dataclass(slots=True)
class Matched:
    """Predictions of the frames asked; the flags of `frames` say which there are."""

    frames: Frames
    notes: list[str] = field(default_factory=list)


def read_predictions(folder: Path, name: str | None, asked: Frames) -> Matched:
    """Read a file of a submission; one that is not named, missing, damaged or too large answers nothing, and says why."""
    if name is None:
        return Matched(_empty(asked), ["not predicted"])
    try:
        size = BYTES[0] + BYTES[1] * (len(asked.numbers) + len(asked))
        path = file_inside(folder, name, most_bytes=size)
        return match(asked, islice(_items(path), 2 * len(asked) + SPARE))
    except LamError as err:
        return Matched(_empty(asked), [str(err)])


def _items(path: Path) -> Iterator[Frame | Rejection]:
    if path.suffix != ".zarr":
        yield from read_frames(path, format="extxyz")
        return
    store = open_store(path)
    if len(store) != 1:
        raise DataError(f"a store with {len(store)} datasets, expected one with predictions", where=str(path))
    (dataset,) = store.values()
    for plan in (segment.plan for segment in dataset.segments):
        if plan.block_frames > FRAMES_PER_BLOCK or plan.atom_width > MOST_ATOMS:
            raise DataError("blocks larger than `lamtrain predict` writes them", where=str(path))
    yield from dataset


def _empty(asked: Frames) -> Frames:
    none, bare = np.zeros(len(asked), bool), asked.without(["energy", "forces", "virial"])
    return bare.with_(
        energy=np.zeros(len(asked)),
        forces=np.zeros((len(asked.numbers), 3)),
        virial=np.zeros((len(asked), 3, 3)),
        has_energy=none,
        has_forces=none.copy(),
        has_virial=none.copy(),
    )


def match(asked: Frames, given: Iterable[Frame | Rejection]) -> Matched:
    """Lay predictions on the frames asked."""
    out, known = _empty(asked), _by_structure(asked)
    first: dict[int, Frame] = {}
    strange = twice = unread = 0
    conflicting = set[int]()
    for item in given:
        if isinstance(item, Rejection) or not _finite(item):
            unread += 1
            continue
        rows = _rows_of(item, known)
        strange += not rows
        for row in rows:
            before = first.setdefault(row, item)
            if before is not item:
                twice += 1
                if not _agree(before, item):
                    conflicting.add(row)
    for row, frame in first.items():
        if row not in conflicting:
            _put(out, row, frame)
    counts = {
        "frames are none of those that were asked about (atoms moved, or in another order)": strange,
        "frames are unreadable, or hold numbers that are not finite": unread,
        "frames are predicted twice": twice - len(conflicting),
        "frames are predicted twice, and differently: none of the two counts": len(conflicting),
    }
    return Matched(out, [f"{count} {words}" for words, count in counts.items() if count > 0])


def _finite(frame: Frame) -> bool:
    parts = (frame.positions, frame.cell, frame.energy, frame.forces, frame.virial)
    return all(part is None or bool(np.isfinite(part).all()) for part in parts)


def _by_structure(asked: Frames) -> dict[Key, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Elements and periodic axes -> rows (n,) and coordinates (n, 3 A + 9) of the frames that have them."""
    found: dict[Key, tuple[list[int], list[NDArray[np.float64]]]] = {}
    for row, frame in enumerate(asked):
        rows, places = found.setdefault(_key(frame), ([], []))
        rows.append(row)
        places.append(_place(frame))
    return {key: (np.array(rows), np.stack(places)) for key, (rows, places) in found.items()}


def _key(frame: Frame) -> Key:
    return frame.numbers.tobytes(), frame.pbc


def _place(frame: Frame) -> NDArray[np.float64]:
    cell = np.zeros(9) if frame.cell is None or not any(frame.pbc) else np.ravel(frame.cell)
    return np.concatenate([np.ravel(frame.positions), cell]).astype(np.float64)


def _rows_of(frame: Frame, known: dict[Key, tuple[NDArray[np.int64], NDArray[np.float64]]]) -> list[int]:
    """The frames asked that are this structure: the nearest, and those that are as near because they are the same."""
    rows, places = known.get(_key(frame), (np.empty(0, np.int64), np.empty((0, 0))))
    if not len(rows):
        return []
    apart = np.abs(places - _place(frame)).max(axis=1)
    return [int(row) for row in rows[apart <= min(SAME, float(apart.min()) + 1e-9)]]


def _agree(one: Frame, other: Frame) -> bool:
    """Whether two predictions of one structure are one."""
    if [one.energy is None, one.forces is None, one.virial is None] != [other.energy is None, other.forces is None, other.virial is None]:
        return False
    atoms, found = len(one.numbers), True
    if one.energy is not None and other.energy is not None:
        found &= abs(one.energy - other.energy) <= EQUAL[0] * atoms
    if one.forces is not None and other.forces is not None:
        found &= bool(np.abs(one.forces - other.forces).max() <= EQUAL[1])
    if one.virial is not None and other.virial is not None:
        found &= bool(np.abs(one.virial - other.virial).max() <= EQUAL[1] * atoms)
    return found


def _put(out: Frames, row: int, frame: Frame) -> None:
    if frame.energy is not None:
        out.energy[row], out.has_energy[row] = frame.energy, True
    if frame.forces is not None:
        start = int(out.starts[row])
        out.forces[start : start + len(frame.numbers)], out.has_forces[row] = frame.forces, True
    if frame.virial is not None:
        out.virial[row], out.has_virial[row] = frame.virial, True
