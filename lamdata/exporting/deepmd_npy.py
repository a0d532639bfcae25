"""Rows -> DeePMD-kit's npy systems, uniform or of mixed types, a folder for each split.

Frames of a system have the same labels, so that none is made up. In `deepmd/npy` a system holds frames of one group with the same
atoms in the same order; in `deepmd/npy/mixed` all frames of a number of atoms. `frames.jsonl` in each system has what the format
has no place for: group, origin, split, charge, multiplicity and which directions are periodic.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..elements import SYMBOLS
from ..errors import DataError
from ..frame import Frame
from .rows import About, Row

HELD = 64 << 20  # bytes of rows held before they are appended to their files
HEADER = 128  # bytes of a .npy header, enough for any number of rows
SLUG = 40  # characters of a group in the name of its system


@dataclass(slots=True)
class System:
    """One folder: how many rows of each array are in its files, and those that are to be appended."""

    rows: dict[str, int] = field(default_factory=dict)
    held: dict[str, list[np.ndarray]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


def write_npy(rows: Iterable[Row], path: Path, about: About) -> None:
    """Write systems of one group and one order of atoms each."""
    _write(rows, path, about, _uniform_name, mixed=False)


def write_mixed(rows: Iterable[Row], path: Path, about: About) -> None:
    """Write systems of one number of atoms each, the types of the atoms beside their positions."""
    _write(rows, path, about, _mixed_name, mixed=True)


def _write(rows: Iterable[Row], path: Path, about: About, name_of: Callable[[Row], str], *, mixed: bool) -> None:
    types = {SYMBOLS.index(symbol): i for i, symbol in enumerate(about.elements)}
    systems: dict[str, System] = {}
    held = 0
    for row in rows:
        name = name_of(row)
        if name not in systems:
            systems[name] = System()
            _begin(path / name, row.frame, types, about.elements, mixed=mixed)
        system = systems[name]
        for array, values in _arrays(row.frame, types, mixed=mixed).items():
            system.held.setdefault(array, []).append(values)
            held += values.nbytes
        system.lines.append(row.line())
        if held >= HELD:
            _append(path, systems)
            held = 0
    _append(path, systems)
    for name, system in systems.items():
        for array, count in system.rows.items():
            _set_count(path / name / "set.000" / f"{array}.npy", count)
    (path / "dataset.json").write_text(json.dumps(about.to_json(), indent=1, ensure_ascii=False), encoding="utf-8")


def labels_of(frame: Frame) -> str:
    """The first letters of the labels that a frame has."""
    return "".join(letter for letter, label in (("e", frame.energy), ("f", frame.forces), ("v", frame.virial)) if label is not None)


def _uniform_name(row: Row) -> str:
    frame = row.frame
    key = f"{frame.group}\0{any(frame.pbc)}\0{labels_of(frame)}\0".encode() + frame.numbers.tobytes()
    slug = re.sub(r"[^A-Za-z0-9.-]+", "_", frame.group)[-SLUG:].strip("._")  # a name that begins with a dot is hidden
    return f"{row.split}/{slug or 'group'}-{hashlib.sha256(key).hexdigest()[:8]}"


def _mixed_name(row: Row) -> str:
    frame = row.frame
    return f"{row.split}/{len(frame.numbers)}-{labels_of(frame) or 'none'}{'' if any(frame.pbc) else '-nopbc'}"


def _begin(folder: Path, frame: Frame, types: dict[int, int], elements: list[str], *, mixed: bool) -> None:
    (folder / "set.000").mkdir(parents=True)
    own = [0] * len(frame.numbers) if mixed else [types[z] for z in frame.numbers.tolist()]
    (folder / "type.raw").write_text("\n".join(map(str, own)) + "\n")
    (folder / "type_map.raw").write_text("\n".join(elements) + "\n")
    if not any(frame.pbc):
        (folder / "nopbc").touch()


def _arrays(frame: Frame, types: dict[int, int], *, mixed: bool) -> dict[str, np.ndarray]:
    """One row of each array."""
    found = {"coord": frame.positions.ravel()}
    if any(frame.pbc):
        if frame.cell is None or not frame.volume:
            raise DataError("DeePMD's box needs a volume", where=frame.origin, hint="export to another format")
        found["box"] = frame.cell.ravel()
    if frame.energy is not None:
        found["energy"] = np.asarray(frame.energy)
    for name, label in (("force", frame.forces), ("virial", frame.virial)):
        if label is not None:
            found[name] = label.ravel()
    if mixed:
        found["real_atom_types"] = np.array([types[z] for z in frame.numbers.tolist()], np.int32)
    return found


def _append(path: Path, systems: dict[str, System]) -> None:
    """Put what is held behind what the files have."""
    for name, system in systems.items():
        for array, rows in system.held.items():
            file = path / name / "set.000" / f"{array}.npy"
            values = np.stack(rows)
            if not file.exists():
                file.write_bytes(_header(values, 0))
            with open(file, "ab") as stream:
                stream.write(np.ascontiguousarray(values).data)
            system.rows[array] = system.rows.get(array, 0) + len(rows)
        if system.lines:
            with open(path / name / "frames.jsonl", "a", encoding="utf-8") as text:
                text.writelines(system.lines)
        system.held.clear()
        system.lines.clear()


def _header(values: np.ndarray, count: int) -> bytes:
    """A .npy header (format 1.0) for `count` rows as wide as those of `values`."""
    text = repr({"descr": values.dtype.str, "fortran_order": False, "shape": (count, *values.shape[1:])})
    size = HEADER - 10
    return b"\x93NUMPY\x01\x00" + size.to_bytes(2, "little") + text.ljust(size - 1).encode() + b"\n"


def _set_count(file: Path, count: int) -> None:
    with open(file, "r+b") as stream:
        stream.seek(0)
        empty = np.lib.format.read_array(stream)
        stream.seek(0)
        stream.write(_header(empty, count))
