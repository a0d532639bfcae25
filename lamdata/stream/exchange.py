"""Exchange: how ranks hand frames to each other, and frames as bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from ..frames import FRAME_FIELDS, Frames

Bytes = NDArray[np.uint8]
Exchange = Callable[[Sequence[Bytes]], list[Bytes]]
"""Part r for rank r -> the part that each rank had for this one. All ranks call it, and in the same order."""

DTYPES = tuple(map(np.dtype, ("u1", "?", "<i2", "<i4", "<i8", "<u8", "<f4", "<f8")))
ABSENT = 255
TAILS = {"cell": (3, 3), "virial": (3, 3), "pbc": (3,), "positions": (3,), "forces": (3,), "noise": (3,)}
NAMES = ["natoms", *(field.name for field in fields(Frames) if field.name != "natoms")]  # what says how many atoms comes first


def pack(frames: Frames) -> Bytes:
    """Frames as one array: how many, the type of each field, the fields; nothing for none."""
    if not len(frames):
        return np.empty(0, np.uint8)
    values = [getattr(frames, name) for name in NAMES]
    types = np.array([ABSENT if value is None else DTYPES.index(value.dtype) for value in values], np.uint8)
    arrays = [np.ascontiguousarray(value).reshape(-1).view(np.uint8) for value in values if value is not None]
    return np.concatenate([np.array([len(frames)], "<i8").view(np.uint8), types, *arrays])


def unpack(data: Bytes) -> Frames:
    """What `pack` was given, or no frames."""
    if not len(data):
        return Frames.empty()
    count, at, atoms = int(data[:8].view("<i8")[0]), 8 + len(NAMES), 0
    values: dict[str, NDArray[np.generic] | None] = {}
    for name, code in zip(NAMES, data[8:at].tolist()):
        values[name] = None
        if code == ABSENT:
            continue
        dtype, tail = DTYPES[code], TAILS.get(name, ())
        size = (count if name in FRAME_FIELDS else atoms) * int(np.prod(tail)) * dtype.itemsize
        values[name] = found = np.frombuffer(data[at : at + size].tobytes(), dtype).reshape(-1, *tail)
        atoms, at = int(found.sum()) if name == "natoms" else atoms, at + size
    return Frames(**values)  # type: ignore[arg-type]  # of the types that `pack` saw
