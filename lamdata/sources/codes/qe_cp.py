"""Quantum ESPRESSO cp.x: the trajectory files of one prefix in (.pos with .for, .evp, .cel, .str and the input), frames out.

All in atomic units, the stress in GPa, positive when compressed. The files are of one run where their step numbers and times, the volume
of .evp and its pressure agree. The order of atoms is the input's, which holds for all versions only where atoms of a species stand
together. The stress of cp.x has the motion of the nuclei in it: it is a label only while they rest.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import F64, Frame, Rejection
from lamdata.units import BOHR, ELEMENTARY_CHARGE, GPA, HARTREE

from ..build import build
from ..bytes.files import SourceFile
from ..bytes.numbers import columns
from .qe_deck import MAX_DECK, Deck
from .qe_theory import deck_theory

# Columns of .evp since 5.1, should a header be missing; before, the time was the last and the energy elsewhere.
COLUMNS = "nfi time(ps) ekinc T_cell(K) Tion(K) etot enthal econs econt Volume Pressure(GPa)".split()
TIME = 2e-6  # ps: .pos has 8 decimals, .evp 7 digits
VOLUME = 1e-5  # relative: .evp has 7 digits
PRESSURE = 2e-3  # GPa: .evp has 5 decimals, older versions fewer
MOVING = 1e-3  # GPa of the motion of the nuclei that a stress may hold and still be a label
BOLTZMANN = 1.380649e-23 / ELEMENTARY_CHARGE  # eV/K, exact
THERMAL = "virial: the .str holds the motion of the nuclei too"


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of .evp, in Hartree, bohr^3, GPa, K and ps; None where there is no such column."""

    energy: float
    time: float | None
    volume: float | None
    pressure: float | None
    temperature: float | None


class CpReader:
    """cp.x trajectory, named by its .pos file (`qe/cp`); option `input`: the input's name, if it is not that of the .pos."""

    name = "qe/cp"
    options: dict[str, tuple[str, ...]] = {"input": ()}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield every printed step."""
        stem = file.basename.rpartition(".")[0]
        deck = _input(file, str(spec.options.get("input", f"{stem}.in")))
        symbols, charge = deck.symbols(), deck.charge()
        beside = {name: found for name in ("for", "cel", "str") if (found := file.sibling(f"{stem}.{name}"))}
        table = file.sibling(f"{stem}.evp")
        rows = _rows(table) if table else {}
        streams = {name: _blocks(found, len(symbols) if name == "for" else 3) for name, found in beside.items()}
        for index, (number, time, positions) in enumerate(_blocks(file, len(symbols))):
            tables = {name: _next(stream, number, time, beside[name], file) for name, stream in streams.items()}
            cell = tables["cel"].T * BOHR if "cel" in tables else _fixed_cell(deck, file)
            row = _row(rows, number, time, table) if table else None
            if row is not None:
                _check(row, cell, tables.get("str"), table or file, number)
            thermal = None if row is None else _thermal(row, len(symbols), cell)
            stress = tables.get("str") if thermal is not None and thermal < MOVING else None
            yield build(
                origin=f"{file.name}#{index}",
                symbols=symbols,
                positions=positions * BOHR,
                cell=cell,
                energy=None if row is None else row.energy * HARTREE,
                forces=tables["for"] * HARTREE / BOHR if "for" in tables else None,
                virial=None if stress is None else stress * GPA * abs(float(np.linalg.det(cell))),
                charge=charge,
                group=file.name,
                left_out=(THERMAL,) if "str" in tables and stress is None else (),
            )
        for name, stream in streams.items():
            if (left := next(stream, None)) is not None:
                raise SourceError(f"has step {left[0]}, which {file.name} has not", where=beside[name].name)

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Return what the input states, if it is there under the usual name."""
        deck = file.sibling(f"{file.basename.rpartition('.')[0]}.in")
        return deck_theory(Deck(deck)) if deck is not None and deck.size <= MAX_DECK else {"code": "Quantum ESPRESSO"}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        words = head.split(b"\n")[0].split()
        return file.basename.endswith(".pos") and len(words) == 2 and words[0].isdigit()


def _input(file: SourceFile, name: str) -> Deck:
    found = file.sibling(name)
    if found is None or found.size > MAX_DECK:
        raise SourceError(
            f"the elements stand in the input {name}, which is not beside it", where=file.name, hint="name it: `options: {input: FILE}`"
        )
    deck = Deck(found)
    symbols = deck.symbols()
    if len(set(symbols)) != len(list(itertools.groupby(symbols))):
        raise SourceError("atoms of a species do not stand together: versions of cp.x differ in the order they print", where=found.name)
    return deck


def _fixed_cell(deck: Deck, file: SourceFile) -> F64:
    """The cell of the input, for a run that keeps it."""
    cell = None if deck.word("calculation").startswith("vc") else deck.cell()
    if cell is None:
        raise SourceError("the cell needs the .cel file, which is not beside it", where=file.name)
    return cell


def _row(rows: dict[int, _Row], number: int, time: float, table: SourceFile) -> _Row:
    if number not in rows:
        raise SourceError(f"step {number} is missing", where=table.name)
    stated = rows[number].time
    if stated is not None and abs(stated - time) > TIME + 1e-6 * time:
        raise SourceError(f"step {number} is at {stated} ps, and at {time} ps in the positions", where=table.name)
    return rows[number]


def _check(row: _Row, cell: F64, stress: F64 | None, table: SourceFile, number: int) -> None:
    """Refuse a cell or a stress that is not of the run whose energies these are."""
    volume = abs(float(np.linalg.det(cell))) / BOHR**3
    if row.volume is not None and abs(row.volume - volume) > VOLUME * volume:
        raise SourceError(f"step {number} has the volume {row.volume} bohr^3, its cell {volume:.2f}", where=table.name)
    pressure = None if stress is None else float(np.trace(stress)) / 3
    if row.pressure is not None and pressure is not None and abs(row.pressure - pressure) > PRESSURE:
        raise SourceError(f"step {number} has the pressure {row.pressure} GPa, its stress {pressure:.5f}", where=table.name)


def _thermal(row: _Row, atoms: int, cell: F64) -> float | None:
    """The pressure of the moving nuclei in GPa; None where their temperature is not stated."""
    return None if row.temperature is None else atoms * BOLTZMANN * row.temperature / abs(float(np.linalg.det(cell))) / GPA


def _blocks(file: SourceFile, rows: int) -> Iterator[tuple[int, float, F64]]:
    """Step number, time in ps and table (rows, 3) of each block."""
    lines = file.lines()
    for line in lines:
        head = line.split()
        if not head:
            continue
        table = [columns(row) for row in itertools.islice(lines, rows)]
        if not head[0].isdigit() or len(head) != 2 or len(table) < rows or any(len(row) != 3 for row in table) or lines.cut:
            raise SourceError(f"damaged or truncated at step {head[0][:20]}", where=file.name)
        yield int(head[0]), columns(head[1])[0], np.array(table)


def _next(stream: Iterator[tuple[int, float, F64]], number: int, time: float, beside: SourceFile, file: SourceFile) -> F64:
    found, at, table = next(stream, (None, time, np.empty(0)))
    if found != number:
        raise SourceError(f"step {found} where {file.name} has step {number}", where=beside.name)
    if abs(at - time) > TIME:
        raise SourceError(f"step {number} is at {at} ps, and at {time} ps in {file.name}", where=beside.name)
    return table


def _rows(table: SourceFile) -> dict[int, _Row]:
    """The rows of .evp by step; without a header only in the order that shows itself by its times."""
    names: list[str] = []
    out: dict[int, _Row] = {}
    for line in table.lines():
        if line.lstrip().startswith("#"):
            names = line.replace("#", " ").split()
            if "etot" not in names or names[0] != "nfi":
                raise SourceError(f"the header names no `etot`: {line.strip()[:80]!r}", where=table.name)
            continue
        values = columns(line)
        if not values:
            continue
        order = names or COLUMNS
        if len(values) < min(len(order), 6) or not values[0].is_integer():
            raise SourceError(f"a row is damaged: {line.strip()[:60]!r}", where=table.name)
        at = {name.partition("(")[0].lower(): value for name, value in zip(order, values)}
        row = _Row(at["etot"], at.get("time"), at.get("volume"), at.get("pressure"), at.get("tion"))
        if out.setdefault(int(values[0]), row).energy != row.energy:
            raise SourceError(f"step {int(values[0])} is there twice, with two energies", where=table.name)
    return out
