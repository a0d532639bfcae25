"""Columns of a DeePMD set -> frames: npy, raw and hdf5 differ only in how the rows of a label are had."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lamdata.distances import heights
from lamdata.errors import SourceError
from lamdata.frame import Frame, Rejection
from lamdata.frames import Frames, Parsed

from ..build import SMALLEST_VOLUME, Unusable, build, rejects
from ..bytes.files import SourceFile

Numbers = NDArray[Any]  # as wide as the file has them
LABELS = ("coord", "box", "energy", "force", "virial", "real_atom_types")
PADDING = -1  # the type of atoms that fill a frame of mixed types up
BLOCK = 8 << 20  # bytes of labels held at a time


class Column(Protocol):
    """One label of a set, read on from row to row."""

    count: int
    width: int  # numbers in a row

    def skip(self, rows: int) -> None:
        """Pass over the next rows."""
        ...

    def take(self, rows: int) -> Numbers:
        """(rows, width) the next rows."""
        ...

    def close(self) -> None:
        """Give back what is open."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What all frames of a DeePMD system share."""

    types: Numbers  # (A,) index into `elements`
    elements: Numbers  # (T,) atomic number of each type, 0 where the name is no element
    periodic: bool
    group: str
    left_out: tuple[str, ...] = ()  # labels that stand beside those that are read


def unread_labels(stems: Iterable[str], *, ending: str) -> tuple[str, ...]:
    """What to say of the files of a set, by the name before `ending`, that are not read: atomic energies, dipoles, spins, parameters."""
    return tuple(f"{stem}: {stem}{ending} is not read" for stem in sorted(set(stems) - {*LABELS, "type", "type_map"}))


def frames_of(system: System, columns: Mapping[str, Column], file: SourceFile, *, inside: str = "") -> Iterator[Frame | Parsed | Rejection]:
    """Frames from the columns of one set, which must have as many rows as `coord`; `inside` goes before the index in `origin`."""
    if "coord" not in columns or (system.periodic and "box" not in columns):
        raise SourceError(f"{'box' if 'coord' in columns else 'coord'} is missing", where=file.name)
    counts = {label: column.count for label, column in columns.items()}
    if len(set(counts.values())) > 1:
        raise SourceError(f"frames differ in number: {', '.join(f'{k} {v}' for k, v in counts.items())}", where=file.name)
    if "virial" in columns and not system.periodic:
        system = replace(system, left_out=("virial: the system is not periodic", *system.left_out))
    batch = max(1, BLOCK // (8 * max(1, sum(column.width for column in columns.values()))))
    try:
        first, stop = (0, counts["coord"]) if file.span is None else (file.span.first, min(file.span.stop, counts["coord"]))
        for column in columns.values() if first else ():
            column.skip(first)
        for start in range(first, stop, batch):
            rows = min(batch, stop - start)
            block = {label: column.take(rows) for label, column in columns.items()}
            yield from _block(system, block, f"{file.name}#{inside}", start)
    finally:
        for column in columns.values():
            column.close()


def _block(system: System, block: dict[str, Numbers], prefix: str, start: int) -> Iterator[Frame | Parsed | Rejection]:
    """Frames of some rows: those that are sound by a look at all rows together, and each of the others alone."""
    sound = _sound(system, block)
    at = 0
    for bad in [*np.flatnonzero(~sound).tolist(), len(sound)]:
        if bad > at:
            yield _parsed(system, {label: values[at:bad] for label, values in block.items()}, prefix, start + at)
        if bad < len(sound):
            yield _frame(system, {label: values[bad] for label, values in block.items()}, origin=f"{prefix}{start + bad}")
        at = bad + 1


def _sound(system: System, block: dict[str, Numbers]) -> NDArray[np.bool_]:
    """(rows,) True where every number is finite, the cell has a volume, all types are elements and all shapes are right."""
    rows, atoms = len(block["coord"]), len(system.types)
    widths = {"coord": 3 * atoms, "force": 3 * atoms, "box": 9, "virial": 9, "energy": 1, "real_atom_types": atoms}
    if any(values.shape[1] != widths[label] for label, values in block.items()):
        return np.zeros(rows, bool)
    good = np.logical_and.reduce([_finite(values) for values in block.values()])
    if system.periodic:
        with np.errstate(all="ignore"):  # of what is not finite
            good &= heights(block["box"].reshape(-1, 3, 3).astype(np.float64))[0] > SMALLEST_VOLUME
    types = _types(system, block)
    known = (types >= 0) & (types < len(system.elements)) & (system.elements[np.clip(types, 0, len(system.elements) - 1)] > 0)
    sound: NDArray[np.bool_] = good & (known | (types == PADDING)).all(axis=1) & (types >= 0).any(axis=1)
    return sound


def _finite(values: Numbers) -> NDArray[np.bool_]:
    finite = np.isfinite(values)
    return np.ones(len(values), bool) if finite.all() else np.logical_and.reduce(finite, axis=1, dtype=bool)


def _types(system: System, block: dict[str, Numbers]) -> NDArray[np.int64]:
    """(rows or 1, A) types; -1 for the atoms that pad a frame of mixed types."""
    return block["real_atom_types"].astype(np.int64) if "real_atom_types" in block else system.types[None]


def _parsed(system: System, block: dict[str, Numbers], prefix: str, start: int) -> Parsed:
    """Rows that are sound."""
    rows, atoms = len(block["coord"]), len(system.types)
    types = np.broadcast_to(_types(system, block), (rows, atoms))
    wide = {label: np.asarray(values, np.float64) for label, values in block.items() if label != "real_atom_types"}
    real = types >= 0
    keep = slice(None) if real.all() else real.ravel()
    frames = Frames.from_arrays(
        numbers=system.elements[types.ravel()[keep]].astype(np.uint8),
        positions=wide["coord"].reshape(-1, 3)[keep],
        natoms=real.sum(axis=1, dtype=np.int32),
        cell=wide["box"].reshape(-1, 3, 3) if system.periodic else None,
        energy=wide["energy"][:, 0] if "energy" in wide else None,
        forces=wide["force"].reshape(-1, 3)[keep] if "force" in wide else None,
        virial=wide["virial"].reshape(-1, 3, 3) if "virial" in wide and system.periodic else None,
    )
    return Parsed(
        frames=frames,
        groups=[system.group] * rows,
        origins=[f"{prefix}{i}" for i in range(start, start + rows)],
        unconverged=np.zeros(rows, bool),
        left_out=[system.left_out] * rows if system.left_out else (),
    )


@rejects("a DeePMD frame")
def _frame(system: System, row: dict[str, Any], *, origin: str) -> Frame | Rejection:
    """One row with every check; mixed types pad short frames with atoms of type -1, which are dropped."""
    types = np.asarray(row.get("real_atom_types", system.types)).astype(np.int64).ravel()
    real = types >= 0
    if len(types) != len(system.types) or (types >= len(system.elements)).any() or (types < PADDING).any():
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
        left_out=system.left_out,
    )
