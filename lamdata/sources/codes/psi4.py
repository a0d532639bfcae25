"""Psi4 outputs: text in, every geometry with its energy and gradient out. Molecules: no cell, no virial.

An output is a row of modules between `tstart()` and `tstop()`: the energy of a geometry is that of the last of them before its gradient.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamdata.frame import F64
from lamdata.units import BOHR, HARTREE

from ..build import element
from ..bytes.numbers import floats
from .jobs import GHOSTS, JobRun, first_theory
from .steps import Step, TextReader, marks
from .theory_words import built_in_dispersion

FORCE = HARTREE / BOHR  # eV/Å
# ` * CCSD total energy = -76.2`, ` MP2 Total Energy (a.u.) : -76.2`, ` Total Energy   =  -76.2 [Eh]`, ` CISD Root 0 energy = -76.2`
TOTAL = re.compile(r"[\s*]*(?:([\w().+-]+) )?(?:[Tt]otal [Ee]nergy|Root 0 energy)(?: \(a\.u\.\))? *[=:] *(-?\d+\.\d+)(?: \[Eh\])?\s*$")
SAME = 1e-5  # Å: one geometry in Å and in bohr
HARTREE_FOCK = ("RHF", "UHF", "ROHF", "CUHF")


@dataclass(slots=True)
class Psi4Run(JobRun):
    """A Psi4 output."""

    marks = marks(
        version=("   Psi4 ", " PSI 4."),
        geometry=("Geometry (in Bohr), charge =", "Geometry (in Angstrom), charge ="),
        reference=(" RKS Reference", " UKS Reference", *(f" {name} Reference" for name in HARTREE_FOCK)),
        functional=("=> Composite Functional:", " Composite Functional <="),
        basis_set="^  Basis Set: ",
        basis="    Blend: ",
        solvent=("PCM Polarization Energy", "DDX Solvation"),
        charges=("xternal Potential Field", "xternal potential"),
        dipole="Perturbing H by",
        unconverged=("Could not converge", "did not converge", "not converged in"),
        converged=("Energy and wave function converged", "Energy converged"),
        energy="  Total Energy = ",
        begun="*** tstart() called",
        ended="*** tstop() called",
        derivative=("SCF GRAD", "SCF HESS"),
        correlated=("otal Energy  ", "otal Energy (a.u.)", "otal energy", " Root 0 energy"),
        double_hybrid="@Final double-hybrid DFT total energy",
        excited=("EOM State ", "EOM-CC", "Excitation Energies", "TDSCF", " ADC("),
        gradient=("-Total Gradient:", "-Total gradient:", "## Total Gradient"),
        end=("*** Psi4 exiting successfully", "*** PSI4 exiting successfully"),
    )

    stage: str = ""  # whose the energy is: "scf", or a "method" beyond it; "after": one has begun, "unknown": and ended without an energy
    functional: str | None = None
    method: str | None = None  # beyond the SCF
    basis: str | None = None
    basis_is_next: bool = True
    blend_is_next: bool = False
    spin: str | None = None
    solvent: str | None = None
    field: str | None = None
    excited: bool = False  # excited states were computed after the energy

    def on_version(self, line: str) -> None:
        if self.code is None and (
            found := re.match(r" +(?:Psi4 (\d\S*)|PSI (4\.\S+)) +(?:release|Driver|Git|$)", line) or re.match(r" +Psi4 (\d+\.\S+) ", line)
        ):
            self.code = f"Psi4 {found[1] or found[2]}"

    def on_geometry(self, line: str) -> Step | None:
        """Printed again before the gradient, perhaps in another unit: the same geometry goes on with the step."""
        unit = BOHR if "(in Bohr)" in line else 1.0
        charge, multiplicity = re.findall(r"= *(-?\d+)", line)
        self.skip(3)
        rows = list(self.words(least=4))
        positions = np.array([[float(word) for word in row[1:4]] for row in rows]) * unit
        symbols = [element(row[0]) for row in rows]
        if self._goes_on(symbols, positions):
            return None
        done = self.on_end(line)
        self.step, self.stage = Step(symbols, positions, charge=int(charge), multiplicity=int(multiplicity)), ""
        self.method, self.of_step, self.excited, self.basis_is_next = None, None, False, True
        if any(re.match(r"gh(ost)?\(|@", row[0], re.IGNORECASE) for row in rows):
            self.step.reason = GHOSTS
        return done

    def _goes_on(self, symbols: list[str], positions: F64) -> bool:
        now = self.step
        if now is None or now.positions is None or now.forces is not None or symbols != now.symbols:
            return False
        return bool(abs(positions - now.positions).max(initial=0.0) < SAME)

    def on_reference(self, line: str) -> None:
        """The SCF begins, perhaps that of the next geometry, which is printed below."""
        if self.step is not None and self.step.energy is not None and self.of_step is None:
            self.of_step = self.theory()
        reference, self.basis_is_next = line.split()[0], True
        self.spin = "none" if reference in ("RHF", "RKS") else "collinear"
        self.functional = "HF" if reference in HARTREE_FOCK else None  # which one, it says below

    def on_functional(self, line: str) -> None:
        found = re.search(r"=> (?:Composite Functional: )?(\S+) (?:Composite Functional )?<=", line)
        self.functional = found[1] if found and self.functional != "HF" else self.functional

    def on_basis_set(self, line: str) -> None:
        """Of the orbitals; the sets that help with the integrals come after them."""
        if self.basis_is_next:
            self.basis, self.basis_is_next, self.blend_is_next = line.partition(":")[2].strip() or None, False, True

    def on_basis(self, line: str) -> None:
        """What the basis is made of, as newer versions say below its name."""
        if self.basis_is_next or self.blend_is_next:
            self.basis, self.basis_is_next, self.blend_is_next = line.partition(":")[2].strip() or None, False, False

    def on_solvent(self, line: str) -> None:
        """A line that newer versions print in vacuum too, with zero."""
        if any(floats(line.partition("=")[2])):
            self.solvent = "DDX" if "DDX" in line else "PCM"

    def on_charges(self, line: str) -> None:
        self.field = "external potential"

    def on_dipole(self, line: str) -> None:
        self.field = "electric field"

    def on_converged(self, line: str) -> None:
        if self.step is not None:
            self.step.converged = True

    def on_unconverged(self, line: str) -> None:
        if self.step is not None:
            self.step.converged = False

    def on_energy(self, line: str) -> None:
        self.set_energy(floats(line.partition("=")[2])[0] * HARTREE)
        self.stage, self.method, self.of_step = "scf", None, None

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
            self.stage, self.method = "method", (found[1] or "MP2").removeprefix("DF-")

    def on_double_hybrid(self, line: str) -> None:
        """The functional's own, after that of the MP2 in it, which is not scaled."""
        if self.step is not None:
            self.step.energy = floats(line.partition("=")[2])[0] * HARTREE
            self.stage, self.method = "method", None

    def on_excited(self, line: str) -> None:
        self.excited = self.step is not None and self.step.energy is not None

    def on_gradient(self, line: str) -> None:
        rows: list[list[float]] = []
        for row in self.body():
            words = row.split()
            if len(words) == 4 and words[0].isdigit():
                rows.append([float(word) for word in words[1:]])
            elif rows:
                break
        if self.step is not None:
            self.step.forces = -np.array(rows) * FORCE
            if self.excited:
                self.step.reason = "forces beside excited states, which may be of one of them"

    def on_end(self, line: str) -> Step | None:
        """A geometry without an SCF, as the optimizer prints, is no step."""
        done = self.take()
        if done is None or (done.energy is None and done.converged is None):
            return None
        if self.stage == "unknown":
            done.reason = "the energy of the method is not recognised"
        return done

    def theory(self) -> dict[str, Any]:
        """Return what the modules of the step say."""
        functional = self.method or self.functional
        state = ", ".join(part for part in (self.solvent, self.field) if part)
        out = {"code": self.code, "functional": functional, "core": self.basis, "spin": self.spin, "state": state or None}
        out["dispersion"] = built_in_dispersion(functional)
        return {name: value for name, value in out.items() if value is not None}


def psi4_total(line: str) -> re.Match[str] | None:
    """A method's name and total energy, if the line states them."""
    found = TOTAL.match(line)
    if found is None or re.match("SCS|SOS|SCF|REF", found[1] or ""):
        return None
    return found if found[1] or "[Eh]" in line else None  # without either it is the SCF's


PSI4 = TextReader(
    name="psi4/output",
    run=Psi4Run,
    states=lambda file: first_theory(Psi4Run, file),
    signs=(b"Psi4: An Open-Source", b"PSI4: An Open-Source", b"Psi4 1."),
)
