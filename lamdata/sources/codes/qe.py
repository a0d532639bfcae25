"""Quantum ESPRESSO pw.x: the text output of scf, relax, vc-relax and md runs in, every ionic step out.

The output alone is enough. It prints the first geometry with 6 or 7 digits; where the input lies beside it (same name, .in) and
agrees, the input's digits are taken. Energies are the `!    total energy` of each step: with smearing the free energy F = E - TS, of which
forces and stress are the derivatives. With exact exchange several self-consistent loops make one step, of which only the last, `!!`,
is the energy. Stress is printed positive when compressed, in two units, which must agree.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from lamdata.elements import SYMBOLS
from lamdata.errors import SourceError
from lamdata.frame import F64
from lamdata.units import BOHR, KBAR, RYDBERG

from ..build import NUMBERS, element
from ..bytes.numbers import columns, first_number, floats
from .qe_deck import MAX_DECK, Deck
from .qe_theory import pw_theory
from .steps import Run, Step, TextReader, marks

FORCE = RYDBERG / BOHR  # eV/Å
STRESS = RYDBERG / BOHR**3  # eV/Å^3
NOISE = 100  # lines that may stand between a title and its table: warnings
AGREE = 2e-6  # alat: half a unit of the last digit that pw.x prints, with room


@dataclass(slots=True)
class PwRun(Run):
    """A pw.x output."""

    marks = marks(
        header="Program PWSCF v",
        natoms="number of atoms/cell",
        electrons="number of electrons ",
        alat="celldm(1)=",
        axes="crystal axes:",
        species="atomic species   valence",
        sites="positions (alat units)",
        cell="^CELL_PARAMETERS",
        positions="^ATOMIC_POSITIONS",
        start="^     Self-consistent Calculation",
        again="^     iteration #",
        energy="^!    total energy",
        final="^!!   total energy",
        refine="EXX: now go back to refine exchange",
        converged="convergence has been achieved",
        unconverged="convergence NOT achieved",
        forces="Forces acting on atoms",
        stress="total   stress  (",
        done="JOB DONE",
    )

    natoms: int = 0
    alat: float = 0.0  # Å
    electrons: float | None = None
    elements: dict[str, str] = field(default_factory=dict)  # label of a species -> chemical symbol
    valence: dict[str, float] = field(default_factory=dict)
    labels: Sequence[str] = ()
    cell: F64 | None = None  # (3, 3) Å
    positions: F64 | None = None  # (A, 3) Å
    refining: bool = False  # the next loop is of the same geometry

    # A header, a new geometry, the next SCF and the end are printed only when the step before is over.

    def on_header(self, line: str) -> Step | None:
        self.cell = self.positions = None
        return self.take()

    def on_start(self, line: str) -> Step | None:
        if self.refining and self.step is not None:
            self.refining = False
            return None
        done = self.take()
        symbols = [self.elements.get(label) or element(label) for label in self.labels]
        positions = None if self.cell is None else self.positions  # an output that was shortened costs the steps it leaves without
        self.step = Step(symbols, positions, self.cell)
        if self.electrons is not None and all(label in self.valence for label in self.labels):
            self.step.state_charge(sum(self.valence[label] for label in self.labels) - self.electrons)
        return done

    def on_cell(self, line: str) -> Step | None:
        self.cell = self.rows(3) * self._unit(line)
        return self.take()

    def on_positions(self, line: str) -> Step | None:
        out, numbers = np.empty((self.natoms, 3)), np.empty(self.natoms, np.uint8)
        if self.natoms and self.lines.take("ennn+", out, numbers=numbers):  # which of them are fixed may follow
            self.labels = _symbols(numbers.tobytes())
            return self._place(line, out)
        rows = [(next(self.lines, "").split(maxsplit=1) + ["", ""])[:2] for _ in range(self.natoms)]
        self.labels = [label for label, _ in rows]
        return self._place(line, np.array([columns(row, count=3)[:3] for _, row in rows]))

    def _place(self, line: str, table: F64) -> Step | None:
        """Take positions in the unit that the title of a card states."""
        if _title_word(line) == "crystal":
            self.positions = None if self.cell is None else table @ self.cell
        else:
            self.positions = table * self._unit(line)
        return self.take()

    def on_done(self, line: str) -> Step | None:
        return self.take()

    def on_natoms(self, line: str) -> None:
        self.natoms = self.checked(int(line.split("=")[1]))

    def on_electrons(self, line: str) -> None:
        self.electrons = floats(line.split("=")[1])[0]

    def on_alat(self, line: str) -> None:
        self.alat = floats(line.split("=")[1])[0] * BOHR

    def on_axes(self, line: str) -> None:
        self.cell = self.rows(3, after="=") * self.alat

    def on_species(self, line: str) -> None:
        for label, valence, _, pseudo, *_ in self.words(least=4):
            self.valence[label] = float(valence)
            self.elements[label] = element(pseudo) if element(pseudo) in NUMBERS else element(label)  # `hy( 1.00)` names none

    def on_sites(self, line: str) -> None:
        rows = [next(self.lines, "") for _ in range(self.natoms)]
        if any("tau(" not in row for row in rows):
            raise ValueError("the table is broken: several programs may have written at once")
        self.labels = [row.split()[1] for row in rows]
        self.positions = np.array([columns(row.rpartition("(")[2].replace(")", " "))[:3] for row in rows]) * self.alat
        self._take_digits_of_input()

    def on_again(self, line: str) -> None:
        if self.step is not None:
            self.step.energy = None  # with much printed, each iteration states one

    def on_energy(self, line: str) -> None:
        if self.step is not None:
            if line.split()[-1] != "Ry":
                raise ValueError(f"expected an energy in Ry, found {line.strip()[:60]!r}")
            self.step.state_energy(first_number(line.split("=")[1]) * RYDBERG)

    def on_final(self, line: str) -> None:
        if self.step is not None:
            self.step.energy = None  # that of the last loop, before its exchange was made anew
            self.on_energy(line)

    def on_refine(self, line: str) -> None:
        if self.step is not None:
            self.refining, self.step.energy, self.step.converged = True, None, None

    def on_converged(self, line: str) -> None:
        if self.step is not None:
            self.step.converged = True

    def on_unconverged(self, line: str) -> None:
        if self.step is not None:
            self.step.converged = False

    def on_forces(self, line: str) -> None:
        if self.step is not None and self.step.forces is None:  # parts of the force may follow under the same title
            if "Ry/" not in line:
                raise ValueError(f"expected forces in Ry/bohr, found {line.strip()[:60]!r}")
            out = np.empty((self.natoms, 3))
            self.lines.skip_blank()
            if self.natoms and self.lines.take("nnn+", out, after="force ="):
                self.step.forces = out * FORCE
                return
            rows = (row for row in itertools.islice(self.lines, self.natoms + NOISE) if "force =" in row)
            table = [columns(row.partition("force =")[2], count=3)[:3] for row in itertools.islice(rows, self.natoms)]
            if len(table) < self.natoms:
                raise ValueError(f"expected {self.natoms} rows, found {len(table)}")
            self.step.forces = np.array(table) * FORCE

    def on_stress(self, line: str) -> None:
        if self.step is not None:
            if "(Ry/bohr**3)" not in line or "(kbar)" not in line:
                raise ValueError(f"expected a stress in Ry/bohr**3 and kbar, found {line.strip()[:60]!r}")
            table = self.rows(3, width=6)
            self.step.stress = table[:, :3] * STRESS  # these columns have more digits than those in kbar
            if abs(table[:, :3] * STRESS - table[:, 3:] * KBAR).max() > 0.02 * KBAR:  # nan is no difference, and refuses its step
                self.step.refuse("the stress in Ry/bohr**3 and that in kbar differ", value=float(table[0, 3]))

    def _unit(self, line: str) -> float:
        """Å in the unit that the title of a card states; QE's older outputs leave `alat` out."""
        word = _title_word(line)
        if word in ("angstrom", "bohr"):
            return 1.0 if word == "angstrom" else BOHR
        if word not in ("", "alat"):
            raise ValueError(f"a unit that is not known: {line.strip()[:60]!r}")
        stated = floats(line.partition("=")[2])
        return stated[0] * BOHR if stated else self.alat

    def _take_digits_of_input(self) -> None:
        """Replace the first geometry by the input's, which is the same with more digits."""
        deck = self.file.sibling(self.file.basename.rpartition(".")[0] + ".in")
        if deck is None or self.cell is None or deck.size > MAX_DECK:
            return
        try:
            stated = Deck(deck)
            cell, positions = stated.cell(), stated.positions()
        except (SourceError, ValueError):
            return  # not a plain input: the output is enough
        if cell is None or positions is None:
            return
        near = AGREE * self.alat
        here = self.positions
        if here is not None and positions.shape == here.shape and max(abs(cell - self.cell).max(), abs(positions - here).max()) < near:
            self.cell, self.positions = cell, positions


@lru_cache(maxsize=16)
def _symbols(numbers: bytes) -> tuple[str, ...]:
    """Elements of atomic numbers, which all steps have."""
    return tuple(SYMBOLS[number] for number in numbers)


def _title_word(line: str) -> str:
    """`angstrom` of `CELL_PARAMETERS (angstrom)`, `alat` of `... (alat= 10.2)`, "" where there is none."""
    found = re.search(r"[({]?\b([A-Za-z_]+)\b", line.partition("CELL_PARAMETERS")[2] or line.partition("ATOMIC_POSITIONS")[2])
    return found[1].lower() if found else ""


PW = TextReader(name="qe/pw", run=PwRun, states=lambda file: pw_theory(file.lines()), signs=(b"Program PWSCF v", b"Program PWSCF  "))
