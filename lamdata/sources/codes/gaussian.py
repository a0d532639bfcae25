"""Gaussian logs (.log, .out): text in, every step that has forces, or an energy alone, out.

Forces are printed along the input's axes, so positions must be too: a log with the standard orientation alone is rejected (run it
with `geom=PrintInputOrient`). The energy of a step is the last one printed before its forces: the SCF's, or that of the correlated
method or excited state that the forces are derivatives of; the theory says which.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from lamdata.errors import SourceError
from lamdata.frame import F64
from lamdata.units import BOHR, HARTREE

from ..bytes.numbers import floats
from .gaussian_route import (
    CHANGED_FUNCTIONAL,
    EXCITED,
    asked_dispersion,
    asked_functional,
    asked_surroundings,
    bare_method,
    correlated_method,
    join_route,
    route_words,
)
from .jobs import GHOSTS, UNTOLD, JobRun, first_theory
from .steps import Step, TextReader, marks
from .theory_words import built_in_dispersion

FORCE = HARTREE / BOHR  # eV/Å
BEYOND = (
    "EUMP2 =",
    "EUMP3=",
    " UMP4(",
    " MP5 =",
    "E(CORR)=",
    "E(CI)=",
    "CCSD(T)= ",
    "QCISD(T)= ",
    "^ E2(",
)  # energies of methods beyond the SCF
GHOST, DUMMY, VECTOR = 0, -1, -2  # "atomic numbers" of what is no atom
STANDS = 1e-4  # Å: the same standard orientation
ROUTE_LINES = 40
CORRECTIONS = {"Petersson-Frisch": "PFD"}  # as the log calls them, where theories call them otherwise
AXES, FORCES = (34, 46, 58, 70), (23, 38, 53, 68)  # where the columns of the two tables begin and end


@dataclass(slots=True)
class GaussianRun(JobRun):
    """A Gaussian log."""

    marks = marks(
        version="^ Gaussian ",
        route="^ #",
        charge="^ Charge = ",
        ghost=("-Bq", "(Bq", "^ Bq"),
        nuclei="^ AtZNuc=",
        basis="Standard basis:",
        general_basis="General basis read from cards",
        dispersion="^ R6Disp: ",
        solvent="^ Solvent              :",
        smd="SMD-Coulomb",
        field="finite field(s) will be applied",
        charges="^ Point Charges:",
        input_axes=(" Input orientation:", " Z-Matrix orientation:"),
        standard_axes=" Standard orientation:",
        unmet="Convergence criterion not met",
        scf="^ SCF Done:",
        correlated=BEYOND,
        excited_state="^ Excited State ",
        excited="Total Energy, E(",
        corrected="E(CIS(D))=",
        unconverged="Convergence failure",
        forces="^ Center     Atomic                   Forces (Hartrees/Bohr)",
        parts=("ONIOM: generating point", "Counterpoise: doing "),
        failed="Error termination",
        end="Normal termination of Gaussian",
    )

    numbers: list[int] = field(default_factory=list)
    positions: F64 | None = None  # along the input's axes
    standard: F64 | None = None  # along the principal ones
    cell: F64 | None = None
    moved: bool = False  # since the last SCF
    route: dict[str, str] = field(default_factory=dict)  # its words
    surroundings: dict[str, str] = field(default_factory=dict)
    basis: str | None = None
    correction: str | None = None  # for dispersion, as the log has it
    scf_method: str | None = None
    method: str | None = None  # of the last energy
    spin: str | None = None
    state: str | None = None  # excited, of the step
    seen_state: str = ""  # the last one in the list
    unmet: bool = False
    ghosts: bool = False

    def on_version(self, line: str) -> None:
        if found := re.match(r" Gaussian (\d+), Revision (\S+?),", line) or re.match(r" Gaussian (\d+): +\S*Rev([A-Z]\.\d+)", line):
            self.code = f"Gaussian {found[1]} {found[2]}"

    def on_route(self, line: str) -> None:
        """A job begins; the archive at its end repeats the route between backslashes."""
        lines = [line]
        while "\\" not in lines[-1] and len(lines) < ROUTE_LINES and (more := next(self.lines, "")).strip() and not more.startswith(" ---"):
            if more.startswith(" Charge = "):  # logs that somebody has shortened
                self.on_charge(more)
                break
            lines.append(more)
        if "\\" in lines[-1]:
            return
        self.route = route_words(join_route(lines))
        self.surroundings = asked_surroundings(self.route)
        self.basis, self.ghosts = None, "counterpoise" in self.route
        if "genchk" not in self.route:  # Gaussian's own second half of `opt freq`, which does not repeat it
            self.correction = asked_dispersion(self.route) or "none"

    def on_charge(self, line: str) -> None:
        if found := re.match(r" Charge = +(-?\d+) Multiplicity = +(\d+)", line):
            self.charge, self.multiplicity = int(found[1]), int(found[2])

    def on_ghost(self, line: str) -> None:
        self.ghosts = self.ghosts or self.multiplicity is not None and self.positions is None  # in the list of atoms, not in a title

    def on_nuclei(self, line: str) -> None:
        self.ghosts = self.ghosts or 0.0 in floats(line.partition("=")[2])

    def on_basis(self, line: str) -> None:
        self.basis = re.split(r"\((?:5D|6D)", line.partition(":")[2])[0].strip() or None

    def on_general_basis(self, line: str) -> None:
        self.basis = None

    def on_dispersion(self, line: str) -> None:
        if found := re.search(r"R6Disp: +(?:Grimme-)?(\S+) Dispersion energy", line):
            self.correction = CORRECTIONS.get(found[1], found[1])

    def on_solvent(self, line: str) -> None:
        self.surroundings["solvent"] = line.partition(":")[2].partition(",")[0].strip()
        self.surroundings.setdefault("model", "PCM")

    def on_smd(self, line: str) -> None:
        self.surroundings["model"] = "SMD"

    def on_field(self, line: str) -> None:
        components = " ".join(f"{value:g}" for value in floats(next(self.lines, "")))
        self.surroundings.setdefault("field", f"electric field {components}")

    def on_charges(self, line: str) -> None:
        self.surroundings["charges"] = "point charges"

    def on_input_axes(self, line: str) -> None:
        rows = self._table(AXES)
        self.moved = True
        self.numbers = [int(row[1]) for row in rows if int(row[1]) != VECTOR]
        self.positions = np.array([_numbers(row[-3:]) for row in rows if int(row[1]) != VECTOR])
        vectors = [_numbers(row[-3:]) for row in rows if int(row[1]) == VECTOR]
        self.cell, self.standard = np.array(vectors) if len(vectors) == 3 else None, None

    def on_standard_axes(self, line: str) -> None:
        """Printed for another geometry than the input axes were, it leaves none along the input's axes."""
        rows = self._table(AXES)
        now = np.array([_numbers(row[-3:]) for row in rows])
        if self.standard is not None and (now.shape != self.standard.shape or abs(now - self.standard).max(initial=0.0) > STANDS):
            self.positions = None
        self.standard, self.moved = now, True
        if self.positions is None:
            self.numbers = [int(row[1]) for row in rows]

    def on_unmet(self, line: str) -> None:
        self.unmet = True

    def on_scf(self, line: str) -> Step | None:
        """An energy without forces is a step of its own, unless the SCF is repeated for the same geometry, as with a solvent."""
        done = self.take() if self.step is not None and self.step.converged is not False and self.moved else None
        self.step = Step(self.numbers, self.positions, self.cell, charge=self.charge, multiplicity=self.multiplicity)
        self.step.energy, self.step.converged = floats(line.partition("=")[2])[0] * HARTREE, not self.unmet
        self.moved, self.unmet, self.state, self.seen_state = False, False, None, ""
        reference, self.scf_method = bare_method(line.partition("E(")[2].partition(")")[0])
        if "+" in self.scf_method:  # as older versions spell a hybrid: B+HF-LYP
            self.scf_method = asked_functional(self.route)
        self.method = self.scf_method
        self.spin = "none" if reference == "R" else "collinear"
        if self.ghosts or GHOST in self.numbers:
            self.step.reason = GHOSTS
        elif DUMMY in self.numbers:
            self.step.reason = "dummy atoms in the table of positions"
        return done

    def on_parts(self, line: str) -> None:
        raise SourceError("a run of layers or fragments, whose energies are not those of the whole", where=self.file.name)

    def on_correlated(self, line: str) -> None:
        if self.step is None:
            return
        self.step.energy = floats(line.partition("Delta=")[0].rpartition("=")[2])[0] * HARTREE
        if found := re.search(r"\bE2\(([^)]+)\)", line):
            self.method = found[1]
        elif found := re.search(r"EU(MP[23]) ?=|U(MP4\(\w+\))= |\b(MP5) =|\b((?:CC|QCI)SD\(T\))=", line):
            self.method = next(name for name in found.groups() if name)
        else:  # E(CORR)= and E(CI)= are of the method that the route names
            self.method = correlated_method(self.route)

    def on_excited_state(self, line: str) -> None:
        if found := re.match(r" Excited State +(\d+): +(\S+?)-", line):
            self.seen_state = f"root {found[1]}" + (f" ({found[2].lower()})" if found[2].isalpha() else "")

    def on_excited(self, line: str) -> None:
        """The total energy of the state of which forces are asked, after the list up to it."""
        if self.step is None:
            return
        self.step.energy = floats(line.rpartition("=")[2])[0] * HARTREE
        kind = line.partition("E(")[2].partition(")")[0]
        if kind.startswith("EOM"):  # the list is of the guess
            options = next((text for word, text in self.route.items() if word.startswith("eom")), "")
            root = re.search(r"root=(\d+)", options)
            self.method, self.state = "EOM-CCSD", f"EOM-CCSD root {root[1] if root else 1}"
        else:
            self.method = self.scf_method
            asked_td = "td" in self.route or kind.startswith(("TD", "RPA"))
            name = "TDA" if "tda" in self.route else "TD" if asked_td else "CIS" if self.method == "HF" else "TDA"
            self.state = f"{name} {self.seen_state}"
            if not self.seen_state:
                self.step.reason = UNTOLD

    def on_corrected(self, line: str) -> None:
        if self.step is not None:
            self.step.reason = "CIS(D) energies, several for one geometry"

    def on_unconverged(self, line: str) -> Step | None:
        if self.step is not None:
            self.step.converged = False
        return self.take()

    def on_failed(self, line: str) -> None:
        """What comes after it belongs to another job: the step stays incomplete."""
        if self.step is not None and self.step.converged:
            self.step.reason = "its job ended by an error"

    def on_forces(self, line: str) -> Step | None:
        rows = self._table(FORCES)
        if self.step is None:
            return None
        forces = np.array([_numbers(row[-3:]) for row in rows if int(row[1]) != VECTOR])
        self.step.forces = forces * FORCE
        if self.positions is None:
            self.step.reason = "forces without the input orientation"
        elif self.state is None and any(word in self.route for word in EXCITED):
            self.step.reason = "forces of an excited state whose energy is not printed"
        return self.take()

    def on_end(self, line: str) -> Step | None:
        if self.step is not None and self.positions is None:
            self.step.reason = "no input orientation"
        self.positions, self.standard = None, None  # the next job of the file prints its own
        return self.take()

    def theory(self) -> dict[str, Any]:
        """Return what the header, the route and the energies printed last say."""
        changed = any(CHANGED_FUNCTIONAL.match(f"{word}({options}") for word, options in self.route.items() if word.startswith("iop"))
        functional = None if changed else self.method
        correction = self.correction if self.correction != "none" else built_in_dispersion(functional) or "none"
        around = self.surroundings
        solvent = f"{around['model']} {around['solvent']}" if "solvent" in around else None
        state = ", ".join(part for part in (self.state, solvent, around.get("field"), around.get("charges")) if part)
        out = {
            "code": self.code,
            "functional": functional,
            "core": self.basis,
            "spin": self.spin,
            "state": state or None,
            "dispersion": correction,
        }
        return {name: value for name, value in out.items() if value is not None} | {"hubbard_u": "none"}

    def _table(self, edges: Sequence[int]) -> list[list[str]]:
        """Rows between the second and the third ruler: labels, then three numbers, which run together where they are large."""
        rows: list[list[str]] = []
        rulers = 0
        for line in self.body():
            if line.startswith(" ----"):
                rulers += 1
                if rows:
                    break
            elif rulers and len(words := line.split()) >= 3 and words[0].isdigit():
                labels, numbers = line[: edges[0]].split(), [line[i:j] for i, j in pairwise(edges)]
                rows.append(words if len(words) >= len(labels) + 3 else [*labels, *numbers])
        return rows


def _numbers(words: Sequence[str]) -> list[float]:
    """Numbers, nan for the stars of one that is too wide for its column."""
    return [math.nan if "*" in word else float(word) for word in words]


GAUSSIAN = TextReader(
    name="gaussian/log",
    run=GaussianRun,
    states=lambda file: first_theory(GaussianRun, file),
    signs=(b"Entering Gaussian System", b"Gaussian, Inc."),
)
