"""SIESTA standard output: text in, every geometry step out.

The stress tensor is eV/Å^3 with P = -tr/3, ASE's sign: opposite to every other code read here, and dpdata 1.1.0 overlooks it. Forces and
the static stress are derivatives of the free energy; `E_KS` differs from it only by the electronic entropy.
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

from ..bytes.numbers import columns, floats
from .steps import Run, Step, TextReader, marks


@dataclass(slots=True)
class SiestaRun(Run):
    """A SIESTA output."""

    marks = marks(
        species="Species number:",
        first="^siesta: Atomic coordinates (Bohr) and species",
        coordinates="^outcoor: ",
        cell="^outcell: Unit cell vectors (Ang)",
        unconverged=("SCF_NOT_CONV", "SCF did not converge", "SCF cycle did not converge"),
        converged=("SCF cycle converged", "SCF Convergence"),
        energy="^siesta: E_KS(eV)",
        forces="^siesta: Atomic forces",
        stress="^siesta: Stress tensor (static)",
        begin=" Begin ",
        final="^siesta: Final energy",
        end=("^>> End of run", "^Job completed"),
    )

    numbers: dict[int, int] = field(default_factory=dict)  # species -> atomic number
    species: list[int] = field(default_factory=list)
    positions: F64 | None = None  # of the current step, as far as they are printed
    fractions: F64 | None = None
    cell: F64 | None = None
    begun: bool = False
    ended: bool = False

    def on_species(self, line: str) -> None:
        if "Atomic number:" not in line:
            return
        number, atomic = line.partition("Species number:")[2], line.partition("Atomic number:")[2]
        self.numbers[int(number.split()[0])] = abs(int(atomic.split()[0]))  # negative for a ghost's basis

    def on_first(self, line: str) -> None:
        """The header has the geometry of the first step, with 5 decimals; a run may print it nowhere else."""
        rows = [columns(row.partition("siesta:")[2]) for row in itertools.takewhile(lambda row: row.startswith("siesta: "), self.lines)]
        self.species = [int(row[3]) for row in rows]
        self.positions = np.array([row[:3] for row in rows]) * BOHR

    def on_coordinates(self, line: str) -> Step | None:
        if "coordinates" not in line:
            return None
        done = self.take()
        rows = list(itertools.takewhile(lambda row: row[3].isdigit() and row[0][-1].isdigit(), self.words(least=5)))
        table = np.array([[float(word) for word in row[:3]] for row in rows])
        self.species = [int(row[3]) for row in rows]
        if "fractional" in line:
            self.fractions = table  # the cell of the step may follow
        elif "scaled" not in line:  # by a constant that is not printed
            self.positions, self.fractions = table * (BOHR if "(Bohr)" in line else 1.0), None
        return done

    def on_cell(self, line: str) -> None:
        self.cell = self.rows(3)

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
            self._current().energy = floats(line.partition("=")[2])[0]

    def on_forces(self, line: str) -> None:
        """A step may print their sum alone; those of the last are printed once more at the end."""
        if self.step is not None and (not self.ended or self.step.forces is None):
            rows = [[float(word) for word in row[-3:]] for row in self._numbered()]
            self.step.forces = np.array(rows) if rows else None

    def on_stress(self, line: str) -> None:
        rows = self.rows(3, after="siesta:" if self.ended else "")
        if self.step is not None:
            self.step.stress = -rows

    def at_end(self) -> Step | None:
        if self.step is not None and self.step.stress is not None:
            self.step.complete = True  # the stress is the last table of a step
        return self.step

    def _numbered(self) -> Iterator[list[str]]:
        for row in self.words(least=4):
            if not row[row[0] == "siesta:"].isdigit():
                return
            yield row

    def _current(self) -> Step:
        if self.step is None:
            positions = self.positions if self.fractions is None or self.cell is None else self.fractions @ self.cell
            self.step = Step([self.numbers.get(s, 0) for s in self.species], positions, self.cell)
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
