"""Columns of a DeePMD set -> frames: npy, raw and hdf5 differ only in how the rows of a label are had."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import SourceError
from ..frame import Frame, Rejection
from .build import SMALLEST_VOLUME, Unusable, build, rejects
from .files import SourceFile

LABELS = ("coord", "box", "energy", "force", "virial", "real_atom_types")
BLOCK = 8 << 20  # bytes of labels held at a time


class Column(Protocol):
    """One label of a set, read on from row to row."""

    count: int
    width: int  # numbers in a row

    def take(self, rows: int) -> np.ndarray:
        """(rows, width) the next rows."""
        ...

    def close(self) -> None:
        """Give back what is open."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What all frames of a DeePMD system share."""

    types: np.ndarray  # (A,) index into `elements`
    elements: np.ndarray  # (T,) atomic number of each type, 0 where the name is no element
    periodic: bool
    group: str


def frames_of(system: System, columns: dict[str, Column], file: SourceFile, *, inside: str = "") -> Iterator[Frame | Rejection]:
    """Frames from the columns of one set, which must have as many rows as `coord`; `inside` goes before the index in `origin`."""
    if "coord" not in columns or (system.periodic and "box" not in columns):
        raise SourceError(f"{'box' if 'coord' in columns else 'coord'} is missing", where=file.name)
    counts = {label: column.count for label, column in columns.items()}
    if len(set(counts.values())) > 1:
        raise SourceError(f"frames differ in number: {', '.join(f'{k} {v}' for k, v in counts.items())}", where=file.name)
    batch = max(1, BLOCK // (8 * max(1, sum(column.width for column in columns.values()))))
    try:
        for start in range(0, counts["coord"], batch):
            rows = min(batch, counts["coord"] - start)
            block = {label: column.take(rows) for label, column in columns.items()}
            yield from _block(system, block, f"{file.name}#{inside}", start)
    finally:
        for column in columns.values():
            column.close()


def _block(system: System, block: dict[str, np.ndarray], prefix: str, start: int) -> Iterator[Frame | Rejection]:
    """Frames of some rows; what is sound by a look at the whole block needs no second look row by row."""
    sound = _sound(system, block)
    numbers = system.elements[system.types].astype(np.uint8)
    wide = {label: np.asarray(values, np.float64) for label, values in block.items() if label != "real_atom_types"}
    for i, good in enumerate(sound):
        row = {label: values[i] for label, values in (wide if good else block).items()}
        yield _quick(system, row, numbers, f"{prefix}{start + i}") if good else _frame(system, row, origin=f"{prefix}{start + i}")


def _sound(system: System, block: dict[str, np.ndarray]) -> np.ndarray:
    """(rows,) True where every number is finite, the cell has a volume and all shapes are right; never for mixed types."""
    rows, atoms = len(block["coord"]), len(system.types)
    widths = {"coord": 3 * atoms, "force": 3 * atoms, "box": 9, "virial": 9, "energy": 1}
    if (
        "real_atom_types" in block
        or any(block[k].shape[1] != w for k, w in widths.items() if k in block)
        or not system.elements[system.types].all()
    ):
        return np.zeros(rows, bool)
    good = np.logical_and.reduce([np.isfinite(values).all(axis=1) for values in block.values()])
    if system.periodic:
        good[good] = np.abs(np.linalg.det(block["box"][good].reshape(-1, 3, 3).astype(np.float64))) > SMALLEST_VOLUME
    return good


def _quick(system: System, row: dict[str, np.ndarray], numbers: np.ndarray, origin: str) -> Frame:
    return Frame(
        numbers=numbers,
        positions=row["coord"].reshape(-1, 3),
        cell=row["box"].reshape(3, 3) if system.periodic else None,
        pbc=(system.periodic,) * 3,
        energy=float(row["energy"][0]) if "energy" in row else None,
        forces=row["force"].reshape(-1, 3) if "force" in row else None,
        virial=row["virial"].reshape(3, 3) if "virial" in row and system.periodic else None,
        group=system.group,
        origin=origin,
    )


@rejects("a DeePMD frame")
def _frame(system: System, row: dict[str, Any], *, origin: str) -> Frame | Rejection:
    """One row with every check; mixed types pad short frames with atoms of type -1, which are dropped."""
    types = np.asarray(row.get("real_atom_types", system.types)).astype(np.int64).ravel()
    real = types >= 0
    if len(types) != len(system.types) or (types >= len(system.elements)).any():
        raise Unusable("real_atom_types does not fit the system")
    if "energy" in row and len(row["energy"]) != 1:
        raise Unusable("energy has more than one value", len(row["energy"]))
    return build(
        origin=origin,
        group=system.group,
        numbers=system.elements[types[real]],
        positions=np.reshape(row["coord"], (len(types), 3))[real],
        cell=row["box"] if system.periodic else None,
        energy=row["energy"][0] if "energy" in row else None,
        forces=np.reshape(row["force"], (len(types), 3))[real] if "force" in row else None,
        virial=row.get("virial") if system.periodic else None,
    )
