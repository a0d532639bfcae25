"""ORCA outputs: text in, every geometry with its energy and gradient out. Molecules: no cell, no virial.

`FINAL SINGLE POINT ENERGY` is that of the method, or of one of its excited states where those were asked for: which of them is found by the
energies that are printed above it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lamdata.errors import SourceError
from lamdata.units import BOHR, HARTREE

from ..build import element
from ..bytes.numbers import floats
from .jobs import GHOSTS, UNTOLD, JobRun, first_theory
from .orca_input import GHOST, LAYERS, asked_solvent, asked_surroundings, asked_theory, one_job
from .steps import Step, TextReader, marks

FORCE = HARTREE / BOHR  # eV/Å
CLOSE = 2e-6  # Hartree: excitation energies are printed with six decimals


@dataclass(slots=True)
class OrcaRun(JobRun):
    """An ORCA output."""

    marks = marks(
        version="Program Version ",
        input="^|",
        job="JOB NUMBER",
        used_basis="^Your calculation utilizes the basis:",
        positions="^CARTESIAN COORDINATES (ANGSTROEM)",
        atomic_units="^CARTESIAN COORDINATES (A.U.)",
        charge=" Total Charge           Charge ",
        multiplicity=" Multiplicity           Mult ",
        reference=" Hartree-Fock type      HFTyp ",
        epsilon=("^  Epsilon        ", "^Epsilon        "),
        solvent="^Solvent:     ",
        model=("^SMD-CDS solvent descriptors", "^  Epsilon function type "),
        point_charges=("Reading point charges from", "^Point charges"),
        damping=(
            "DFT DISPERSION CORRECTION",
            "USING zero damping",
            "USING Becke-Johnson damping",
            "^                              DFTD4 V",
            "DFTD3 V",
        ),
        unconverged=("SCF NOT CONVERGED", "have NOT converged"),
        ground=("^Total Energy       :", "^E(TOT)  ", "^E(tot)  ", "^MP2 TOTAL ENERGY", "    E(SCF)  =", "^E(0)   "),
        spin_of_roots=("EXCITED STATES (SINGLETS)", "EXCITED STATES (TRIPLETS)"),
        excitation=("IROOT=", "DE(CIS) =", "DE(TDDFT) =", "^STATE "),
        correction="^Dispersion correction  ",
        energy="^FINAL SINGLE POINT ENERGY",
        gradient=("^CARTESIAN GRADIENT", "^The final MP2 gradient"),
        end="ORCA TERMINATED NORMALLY",
    )

    echo: list[str] = field(default_factory=list)  # of the input
    number: int = 0  # of the job
    asked: dict[str, Any] = field(default_factory=dict)  # of `Theory`
    around: dict[str, str] = field(default_factory=dict)
    basis: str | None = None
    dispersion: str | None = None
    spin: str | None = None
    state: str | None = None  # excited, of the step
    grounds: list[float] = field(default_factory=list)  # Hartree, of the step
    roots: dict[tuple[int, str], float] = field(default_factory=dict)  # by number and spin, Hartree above the ground state
    spin_of_roots: str = ""
    loose_roots: bool = False
    ghosts: bool = False

    def on_version(self, line: str) -> None:
        """The program begins, perhaps once more in one file."""
        if found := re.search(r"Program Version (\S+)", line):
            self.code, self.charge, self.multiplicity = f"ORCA {found[1]}", 0, None
            self.basis, self.dispersion, self.spin = None, None, None

    def on_input(self, line: str) -> None:
        """A line of the input; its first begins anew."""
        if found := re.match(r"\| *(\d+)> ?(.*)", line):
            if int(found[1]) == 1:
                self.echo, self.number = [], 0
            self.echo.append(found[2])
            self.asked = {}

    def on_job(self, line: str) -> Step | None:
        done = self.take()
        if found := re.search(r"JOB NUMBER +(\d+)", line):
            self.number, self.asked, self.around, self.dispersion, self.basis = int(found[1]) - 1, {}, {}, None, None
        return done

    def on_used_basis(self, line: str) -> None:
        self.basis = self.basis or line.partition(":")[2].strip(" ,\n") or None

    def on_positions(self, line: str) -> Step | None:
        done = self.take()
        self._read_input()
        self.skip(1)
        symbols, positions = [], []
        for row in self.words(least=4):
            self.ghosts = self.ghosts or ":" in row[0] or row[1] == ":"
            symbols.append(element(row[0]))
            positions.append([float(word) for word in row[-3:]])
        self.step = Step(symbols, np.array(positions), charge=self.charge, multiplicity=self.multiplicity)
        self.grounds, self.roots, self.spin_of_roots, self.state, self.loose_roots = [], {}, "", None, False
        return done

    def _read_input(self) -> None:
        if self.asked or not self.echo:
            return
        text = one_job(self.echo, self.number)
        if LAYERS.search(text):
            raise SourceError("a run of layers, whose energies are not those of the whole", where=self.file.name)
        self.asked, self.ghosts = {"code": self.code} | asked_theory(text), GHOST.search(text) is not None
        self.around = {name: name for name in asked_surroundings(text)}
        if solvent := asked_solvent(text):
            self.around["solvent"] = solvent

    def on_atomic_units(self, line: str) -> None:
        """The fourth column of an atom without a nucleus is zero."""
        self.skip(2)
        for row in self.words(least=6):
            self.ghosts = self.ghosts or row[2].rstrip("*") == "0.0000"  # a star marks an effective core

    def on_charge(self, line: str) -> None:
        """Said at the first step of a job alone."""
        self.charge = int(line.split()[-1])
        if self.step is not None:
            self.step.charge = self.charge

    def on_multiplicity(self, line: str) -> None:
        self.multiplicity = int(line.split()[-1])
        if self.step is not None:
            self.step.multiplicity = self.multiplicity

    def on_reference(self, line: str) -> None:
        self.spin = "none" if line.split()[-1] in ("RHF", "RKS") else "collinear"

    def on_epsilon(self, line: str) -> None:
        self.around.setdefault("solvent", "CPCM")
        if " " not in self.around["solvent"]:
            self.around["solvent"] += f" epsilon {floats(line.rpartition('...')[2])[0]:g}"

    def on_solvent(self, line: str) -> None:
        if (name := line.rpartition("...")[2].strip().lower()) != "custom":
            self.around["solvent"] = f"{self.around.get('solvent', 'CPCM').split()[0]} {name}"

    def on_model(self, line: str) -> None:
        """Of the dielectric function, or of what is added to it; another name for the solvent's model."""
        name = "SMD" if "SMD" in line else line.split()[-1]
        if "solvent" in self.around and not self.around["solvent"].startswith("SMD"):
            self.around["solvent"] = f"{name} {self.around['solvent'].partition(' ')[2]}"

    def on_point_charges(self, line: str) -> None:
        self.around["point charges"] = "point charges"

    def on_damping(self, line: str) -> None:
        kinds = {"zero damping": "D3", "Becke-Johnson": "D3(BJ)", "DFTD4": "D4"}
        self.dispersion = next(
            (kind for sign, kind in kinds.items() if sign in line), self.dispersion or self.asked.get("dispersion", "D3")
        )

    def on_unconverged(self, line: str) -> None:
        """Roots that did not converge matter where the energy is of one of them."""
        if "EOM" in line:
            self.loose_roots = True
        elif self.step is not None:
            self.step.converged = False

    def on_ground(self, line: str) -> None:
        self.grounds += floats(re.split(r"[:=]|\.\.\.", line.replace("E(0)", "E"), maxsplit=1)[-1])[:1]

    def on_spin_of_roots(self, line: str) -> None:
        self.spin_of_roots = " (singlet)" if "SINGLETS" in line else " (triplet)"

    def on_excitation(self, line: str) -> None:
        """`IROOT=  1:  0.172391 au` and `STATE  1:  E=   0.196688 au` of a list, `DE(CIS) =  0.196688061 Eh (Root  1)` of the one that matters."""
        if found := re.search(r"(?:IROOT=|STATE) +(\d+): +(?:E= *)?(-?\d+\.\d+) au", line):
            self.roots[int(found[1]), self.spin_of_roots] = float(found[2])
        elif found := re.search(r"DE\(\w+\) = +(-?\d+\.\d+) Eh \(Root +(\d+)\)", line):
            number, above = int(found[2]), float(found[1])
            spins = {spin for (n, spin), listed in self.roots.items() if n == number and abs(listed - above) < CLOSE}
            self.roots = {(number, spins.pop() if len(spins) == 1 else ""): above}

    def on_correction(self, line: str) -> None:
        """Added to the energies above it."""
        self.grounds += [ground + added for ground in self.grounds for added in floats(line)[:1]]

    def on_energy(self, line: str) -> None:
        if self.step is None:
            return
        energy = floats(line)[0]
        self.set_energy(energy * HARTREE)
        self.state = self._state(energy)
        loose = self.loose_roots and self.state is not None
        self.step.converged = self.step.converged is not False and "not fully" not in line and not loose
        if self.state == "":
            self.step.reason = UNTOLD
        if self.ghosts:
            self.step.reason = GHOSTS

    def _state(self, energy: float) -> str | None:
        """None for an energy of the ground state, "" for one that cannot be told; a root's lies its excitation above one that is printed."""
        if not self.roots or any(abs(energy - ground) < CLOSE for ground in self.grounds):
            return None
        root = next(
            (f"{n}{spin}" for (n, spin), above in self.roots.items() for ground in self.grounds if abs(energy - above - ground) < CLOSE),
            None,
        )
        method = self.asked.get("functional", "")
        name = method if re.search(r"EOM|ADC|CC2|CIS", method, re.IGNORECASE) else "CIS" if method == "HF" else "TD"
        return f"{name} root {root}" if root is not None else ""

    def on_gradient(self, line: str) -> None:
        rows: list[list[float]] = []
        for row in self.body():
            words = row.replace(":", " ").split()
            if len(words) in (4, 5) and words[0].isdigit():
                rows.append([float(word) for word in words[-3:]])
            elif rows:
                break
        if self.step is not None:
            self.step.forces = -np.array(rows) * FORCE

    def on_end(self, line: str) -> Step | None:
        return self.take()

    def theory(self) -> dict[str, Any]:
        """Return what the input asks for and the output says of it."""
        self._read_input()
        state = ", ".join(part for part in (self.state, *self.around.values()) if part)
        out = {"code": self.code} | self.asked
        if self.state is None and "functional" in out:  # a module of excited states, and the energy below them
            out["functional"] = re.sub(r"(?:IP-|EA-)?(?:ST)?EOM-", "", out["functional"])
        out |= {"core": self.asked.get("core", self.basis), "spin": self.spin, "state": state or None}
        out |= {"dispersion": self.dispersion or self.asked.get("dispersion")}
        return {name: value for name, value in out.items() if value is not None}


ORCA = TextReader(
    name="orca/output",
    run=OrcaRun,
    states=lambda file: first_theory(OrcaRun, file),
    signs=(b"* O   R   C   A *",),
)
