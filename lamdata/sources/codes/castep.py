"""CASTEP output (.castep): text in, every step of a single point, relaxation or md run out.

Energy is `Final free energy (E-TS)`, of which the forces are the derivatives, or, where all bands are full or empty, `Final energy`, the
only one; `options: {energy: sigma0}` takes the estimate for 0 K,
which is what ASE reads, and `total` E itself. The stress tensor has ASE's sign. Energies corrected for dispersion are printed in other
words, and taken when they come. A geometry has one energy, but for those of several cut-offs, of which the last is that of the run: where
more are printed (a search for a transition state, displacements), their geometries are not, and all are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lamdata.errors import SourceError
from lamdata.frame import F64
from lamdata.units import ENERGY, FORCE, GPA, KBAR, LENGTH

from ..build import element
from ..bytes.numbers import columns, first_number, floats
from .steps import Run, Step, TextReader, marks

UNITS = {"eV": ENERGY["eV"], "hartree": ENERGY["Hartree"], "A": LENGTH["Angstrom"], "bohr": LENGTH["bohr"]}
FORCES = {"eV/A": FORCE["eV/Angstrom"], "hartree/bohr": FORCE["Hartree/bohr"]}
STRESSES = {"GPa": GPA, "MPa": 1e-3 * GPA, "Mbar": 1e3 * KBAR, "kbar": KBAR, "kBar": KBAR, "bar": 1e-3 * KBAR, "eV/A**3": 1.0}
KINDS = (  # types of calculation whose energies are of the geometry that is printed before them
    "single point", "geometry optimi", "molecular dynamics", "band structure", "optical", "phonon", "e-field", "efield", "thermodynamics",
    "spectr", "core level", "magnetic resonance", "nmr",
)  # fmt: skip
ENERGIES = {"free": "Final free energy", "total": "Final energy", "sigma0": "NB est. 0K energy"}


@dataclass(slots=True)
class CastepRun(Run):
    """A .castep file."""

    marks = marks(
        kind="type of calculation  ",
        charge="net charge of system",
        cell="Real Lattice",
        atoms="Fractional coordinates of atoms",
        energy=("Final energy, E", "Final free energy", "NB est. 0K energy", "ispersion corrected"),
        unconverged=(
            "electronic minimisation did not converge",
            "electronic_minimisation of system did not converge",
            "has not reached the groundstate",
        ),
        forces=" Forces ****",
        stress=" Stress Tensor ****",
        only="^Final energy = ",
        start=("Calculating total energy with", "^SCF loop "),
        end=("^Total time ", "Geometry optimization completed", "... finished MD iteration", "^Calculation time"),
    )

    cell: F64 | None = None
    symbols: list[str] = field(default_factory=list)
    inside: F64 | None = None  # fractional positions
    charge: float = 0.0
    filled: bool = False  # bands are full or empty: one energy is all there is
    printed: bool = False  # a geometry has been printed since the last energy
    refused: str | None = None  # why no energy can be used

    def on_kind(self, line: str) -> None:
        kind = line.partition(":")[2].strip()
        known = any(words in kind.lower() for words in KINDS)
        self.refused = None if known else f"the geometries of a {kind} are not known"

    def on_charge(self, line: str) -> None:
        self.charge = first_number(line.partition(":")[2])

    def on_cell(self, line: str) -> Step | None:
        """Where only the cell moves, it alone is printed anew."""
        done = self.take() if self.step is not None and self.step.energy is not None else None
        self.cell, self.printed = self.rows(3) * self.unit(line, UNITS), True
        return done

    def on_atoms(self, line: str) -> Step | None:
        done = self.take()
        symbols, inside = [], []
        for line in self.boxed("x"):
            words = line.strip().strip("x").split()
            if len(words) >= 3 and words[1].isdigit():
                symbols.append(element(words[0]))
                inside.append(columns(" ".join(words[2:]), count=3))
            elif inside:
                break
        if self.cell is None:
            raise SourceError("fractional positions before the cell", where=self.file.name)
        self.symbols, self.inside, self.printed = symbols, np.array(inside), True
        return done

    def on_start(self, line: str) -> Step | None:
        """A loop begins; another cut-off for a geometry that has an energy and no forces yet is on the way to that of the run."""
        done = self.take() if self.step is not None and self.step.forces is not None else None
        if self.step is None:
            positions = self.inside @ self.cell if self.inside is not None and self.cell is not None else None
            self.step = Step(self.symbols, positions, self.cell)
            self.step.state_charge(self.charge)
            if not self.printed:
                self.step.refuse("no geometry is printed for this energy")
            self.printed = False
        elif "cut-off" in line:
            self.step.energy = self.step.converged = None
        return done

    def on_energy(self, line: str) -> Step | None:
        if self.step is None:
            return None
        self.filled = self.filled and not line.startswith("Final")
        wanted = "total" if self.filled else self.option("energy", "free")
        if line.strip().startswith(ENERGIES[wanted]):
            return self._take_energy(line)
        title = {"total": "final energy", "free": "free energy", "sigma0": "0k"}[wanted]
        if "dispersion corrected" in line.lower() and title in line.lower():
            self.step.energy = self._energy(line)
        return None

    def on_only(self, line: str) -> Step | None:
        """After an SCF the energy of filled bands; without one CASTEP ran a pair potential."""
        if self.step is None:
            return Step(reason="pair potential", value=first_number(line.partition("=")[2]))
        self.filled = True
        return self._take_energy(line)

    def _take_energy(self, line: str) -> Step | None:
        """Give the step its energy; one that no geometry is known for is a step of its own."""
        energy = self._energy(line)
        if self.step is None or self.refused:
            self.step = None
            return Step(reason=self.refused, value=energy)
        self.step.state_energy(energy)
        self.step.converged = self.step.converged is not False
        return None

    def _energy(self, line: str) -> float:
        value = line.rpartition("=")[2]
        if (unit := value.split()[-1]) not in UNITS:
            raise SourceError(f"unit of {line.strip()[:60]!r} is not known", where=self.file.name)
        return first_number(value) * UNITS[unit]

    def on_unconverged(self, line: str) -> None:
        if self.step is not None:
            self.step.converged = False

    def on_forces(self, line: str) -> None:
        """CASTEP prints zeros, so marked, for components that are constrained."""
        title, unit, rows, zeroed = line, 1.0, [], False
        for line in self.boxed("*"):
            if "components" in line:
                unit = self.unit(line, FORCES)
            words = line.strip().strip("*").replace("(cons'd)", " ").split()
            if len(words) >= 3 and words[1].isdigit():
                rows.append(columns(" ".join(words[2:]), count=3))
                zeroed = zeroed or ("(cons'd)" in line and 0.0 in rows[-1])
            elif line.startswith(" ****"):
                break
        if self.step is None:
            return
        if zeroed or " Constrained" in title:
            self.step.leave_out("forces", "those of constrained atoms are not printed")
        else:
            self.step.forces = np.array(rows) * unit

    def on_stress(self, line: str) -> None:
        unit, rows = GPA, []
        for line in self.boxed("*"):
            if "components" in line:
                unit = self.unit(line, STRESSES)
            words = line.strip().strip("*").split()
            if words and words[0] in ("x", "y", "z") and len(words) >= 2 and words[1] not in ("y", "z"):
                rows.append(columns(" ".join(words[1:]), count=3))
            elif line.startswith(" ****"):
                break
        if self.step is not None:
            self.step.stress = -np.array(rows) * unit

    def on_end(self, line: str) -> Step | None:
        return self.take() if self.step is not None and self.step.energy is not None else None

    def at_end(self) -> Step | None:
        if self.step is not None and (self.step.forces is not None or self.step.left_out):
            self.step.complete = not self.lines.cut
        return self.step


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
        elif "Hubbard U values are" in line:
            out["hubbard_u"] = _hubbard(lines)
        elif "external electric field" in line.lower() and any(floats(value)):
            out["state"] = "electric field"
        elif "SCF loop" in line:
            break
    if cores:
        out["core"] = ", ".join(sorted(cores))
    return out if "code" in out else {}


def _hubbard(lines: Iterator[str]) -> str:
    """The rows `|  Ni  1  d:  6.0  |` of the table of Hubbard U, each once."""
    found: dict[str, None] = {}
    for line in lines:
        words = line.replace("|", " ").split()
        if len(words) > 2 and words[0][0].isalpha():
            kept = [word for word in words if not word.isdigit()]
            found.setdefault(" ".join(kept))
        elif found:
            break
    return "DFT+U, " + ", ".join(found) if found else "DFT+U"


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
