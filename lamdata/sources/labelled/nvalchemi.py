"""Datasets of NVIDIA's nvalchemi-toolkit, a Zarr group -> frames, many at a time.

The source is the root `zarr.json`. `meta/atoms_ptr` (F + 1,) says where the atoms of each frame start, `meta/samples_mask` (F,) which frames are not deleted;
arrays of `core` and `custom` lie over atoms or frames. A stress is in eV/Å^3 and positive under tension, which is ASE's sign; a virial is -V x stress, as the
models of the toolkit have it. Other units are not part of the format. Nor is what `spin` means: a card names it (`keys: {multiplicity: spin}`). A frame that is
deleted is none; its number stays, so that origins do not move. What `lamdata export` wrote says its units, theory and groups itself, and its splits by `keys: {split: frame_split}`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamdata.catalog import SourceSpec
from lamdata.distances import heights
from lamdata.fields import KEYS as NAMED
from lamdata.frame import F64, LARGEST, MAX_ATOMS, Frame, Rejection
from lamdata.frames import Frames, Parsed

from ..build import SMALLEST_VOLUME, build, rejects, whole
from ..bytes.files import SourceFile, Span
from ..bytes.group_files import ROOT, attributes_of
from .extxyz import formula
from .nvalchemi_table import OURS, Table
from .two_statements import CLOSE, FINEST, virial_of_both

ATOMS_AT_ONCE, FRAMES_AT_ONCE = 1 << 16, 4096
ATOM_BYTES, FRAME_BYTES = 40, 200  # of a frame in a dataset, about
SPLITS = ("train", "validation", "test")
FREE = "virial: the frame is not periodic"


class NvalchemiReader:
    """nvalchemi-toolkit. Groups are what `keys: {group: ...}` names, a number a frame, else compositions.

    Options: `pbc`, where there is a cell and nothing says whether it is periodic; `nan: missing`, where nan marks a label that a frame lacks.
    """

    name = "nvalchemi/zarr"
    options = {"pbc": ("periodic", "free"), "nan": ("missing",)}
    open_units = ("length", "energy", "force", "stress")
    open_keys = NAMED

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Parsed | Rejection]:
        """Yield the frames that are not deleted, in order."""
        table = Table(file, spec)
        first, stop = (0, table.count) if file.span is None else (file.span.first, min(file.span.stop, table.count))
        while first < stop:
            after = int(np.searchsorted(table.starts, table.starts[first] + ATOMS_AT_ONCE, side="right")) - 1
            after = min(max(after, first + 1), first + FRAMES_AT_ONCE, stop)
            if (atoms := int(table.starts[after] - table.starts[first])) <= MAX_ATOMS:
                yield from _frames(_rows(table, first, after))
            else:
                yield Rejection(origin=f"{file.name}#{first}", reason="too many atoms", value=atoms)
            first = after

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """What the card said of a dataset that was exported; else nothing is stated."""
        said = attributes_of(file).get("lamdata", {})
        return {name: value for name, value in (said.get("card", {}).get("theory") or {}).items() if value is not None}

    def spans(self, file: SourceFile, size: int) -> list[Span]:
        """Spans of as many frames as fill `size` on average."""
        if not file.is_plain:
            return []
        table = Table(file, SourceSpec(path=file.name, options={"pbc": "free"}))
        each = max(1, size * table.count // max(1, ATOM_BYTES * int(table.starts[-1]) + FRAME_BYTES * table.count))
        return [Span(first=first, stop=min(first + each, table.count)) for first in range(0, table.count, each)]

    def usual_units(self, file: SourceFile) -> dict[str, str]:
        """Those of the toolkit's own models, where the dataset does not say."""
        return {} if "lamdata" in attributes_of(file) else {"length": "Angstrom", "energy": "eV", "force": "eV/Angstrom"}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """The attributes of a root `zarr.json` that the toolkit's writer sets."""
        return file.basename == ROOT and {"num_samples", "fields"} <= attributes_of(file).keys()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """Some frames as they stand, units turned; what the dataset lacks is None. F = frames, A = their atoms."""

    table: Table
    first: int
    starts: NDArray[np.int64]  # (F + 1,) of their atoms
    alive: NDArray[np.bool_]  # (F,)
    numbers: NDArray[np.integer]  # (A,)
    positions: F64
    cell: F64 | None  # (F, 3, 3)
    pbc: NDArray[np.bool_]  # (F, 3)
    labels: dict[str, F64]  # energy, forces, virial, stress
    facts: dict[str, NDArray[Any]]  # (F,) each: charge, multiplicity, weight, group, split

    def __len__(self) -> int:
        return len(self.alive)

    def atoms(self, start: int, stop: int) -> slice:
        """The atoms of frames `start:stop`."""
        return slice(int(self.starts[start]), int(self.starts[stop]))

    def words(self, row: int) -> tuple[str, str, str]:
        """Group, origin and split of one frame."""
        numbers, group = self.numbers[self.atoms(row, row + 1)], self.facts.get("group")
        name = _composition(np.sort(numbers).tobytes(), numbers.dtype.str) if group is None else _plain(group[row])
        split = "" if "split" not in self.facts else _plain(self.facts["split"][row])
        if self.table.ours and split.isdigit() and int(split) < len(SPLITS):
            split = SPLITS[int(split)]
        file = self.table.file
        return f"{file.folder or file.name}/{name}", f"{file.name}#{self.first + row}", split


def _plain(value: Any) -> str:
    """A number as text: 3 of 3.0."""
    number = float(value)
    return str(int(number)) if number.is_integer() else str(number)


@lru_cache(maxsize=1000)
def _composition(numbers: bytes, kind: str) -> str:
    return formula([str(number) for number in np.frombuffer(numbers, kind).tolist()])


def _rows(table: Table, first: int, stop: int) -> _Rows:
    def real(label: str, factor: float) -> F64 | None:
        values = table.take(label, first, stop)
        return None if values is None else np.asarray(values, np.float64) * factor

    unit = table.unit
    cell, pbc = real("cell", unit["length"]), table.take("pbc", first, stop)
    if pbc is None:
        pbc = np.full((stop - first, 3), table.spec.options.get("pbc") == "periodic")
    factors = {"energy": unit["energy"], "forces": unit["force"], "virial": unit["energy"], "stress": unit["stress"]}
    numbers, positions = table.take("atomic_numbers", first, stop), real("positions", unit["length"])
    assert numbers is not None and positions is not None, "a table has them"
    return _Rows(
        table=table,
        first=first,
        starts=table.starts[first : stop + 1] - table.starts[first],
        alive=table.alive[first:stop],
        numbers=numbers,
        positions=positions,
        cell=cell,
        pbc=np.asarray(pbc, bool) & (cell is not None),
        labels={label: values for label, factor in factors.items() if (values := real(label, factor)) is not None},
        facts={label: values for label in ("charge", "split", *OURS) if (values := table.take(label, first, stop)) is not None},
    )


def _frames(rows: _Rows) -> Iterator[Parsed | Rejection]:
    """Those that are sound by a look at all together, as arrays, and each of the others alone."""
    sound, at = _sound(rows), 0
    for bad in [*np.flatnonzero(~(sound & rows.alive)).tolist(), len(rows)]:
        if bad > at:
            yield _parsed(rows, at, bad)
        if bad < len(rows) and rows.alive[bad]:
            item = _frame(rows, bad, origin=rows.words(bad)[1])
            yield item if isinstance(item, Rejection) else Parsed.from_list([item])
        at = bad + 1


def _sound(rows: _Rows) -> NDArray[np.bool_]:
    """(F,) True where every number is finite, all atoms are elements, the cell has a volume and nothing is said twice."""
    natoms = np.diff(rows.starts)
    good: NDArray[np.bool_] = natoms > 0
    tables = [rows.labels[name] for name in ("energy", "virial", "stress") if name in rows.labels]
    for values in [*tables, *([] if rows.cell is None else [rows.cell])]:
        good &= np.isfinite(values.reshape(len(rows), -1)).all(axis=1)
    for name in ("charge", "multiplicity"):
        if name in rows.facts:
            values = rows.facts[name].astype(np.float64)
            good &= (np.floor(values) == values) & (np.abs(values) <= LARGEST)
    if "weight" in rows.facts:
        good &= (rows.facts["weight"] >= 0) & np.isfinite(rows.facts["weight"])
    if "virial" in rows.labels and "stress" in rows.labels and rows.cell is not None:
        good &= ~rows.pbc.any(axis=1) | _agree(rows.labels["virial"], rows.labels["stress"], rows.cell)
    fine = (rows.numbers >= 1) & (rows.numbers <= 118) & np.isfinite(rows.positions).all(axis=1)
    if "forces" in rows.labels:
        fine &= np.isfinite(rows.labels["forces"]).all(axis=1)
    good &= np.bincount(np.repeat(np.arange(len(rows)), natoms)[~fine], minlength=len(rows)) == 0
    if rows.cell is not None:
        with np.errstate(all="ignore"):  # of what is not finite
            good &= ~rows.pbc.all(axis=1) | (heights(rows.cell)[0] > SMALLEST_VOLUME)
    return good


def _agree(virial: F64, stress: F64, cell: F64) -> NDArray[np.bool_]:
    """(F,) whether a virial is -V x the stress, as `virial_of_both` asks of one frame."""
    with np.errstate(all="ignore"):  # of what is not finite
        volume = np.abs(np.linalg.det(cell))
        expected = -volume[:, None, None] * stress
        room = CLOSE * np.maximum(np.abs(virial), np.abs(expected)).max(axis=(1, 2)) + FINEST * volume
        agree: NDArray[np.bool_] = np.abs(virial - expected).max(axis=(1, 2)) <= room
    return agree


def _parsed(rows: _Rows, start: int, stop: int) -> Parsed:
    """Frames `start:stop`, which are sound."""
    some, atoms, count = slice(start, stop), rows.atoms(start, stop), stop - start
    periodic = np.asarray(rows.pbc[some].any(axis=1), bool)
    cell = np.zeros((count, 3, 3)) if rows.cell is None else np.where(periodic[:, None, None], rows.cell[some], 0.0)
    labels = {label: values[atoms if label == "forces" else some] for label, values in rows.labels.items()}
    virial = labels.get("virial")
    if virial is None and "stress" in labels:
        virial = -np.abs(np.linalg.det(cell))[:, None, None] * labels["stress"]
    frames = Frames.from_arrays(
        numbers=rows.numbers[atoms].astype(np.uint8),
        positions=rows.positions[atoms],
        natoms=np.diff(rows.starts[start : stop + 1]).astype(np.int32),
        cell=cell,
        energy=labels.get("energy"),
        forces=labels.get("forces"),
        virial=None if virial is None else np.where(periodic[:, None, None], virial, 0.0),
    ).with_(pbc=rows.pbc[some], has_virial=periodic & (virial is not None))
    plain = {name: rows.facts[name][some].astype(kind) for name, kind in _KINDS.items() if name in rows.facts}
    groups, origins, splits = zip(*map(rows.words, range(start, stop)))
    left_out = [rows.table.left_out if free else (*rows.table.left_out, FREE) for free in (periodic | (virial is None)).tolist()]
    return Parsed(
        frames=frames.with_(**plain),
        groups=groups,
        origins=origins,
        unconverged=np.zeros(count, bool),
        splits=splits if any(splits) else (),
        left_out=left_out if any(left_out) else (),
    )


_KINDS = {"charge": np.int16, "multiplicity": np.int16, "weight": np.float64}


@rejects("a frame of nvalchemi")
def _frame(rows: _Rows, row: int, *, origin: str) -> Frame | Rejection:
    """One frame with every check."""
    atoms, pbc = rows.atoms(row, row + 1), rows.pbc[row]
    labels: dict[str, Any] = {label: values[atoms] if label == "forces" else values[row] for label, values in rows.labels.items()}
    if rows.table.spec.options.get("nan") == "missing":
        labels = {label: values for label, values in labels.items() if not np.isnan(values).any()}
    left_out, cell = rows.table.left_out, rows.cell[row] if rows.cell is not None and pbc.any() else None
    if cell is None and not {"virial", "stress"}.isdisjoint(labels):
        labels, left_out = {k: v for k, v in labels.items() if k in ("energy", "forces")}, (*left_out, FREE)
    if "virial" in labels and "stress" in labels and cell is not None:
        labels["virial"] = virial_of_both(labels["virial"], labels.pop("stress"), volume=abs(float(np.linalg.det(cell))))
    facts, (group, _, split) = rows.facts, rows.words(row)
    return build(
        origin=origin,
        group=group,
        split=split,
        numbers=rows.numbers[atoms],
        positions=rows.positions[atoms],
        cell=cell,
        pbc=tuple(pbc.tolist()),
        charge=whole(facts["charge"][row], "charge") if "charge" in facts else 0,
        multiplicity=whole(facts["multiplicity"][row], "multiplicity") or None if "multiplicity" in facts else None,
        weight=float(facts["weight"][row]) if "weight" in facts else 1.0,
        left_out=left_out,
        **labels,
    )
