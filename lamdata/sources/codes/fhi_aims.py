"""FHI-aims standard output: text in, every step of an scf, relaxation or md run out.

Energy is the electronic free energy, of which forces and stress are the derivatives (equal to `Total energy uncorrected` where
nothing is smeared); `options: {energy: total}` takes the latter. Stress is in eV/Å^3 with ASE's sign. A loop whose geometry is printed
neither before nor after it (a cell that is strained to find the stress by differences) has no positions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lamdata.frame import F64

from ..build import element
from ..bytes.numbers import columns, first_number
from .steps import Run, Step, TextReader, marks


@dataclass(slots=True)
class AimsRun(Run):
    """An FHI-aims output."""

    marks = marks(
        fresh="Invoking FHI-aims",
        charge="^  Charge =",
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
    charge: float = 0.0
    ghosts: bool = False
    printed: bool = False  # the geometry of the next loop is
    free: float | None = None

    def on_fresh(self, line: str) -> Step | None:
        """A run begins; the step of one before that was not over is none."""
        cut, self.step = self.step, None
        self.cell, self.positions, self.printed, self.ghosts, self.charge = None, None, False, False, 0.0
        return cut

    def on_charge(self, line: str) -> None:
        self.charge = first_number(line.partition("=")[2])

    def on_unit_cell(self, line: str) -> None:
        if self.cell is None:
            self.cell = self.rows(3, after="|")

    def on_atoms(self, line: str) -> None:
        if self.positions is not None:
            return
        self.skip(1)
        rows = list(self.words(least=7))  # | 1: Species B x y z
        self.symbols = [element(row[3]) for row in rows]
        self.positions, self.printed = np.array([columns(" ".join(row[4:]), count=3) for row in rows]), True
        self.ghosts = any(row[2] != "Species" for row in rows)

    def on_start(self, line: str) -> Step | None:
        done = self.take()
        self.free = None
        self.step = Step(self.symbols, self.positions if self.printed else None, self.cell)
        self.step.state_charge(self.charge)
        if self.ghosts:
            self.step.refuse("ghost atoms")
        self.printed = False
        return done

    def on_converged(self, line: str) -> None:
        if self.step is not None:
            self.step.converged = True

    def on_unconverged(self, line: str) -> None:
        if self.step is not None:
            self.step.converged = False

    def on_free(self, line: str) -> None:
        """Printed in each iteration and once more after the total energy; eV comes last."""
        if not line.partition(":")[2].strip():
            return
        self.free = first_number(line.rpartition("Ha ")[2] if "Ha " in line else line.partition(":")[2])
        if self.step is not None and self.step.energy is not None and self.option("energy", "free") == "free":
            self.step.energy = self.free

    def on_total(self, line: str) -> None:
        if self.step is None:
            return
        free = self.option("energy", "free") == "free" and self.free is not None
        self.step.state_energy(self.free if free and self.free is not None else first_number(line.partition(":")[2]))

    def on_forces(self, line: str) -> None:
        self.unit(line, {"eV/Ang": 1.0})
        if self.step is not None:
            self.step.forces = np.array([columns(" ".join(row[2:]), count=3) for row in self.words(least=3)])  # | 1 x y z

    def on_stress(self, line: str) -> None:
        rows: list[list[float]] = []
        for line in self.body():
            words = line.replace("|", " ").split()
            if "components [" in line:
                self.unit(line, {"eV/A**3": 1.0})
            if words and words[0] in ("x", "y", "z") and len(words) > 1 and words[1] not in ("y", "z"):
                rows.append(columns(" ".join(words[1:]), count=3))
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
        self.printed = True
        return done

    def on_end(self, line: str) -> Step | None:
        return self.take()

    def _geometry(self) -> None:
        vectors: list[list[float]] = []
        rows: list[list[float]] = []
        for line in self.body():
            words = line.split()
            if words[:1] == ["lattice_vector"]:
                vectors.append(columns(" ".join(words[1:4]), count=3))
            elif words[:1] == ["atom"]:
                rows.append(columns(" ".join(words[1:4]), count=3))
            elif words[:1] == ["atom_frac"] and len(vectors) == 3:
                rows.append((np.array(columns(" ".join(words[1:4]), count=3)) @ np.array(vectors)).tolist())
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
        elif words and re.match(r"(d3|d4|dftd3|vdw_correction|vdwdf|nlcorr)", words[0].lower()):  # another correction, by its own name
            out.setdefault("dispersion", " ".join(words))
        elif words[:1] == ["plus_u"]:
            out["hubbard_u"] = ", ".join([out.get("hubbard_u", "DFT+U"), " ".join(words[1:])])
        elif words[:1] in (["homogeneous_field"], ["fixed_spin_moment"]) or words and words[0].startswith("force_occupation"):
            out.setdefault("state", " ".join(words))
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
