"""CASTEP output (.castep): text in, every step of a single point, relaxation or md run out.

Energy is `Final free energy (E-TS)`, of which the forces are the derivatives, or, where all bands are full or empty, `Final energy`, the
only one; `options: {energy: sigma0}` takes the estimate for 0 K,
which is what ASE reads, and `total` E itself. The stress tensor has ASE's sign. With ultrasoft or projector sets, energies corrected
for dispersion or a finite basis are printed in other words, and taken when they come.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lamdata.errors import SourceError
from lamdata.frame import F64
from lamdata.units import ENERGY, FORCE, GPA, LENGTH

from ..build import element
from ..bytes.numbers import floats
from .steps import Run, Step, TextReader, marks

UNITS = {"eV": ENERGY["eV"], "hartree": ENERGY["Hartree"], "A": LENGTH["Angstrom"], "bohr": LENGTH["bohr"]}
FORCES = {"eV/A": FORCE["eV/Angstrom"], "hartree/bohr": FORCE["Hartree/bohr"]}
ENERGIES = {"free": "Final free energy", "total": "Final energy", "sigma0": "NB est. 0K energy"}


@dataclass(slots=True)
class CastepRun(Run):
    """A .castep file."""

    marks = marks(
        charge="net charge of system",
        cell="Real Lattice",
        atoms="Fractional coordinates of atoms",
        energy=("Final energy, E", "Final free energy", "NB est. 0K energy", "ispersion corrected"),
        unconverged=("electronic minimisation did not converge", "electronic_minimisation of system did not converge"),
        forces=" Forces ****",
        stress=" Stress Tensor ****",
        only="^Final energy = ",
        start=("Calculating total energy with", "^SCF loop "),
        end=("^Total time ", "Geometry optimization completed", "... finished MD iteration", "^Calculation time"),
    )

    cell: F64 | None = None
    symbols: list[str] = field(default_factory=list)
    inside: F64 | None = None  # fractional positions
    charge: int = 0
    filled: bool = False  # bands are full or empty: one energy is all there is

    def on_charge(self, line: str) -> None:
        self.charge = round(floats(line.partition(":")[2])[0])

    def on_cell(self, line: str) -> Step | None:
        """Where only the cell moves, it alone is printed anew."""
        done = self.take() if self.step is not None and self.step.energy is not None else None
        self.cell = self.rows(3) * self._named(line, UNITS)
        return done

    def on_atoms(self, line: str) -> Step | None:
        done = self.take()
        symbols, inside = [], []
        for line in self.lines:
            words = line.strip().strip("x").split()
            if len(words) == 5 and words[1].isdigit():
                symbols.append(element(words[0]))
                inside.append([float(word) for word in words[2:]])
            elif inside:
                break
        if self.cell is None:
            raise SourceError("fractional positions before the cell", where=self.file.name)
        self.symbols, self.inside = symbols, np.array(inside)
        return done

    def on_start(self, line: str) -> Step | None:
        done = self.take() if self.step is not None and self.step.forces is not None else None
        if self.step is None:
            positions = None if self.inside is None else self.inside @ self.cell
            self.step = Step(self.symbols, positions, self.cell, charge=self.charge)
        return done

    def on_energy(self, line: str) -> None:
        if self.step is None:
            return
        self.filled = self.filled and not line.startswith("Final")
        wanted = "total" if self.filled else self.option("energy", "free")
        corrected = (
            "dispersion corrected" in line.lower()
            and {"total": "final energy", "free": "free energy", "sigma0": "0k"}[wanted] in line.lower()
        )
        if line.strip().startswith(ENERGIES[wanted]) or corrected:
            value = line.rpartition("=")[2]
            self.step.energy = floats(value)[0] * UNITS[value.split()[-1]]
            self.step.converged = self.step.converged is not False

    def on_only(self, line: str) -> Step | None:
        """After an SCF the energy of filled bands; without one CASTEP ran a pair potential."""
        value = line.partition("=")[2]
        if self.step is None:
            return Step(reason="pair potential", value=floats(value)[0])
        self.step.energy, self.filled = floats(value)[0] * UNITS[value.split()[-1]], True
        self.step.converged = self.step.converged is not False
        return None

    def on_unconverged(self, line: str) -> None:
        if self.step is not None:
            self.step.converged = False

    def on_forces(self, line: str) -> None:
        unit, rows = 1.0, []
        for line in self.lines:
            if "components" in line:
                unit = self._named(line, FORCES)
            words = line.replace("(cons'd)", " ").split()
            if len(words) == 7 and words[2].isdigit():
                rows.append([float(word) for word in words[3:6]])
            elif line.startswith(" ****"):
                break
        if self.step is not None:
            self.step.forces = np.array(rows) * unit

    def on_stress(self, line: str) -> None:
        rows = []
        for line in self.lines:
            words = line.split()
            if len(words) == 6 and words[1] in "xyz":
                rows.append([float(word) for word in words[2:5]])
            if len(rows) == 3:
                break
        if self.step is not None:
            self.step.stress = -np.array(rows) * GPA

    def on_end(self, line: str) -> Step | None:
        return self.take() if self.step is not None and self.step.energy is not None else None

    def at_end(self) -> Step | None:
        if self.step is not None and self.step.forces is not None:
            self.step.complete = True
        return self.step

    def _named(self, line: str, table: dict[str, float]) -> float:
        found = re.search(r"\(([^()]*)\)", line)
        if found is None or found[1] not in table:
            raise SourceError(f"unit of {line.strip(' *')[:60]!r} is not known", where=self.file.name)
        return table[found[1]]


def castep_theory(lines: Iterator[str]) -> dict[str, Any]:
    """Read the fields of `Theory` from the list of parameters."""
    out: dict[str, Any] = {"hubbard_u": "none"}
    cores: set[str] = set()
    for line in lines:
        value = line.partition(":")[2].strip()
        if found := re.search(r"CASTEP version ([\d.]+)", line):
            out["code"] = f"CASTEP {found[1]}"
        elif "using functional" in line:
            low = value.lower()
            out["functional"] = "LDA" if "local density" in low else "PBEsol" if "sol" in low else "PBE" if "perdew burke" in low else value
        elif "basis set cut-off" in line:
            out["cutoff"] = floats(value)[0]
        elif "DFT+D: Semi-empirical" in line:
            out["dispersion"] = "none" if line.split()[-1] == "off" else "DFT+D"
        elif "SEDC with" in line:
            out["dispersion"] = value
        elif "spin-polarized" in line:
            out["spin"] = "none" if "non-spin" in line else "collinear"
        elif "Files used for pseudopotentials" in line:
            cores |= {row.split()[1] for row in _until_blank(lines) if "|" not in row}
        elif "SCF loop" in line:
            break
    if cores:
        out["core"] = ", ".join(sorted(cores))
    return out if "code" in out else {}


def _until_blank(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if len(line.split()) < 2:
            return
        yield line


CASTEP = TextReader(
    name="castep/output",
    run=CastepRun,
    states=lambda file: castep_theory(file.lines()),
    signs=(b"CASTEP version", b"CCC   AA    SSS  TTTTT  EEEEE  PPPP"),
    options={"energy": ("free", "total", "sigma0")},
)
