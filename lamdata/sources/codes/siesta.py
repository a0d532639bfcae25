"""SIESTA standard output: text in, every geometry step out.

The stress tensor is eV/Å^3 with P = -tr/3, ASE's sign: opposite to every other code read here, and dpdata 1.1.0 overlooks it. Forces and
the static stress are derivatives of the free energy; `E_KS` differs from it only by the electronic entropy. The last geometry is printed
once more at the end, with its forces and its stress: they are those of the last step where the geometry is that of the step.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lamdata.frame import F64
from lamdata.units import BOHR, RYDBERG

from ..bytes.numbers import columns, first_number, floats
from .steps import Run, Step, TextReader, marks

LENGTHS = {"Ang": 1.0, "Bohr": BOHR}
ROUNDED = 2e-5  # Å: the header has five decimals in bohr
OTHER = "printed at the end, beside another geometry than that of the step"


@dataclass(slots=True)
class SiestaRun(Run):
    """A SIESTA output."""

    marks = marks(
        label="System Label:",
        species="Species number:",
        charge="^redata: Net charge of the system",
        first="^siesta: Atomic coordinates (Bohr) and species",
        coordinates="^outcoor: ",
        cell="^outcell: Unit cell vectors",
        unconverged=("SCF_NOT_CONV", "SCF did not converge", "SCF cycle did not converge"),
        converged=("SCF cycle converged", "SCF Convergence"),
        energy="^siesta: E_KS(eV)",
        forces="^siesta: Atomic forces",
        stress="^siesta: Stress tensor (static)",
        voigt=("^Stress-tensor-Voigt", "^Stress tensor Voigt"),
        begin=" Begin ",
        final="^siesta: Final energy",
        end=("^>> End of run", "^Job completed"),
    )

    numbers: dict[int, int] = field(default_factory=dict)  # species -> atomic number
    species: list[int] = field(default_factory=list)
    positions: F64 | None = None  # of the current step, as far as they are printed
    fractions: F64 | None = None
    cell: F64 | None = None
    beside: str | None = None  # where the forces of the last step stand too
    charge: float = 0.0
    ghosts: bool = False
    begun: bool = False
    ended: bool = False  # what comes now is printed once more
    moved: bool = False  # ... and is of another geometry

    def on_label(self, line: str) -> None:
        name = next(iter(line.partition("System Label:")[2].split()), "siesta")
        self.beside = f"{name}.FA" if self.file.sibling(f"{name}.FA") is not None else None

    def on_species(self, line: str) -> None:
        if "Atomic number:" not in line:
            return
        number, atomic = line.partition("Species number:")[2], line.partition("Atomic number:")[2]
        self.numbers[int(number.split()[0])] = abs(int(atomic.split()[0]))
        self.ghosts = self.ghosts or int(atomic.split()[0]) < 0  # a basis without its atom

    def on_charge(self, line: str) -> None:
        self.charge = first_number(line.partition("=")[2])

    def on_first(self, line: str) -> None:
        """The header has the geometry of the first step, with 5 decimals; a run may print it nowhere else."""
        rows = [columns(row.partition("siesta:")[2]) for row in itertools.takewhile(lambda row: row.startswith("siesta: "), self.lines)]
        self.species = [int(row[3]) for row in rows]
        self.positions = np.array([row[:3] for row in rows]) * BOHR

    def on_coordinates(self, line: str) -> Step | None:
        if "coordinates" not in line:
            return None
        at_end = not line.startswith("outcoor: Atomic") and self.step is not None
        done = None if at_end else self.take()
        rows = list(itertools.takewhile(lambda row: row[3].isdigit() and row[0][-1] in "0123456789.*", self.words(least=5)))
        table = np.array([columns(" ".join(row[:3]), count=3) for row in rows])
        factor = self.unit(line, LENGTHS | {"fractional": 1.0, "scaled": 1.0})
        if at_end:
            self._compare(None if "scaled" in line else table * factor, fractional="fractional" in line)
            return None
        self.species = [int(row[3]) for row in rows]
        if "fractional" in line:
            self.fractions = table  # the cell of the step may follow
        elif "scaled" not in line:  # by a constant that is not printed
            self.positions, self.fractions = table * factor, None
        return done

    def _compare(self, table: F64 | None, *, fractional: bool) -> None:
        """Say whether the geometry that is printed at the end is that of the last step."""
        self.ended = True
        known = None if self.step is None else self.step.positions
        if table is not None and fractional:
            table = None if self.cell is None else table @ self.cell
        self.moved = table is None or known is None or table.shape != known.shape or bool(np.abs(table - known).max() > ROUNDED)

    def on_cell(self, line: str) -> None:
        cell = self.rows(3) * self.unit(line, LENGTHS)
        if self.ended:
            self.moved = self.moved or self.cell is None or bool(np.abs(cell - self.cell).max() > ROUNDED)
        else:
            self.cell = cell

    def on_begin(self, line: str) -> Step | None:
        if self.ended or not re.search(r" (?:step|move) = +\d", line):
            return None
        done = self.take() if self.step is not None and (self.step.energy is not None or self.step.converged is not None) else None
        if self.begun:
            self.positions = self.fractions = None
        self.begun = True
        return done

    def on_final(self, line: str) -> None:
        """The last step is printed once more after the run; a single point has its stress only here."""
        self.ended = True

    def on_end(self, line: str) -> Step | None:
        return self.take()

    def on_converged(self, line: str) -> None:
        if not self.ended:
            self._current().converged = True

    def on_unconverged(self, line: str) -> None:
        self._current().converged = False

    def on_energy(self, line: str) -> None:
        if not self.ended:
            self._current().state_energy(first_number(line.partition("=")[2]))

    def on_forces(self, line: str) -> None:
        """A step may print their sum alone; those of the last are printed once more at the end."""
        factor = self.unit(line, {"eV/Ang": 1.0, "Ry/Bohr": RYDBERG / BOHR})
        rows = self._numbered()
        if self.step is None or not rows:
            return
        if self.ended and self.moved:
            self.step.leave_out("forces", OTHER)
        elif not self.ended or self.step.forces is None:
            self.step.forces = np.array(rows) * factor

    def on_voigt(self, line: str) -> None:
        """Six numbers with two decimals, in another order in each version."""
        if self.step is not None:
            self.step.leave_out("virial", "printed in Voigt's six components alone, whose order differs between versions")

    def on_stress(self, line: str) -> None:
        factor = self.unit(line, {"eV/Ang**3": 1.0, "Ry/Bohr**3": RYDBERG / BOHR**3})
        rows = np.array([columns(next(self.lines, "").replace("siesta:", " "), count=3)[:3] for _ in range(3)]) * factor
        if self.step is None:
            return
        if self.ended and self.moved:
            self.step.leave_out("virial", OTHER)
        elif not self.ended or self.step.stress is None:
            self.step.stress = -rows

    def at_end(self) -> Step | None:
        if self.step is not None and self.step.stress is not None:
            self.step.complete = not self.lines.cut  # the stress is the last table of a step
        return self.step

    def _numbered(self) -> list[list[float]]:
        """The rows of a table that begin with a number, without it."""
        rows: list[list[float]] = []
        for line in self.lines:
            row = line.replace("siesta:", " ").strip()
            if not row[:1].isdigit():
                if rows or not row.startswith("--"):
                    break
                continue
            rows.append(columns(row, count=4)[1:])
        return rows

    def _current(self) -> Step:
        if self.step is None:
            positions = self.positions if self.fractions is None or self.cell is None else self.fractions @ self.cell
            self.step = Step([self.numbers.get(s, 0) for s in self.species], positions, self.cell)
            self.step.state_charge(self.charge)
            if self.beside:
                self.step.leave_out("forces", "those of the last step stand in the .FA file beside it, which is not read")
            if self.ghosts:
                self.step.refuse("ghost atoms")
        self.step.cell = self.cell
        return self.step


def siesta_theory(lines: Iterator[str]) -> dict[str, Any]:
    """Read the fields of `Theory` from the header."""
    out: dict[str, Any] = {}
    authors, pseudo = "", set()
    for line in lines:
        low = line.lower().strip()
        if low.startswith(("siesta version", "version  ")) and "code" not in out:
            out["code"] = "SIESTA " + line.partition(":")[2].strip().lstrip("v").removeprefix("siesta-")
        elif low.startswith("xc.authors"):
            authors = line.split()[1]
        elif "initmesh: mesh cutoff" in low:
            out["cutoff"] = round(floats(line.partition("=")[2])[0] * RYDBERG, 2)
        elif "pseudopotential information in" in low:
            pseudo.add(line.split()[-1])
        elif low.startswith("redata: spinpolarized"):
            out["spin"] = "collinear" if line.split()[-1] in ("T", "true") else "none"
        elif low.startswith("redata: spin configuration"):
            out["spin"] = {"none": "none", "collinear": "collinear"}.get(low.split()[-1], "noncollinear")
        elif (found := re.match(r"siesta: (duext|emeta) += +(\S+)", low)) and first_number(found[2]):
            out["state"] = {"duext": "external field", "emeta": "metadynamics"}[found[1]]
        elif low.startswith("siesta: e_ks"):
            break
    if authors:
        out["functional"] = {"CA": "LDA", "PZ": "LDA"}.get(authors.upper(), authors)
    if pseudo:
        out["core"] = ", ".join(sorted(pseudo))
    return out


SIESTA = TextReader(
    name="siesta/output",
    run=SiestaRun,
    states=lambda file: siesta_theory(file.lines()),
    signs=(b"Siesta Version", b"WELCOME TO SIESTA"),
)
