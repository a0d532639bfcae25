"""SIESTA standard output: text in, every geometry step out.

The stress tensor is eV/Å^3 with P = -tr/3, ASE's sign: opposite to every other code read here, and dpdata 1.1.0 overlooks it. Forces and
the static stress are derivatives of the free energy; `E_KS` differs from it only by the electronic entropy.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..frame import F64
from ..units import BOHR, RYDBERG
from .numbers import floats
from .steps import Run, Step, TextReader, marks


@dataclass(slots=True)
class SiestaRun(Run):
    """A SIESTA output."""

    marks = marks(
        species="Species number:",
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
    positions: F64 | None = None
    cell: F64 | None = None
    ended: bool = False

    def on_species(self, line: str) -> None:
        if "Atomic number:" not in line:
            return
        number, atomic = line.partition("Species number:")[2], line.partition("Atomic number:")[2]
        self.numbers[int(number.split()[0])] = abs(int(atomic.split()[0]))  # negative for a ghost's basis

    def on_coordinates(self, line: str) -> Step | None:
        if "coordinates" not in line:
            return None
        done = self.take()
        unit = BOHR if "(Bohr)" in line else 1.0
        rows = list(itertools.takewhile(lambda row: row[3].isdigit() and row[0][-1].isdigit(), self.words(least=5)))
        table = np.array([[float(word) for word in row[:3]] for row in rows])
        self.species = [int(row[3]) for row in rows]
        fractional = "fractional" in line.lower() and self.cell is not None
        self.positions = table @ self.cell if fractional else table * unit
        return done

    def on_cell(self, line: str) -> None:
        self.cell = self.rows(3)

    def on_begin(self, line: str) -> Step | None:
        over = " step = " in " ".join(line.split()) and not self.ended and self.step is not None and self.step.stress is not None
        return self.take() if over else None

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
        if not self.ended and self.step is not None:
            self.step.forces = np.array([[float(word) for word in row[-3:]] for row in self._numbered()])

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
            if not row[0].isdigit():
                return
            yield row

    def _current(self) -> Step:
        if self.step is None:
            self.step = Step([self.numbers.get(s, 0) for s in self.species], self.positions, self.cell)
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
    signs=(b"Siesta Version", b"WELCOME TO SIESTA", b"* Running on "),
)
