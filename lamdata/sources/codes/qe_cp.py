"""Quantum ESPRESSO cp.x: the trajectory files of one prefix in (.pos with .for, .evp, .cel, .str and the input), frames out.

All in atomic units, the stress in GPa, positive when compressed. The step numbers of the files must agree. The order of atoms is the
input's, which holds for all versions only where atoms of a species stand together.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import F64, Frame, Rejection
from lamdata.units import BOHR, GPA, HARTREE

from ..build import build
from ..bytes.files import SourceFile
from ..bytes.numbers import columns
from .qe_deck import MAX_DECK, Deck

ETOT = 5  # column of .evp since 5.1, should a header be missing


class CpReader:
    """cp.x trajectory, named by its .pos file (`qe/cp`); option `input`: the input's name, if it is not that of the .pos."""

    name = "qe/cp"
    options: dict[str, tuple] = {"input": ()}
    open_units = False

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield every printed step."""
        stem = file.basename.rpartition(".")[0]
        symbols, cell, charge = self._input(file, str(spec.options.get("input", f"{stem}.in")))
        beside = {name: file.sibling(f"{stem}.{name}") for name in ("for", "evp", "cel", "str")}
        energies = _energies(beside["evp"]) if beside["evp"] else {}
        count = {"for": len(symbols), "cel": 3, "str": 3}
        streams = {name: _blocks(beside[name], rows) for name, rows in count.items() if beside[name]}
        for index, (number, positions) in enumerate(_blocks(file, len(symbols))):
            tables = {name: _next(stream, number, beside[name], file) for name, stream in streams.items()}
            now = tables["cel"].T * BOHR if "cel" in tables else cell
            if now is None:
                raise SourceError("the cell needs the .cel file, which is not beside it", where=file.name)
            if beside["evp"] and number not in energies:
                raise SourceError(f"step {number} is missing", where=beside["evp"].name)
            yield build(
                origin=f"{file.name}#{index}",
                symbols=symbols,
                positions=positions * BOHR,
                cell=now,
                energy=energies.get(number),
                forces=tables["for"] * HARTREE / BOHR if "for" in tables else None,
                virial=tables["str"] * GPA * abs(float(np.linalg.det(now))) if "str" in tables else None,
                charge=charge,
                group=file.name,
            )
        for name, stream in streams.items():
            if (left := next(stream, None)) is not None:
                raise SourceError(f"has step {left[0]}, which {file.name} has not", where=beside[name].name)

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing but the program: the input leaves the functional to the pseudopotentials."""
        return {"code": "Quantum ESPRESSO"}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        words = head.split(b"\n")[0].split()
        return file.basename.endswith(".pos") and len(words) == 2 and words[0].isdigit()

    def _input(self, file: SourceFile, name: str) -> tuple[list[str], F64 | None, int]:
        deck = file.sibling(name)
        if deck is None or deck.size > MAX_DECK:
            raise SourceError(
                f"the elements stand in the input {name}, which is not beside it", where=file.name, hint="name it: `options: {input: FILE}`"
            )
        found = Deck(deck)
        symbols = found.symbols()
        if len(set(symbols)) != len(list(itertools.groupby(symbols))):
            raise SourceError("atoms of a species do not stand together: versions of cp.x differ in the order they print", where=deck.name)
        return symbols, found.cell(), found.charge()


def _blocks(file: SourceFile, rows: int) -> Iterator[tuple[int, F64]]:
    """Step number and table (rows, 3) of each block."""
    lines = file.lines()
    for line in lines:
        head = line.split()
        if not head:
            continue
        table = [columns(row) for row in itertools.islice(lines, rows)]
        if not head[0].isdigit() or len(table) < rows or any(len(row) != 3 for row in table):
            raise SourceError(f"damaged or truncated at step {head[0][:20]}", where=file.name)
        yield int(head[0]), np.array(table)


def _next(stream: Iterator[tuple[int, F64]], number: int, beside: SourceFile, file: SourceFile) -> F64:
    found, table = next(stream, (None, np.empty(0)))
    if found != number:
        raise SourceError(f"step {found} where {file.name} has step {number}", where=beside.name)
    return table


def _energies(evp: SourceFile) -> dict[int, float]:
    """Total energies in eV by step."""
    column, out = ETOT, {}
    for line in evp.lines():
        if line.startswith("#"):
            names = line.lstrip("#").split()
            column = names.index("etot") if "etot" in names else column
        elif len(values := line.split()) > column:
            out[int(values[0])] = float(values[column].replace("D", "E")) * HARTREE
    return out
