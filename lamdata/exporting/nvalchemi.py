"""Rows -> a dataset of NVIDIA's nvalchemi-toolkit, a Zarr group that its trainers read: MACE, UMA and AIMNet2 are fine-tuned on it.

Its batches have a field in every frame or in none, and no mark for a label that is missing: one that some frames lack is left out of all, and that is said.
So are cells. The virial stands beside the stress as it is in the store; a dataset of float32 keeps that width, energies have float64 in any. Group, split and
weight are numbers under `custom`, their names and what else a frame is known by are in `frames.jsonl`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..frame import LABELS, Frame
from ..store.layout import SPLITS
from .rows import About, Row

CHUNK, SHARD = 1 << 13, 1 << 19  # rows that are decoded together, and those of an object
LEVELS = {"atomic_numbers": "atom", "positions": "atom", "forces": "atom"}  # all else is of a frame
ASKED = {"energy": "energy", "forces": "forces", "virial": "virial", "spin": "multiplicity"}  # field -> what a person calls it


def write_nvalchemi(rows: Iterable[Row], path: Path, about: About) -> tuple[str, ...]:
    """Write one group; return what is left out, and why. Raises DataError where some frames have a cell and others none."""
    table, kind = _Table(path), np.dtype(np.float64 if about.lossless else np.float32)
    names: dict[str, int] = {}  # of groups
    table.add("meta/atoms_ptr", np.zeros(1, np.int64))
    frames, atoms, with_cell = 0, 0, False
    with open(path / "frames.jsonl", "w", encoding="utf-8") as text:
        for row in rows:
            frame = row.frame
            if frames and (frame.cell is not None) != with_cell:
                problem = "some frames have a cell and others none, and a batch of nvalchemi has it of all or of none"
                raise DataError(
                    problem, where=f"{about.dataset}: {frame.origin}", hint="`--where 'volume > 0'` exports those that have one"
                )
            with_cell, frames, atoms = frame.cell is not None, frames + 1, atoms + len(frame.numbers)
            table.add("meta/atoms_ptr", np.array([atoms]))
            for name, values in _fields(frame, kind).items():
                table.add(f"core/{name}", values)
            facts = {"group": names.setdefault(frame.group, len(names)), "split": SPLITS.index(row.split), "weight": frame.weight}
            for name, fact in facts.items():
                table.add(f"custom/frame_{name}", np.array([[fact]]))
            text.write(row.line())
    table.add("meta/edges_ptr", np.zeros(frames + 1, np.int64))
    for name, length in (("samples", frames), ("atoms", atoms), ("edges", 0)):
        table.add(f"meta/{name}_mask", np.ones(length, bool))
    some = {name: column.count for name, column in table.columns.items() if not name.startswith("meta/") and column.count < frames}
    table.close(without=some)
    fields = {part: {name: LEVELS.get(name, "system") for name in table.names(part)} for part in ("core", "custom")}
    table.root.attrs.update({"num_samples": frames, "fields": fields, "lamdata": about.to_json()})
    return tuple(
        f"{label}: {frames - some[f'core/{name}']:,} of {frames:,} frames have none; `--where 'has({label})'` exports the others with them"
        if label in LABELS
        else f"{label}: {frames - some[f'core/{name}']:,} of {frames:,} frames have none"
        for name, label in ASKED.items()
        if f"core/{name}" in some
    )


class _Table:
    """A group whose arrays grow."""

    def __init__(self, path: Path):
        import zarr

        self.path, self.columns = path, dict[str, _Column]()
        self.root = zarr.create_group(path, zarr_format=3)
        for name in ("meta", "core", "custom"):
            self.root.create_group(name)

    def add(self, name: str, rows: np.ndarray) -> None:
        """Rows of an array, which is made when it is first named."""
        if name not in self.columns:
            shape = rows.shape[1:]
            array = self.root.create_array(name, shape=(0, *shape), chunks=(CHUNK, *shape), shards=(SHARD, *shape), dtype=rows.dtype)
            self.columns[name] = _Column(array)
        self.columns[name].add(rows)

    def names(self, part: str) -> list[str]:
        """The arrays of a part of it."""
        return [name.partition("/")[2] for name in self.columns if name.startswith(f"{part}/")]

    def close(self, *, without: Iterable[str]) -> None:
        """Write what is held, and take some arrays away."""
        for column in self.columns.values():
            column.write(column.waiting)
        for name in without:
            shutil.rmtree(self.path / name)
            del self.columns[name]


class _Column:
    """One array; rows are held until they fill an object."""

    def __init__(self, array: Any):
        self.array, self.count, self.waiting = array, 0, 0
        self._held: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> None:
        """The rows of one frame."""
        self._held.append(rows)
        self.count, self.waiting = self.count + 1, self.waiting + len(rows)
        if self.waiting >= SHARD:
            self.write(SHARD * (self.waiting // SHARD))

    def write(self, count: int) -> None:
        """The first rows that are held."""
        if count:
            rows = np.concatenate(self._held)
            self.array.append(rows[:count])
            self._held, self.waiting = [rows[count:]], len(rows) - count


def _fields(frame: Frame, kind: np.dtype[Any]) -> dict[str, np.ndarray]:
    """What `core` has of one frame: rows over atoms (A, ...), or one row of the frame (1, ...)."""
    found: dict[str, Any] = {"atomic_numbers": frame.numbers.astype(np.int64), "positions": frame.positions.astype(kind)}
    if frame.cell is not None:
        found |= {"cell": frame.cell[None].astype(kind), "pbc": np.array([frame.pbc])}
    if frame.energy is not None:
        found["energy"] = np.array([[frame.energy]])
    if frame.forces is not None:
        found["forces"] = frame.forces.astype(kind)
    if frame.virial is not None and frame.volume:
        found |= {"virial": frame.virial[None].astype(kind), "stress": (-frame.virial / frame.volume)[None].astype(kind)}
    if frame.multiplicity is not None:
        found["spin"] = np.array([[frame.multiplicity]], kind)
    return found | {"charge": np.array([[frame.charge]], kind)}
