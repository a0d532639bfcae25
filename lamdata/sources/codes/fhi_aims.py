"""FHI-aims standard output: text in, every step of an scf, relaxation or md run out.

Energy is the electronic free energy, of which forces and stress are the derivatives (equal to `Total energy uncorrected` where
nothing is smeared); `options: {energy: total}` takes the latter. Stress is in eV/Å^3 with ASE's sign.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lamdata.frame import F64

from ..build import element
from ..bytes.numbers import floats
from .steps import Run, Step, TextReader, marks


@dataclass(slots=True)
class AimsRun(Run):
    """An FHI-aims output."""

    marks = marks(
        unit_cell="| Unit cell:",
        atoms="| Atomic structure:",
        start="Begin self-consistency loop",
        converged="Self-consistency cycle converged.",
        unconverged=("Self-consistency cycle not converged", "Self-consistency cycle not yet converged"),
        total="| Total energy uncorrected",
        free="| Electronic free energy  ",
        forces="Total atomic forces (",
        stress=("Analytical stress tensor - Symmetrized", "Numerical stress tensor"),
        preceding=(
            "Atomic structure (and velocities) as used in the preceding time step",
            "Atomic structure as used in the preceding time step",
        ),
        updated="Updated atomic structure:",
        end="Have a nice day",
    )

    symbols: list[str] = field(default_factory=list)
    cell: F64 | None = None
    positions: F64 | None = None
    vectors: list[list[float]] = field(default_factory=list)
    free: float | None = None

    def on_unit_cell(self, line: str) -> None:
        if self.cell is None:
            self.cell = self.rows(3, after="|")

    def on_atoms(self, line: str) -> None:
        if self.positions is not None:
            return
        self.skip(1)
        rows = list(self.words(least=7))  # | 1: Species B x y z
        self.symbols = [element(row[3]) for row in rows]
        self.positions = np.array([[float(word) for word in row[-3:]] for row in rows])

    def on_start(self, line: str) -> Step | None:
        done = self.take()
        self.free = None
        self.step = Step(self.symbols, self.positions, self.cell)
        return done

    def on_converged(self, line: str) -> None:
        if self.step is not None:
            self.step.converged = True

    def on_unconverged(self, line: str) -> None:
        if self.step is not None:
            self.step.converged = False

    def on_free(self, line: str) -> None:
        values = floats(line.partition(":")[2])
        if not values:
            return
        self.free = values[-1]  # eV comes last
        if self.step is not None and self.step.energy is not None and self.option("energy", "free") == "free":
            self.step.energy = self.free

    def on_total(self, line: str) -> None:
        if self.step is None:
            return
        free = self.option("energy", "free") == "free" and self.free is not None
        self.step.energy = self.free if free else floats(line.partition(":")[2])[0]

    def on_forces(self, line: str) -> None:
        if self.step is not None:
            rows = list(self.words(least=5))  # | 1 x y z
            self.step.forces = np.array([[float(word) for word in row[-3:]] for row in rows])

    def on_stress(self, line: str) -> None:
        rows = []
        for line in self.lines:
            words = line.replace("|", " ").split()
            if len(words) == 4 and words[0] in "xyz":
                rows.append([float(word) for word in words[1:]])
            if len(rows) == 3:
                break
        if self.step is not None:
            self.step.stress = -np.array(rows)

    def on_preceding(self, line: str) -> None:
        """In md the geometry of a step is printed after its forces."""
        self._geometry()
        if self.step is not None:
            self.step.positions, self.step.cell = self.positions, self.cell

    def on_updated(self, line: str) -> Step | None:
        done = self.take()
        self._geometry()
        return done

    def on_end(self, line: str) -> Step | None:
        return self.take()

    def _geometry(self) -> None:
        vectors, rows = [], []
        for line in self.lines:
            words = line.split()
            if words[:1] == ["lattice_vector"]:
                vectors.append([float(word) for word in words[1:4]])
            elif words[:1] == ["atom"]:
                rows.append([float(word) for word in words[1:4]])
            elif words[:1] == ["atom_frac"] and len(vectors) == 3:
                rows.append(list(np.array([float(word) for word in words[1:4]]) @ np.array(vectors)))
            elif rows and words[:1] != ["velocity"]:
                break
        self.positions = np.array(rows)
        self.cell = np.array(vectors) if len(vectors) == 3 else self.cell


def aims_theory(lines: Iterator[str]) -> dict[str, Any]:
    """Read the fields of `Theory` from the input section and what the program made of it."""
    out: dict[str, Any] = {}
    for line in lines:
        words = line.split()
        if words[:1] == ["Version"] or line.strip().startswith("FHI-aims version"):
            out.setdefault("code", f"FHI-aims {words[-1]}")
        elif words[:1] == ["xc"] and len(words) > 1:
            out.setdefault("functional", {"pw-lda": "LDA", "pz-lda": "LDA"}.get(words[1].lower(), words[1].upper()))
        elif words[:1] == ["spin"] and len(words) > 1:
            out.setdefault("spin", words[1])
        elif words[:1] == ["vdw_correction_hirshfeld"]:
            out.setdefault("dispersion", "TS")
        elif words[:1] in (["many_body_dispersion"], ["many_body_dispersion_nl"]):
            out.setdefault("dispersion", "MBD")
        elif "defaults for" in line and "Suggested" in line:
            out.setdefault("core", f"{line.split(chr(34))[1]} numeric atom-centred orbitals")
        elif "Begin self-consistency loop" in line:
            break
    return {"dispersion": "none", **out} if "code" in out else {}


AIMS = TextReader(
    name="fhi_aims/output",
    run=AimsRun,
    states=lambda file: aims_theory(file.lines()),
    signs=(b"Invoking FHI-aims", b"FHI-aims version"),
    options={"energy": ("free", "total")},
)
