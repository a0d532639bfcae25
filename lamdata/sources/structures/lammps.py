"""LAMMPS text dumps: structures only; what made them stands elsewhere."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import F64, Frame, Rejection
from lamdata.units import LENGTH

from ..build import build, element
from ..bytes.files import SourceFile
from ..bytes.numbers import floats
from ..codes.trajectories import stated_atoms


class LammpsDumpReader:
    """LAMMPS text dumps (`lammps/dump`): structures only. Positions in Å unless the card's `units` say otherwise.

    Elements come from the column `element`, or from `options: {elements: "Fe O"}`, one for each type.
    """

    name = "lammps/dump"
    options: dict[str, tuple] = {"elements": ()}
    open_units = True

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield every time step."""
        elements = str(spec.options.get("elements", "")).replace(",", " ").split()
        unit = LENGTH[spec.units.length or "Angstrom"]
        for index, (header, rows) in enumerate(_dump_steps(file)):
            origin = f"{file.name}#{index}"
            if rows is None:
                if index == 0:
                    raise SourceError("ends within its first time step: truncated", where=file.name)
                yield Rejection(origin=origin, reason="truncated")
                return
            yield _dump_frame(header, rows, elements, unit, origin, file)

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Structures have none."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        return head.startswith(b"ITEM: ") and b"ITEM: NUMBER OF ATOMS" in head


def _dump_steps(file: SourceFile) -> Iterator[tuple[dict[str, Any], list[list[str]] | None]]:
    """Header and rows of each time step; rows are `None` where the file is cut."""
    header: dict[str, Any] = {}
    lines = file.lines()
    for line in lines:
        if line.startswith("ITEM: NUMBER OF ATOMS"):
            header["natoms"] = stated_atoms(next(lines, "0"), file)
        elif line.startswith("ITEM: BOX BOUNDS"):
            header["box"] = line.split()[3:]
            header["bounds"] = [floats(next(lines, "")) for _ in range(3)]
        elif line.startswith("ITEM: ATOMS"):
            header["columns"] = line.split()[2:]
            rows = [row.split() for row in itertools.islice(lines, header.get("natoms", 0))]
            whole = len(rows) == header.get("natoms") and all(len(row) >= len(header["columns"]) for row in rows)
            yield header, rows if whole else None
            header = {}
    if header:
        yield header, None


def _dump_frame(
    header: dict[str, Any], rows: list[list[str]], elements: list[str], unit: float, origin: str, file: SourceFile
) -> Frame | Rejection:
    columns = {name: i for i, name in enumerate(header["columns"])}
    if "id" in columns:
        rows = sorted(rows, key=lambda row: int(row[columns["id"]]))
    kind = next((k for k in ("", "u", "s", "su") if all(f"{axis}{k}" in columns for axis in "xyz")), None)
    if kind is None or not ("element" in columns or ("type" in columns and elements)):
        hint = 'name them: `options: {elements: "Fe O"}`, one for each type' if kind is not None else "dump x y z"
        raise SourceError("has no positions" if kind is None else "names no elements", where=file.name, hint=hint)
    table = np.array([[float(row[columns[f"{axis}{kind}"]]) for axis in "xyz"] for row in rows])
    cell, corner = _dump_cell(header)
    positions = table @ cell if kind in ("s", "su") else table - corner
    if "element" in columns:
        symbols = [element(row[columns["element"]]) for row in rows]
    else:
        types = [int(row[columns["type"]]) for row in rows]
        if max(types) > len(elements) or min(types) < 1:
            raise SourceError(f"has type {max(types)}, the card names {len(elements)} elements", where=file.name)
        symbols = [elements[t - 1] for t in types]
    periodic = [word[0] == "p" for word in header["box"][-3:]] if len(header["box"]) >= 3 else [True] * 3
    return build(origin=origin, symbols=symbols, positions=positions * unit, cell=cell * unit, pbc=tuple(periodic), group=file.name)


def _dump_cell(header: dict[str, Any]) -> tuple[F64, F64]:
    """Cell and corner. Bounds of a tilted box enclose it (https://docs.lammps.org/Howto_triclinic.html)."""
    bounds = header["bounds"]
    low, high = np.array([row[0] for row in bounds]), np.array([row[1] for row in bounds])
    if "xy" not in header["box"]:
        return np.diag(high - low), low
    xy, xz, yz = (row[2] for row in bounds)
    low -= [min(0.0, xy, xz, xy + xz), min(0.0, yz), 0.0]
    high -= [max(0.0, xy, xz, xy + xz), max(0.0, yz), 0.0]
    return np.array([[high[0] - low[0], 0, 0], [xy, high[1] - low[1], 0], [xz, yz, high[2] - low[2]]]), low
