"""ABACUS running_*.log of scf, relax, cell-relax and md runs: text in, every ionic step out.

The log states cell, elements and positions itself, so no STRU is needed; in md the positions stand in MD_dump beside the log. Energy
is `final etot` (with smearing the free energy). Stress is in kbar, positive when compressed.
"""

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
from lamdata.units import BOHR, KBAR, RYDBERG

from ..build import element
from ..bytes.files import SourceFile
from ..bytes.numbers import columns, floats
from .steps import Run, Step, TextReader, frames, marks

ROW = re.compile(r"^ *(?:tau[cd]_)?[A-Z][A-Za-z]*\w* +[-+.\d]")  # a row of a table of atoms
ROUNDED = 5e-6  # half of the last digit of 1.88973 bohr, in Å, with room


@dataclass(slots=True)
class AbacusRun(Run):
    """A running_*.log."""

    marks = marks(
        constant="lattice constant (Bohr)",
        lattice="Lattice vectors: (Cartesian",
        coordinates=("DIRECT COORDINATES", "CARTESIAN COORDINATES"),
        step="STEP OF ",
        unconverged=("convergence has NOT been achieved", "convergence has not been achieved", "SCF IS NOT CONVERGED"),
        converged=("charge density convergence is achieved", "#SCF IS CONVERGED#"),
        energy=("final etot is", "#TOTAL ENERGY#"),
        forces="TOTAL-FORCE (eV/Angstrom)",
        stress="TOTAL-STRESS (KBAR)",
        end=("!FINAL_ETOT_IS", "TIME STATISTICS", "Finish Time", "CLASS_NAME-"),
    )

    constant: float = 0.0  # Å
    cell: F64 | None = None
    symbols: list[str] = field(default_factory=list)
    positions: F64 | None = None
    direct: F64 | None = None  # fractional positions
    scaled: F64 | None = None  # positions in units of the constant
    dumped: bool = False

    def on_constant(self, line: str) -> None:
        """Six digits are printed; the most common constant, 1 Å, is known to all of them."""
        stated = floats(line.partition("=")[2])[0] * BOHR
        self.constant = self.constant or (1.0 if abs(stated - 1) < ROUNDED else stated)

    def on_lattice(self, line: str) -> None:
        self.cell = self.rows(3) * self.constant
        self._place()

    def on_coordinates(self, line: str) -> Step | None:
        if "K-POINTS" in line:
            return None
        done = self.take()
        rows: list[list[str]] = []
        for row in self.lines:
            if ROW.match(row) and len(row.split()) >= 4 and row.split()[0] != "atom":
                rows.append(row.split())
            elif rows:
                break
        self.symbols = [element(re.sub(r"^tau[cd]_", "", row[0])) for row in rows]
        table = np.array([[float(word) for word in row[1:4]] for row in rows])
        if "DIRECT" in line:
            self.direct, self.scaled = table, None
        else:  # in units of the constant
            self.direct, self.scaled = None, table
        self._place()
        return done

    def _place(self) -> None:
        if self.direct is not None and self.cell is not None:
            self.positions = self.direct @ self.cell
        elif self.scaled is not None:
            self.positions = self.scaled * self.constant

    def on_step(self, line: str) -> Step | None:
        return self.take()

    def on_unconverged(self, line: str) -> Step | None:
        done = self._previous()
        self._current().converged = False
        return done

    def on_converged(self, line: str) -> Step | None:
        done = self._previous()
        self._current().converged = True
        return done

    def on_energy(self, line: str) -> Step | None:
        done = self._previous()
        self._current().energy = floats(re.split(r"etot is|#TOTAL ENERGY#", line)[1])[0]
        return done

    def _previous(self) -> Step | None:
        """The step before, if its labels are there: in md nothing else parts two steps."""
        over = self.step is not None and (self.step.forces is not None or self.step.stress is not None)
        return self.take() if over else None

    def on_forces(self, line: str) -> None:
        rows: list[list[float]] = []
        if self.dumped:  # they stand in MD_dump with more digits
            self._current().forces = np.empty((0, 3))
            return
        for row in self.lines:
            words = row.split()
            if ROW.match(row) and len(words) == 4 and words[0] != "atom":
                rows.append([float(word) for word in words[1:]])
            elif rows:
                break
        self._current().forces = np.array(rows)

    def on_stress(self, line: str) -> None:
        rows: list[list[float]] = []
        for row in self.lines:
            if len(values := floats(row)) == 3:
                rows.append(values)
            if len(rows) == 3:
                break
        self._current().stress = np.array(rows) * KBAR

    def on_end(self, line: str) -> Step | None:
        return self.take()

    def _current(self) -> Step:
        if self.step is None:
            self.step = Step(self.symbols, self.positions, self.cell)
        return self.step

    def md(self, dump: SourceFile) -> Iterator[Step]:
        """Join the dumped geometries to the energies of the log: step n is the n-th SCF after the first one dumped."""
        self.dumped = True
        labels = list(self.steps())
        first: int | None = None
        for number, step in dumped(dump):
            first = number if first is None else first
            if number - first < len(labels):
                label = labels[number - first]
                step.energy, step.converged, step.complete = label.energy, label.converged, True
            yield step


def dumped(dump: SourceFile) -> Iterator[tuple[int, Step]]:
    """Read MD_dump: the number of each step with cell, positions and, where dumped, forces and stress."""
    number, unit, scale, step = 0, 1.0, 1.0, Step()
    lines = dump.lines()
    for line in lines:
        if line.startswith("MDSTEP"):
            number, step = int(line.split(":")[1]), Step()
        elif line.startswith("LATTICE_CONSTANT"):
            value = floats(line.partition(":")[2])[0]
            new = "Angstrom" in line  # since 3.1.4; before, bohr, and positions in units of the constant
            unit = value if new else value * BOHR
            scale = 1.0 if new else unit
        elif line.startswith("LATTICE_VECTORS"):
            step.cell = np.array([columns(next(lines, ""))[:3] for _ in range(3)]) * unit
        elif line.startswith("VIRIAL"):
            step.stress = np.array([columns(next(lines, ""))[:3] for _ in range(3)]) * KBAR
        elif line.startswith("INDEX"):
            rows = list(itertools.takewhile(bool, (row.split() for row in lines)))
            step.symbols = [element(row[1]) for row in rows]
            step.positions = np.array([[float(word) for word in row[2:5]] for row in rows]) * scale
            step.forces = np.array([[float(word) for word in row[5:8]] for row in rows]) if "FORCE" in line else None
            yield number, step


class AbacusReader(TextReader):
    """ABACUS log (`abacus/log`)."""

    __slots__ = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield every ionic step; in md those that were dumped."""
        if "running_md" not in file.basename:
            return frames(file, AbacusRun(file, spec).steps())
        dump = file.sibling("MD_dump")
        if dump is None:
            raise SourceError("an md run keeps its positions in MD_dump, which is not beside it", where=file.name)
        return frames(file, AbacusRun(file, spec).md(dump))


def abacus_theory(lines: Iterator[str]) -> dict[str, Any]:
    """Read the fields of `Theory` from the header."""
    out: dict[str, Any] = {"code": "ABACUS"}
    cores: set[str] = set()
    for line in lines:
        value = line.partition("=")[2].strip()
        if found := re.search(r"Version: .*?v([\d.]+\d)|ABACUS v([\d.]+\d)", line):
            out["code"] = f"ABACUS {found[1] or found[2]}"
        elif "Read in pseudopotential file is" in line:
            cores.add(line.split()[-1].rpartition("/")[2])
        elif re.match(r" +(functional Ex|exchange-correlation functional) =", line) and value:
            out["functional"] = value
        elif re.match(r" *energy cutoff for wavefunc", line) or re.match(r" +ecutwfc +=", line):
            out["cutoff"] = round(floats(value)[0] * RYDBERG, 2)
        elif re.match(r" +nspin =", line):
            out["spin"] = {"1": "none", "2": "collinear", "4": "noncollinear"}.get(value, value)
        elif "final etot" in line or "#TOTAL ENERGY#" in line:
            break
    return {**out, **({"core": ", ".join(sorted(cores))} if cores else {})}


ABACUS = AbacusReader(
    name="abacus/log",
    run=AbacusRun,
    states=lambda file: abacus_theory(file.lines()),
    signs=(b"WELCOME TO ABACUS", b"ABACUS v", b"abacus.ustc.edu.cn"),
)
