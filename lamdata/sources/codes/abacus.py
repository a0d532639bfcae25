"""ABACUS running_*.log of scf, relax, cell-relax and md runs: text in, every ionic step out.

The log states cell, elements and positions itself, so no STRU is needed; in md the positions stand in MD_dump beside the log, and the
forces and stress that both print show that the two are of one run. Energy is `final etot` (with smearing the free energy). Stress is in
kbar, positive when compressed.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lamdata.errors import SourceError
from lamdata.frame import F64
from lamdata.frames import Parsed
from lamdata.units import BOHR, KBAR, RYDBERG

from ..build import element
from ..bytes.files import SourceFile
from ..bytes.numbers import columns, first_number, floats
from .steps import Run, Step, TextReader, marks

ROW = re.compile(r"^ *(?:tau[cd]_)?[A-Z][A-Za-z]*\w* +[-+.\d*]")  # a row of a table of atoms
THREE = re.compile(r"[-+.\deE*\s]*[\d*][-+.\deE*\s]*$")  # a row of numbers, and not a rule
PROOF = 4  # atoms whose forces in the log are kept to be compared with MD_dump
DIGITS = 1e-3  # of a force in eV/Å or a stress in kbar: the log prints eight digits, older versions fewer
STATES = {"E_sol_el": "solvent", "E_efield": "electric field or dipole correction", "E_gatefield": "charged gate"}
ROUNDED = 5e-6  # half of the last digit of 1.88973 bohr, in Å, with room


@dataclass(slots=True)
class AbacusRun(Run):
    """A running_*.log."""

    marks = marks(
        setup="SETUP THE ELECTRONS NUMBER",
        valence="total electron number of element",
        electrons="nelec now",
        constant="lattice constant (Bohr)",
        lattice="Lattice vectors: (Cartesian",
        coordinates=("DIRECT COORDINATES", "CARTESIAN COORDINATES"),
        step="STEP OF ",
        unconverged=("convergence has NOT been achieved", "convergence has not been achieved", "SCF IS NOT CONVERGED"),
        converged=("charge density convergence is achieved", "#SCF IS CONVERGED#"),
        energy=("final etot is", "#TOTAL ENERGY#"),
        forces="TOTAL-FORCE (",
        stress="TOTAL-STRESS (",
        pressure="TOTAL-PRESSURE:",
        end=("!FINAL_ETOT_IS", "TIME STATISTICS", "Finish Time", "CLASS_NAME-"),
    )

    constant: float = 0.0  # Å
    cell: F64 | None = None
    symbols: list[str] = field(default_factory=list)
    positions: F64 | None = None
    direct: F64 | None = None  # fractional positions
    scaled: F64 | None = None  # positions in units of the constant
    printed: bool = False  # a geometry since the last step
    dumped: bool = False  # geometries stand in MD_dump
    setup: bool = False
    valence: float = 0.0  # electrons of the neutral cell; not counted where the input sets their number
    electrons: float | None = None  # where nelec_delta adds some

    def on_setup(self, line: str) -> None:
        self.setup = True

    def on_valence(self, line: str) -> None:
        self.valence += first_number(line.partition("=")[2])

    def on_electrons(self, line: str) -> None:
        self.electrons = first_number(line.partition("now")[2])

    def on_constant(self, line: str) -> None:
        """Six digits are printed; the most common constant, 1 Å, is known to all of them."""
        stated = floats(line.partition("=")[2])[0] * BOHR
        self.constant = self.constant or (1.0 if abs(stated - 1) < ROUNDED else stated)

    def on_lattice(self, line: str) -> None:
        self.cell, self.printed = self.rows(3) * self.constant, True
        self._place()

    def on_coordinates(self, line: str) -> Step | None:
        if "K-POINTS" in line:
            return None
        done = self.take()
        labels, rows = self._atoms()
        self.symbols = [element(re.sub(r"^tau[cd]_", "", label)) for label in labels]
        table, self.printed = np.array([row[:3] for row in rows]), True
        if "DIRECT" in line:
            self.direct, self.scaled = table, None
        else:  # in units of the constant
            self.direct, self.scaled = None, table
        self._place()
        return done

    def _place(self) -> None:
        if self.direct is not None and self.cell is not None:
            self.positions = self.direct @ self.cell
        elif self.scaled is not None:
            self.positions = self.scaled * self.constant

    def on_step(self, line: str) -> Step | None:
        return self.take()

    def on_unconverged(self, line: str) -> Step | None:
        done = self._previous()
        self._current().converged = False
        return done

    def on_converged(self, line: str) -> Step | None:
        done = self._previous()
        self._current().converged = True
        return done

    def on_energy(self, line: str) -> Step | None:
        done = self._previous()
        self._current().state_energy(first_number(re.split(r"etot is|#TOTAL ENERGY#", line)[1]))
        return done

    def _previous(self) -> Step | None:
        """The step before, if its labels are there: in md nothing else parts two steps."""
        over = self.step is not None and (self.step.forces is not None or self.step.stress is not None)
        return self.take() if over else None

    def on_forces(self, line: str) -> None:
        if self.unit(line, {"eV/Angstrom": 1.0, "Ry/Bohr": 0.0}) == 0.0:  # older versions print them twice
            self._current().leave_out("forces", "printed in Ry/Bohr alone, which is not read")
            return
        rows = self._atoms()[1]
        if any(len(row) != 3 for row in rows):
            raise ValueError(f"forces of {sorted({len(row) for row in rows})} components")
        self._current().forces = np.array(rows[:PROOF] if self.dumped else rows)

    def _atoms(self) -> tuple[list[str], list[list[float]]]:
        """Labels and numbers of the next table of atoms."""
        labels: list[str] = []
        rows: list[list[float]] = []
        for row in self.body():
            if ROW.match(row):
                label, _, numbers = row.strip().partition(" ")
                labels.append(label)
                rows.append(columns(numbers, count=3))
            elif rows:
                break
        return labels, rows

    def on_stress(self, line: str) -> None:
        factor = self.unit(line.upper(), {"KBAR": KBAR})
        rows: list[list[float]] = []
        for row in self.body():
            if THREE.match(row):
                rows.append(columns(row, count=3))
            if len(rows) == 3:
                break
        self._current().stress = np.array(rows).reshape(3, 3) * factor

    def on_pressure(self, line: str) -> None:
        """A third of the trace, printed beside it."""
        if self.step is None or self.step.stress is None:
            return
        stated, found = first_number(line.partition(":")[2]), float(np.trace(self.step.stress)) / KBAR / 3
        if not abs(stated - found) <= DIGITS * max(1.0, abs(stated)) and np.isfinite(found):
            self.step.refuse("stress and pressure differ", value=f"{found:g} and {stated:g} kbar")

    def on_end(self, line: str) -> Step | None:
        return self.take()

    def _current(self) -> Step:
        if self.step is None:
            self.step = Step(self.symbols, self.positions if self.printed or self.dumped else None, self.cell)
            self.printed = False
            if self.electrons is not None:
                self.step.state_charge(self.valence - self.electrons)
            elif self.setup and not self.valence:
                self.step.refuse("the charge is not known: nelec is set, and the log does not say to what")
        return self.step

    def steps(self) -> Iterator[Step | Parsed]:
        """Yield the steps in order; in md those that were dumped."""
        if "running_md" not in self.file.basename:
            return Run.steps(self)
        dump = self.file.sibling("MD_dump")
        if dump is None:
            raise SourceError("an md run keeps its positions in MD_dump, which is not beside it", where=self.file.name)
        return self.md(dump)

    def md(self, dump: SourceFile) -> Iterator[Step]:
        """Join the dumped geometries to the energies of the log: step n is the n-th SCF after the first one dumped."""
        self.dumped = True
        labels = [step for step in Run.steps(self) if isinstance(step, Step)]  # as this code's all are
        first: int | None = None
        for number, step in dumped(dump):
            first = number if first is None else first
            if number - first < len(labels):
                self._join(step, labels[number - first])
            yield step

    def _join(self, step: Step, label: Step) -> None:
        """Complete a dumped step by what the log says, where they are of one run."""
        step.energy, step.converged, step.complete, step.charge = label.energy, label.converged, True, label.charge
        if label.reason is not None:
            step.refuse(label.reason, value=label.value)
        pairs = [(label.forces, None if step.forces is None else step.forces[:PROOF], 1.0), (label.stress, step.stress, KBAR)]
        compared = [(a / unit, b / unit) for a, b, unit in pairs if a is not None and b is not None]
        same = [a.shape == b.shape and bool(np.all(~(np.abs(a - b) > DIGITS * np.maximum(1.0, np.abs(b))))) for a, b in compared]
        if not all(same) or list(step.symbols) != self.symbols:
            step.refuse("MD_dump is of another run than the log: their atoms, forces or stresses differ")
        elif not same:
            step.refuse("nothing shows that MD_dump and the log are of one run: they share neither forces nor stress")
        if step.forces is None and label.forces is not None:
            step.leave_out("forces", "printed in the log, not in MD_dump")
        if step.stress is None:
            step.stress = label.stress


def dumped(dump: SourceFile) -> Iterator[tuple[int, Step]]:
    """Read MD_dump: the number of each step with cell, positions and, where dumped, forces and stress."""
    number, unit, scale, step = 0, 1.0, 1.0, Step()
    lines = dump.lines()
    for line in lines:
        if line.startswith("MDSTEP"):
            number, step = int(line.split(":")[1]), Step()
        elif line.startswith("LATTICE_CONSTANT"):
            value = floats(line.partition(":")[2])[0]
            new = "Angstrom" in line  # since 3.1.4; before, bohr, and positions in units of the constant
            unit = value if new else value * BOHR
            scale = 1.0 if new else unit
        elif line.startswith("LATTICE_VECTORS"):
            step.cell = np.array([columns(next(lines, ""), count=3)[:3] for _ in range(3)]) * unit
        elif line.startswith("VIRIAL"):
            step.stress = np.array([columns(next(lines, ""), count=3)[:3] for _ in range(3)]) * KBAR
        elif line.startswith("INDEX"):
            rows = list(itertools.takewhile(bool, (row.split() for row in lines)))
            step.symbols = [element(row[1]) for row in rows]
            table = [columns(" ".join(row[2:]), count=6 if "FORCE" in line else 3) for row in rows]
            step.positions = np.array([row[:3] for row in table]) * scale
            step.forces = np.array([row[3:6] for row in table]) if "FORCE" in line else None
            if not lines.cut:
                yield number, step


def abacus_theory(lines: Iterator[str]) -> dict[str, Any]:
    """Read the fields of `Theory` from the header."""
    out: dict[str, Any] = {"code": "ABACUS"}
    cores: set[str] = set()
    for line in lines:
        value = line.partition("=")[2].strip()
        if found := re.search(r"Version: .*?v([\d.]+\d)|ABACUS v([\d.]+\d)", line):
            out["code"] = f"ABACUS {found[1] or found[2]}"
        elif "Read in pseudopotential file is" in line:
            cores.add(line.split()[-1].rpartition("/")[2])
        elif re.match(r" +(functional Ex|exchange-correlation functional) =", line) and value:
            out["functional"] = value
        elif re.match(r" *energy cutoff for wavefunc", line) or re.match(r" +ecutwfc +=", line):
            out["cutoff"] = round(floats(value)[0] * RYDBERG, 2)
        elif re.match(r" +nspin =", line):
            out["spin"] = {"1": "none", "2": "collinear", "4": "noncollinear"}.get(value, value)
        elif (found := re.match(r" +(E_\w+) +-?\d", line)) and found[1] in STATES:
            out["state"] = STATES[found[1]]
        elif found and found[1].startswith("E_vdw"):
            out["dispersion"] = found[1].removeprefix("E_vdw")
        elif "final etot" in line or "#TOTAL ENERGY#" in line:
            break
    return {**out, **({"core": ", ".join(sorted(cores))} if cores else {})}


ABACUS = TextReader(
    name="abacus/log",
    run=AbacusRun,
    states=lambda file: abacus_theory(file.lines()),
    signs=(b"WELCOME TO ABACUS", b"ABACUS v", b"abacus.ustc.edu.cn"),
)
