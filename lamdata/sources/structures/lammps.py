"""LAMMPS text dumps -> structures; what made them stands elsewhere (https://docs.lammps.org/dump.html)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import F64, Frame, Rejection
from lamdata.frames import Parsed
from lamdata.units import LENGTH

from ..build import NUMBERS, Unusable, build, element, number_of
from ..bytes.borders import Border, spans_of
from ..bytes.files import SourceFile, Span
from ..bytes.lines import Lines
from ..bytes.numbers import columns
from ..codes.trajectories import stated_atoms
from ..gathered import TRUNCATED, Row, gather, is_finite, is_sound, not_only_cut
from .lammps_alike import Columns, Pattern, take_alike, template_of

# Å in the length of each style that `ITEM: UNITS` may name (https://docs.lammps.org/units.html); `lj` has none.
STYLES = {"metal": 1.0, "real": 1.0, "electron": LENGTH["bohr"], "nano": LENGTH["nm"], "micro": 1e4, "si": 1e10, "cgs": 1e8}
TILTED, GENERAL = ["xy", "xz", "yz"], ["abc", "origin"]
# What begins a step in nearly all dumps: number of atoms, form of the box, its bounds, names of the columns.
HEAD = re.compile(
    rb"ITEM: TIMESTEP\n[^\n]*\nITEM: NUMBER OF ATOMS\n *(\d+)\nITEM: BOX BOUNDS([^\n]*)\n([^\n]*\n[^\n]*\n[^\n]*)\nITEM: ATOMS ([^\n]*)\n"
)
# Units are stated once, of all steps that follow.
BORDER = Border(b"\nITEM: TIMESTEP\n", (b"TIMESTEP",), never=(b"UNITS",), not_near=b"ITEM:")
FORCES = ("forces: fx fy fz of a dump are those of a LAMMPS potential",)


class LammpsDumpReader:
    """LAMMPS text dumps (`lammps/dump`): structures only. Lengths are of the units that the dump states, else of the card's, else Å.

    Elements come from the column `element`, or from `options: {elements: "Fe O"}`, one for each type.
    """

    name = "lammps/dump"
    options: dict[str, tuple[str, ...]] = {"elements": ()}
    open_units = ("length",)
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Parsed | Rejection]:
        """Yield every time step, many at once."""
        return gather(not_only_cut(self._frames(file, spec), "ends within its first time step: truncated", file=file))

    def _frames(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Row | Parsed | Rejection]:
        elements = tuple(str(spec.options.get("elements", "")).replace(",", " ").split())
        index = file.span.first if file.span else 0

        def take(lines: Lines, pattern: Pattern, units: str) -> Parsed | None:
            return take_alike(lines, pattern, index, _unit(units, spec, file), file)

        for step in _steps(file, elements, take):
            origin = f"{file.name}#{index}"
            index += len(step) if isinstance(step, Parsed) else 1
            if isinstance(step, Parsed):
                yield step
            elif step.table is not None:
                yield _plain_frame(step, step.table, elements, _unit(step.units, spec, file), origin, file)
            elif step.rows is not None:
                yield _frame(step, step.rows, list(elements), _unit(step.units, spec, file), origin, file)
            else:
                yield Rejection(origin=origin, reason=TRUNCATED)

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Structures have none."""
        return {}

    def spans(self, file: SourceFile, size: int) -> list[Span]:
        """Spans that begin with a time step, behind the atoms of another."""
        return spans_of(file, size, BORDER)

    def guess(self, file: SourceFile, head: bytes) -> bool:
        return head.startswith(b"ITEM: ") and b"ITEM: NUMBER OF ATOMS" in head

    def usual_units(self, file: SourceFile) -> dict[str, str]:
        """The units that a dump does not state, as they mostly are."""
        return {} if b"ITEM: UNITS" in file.head() else {"length": "Angstrom"}


@dataclass(frozen=True, slots=True)
class Table:
    """The atoms of a step, sorted by their ids: (A, 3) as they are written, and atomic numbers (A,); what of it could not be so is None."""

    positions: F64
    numbers: NDArray[np.uint8]
    scaled: bool


@dataclass(slots=True)
class _Step:
    """One time step as it is written."""

    natoms: int = 0
    box: list[str] | None = None  # words after `ITEM: BOX BOUNDS`
    bounds: list[list[float]] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    table: Table | None = None  # of the plainest step; else there are rows
    rows: list[list[str]] | None = None  # None where the file is cut
    units: str = ""  # style that the file states
    begun: bool = False  # its title was there


@lru_cache(maxsize=16)
def _plain_columns(names: tuple[str, ...], by_type: bool) -> Columns | None:
    """How a dump with these columns is taken as a table; None where its elements or positions are not as they mostly are."""
    kind = next((k for k in ("", "u", "s", "su") if all(f"{axis}{k}" in names for axis in "xyz")), None)
    if kind is None or len(set(names)) < len(names) or ("element" in names) == by_type or (by_type and "type" not in names):
        return None
    letters = {f"{axis}{kind}": "n" for axis in "xyz"} | {"id": "i"} | ({"type": "i"} if by_type else {"element": "e"})
    pattern = "".join(letters.get(name, "w") for name in names)
    taken = [name for name in names if letters.get(name) in ("n", "i")]
    x, y, z = (taken.index(f"{axis}{kind}") for axis in "xyz")
    return Columns(
        pattern + "*",
        (x, y, z),
        taken.index("id") if "id" in taken else None,
        taken.index("type") if by_type else None,
        kind in ("s", "su"),
    )


@lru_cache(maxsize=16)
def _numbers_of_types(elements: tuple[str, ...]) -> NDArray[np.uint8] | None:
    """Atomic numbers by type, of which the first is 1; None where one is no element."""
    try:
        return np.array([0, *(NUMBERS.get(symbol) or number_of(symbol) for symbol in elements)], np.uint8)
    except Unusable:
        return None


def _take_table(lines: Lines, step: _Step, elements: tuple[str, ...]) -> Table | None:
    """The next lines as a table; None where they are not as plain, of which nothing has been taken then."""
    columns, types = _plain_columns(tuple(step.columns), bool(elements)), _numbers_of_types(elements)
    if columns is None or types is None or not step.natoms:
        return None
    out, numbers = np.empty((step.natoms, columns.pattern.count("n") + columns.pattern.count("i"))), np.empty(step.natoms, np.uint8)
    before = lines.mark()
    if not lines.take(columns.pattern, out, numbers=numbers, style="plain"):
        return None
    if columns.type is not None:
        found = out[:, columns.type]
        if found.min() < 1 or found.max() >= len(types):
            lines.back_to(before)
            return None
        numbers = types[found.astype(np.int64)]
    if columns.id is not None and not _ascends(out[:, columns.id]):
        order = np.argsort(out[:, columns.id], kind="stable")
        out, numbers = out[order], numbers[order]
        if not _ascends(out[:, columns.id]):
            lines.back_to(before)
            return None
    return Table(np.ascontiguousarray(out[:, columns.positions]), numbers, columns.scaled)


def _left_out(names: Collection[str]) -> tuple[str, ...]:
    return FORCES if {"fx", "fy", "fz"}.issubset(names) else ()


def _ascends(ids: F64) -> bool:
    return bool((ids[1:] > ids[:-1]).all())


def _plain_frame(
    step: _Step, table: Table, elements: tuple[str, ...], unit: float, origin: str, file: SourceFile
) -> Row | Frame | Rejection:
    cell, corner, pbc = _cell(step, file)
    positions, cell = (table.positions @ cell if table.scaled else table.positions - corner) * unit, cell * unit
    left_out = _left_out(step.columns)
    if not is_sound(cell) or not is_finite(positions):
        return build(origin=origin, numbers=table.numbers, positions=positions, cell=cell, pbc=pbc, group=file.name, left_out=left_out)
    x, y, z = pbc
    return Row(
        numbers=table.numbers,
        positions=positions,
        cell=cell,
        pbc=(x, y, z),
        energy=None,
        forces=None,
        virial=None,
        charge=0,
        multiplicity=None,
        converged=None,
        group=file.name,
        origin=origin,
        split="",
        isolated=False,
        left_out=left_out,
    )


def _steps(file: SourceFile, elements: tuple[str, ...], take: Callable[[Lines, Pattern, str], Parsed | None]) -> Iterator[_Step | Parsed]:
    lines, units = file.lines(), ""
    step: _Step | None = None
    pattern: Pattern | None = None
    while True:
        if step is None and pattern is not None and (many := take(lines, pattern, units)) is not None:
            yield many
            continue
        if step is None and (head := lines.match(HEAD)) is not None:
            natoms, box, bounds, names = (part.decode("utf-8", "replace") for part in head.groups())
            step = _Step(stated_atoms(natoms, file), _words(box), _bounds(bounds))
            yield _with_atoms(step, _words(names), lines, elements, units)
            pattern = _pattern(box, names, elements) if step.table is not None else None
            step = None
            continue
        if (line := next(lines, None)) is None:
            break
        title = " ".join(line.partition("ITEM:")[2].split())
        step = step or _Step()
        if title.startswith("ATOMS"):
            yield _with_atoms(step, title.split()[1:], lines, elements, units)
            step = None
        elif title == "NUMBER OF ATOMS":
            step.natoms = stated_atoms(next(lines, "0"), file)
        elif title.startswith("BOX BOUNDS"):
            step.box, step.bounds = title.split()[2:], [columns(next(lines, "")) for _ in range(3)]
        elif title == "UNITS":
            units = next(lines, "").strip()
        elif title in ("TIMESTEP", "TIME"):
            if step.natoms or step.box or (title == "TIMESTEP" and step.begun):  # what wrote the one before was killed
                yield step
                step = _Step()
            step.begun = step.begun or title == "TIMESTEP"
            next(lines, "")
        elif line.strip():
            raise SourceError(f"{line.strip()[:60]!r} is no part of an atom dump", where=file.name)
    if step is not None and (step.natoms or step.box):
        yield step


def _with_atoms(step: _Step, names: list[str], lines: Lines, elements: tuple[str, ...], units: str) -> _Step:
    """A step with its atoms, which come next, as a table or row by row."""
    step.columns, step.units = names, units
    step.table = _take_table(lines, step, elements)
    if step.table is None:
        # Fewer where a title comes before: what wrote the step was killed, and the next run went on behind it.
        rows = [row.split() for row in itertools.islice(lines.until(lambda row: "ITEM:" in row), step.natoms)]
        whole = len(rows) == step.natoms > 0 and not lines.cut and all(len(row) >= len(step.columns) for row in rows)
        step.rows = rows if whole else None
    return step


@lru_cache(maxsize=4)
def _pattern(box: str, names: str, elements: tuple[str, ...]) -> Pattern | None:
    """What steps with these words behind `BOX BOUNDS` and `ATOMS ` have in common; None where a box is given by its vectors."""
    form, width, pbc = _form(tuple(box.split()))
    columns, types = _plain_columns(tuple(names.split()), bool(elements)), _numbers_of_types(elements)
    if columns is None or types is None or not width or form == GENERAL:
        return None
    template = template_of(box, names, columns, width=width)
    return Pattern(template=template, columns=columns, types=types, tilted=form == TILTED, pbc=pbc, left_out=_left_out(names.split()))


@lru_cache(maxsize=16)
def _words(text: str) -> list[str]:
    return text.split()


@lru_cache(maxsize=4)
def _bounds(text: str) -> list[list[float]]:
    return [columns(line) for line in text.split("\n")]


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
        left_out=_left_out(step.columns),
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
    form, width, pbc = _form(tuple(words))
    if not width or any(len(row) != width for row in step.bounds):
        raise SourceError(f"the box is not written in a way that is known: {' '.join(['BOX BOUNDS', *words])[:80]!r}", where=file.name)
    return *_box(tuple(form), tuple(map(tuple, step.bounds))), pbc


@lru_cache(maxsize=4)
def _box(form: tuple[str, ...], bounds: tuple[tuple[float, ...], ...]) -> tuple[F64, F64]:
    """Cell and corner, which many steps have in common."""
    if form == tuple(GENERAL):
        table = np.array(bounds)
        return table[:, :3], table[:, 3]
    low, high = np.array([row[0] for row in bounds]), np.array([row[1] for row in bounds])
    if not form:
        return np.diag(high - low), low
    xy, xz, yz = (row[2] for row in bounds)
    low -= [min(0.0, xy, xz, xy + xz), min(0.0, yz), 0.0]
    high -= [max(0.0, xy, xz, xy + xz), max(0.0, yz), 0.0]
    return np.array([[high[0] - low[0], 0, 0], [xy, high[1] - low[1], 0], [xz, yz, high[2] - low[2]]]), low


@lru_cache(maxsize=16)
def _form(words: tuple[str, ...]) -> tuple[list[str], int, tuple[bool, ...]]:
    """What the words behind `BOX BOUNDS` say: form, columns of its rows (0 where it is not known), periodicity."""
    sides = [word for word in words if re.fullmatch("[pfsm]{1,2}", word)]
    form = list(words[: len(words) - len(sides)])
    width = {(): 2, tuple(TILTED): 3, tuple(GENERAL): 4}.get(tuple(form), 0) if len(sides) in (0, 3) else 0
    return form, width, tuple(side[0] == "p" for side in sides) or (True,) * 3
