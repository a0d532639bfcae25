"""ORCA and Psi4 outputs: text in, every geometry with its energy and gradient out. Molecules: no cell, no virial."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamdata.units import BOHR, HARTREE

from ..build import element
from ..bytes.files import SourceFile
from ..bytes.numbers import floats
from .steps import Run, Step, TextReader, marks

FORCE = HARTREE / BOHR  # eV/Å


@dataclass(slots=True)
class OrcaRun(Run):
    """An ORCA output."""

    marks = marks(
        positions="^CARTESIAN COORDINATES (ANGSTROEM)",
        charge=" Total Charge           Charge ",
        multiplicity=" Multiplicity           Mult ",
        unconverged="SCF NOT CONVERGED",
        energy="^FINAL SINGLE POINT ENERGY",
        gradient=("^CARTESIAN GRADIENT", "^The final MP2 gradient"),
        end="ORCA TERMINATED NORMALLY",
    )

    def on_positions(self, line: str) -> Step | None:
        done = self.take()
        self.skip(1)
        rows = list(self.words(least=4))
        positions = np.array([[float(word) for word in row[1:4]] for row in rows])
        self.step = Step([element(row[0]) for row in rows], positions)
        return done

    def on_charge(self, line: str) -> None:
        if self.step is not None:
            self.step.charge = int(line.split()[-1])

    def on_multiplicity(self, line: str) -> None:
        if self.step is not None:
            self.step.multiplicity = int(line.split()[-1])

    def on_unconverged(self, line: str) -> None:
        if self.step is not None:
            self.step.converged = False

    def on_energy(self, line: str) -> None:
        if self.step is not None:
            self.step.energy = floats(line)[0] * HARTREE
            self.step.converged = self.step.converged is not False and "not fully" not in line

    def on_gradient(self, line: str) -> None:
        rows: list[list[float]] = []
        for row in self.lines:
            words = row.replace(":", " ").split()
            if len(words) in (4, 5) and words[0].isdigit():
                rows.append([float(word) for word in words[-3:]])
            elif rows:
                break
        if self.step is not None:
            self.step.forces = -np.array(rows) * FORCE

    def on_end(self, line: str) -> Step | None:
        return self.take()


def orca_theory(lines: Iterator[str]) -> dict[str, Any]:
    """Read the fields of `Theory` from the echoed input line and the header."""
    out: dict[str, Any] = {}
    for line in lines:
        if found := re.search(r"Program Version (\S+)", line):
            out["code"] = f"ORCA {found[1]}"
        elif (found := re.match(r"\| +\d+> *! *(.*)", line)) and "functional" not in out:
            words = [word for word in found[1].split() if word.lower() not in ("engrad", "opt", "sp", "freq", "tightscf", "noautostart")]
            if words:
                out["functional"] = words[0]
            if len(words) > 1:
                out["core"] = words[1]
        elif "DFT DISPERSION CORRECTION" in line or "DFTD3" in line:
            out["dispersion"] = "D3"
        elif found := re.search(r"Hartree-Fock type +HFTyp +\.+ +(\w+)", line):
            out["spin"] = "none" if found[1].startswith("RHF") or found[1] == "RKS" else "collinear"
        elif line.startswith("FINAL SINGLE POINT"):
            break
    return out if "code" in out else {}


ORCA = TextReader(
    name="orca/output",
    run=OrcaRun,
    states=lambda file: orca_theory(file.lines()),
    signs=(b"* O   R   C   A *",),
)


# ` * CCSD total energy = -76.2`, ` MP2 Total Energy (a.u.) : -76.2`, ` Total Energy   =  -76.2 [Eh]`, ` CISD Root 0 energy = -76.2`
PSI4_TOTAL = re.compile(r"[\s*]*(?:([\w().+-]+) )?(?:[Tt]otal [Ee]nergy|Root 0 energy)(?: \(a\.u\.\))? *[=:] *(-?\d+\.\d+)(?: \[Eh\])?\s*$")
SAME = 1e-5  # Å: one geometry in Å and in bohr


@dataclass(slots=True)
class Psi4Run(Run):
    """A Psi4 output."""

    marks = marks(
        geometry=("Geometry (in Bohr), charge =", "Geometry (in Angstrom), charge ="),
        unconverged=("Could not converge", "did not converge", "not converged in"),
        converged=("Energy and wave function converged", "Energy converged"),
        energy="  Total Energy = ",
        begun="*** tstart() called",
        ended="*** tstop() called",
        derivative=("SCF GRAD", "SCF HESS"),
        correlated=("otal Energy  ", "otal Energy (a.u.)", "otal energy", " Root 0 energy"),
        gradient=("-Total Gradient:", "-Total gradient:", "## Total Gradient"),
        end="*** Psi4 exiting successfully",
    )

    stage: str = ""  # whose the energy is: "scf", or a "method" beyond it; "after": one has begun, "unknown": and ended without an energy

    def on_geometry(self, line: str) -> Step | None:
        """Printed again before the gradient, perhaps in another unit: the same geometry goes on with the step."""
        unit = BOHR if "(in Bohr)" in line else 1.0
        charge, multiplicity = re.findall(r"= *(-?\d+)", line)
        self.skip(3)
        rows = list(self.words(least=4))
        positions = np.array([[float(word) for word in row[1:4]] for row in rows]) * unit
        symbols = [element(row[0]) for row in rows]
        now = self.step
        if now is not None and now.forces is None and symbols == now.symbols and abs(positions - now.positions).max(initial=0.0) < SAME:
            return None
        done = self.on_end(line)
        self.step, self.stage = Step(symbols, positions, charge=int(charge), multiplicity=int(multiplicity)), ""
        return done

    def on_converged(self, line: str) -> None:
        if self.step is not None:
            self.step.converged = True

    def on_unconverged(self, line: str) -> None:
        if self.step is not None:
            self.step.converged = False

    def on_energy(self, line: str) -> None:
        if self.step is not None:
            self.step.energy = floats(line.partition("=")[2])[0] * HARTREE
            self.stage = "scf"

    def on_begun(self, line: str) -> None:
        self.stage = "after" if self.stage == "scf" else self.stage

    def on_derivative(self, line: str) -> None:
        self.stage = "scf"

    def on_ended(self, line: str) -> None:
        self.stage = "unknown" if self.stage == "after" else self.stage

    def on_correlated(self, line: str) -> None:
        """The last total energy is the method's: what it is built on, MP2 for CCSD, stands before; scaled spins are another method."""
        if self.step is not None and (found := psi4_total(line)):
            self.step.energy = float(found[2]) * HARTREE
            self.stage = "method"

    def on_gradient(self, line: str) -> None:
        rows: list[list[float]] = []
        for row in self.lines:
            words = row.split()
            if len(words) == 4 and words[0].isdigit():
                rows.append([float(word) for word in words[1:]])
            elif rows:
                break
        if self.step is not None:
            self.step.forces = -np.array(rows) * FORCE

    def on_end(self, line: str) -> Step | None:
        """A geometry without an SCF, as the optimizer prints, is no step."""
        done = self.take()
        if done is None or (done.energy is None and done.converged is None):
            return None
        if self.stage == "unknown":
            done.reason = "the energy of the method is not recognised"
        return done


def psi4_total(line: str) -> re.Match[str] | None:
    """A method's name and total energy, if the line states them."""
    found = PSI4_TOTAL.match(line)
    if found is None or re.match("SCS|SOS|SCF|REF", found[1] or ""):
        return None
    return found if found[1] or "[Eh]" in line else None  # without either it is the SCF's


def psi4_theory(file: SourceFile) -> dict[str, Any]:
    """Read the fields of `Theory` from the header and the first step."""
    out: dict[str, Any] = {}
    converged, method = False, ""
    for line in file.lines():
        if found := re.search(r"Psi4 (\d\S*) ", line):
            out.setdefault("code", f"Psi4 {found[1]}")
        elif found := re.search(r"=> Composite Functional: (\S+) <=", line):
            out.setdefault("functional", found[1])
        elif found := re.match(r" +Blend: (\S+)", line):
            out.setdefault("core", found[1])
        elif found := re.match(r" +(RKS|UKS|RHF|UHF|ROHF) Reference", line):
            out.setdefault("spin", "none" if found[1][0] == "R" and found[1] != "ROHF" else "collinear")
            if found[1] in ("RHF", "UHF", "ROHF"):
                out.setdefault("functional", "HF")
        elif line.startswith(("  Energy and wave function converged", "  Energy converged")):
            converged = True
            if out.get("functional") != "HF":
                break
        elif converged and "Geometry (in" in line:
            break
        elif converged and (found := psi4_total(line)):
            method = (found[1] or "MP2").removeprefix("DF-")
    if method:
        out["functional"] = method
    if "-D3" in out.get("functional", "").upper():
        out["dispersion"] = "D3(BJ)" if "BJ" in out["functional"].upper() else "D3"
    return out if "code" in out else {}


PSI4 = TextReader(name="psi4/output", run=Psi4Run, states=psi4_theory, signs=(b"Psi4: An Open-Source", b"Psi4 1."))
