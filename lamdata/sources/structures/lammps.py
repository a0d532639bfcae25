"""LAMMPS text dumps -> structures; what made them stands elsewhere (https://docs.lammps.org/dump.html)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import F64, Frame, Rejection
from lamdata.units import LENGTH

from ..build import build, element
from ..bytes.files import SourceFile
from ..bytes.numbers import columns
from ..codes.trajectories import stated_atoms

# Å in the length of each style that `ITEM: UNITS` may name (https://docs.lammps.org/units.html); `lj` has none.
STYLES = {"metal": 1.0, "real": 1.0, "electron": LENGTH["bohr"], "nano": LENGTH["nm"], "micro": 1e4, "si": 1e10, "cgs": 1e8}
TILTED, GENERAL = ["xy", "xz", "yz"], ["abc", "origin"]
FORCES = ("forces: fx fy fz of a dump are those of a LAMMPS potential",)


class LammpsDumpReader:
    """LAMMPS text dumps (`lammps/dump`): structures only. Lengths are of the units that the dump states, else of the card's, else Å.

    Elements come from the column `element`, or from `options: {elements: "Fe O"}`, one for each type.
    """

    name = "lammps/dump"
    options: dict[str, tuple[str, ...]] = {"elements": ()}
    open_units = ("length",)
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield every time step."""
        elements = str(spec.options.get("elements", "")).replace(",", " ").split()
        for index, step in enumerate(_steps(file)):
            origin = f"{file.name}#{index}"
            if step.rows is None:
                if index == 0:
                    raise SourceError("ends within its first time step: truncated", where=file.name)
                yield Rejection(origin=origin, reason="truncated")
                return
            yield _frame(step, step.rows, elements, _unit(step.units, spec, file), origin, file)

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Structures have none."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        return head.startswith(b"ITEM: ") and b"ITEM: NUMBER OF ATOMS" in head

    def usual_units(self, file: SourceFile) -> dict[str, str]:
        """The units that a dump does not state, as they mostly are."""
        return {} if b"ITEM: UNITS" in file.head() else {"length": "Angstrom"}


@dataclass(slots=True)
class _Step:
    """One time step as it is written."""

    natoms: int = 0
    box: list[str] | None = None  # words after `ITEM: BOX BOUNDS`
    bounds: list[list[float]] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] | None = None  # None where the file is cut
    units: str = ""  # style that the file states


def _steps(file: SourceFile) -> Iterator[_Step]:
    lines, units = file.lines(), ""
    step: _Step | None = None
    for line in lines:
        title = " ".join(line.partition("ITEM:")[2].split())
        step = step or _Step()
        if title.startswith("ATOMS"):
            step.columns, step.units = title.split()[1:], units
            rows = [row.split() for row in itertools.islice(lines, step.natoms)]
            whole = len(rows) == step.natoms > 0 and not lines.cut and all(len(row) >= len(step.columns) for row in rows)
            step.rows = rows if whole else None
            yield step
            step = None
        elif title == "NUMBER OF ATOMS":
            step.natoms = stated_atoms(next(lines, "0"), file)
        elif title.startswith("BOX BOUNDS"):
            step.box, step.bounds = title.split()[2:], [columns(next(lines, "")) for _ in range(3)]
        elif title == "UNITS":
            units = next(lines, "").strip()
        elif title in ("TIMESTEP", "TIME"):
            next(lines, "")
        elif line.strip():
            raise SourceError(f"{line.strip()[:60]!r} is no part of an atom dump", where=file.name)
    if step is not None and (step.natoms or step.box):
        yield step


def _unit(style: str, spec: SourceSpec, file: SourceFile) -> float:
    """Å in the lengths of a file."""
    asked = spec.units.length
    if not style:
        return LENGTH[asked or "Angstrom"]
    if style not in STYLES:
        raise SourceError(f"states units {style!r}, which have no length in Å", where=file.name)
    if asked is not None and LENGTH[asked] != STYLES[style]:
        raise SourceError(f"states units {style!r}, the card says {asked}", where=file.name, hint="leave `units` out")
    return STYLES[style]


def _frame(step: _Step, rows: list[list[str]], elements: list[str], unit: float, origin: str, file: SourceFile) -> Frame | Rejection:
    place = {name: i for i, name in enumerate(step.columns)}
    if "id" in place:
        rows = sorted(rows, key=lambda row: int(row[place["id"]]))
        if any(a[place["id"]] == b[place["id"]] for a, b in itertools.pairwise(rows)):
            return Rejection(origin=origin, reason="two atoms have one id")
    kind = next((k for k in ("", "u", "s", "su") if all(f"{axis}{k}" in place for axis in "xyz")), None)
    if kind is None or not ("element" in place or ("type" in place and elements)):
        hint = 'name them: `options: {elements: "Fe O"}`, one for each type' if kind is not None else "dump x y z"
        raise SourceError("has no positions" if kind is None else "names no elements", where=file.name, hint=hint)
    table = np.array([[float(row[place[f"{axis}{kind}"]]) for axis in "xyz"] for row in rows])
    cell, corner, pbc = _cell(step, file)
    return build(
        origin=origin,
        symbols=_symbols(rows, place, elements, file),
        positions=(table @ cell if kind in ("s", "su") else table - corner) * unit,
        cell=cell * unit,
        pbc=pbc,
        group=file.name,
        left_out=FORCES if {"fx", "fy", "fz"} <= place.keys() else (),
    )


def _symbols(rows: list[list[str]], place: dict[str, int], elements: list[str], file: SourceFile) -> list[str]:
    if "element" in place:
        found = [element(row[place["element"]]) for row in rows]
        if elements and ("type" not in place or found != _by_type(rows, place, elements, file)):
            said = f"names its elements, {' '.join(sorted(set(found)))}; the card says {' '.join(elements)}"
            raise SourceError(said, where=file.name, hint="leave `options: {elements}` out")
        return found
    return _by_type(rows, place, elements, file)


def _by_type(rows: list[list[str]], place: dict[str, int], elements: list[str], file: SourceFile) -> list[str]:
    types = [int(row[place["type"]]) for row in rows]
    if max(types) > len(elements) or min(types) < 1:
        raise SourceError(f"has type {max(types)}, the card names {len(elements)} elements", where=file.name)
    return [elements[t - 1] for t in types]


def _cell(step: _Step, file: SourceFile) -> tuple[F64, F64, tuple[bool, ...]]:
    """Cell, corner and periodicity. Bounds of a tilted box enclose it (https://docs.lammps.org/Howto_triclinic.html)."""
    words = step.box if step.box is not None else ["missing"]
    sides = [word for word in words if re.fullmatch("[pfsm]{1,2}", word)]
    form = words[: len(words) - len(sides)]
    width = {(): 2, tuple(TILTED): 3, tuple(GENERAL): 4}.get(tuple(form), 0)
    if not width or len(sides) not in (0, 3) or any(len(row) != width for row in step.bounds):
        raise SourceError(f"the box is not written in a way that is known: {' '.join(['BOX BOUNDS', *words])[:80]!r}", where=file.name)
    pbc = tuple(side[0] == "p" for side in sides) or (True,) * 3
    if form == GENERAL:
        table = np.array(step.bounds)
        return table[:, :3], table[:, 3], pbc
    low, high = np.array([row[0] for row in step.bounds]), np.array([row[1] for row in step.bounds])
    if not form:
        return np.diag(high - low), low, pbc
    xy, xz, yz = (row[2] for row in step.bounds)
    low -= [min(0.0, xy, xz, xy + xz), min(0.0, yz), 0.0]
    high -= [max(0.0, xy, xz, xy + xz), max(0.0, yz), 0.0]
    return np.array([[high[0] - low[0], 0, 0], [xy, high[1] - low[1], 0], [xz, yz, high[2] - low[2]]]), low, pbc
