"""Gaussian logs (.log, .out) and formatted checkpoints (.fchk): text in, every step that has forces out.

Forces are printed along the input's axes, so positions must be too: a log with the standard orientation alone is rejected (run it
with `geom=PrintInputOrient`). The energy of a step is the last one printed before its forces: the SCF's, or that of the correlated
method or excited state that the forces are derivatives of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import F64, MAX_ATOMS, Frame, Rejection
from lamdata.units import BOHR, HARTREE

from ..build import build
from ..bytes.files import SourceFile
from ..bytes.numbers import floats
from .steps import Run, Step, TextReader, marks

FORCE = HARTREE / BOHR  # eV/Å
SAME = 1e-6  # Hartree: the energies of one calculation
BEYOND = ("EUMP3=", " UMP4(", " MP5 =", "E(CORR)=", "E(CI)=")  # energies of methods beyond MP2
VECTOR = -2  # the "atomic number" of a lattice vector


@dataclass(slots=True)
class GaussianRun(Run):
    """A Gaussian log."""

    marks = marks(
        charge="^ Charge = ",
        input_axes=(" Input orientation:", " Z-Matrix orientation:"),
        standard_axes=" Standard orientation:",
        scf="^ SCF Done:",
        correlated=("EUMP2 =", *BEYOND, "CCSD(T)= ", "QCISD(T)= ", "^ E2(", "Total Energy, E("),
        unconverged="Convergence failure",
        forces="^ Center     Atomic                   Forces (Hartrees/Bohr)",
        parts=("ONIOM: generating point", "Counterpoise: doing "),
        end="Normal termination of Gaussian",
    )

    charge: int = 0
    multiplicity: int | None = None
    numbers: list[int] = field(default_factory=list)
    positions: F64 | None = None  # along the input's axes
    cell: F64 | None = None
    moved: bool = False  # since the last SCF

    def on_charge(self, line: str) -> None:
        found = re.match(r" Charge = +(-?\d+) Multiplicity = +(\d+)", line)
        if found is None:
            return
        charge, multiplicity = found.groups()
        self.charge, self.multiplicity = int(charge), int(multiplicity)

    def on_input_axes(self, line: str) -> None:
        rows = self._table()
        self.moved = True
        self.numbers = [int(row[1]) for row in rows if int(row[1]) != VECTOR]
        self.positions = np.array([[float(word) for word in row[3:6]] for row in rows if int(row[1]) != VECTOR])
        vectors = [[float(word) for word in row[3:6]] for row in rows if int(row[1]) == VECTOR]
        self.cell = np.array(vectors) if len(vectors) == 3 else None

    def on_standard_axes(self, line: str) -> None:
        self.moved = True
        if self.positions is None:
            self.numbers = [int(row[1]) for row in self._table()]

    def on_scf(self, line: str) -> Step | None:
        """An energy without forces is a step of its own, unless the SCF is repeated for the same geometry, as with a solvent."""
        done = self.take() if self.step is not None and self.step.converged is not False and self.moved else None
        self.moved = False
        self.step = Step(self.numbers, self.positions, self.cell, charge=self.charge, multiplicity=self.multiplicity)
        self.step.energy, self.step.converged = floats(line.partition("=")[2])[0] * HARTREE, True
        return done

    def on_parts(self, line: str) -> None:
        raise SourceError("a run of layers or fragments, whose energies are not those of the whole", where=self.file.name)

    def on_correlated(self, line: str) -> None:
        if self.step is not None:
            self.step.energy = floats(line.partition("Delta=")[0].rpartition("=")[2])[0] * HARTREE

    def on_unconverged(self, line: str) -> Step | None:
        if self.step is not None:
            self.step.converged = False
        return self.take()

    def on_forces(self, line: str) -> Step | None:
        rows = self._table()
        if self.step is None:
            return None
        forces = np.array([[float(word) for word in row[-3:]] for row in rows if int(row[1]) != VECTOR])
        self.step.forces = forces * FORCE
        if self.positions is None:
            self.step.reason = "forces without the input orientation"
        return self.take()

    def on_end(self, line: str) -> Step | None:
        if self.step is not None and self.positions is None:
            self.step.reason = "no input orientation"
        self.positions = None  # the next job of the file prints its own
        return self.take()

    def _table(self) -> list[list[str]]:
        """Rows between the second and the third ruler."""
        rows: list[list[str]] = []
        rulers = 0
        for line in self.lines:
            if line.startswith(" ----"):
                rulers += 1
                if rows:
                    break
            elif rulers and len(words := line.split()) >= 3 and words[0].isdigit():
                rows.append(words if len(words) >= 5 else [*words[:2], line[23:38], line[38:53], line[53:68]])  # ran together
        return rows


def gaussian_theory(lines: Iterator[str]) -> dict[str, Any]:
    """Read the fields of `Theory` from the header and the first SCF."""
    out: dict[str, Any] = {}
    for line in lines:
        if found := re.match(r" Gaussian (\d+), Revision (\S+?),", line):
            out["code"] = f"Gaussian {found[1]} {found[2]}"
        elif "Standard basis:" in line:
            out["core"] = line.partition(":")[2].partition("(6D")[0].partition("(5D")[0].strip()
        elif found := re.search(r"empiricaldispersion=(\w+)", line, re.IGNORECASE):
            out["dispersion"] = {"GD2": "D2", "GD3": "D3", "GD3BJ": "D3(BJ)"}.get(found[1].upper(), found[1])
        elif found := re.match(r" SCF Done: +E\(([RU]O?)?([^)]*)\)", line):
            if "functional" in out:
                break
            out["functional"], out["spin"] = found[2], "none" if found[1] == "R" else "collinear"
            if found[2] != "HF":
                break
        elif "functional" in out and "EUMP2 =" in line:
            out["functional"] = "MP2"
        elif "functional" in out and any(mark in line for mark in (*BEYOND, "Total Energy, E(")):
            del out["functional"]  # the route says which
            break
        elif "Forces (Hartrees/Bohr)" in line:
            break
    return {"dispersion": "none", "hubbard_u": "none"} | out if "code" in out else {}


GAUSSIAN = TextReader(
    name="gaussian/log",
    run=GaussianRun,
    states=lambda file: gaussian_theory(file.lines()),
    signs=(b"Entering Gaussian System", b"Gaussian, Inc."),
)


class FchkReader:
    """Formatted checkpoint: one frame (`gaussian/fchk`)."""

    name = "gaussian/fchk"
    options: dict[str, tuple] = {}
    open_units = False

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield the one frame."""
        found = fchk_fields(file)
        missing = [name for name in ("Atomic numbers", "Current cartesian coordinates", "Total Energy") if name not in found]
        if missing:
            raise SourceError(f"has no {missing[0]!r}", where=file.name)
        gradient = _gradient(found)
        yield build(
            origin=f"{file.name}#0",
            numbers=np.array(found["Atomic numbers"], np.int64),
            positions=np.array(found["Current cartesian coordinates"]).reshape(-1, 3) * BOHR,
            energy=found["Total Energy"][0] * HARTREE,
            forces=None if gradient is None else -np.array(gradient).reshape(-1, 3) * FORCE,
            charge=int(found.get("Charge", [0])[0]),
            multiplicity=int(found["Multiplicity"][0]) if "Multiplicity" in found else None,
            group=file.name,
        )

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Return what the second line states: type, method and basis."""
        words = file.head(400).decode("utf-8", errors="replace").split("\n")[1:2]
        words = words[0].split() if words else []
        if len(words) < 3:
            return {}
        return {"code": "Gaussian", "functional": re.sub(r"^[RU]", "", words[1]), "core": words[2]}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        return file.basename.endswith((".fchk", ".fch")) and b"Number of atoms" in head


def _gradient(found: dict[str, list[float]]) -> list[float] | None:
    """The gradient that belongs to the total energy: a single point keeps zeros in its place, or that of the job before it."""
    gradient, energy = found.get("Cartesian Gradient"), found["Total Energy"]
    belongs = np.allclose(found.get("Grdnt Energy", energy), energy, rtol=0, atol=SAME)
    return gradient if gradient is not None and belongs and any(gradient) else None


def fchk_fields(file: SourceFile) -> dict[str, list[float]]:
    """The fields that a frame needs: a title, I or R, then a value or N= and the values below."""
    wanted = ("Atomic numbers", "Current cartesian coordinates", "Charge", "Multiplicity")
    wanted += ("Total Energy", "Grdnt Energy", "Cartesian Gradient")
    out: dict[str, list[float]] = {}
    lines = file.lines()
    for line in lines:
        title = line[:40].strip()
        if title not in wanted:
            continue
        if "N=" not in line:
            out[title] = floats(line[43:])
            continue
        count = int(line.partition("N=")[2])
        if not 0 < count <= 3 * MAX_ATOMS:
            raise SourceError(f"states {count} values of {title!r}", where=file.name)
        values: list[float] = []
        while len(values) < count and (row := next(lines, "")):
            values += floats(row)
        if len(values) != count:
            raise SourceError(f"has {len(values)} of {count} values of {title!r}", where=file.name)
        out[title] = values
    return out
