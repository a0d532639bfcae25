"""Records: frames with their words as bytes, one frame behind the other, so that a frame is found, and read, in one piece.

A record has what belongs to the frame, its group, origin and info (JSON) in UTF-8, each as wide as its batch has it, and then its atoms.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..frames import Frames
from ..store.layout import TEXTS
from ..store.rows import copy_rows

I64 = NDArray[np.int64]
FRAME = np.dtype(
    [
        ("cell", "<f8", (3, 3)),
        ("pbc", "?", (3,)),
        ("energy", "<f8"),
        ("virial", "<f8", (3, 3)),
        ("has_energy", "?"),
        ("has_forces", "?"),
        ("has_virial", "?"),
        ("charge", "<i2"),
        ("multiplicity", "<i2"),
        ("weight", "<f8"),
        ("shortest", "<f4"),
    ]
)
FIELDS = FRAME.names or ()
ATOM = {"numbers": np.dtype("u1"), "positions": np.dtype(("<f8", 3)), "forces": np.dtype(("<f8", 3))}
ATOM_BYTES = sum(dtype.itemsize for dtype in ATOM.values())


def record_bytes(natoms: I64, widths: I64) -> I64:
    """(F,) bytes of records of so many atoms (F,) with texts of these `widths` (F, 3)."""
    size: I64 = FRAME.itemsize + widths.sum(axis=1) + ATOM_BYTES * natoms
    return size


def to_records(frames: Frames, texts: Mapping[str, NDArray[np.bytes_]]) -> NDArray[np.uint8]:
    """All frames, one behind the other."""
    natoms, table = frames.natoms.astype(np.int64), np.empty(len(frames), FRAME)
    for name in FIELDS:
        table[name] = getattr(frames, name)
    widths = np.tile(np.array([texts[name].itemsize for name in TEXTS]), (len(frames), 1))
    size = record_bytes(natoms, widths)
    records, begins = np.empty(int(size.sum()), np.uint8), np.cumsum(size) - size
    values = (
        {"frame": table} | dict(texts) | {name: np.ascontiguousarray(getattr(frames, name), dtype.base) for name, dtype in ATOM.items()}
    )
    for name, (at, bytes_of_each) in _sections(natoms, widths).items():
        copy_rows(_bytes(values[name]), np.cumsum(bytes_of_each) - bytes_of_each, bytes_of_each, records, begins + at)
    return records


class Table:
    """Room for frames that are read from records in any order; `natoms` (F,) in the order in which they are wanted."""

    def __init__(self, natoms: NDArray[np.int32], *, widths: I64):
        self.natoms = natoms
        self.frame = np.empty(len(natoms), FRAME)
        self.texts = {name: np.zeros(len(natoms), f"S{width}") for name, width in zip(TEXTS, widths.tolist())}
        self._starts = np.cumsum(natoms, dtype=np.int64) - natoms
        self._atoms = {name: np.empty(int(natoms.sum()), dtype) for name, dtype in ATOM.items()}

    def put(self, records: NDArray[np.uint8], begins: I64, widths: I64, places: I64) -> None:
        """Put records that begin at `begins` (R,), with texts of these `widths` (R, 3), where they are wanted."""
        natoms = self.natoms[places].astype(np.int64)
        for name, (at, bytes_of_each) in _sections(natoms, widths).items():
            out, row = (self._atoms[name], self._starts[places]) if name in ATOM else (self.texts.get(name, self.frame), places)
            copy_rows(records, begins + at, bytes_of_each, _bytes(out), row * out.dtype.itemsize * (3 if out.ndim == 2 else 1))

    def frames(self) -> Frames:
        """All of them."""
        n = len(self.natoms)
        return Frames(
            **self._atoms,
            **{name: np.ascontiguousarray(self.frame[name]) for name in FIELDS},
            natoms=self.natoms,
            head=np.zeros(n, np.int32),
            dataset=np.zeros(n, np.uint64),
            index=np.zeros(n, np.int64),
            epoch=np.zeros(n, np.int64),
        )


def _sections(natoms: I64, widths: I64) -> dict[str, tuple[I64, I64]]:
    """Part of a record -> where in each it begins, and its bytes (F,)."""
    sizes = {"frame": np.full(len(natoms), FRAME.itemsize)} | {name: np.ascontiguousarray(widths[:, i]) for i, name in enumerate(TEXTS)}
    sizes |= {name: dtype.itemsize * natoms for name, dtype in ATOM.items()}
    ends = np.cumsum(list(sizes.values()), axis=0)
    return {name: (end - size, size) for (name, size), end in zip(sizes.items(), ends)}


def _bytes(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    return array.reshape(-1).view(np.uint8)
