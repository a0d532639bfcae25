"""VASP OUTCAR: text in, every ionic step out, read line by line.

Energy is the free energy (TOTEN), of which forces and stress are the derivatives; `options: {energy: sigma0}` takes energy(sigma->0).
`in kB` is positive when compressed. Runs with a machine-learned force field print two energies a step: only steps that were computed
ab initio become frames, the others are rejected as `machine-learned`. With NWRITE=0 most steps print no positions.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lamdata.errors import SourceError
from lamdata.frame import F64
from lamdata.frames import Parsed
from lamdata.units import KBAR

from ..bytes.files import SourceFile
from ..bytes.numbers import columns, first_number, floats
from .steps import Run, Step, TextReader, marks
from .vasp_labels import ORDER, charge_of, differ, electronic_end, settled, stress_of, unusable
from .vasp_outcar_alike import Common, take_alike, template_of
from .vasp_theory import outcar_theory

LEARNED = "machine-learned"
MOST_SEEN = 64  # titles of a step that is like others
LOOP = frozenset(["- Iteration", "total energy-change"])  # what electronic steps print


@dataclass(slots=True)
class OutcarRun(Run):
    """An OUTCAR."""

    marks = marks(
        potcar="^ POTCAR:",
        vrhfin="VRHFIN =",
        zval="; ZVAL   =",
        valences="^   ZVAL   =",
        natoms="number of ions     NIONS =",
        counts="ions per type =",
        nelm="  NELM   =",
        ediff="  EDIFF  =",
        electrons="  NELECT =",
        density="  ICHARG =",
        iteration="- Iteration",
        aborting="aborting loop",
        change="total energy-change",
        lattice="direct lattice vectors",
        learned="ML FORCE on cell",
        order="^  Direction ",
        virial="^  Total  ",
        stress="  in kB ",
        forces="POSITION                                       TOTAL-FORCE",
        free="free  energy",
        last="energy  without entropy",
        finish="General timing and accounting",
    )

    titles: list[str] = field(default_factory=list)  # elements as POTCAR lines name them; they are listed twice
    elements: list[str] = field(default_factory=list)  # one a species
    valence: list[float] = field(default_factory=list)  # one a species
    valences: list[float] = field(default_factory=list)  # the same with fewer digits, in runs that print no POTCARs
    counts: list[int] = field(default_factory=list)
    natoms: int = 0
    nelm: int = 0
    ediff: float = 0.0  # eV
    electrons: float | None = None
    cell: F64 | None = None
    loops: int = 0  # electronic steps of the current ionic step
    said: bool | None = None  # what the current loop says of its convergence
    refused: str | None = None  # why no step can be used
    order: str = ORDER  # of the components of the stress
    virial: list[float] = field(default_factory=list)  # of the current step in eV, in the same order
    change: str = ""  # the line that states the change of energy in the last electronic step, eV
    in_learned: bool = False  # within the part of a step that the learned force field prints
    seen: list[tuple[str, str]] = field(default_factory=list)  # titles of the current step, and their lines
    common: Common | None = None  # what the last steps had in common

    def _next_title(self) -> tuple[str, str] | None:
        found, self.common = Run._next_title(self), None  # a title that is read alone may change what steps have in common
        if found is not None and len(self.seen) < MOST_SEEN:
            self.seen.append(found)
        return found

    def alike(self) -> Parsed | None:
        """Steps that print what the last one printed, from the start of one."""
        if self.common is None or self.step is not None:
            return None
        found = take_alike(self.lines, self.common, self.given, self.file.name)
        if found is not None:
            self.cell = found.frames.cell[-1]  # that of the next step, should it print none
        return found

    def _learn(self, step: Step) -> None:
        """Take the titles of a step as those of the next ones, where it is plain and they are of an order that is known."""
        seen, self.seen, self.common = self.seen, [], None
        row = None if step.problem() else step.row("", "")
        if row is None or row.cell is None or step.converged is not True:
            return
        found = template_of(seen, self.marks, self.natoms, sigma0=self.option("energy", "free") == "sigma0")
        if found is not None:
            template, values = found
            self.common = Common(
                template=template,
                values=values,
                numbers=row.numbers,
                cell=row.cell,
                charge=row.charge,
                left_out=row.left_out,
                order=self.order,
                nelm=self.nelm,
            )

    def on_potcar(self, line: str) -> None:
        words = line.partition(":")[2].split()
        self.titles.append(words[min(1, len(words) - 1)].partition("_")[0].partition(".")[0] if words else "")

    def on_vrhfin(self, line: str) -> None:
        self.elements.append(line.partition("=")[2].partition(":")[0].strip())

    def on_zval(self, line: str) -> None:
        self.valence.append(first_number(line.partition("ZVAL")[2]))

    def on_valences(self, line: str) -> None:
        self.valences += columns(line.partition("=")[2])

    def on_natoms(self, line: str) -> None:
        if self.natoms == 0:  # some versions state those of an inner grid below
            self.natoms = self.checked(int(first_number(line.rpartition("=")[2])))

    def on_counts(self, line: str) -> None:
        self.counts = self.counts or [int(word) for word in line.partition("=")[2].split()]

    def on_nelm(self, line: str) -> None:
        self.nelm = int(first_number(line.partition("=")[2]))

    def on_ediff(self, line: str) -> None:
        self.ediff = first_number(line.partition("=")[2])

    def on_electrons(self, line: str) -> None:
        self.electrons = first_number(line.partition("=")[2])

    def on_density(self, line: str) -> None:
        self.refused = unusable({"ICHARG": line.partition("=")[2].split()[0]})

    def on_lattice(self, line: str) -> None:
        self.cell = self.rows(3)

    def on_iteration(self, line: str) -> Step | None:
        done = self.take() if self.step is not None and self.step.complete else None
        step = self._current()
        if step.reason == LEARNED:
            step.reason = None  # computed ab initio, whatever was learned before
        self.in_learned = False
        self.said = None  # another loop than the one that said it
        self.loops += 1
        self.passing = LOOP
        return done

    def on_passed(self, name: str, count: int, last: str) -> None:
        """An iteration after another, with no more between them than a change of the energy, only counts."""
        if name == "iteration":
            self.loops += count
        else:
            self.change = last

    def on_aborting(self, line: str) -> None:
        self.said = electronic_end(line)

    def on_change(self, line: str) -> None:
        self.change = line

    def on_learned(self, line: str) -> Step | None:
        """The learned part comes first in a step: a step that still waits for an ab initio part never had one."""
        self.in_learned = True
        return self.take() if self.step is not None and (self.step.reason or self.step.complete) else None

    def on_order(self, line: str) -> None:
        self.order = line.partition("Direction")[2].strip()

    def on_virial(self, line: str) -> None:
        if not self.in_learned:
            self.virial = columns(line.partition("Total")[2], count=6)

    def on_stress(self, line: str) -> None:
        if not self.in_learned:
            self._current().stress = stress_of(columns(line.partition("kB")[2], count=6), self.order)

    def _compare(self, step: Step) -> None:
        """Refuse a stress of which the virial that is printed above it is not that of the cell."""
        if step.stress is None or step.cell is None or len(self.virial) != 6:
            return
        virial, found = stress_of(self.virial, self.order) / KBAR, step.stress * abs(float(np.linalg.det(step.cell)))
        if differ(virial[None], found[None])[0]:
            step.refuse("virial and stress differ", value=f"{virial[0, 0]:g} and {found[0, 0]:g} eV")

    def on_forces(self, line: str) -> Step | None:
        if "(ML)" in line:
            return None
        self.skip(1)
        table = self.rows(self.natoms, width=6)
        step = self._current()
        step.positions, step.forces, step.cell = table[:, :3], table[:, 3:], self.cell
        return self.take() if step.complete else None

    def on_free(self, line: str) -> None:
        if "ML TOTEN" in line:
            self._current().reason = LEARNED
        elif "TOTEN" in line:
            self._current().state_energy(first_number(line.partition("=")[2]))

    def on_last(self, line: str) -> Step | None:
        """The last line of a step; up to VASP 5.2 its stress and forces follow, if it has any."""
        if "ML energy" in line:
            self.in_learned = False
            return None
        step = self._current()
        if self.option("energy", "free") == "sigma0":
            step.energy = first_number(line.partition("sigma->0)")[2].partition("=")[2])
        step.symbols = self._symbols()
        self._charge(step)
        change = next(iter(floats(self.change.partition(":")[2])), None)
        step.converged = settled(self.loops, self.nelm, change, self.ediff, self.natoms, said=self.said)
        if self.refused:
            step.refuse(self.refused)
        self._compare(step)
        self.virial = []
        if step.reason is None and not step.converged:
            step.value = change
        self.loops, self.change, self.said = 0, "", None
        step.complete = not self.lines.cut
        if step.positions is None or not step.complete:
            return None
        self._learn(step)
        return self.take()

    def on_finish(self, line: str) -> None:
        """The end of the job: iterations since the last step were a linear response, which has no energy, and not a step cut short."""
        if self.step is not None and self.step.energy is None and self.step.reason is None:
            self.step = None

    def _current(self) -> Step:
        if self.step is None:
            self.step = Step()
        return self.step

    def _symbols(self) -> list[str]:
        """Elements of the atoms."""
        self.elements = self.elements or self.titles[: len(self.counts)]  # NWRITE=0 prints no VRHFIN
        self.counts = self._counts()
        return [name for name, count in zip(self.elements, self.counts) for _ in range(count)]

    def _charge(self, step: Step) -> None:
        """Tell the charge by NELECT, where it is printed."""
        if self.electrons is None:
            return
        valence = next((known for known in (self.valence, self.valences) if len(known) == len(self.counts)), None)
        if valence is None:
            step.leave_out("charge", "NELECT is stated, the valences of the species are not")
        else:
            step.state_charge(charge_of(self.electrons, valence, self.counts))

    def _counts(self) -> list[int]:
        """Atoms of each species; VASP prints at most ten numbers, the rest stands in the POSCAR."""
        if sum(self.counts) == self.natoms and len(self.counts) == len(self.elements):
            return self.counts
        for name in ("POSCAR", "CONTCAR"):
            beside = self.file.sibling(name)
            counts = [] if beside is None else poscar_counts(beside)
            same = counts[: len(self.counts)] == self.counts  # of another run: other atoms, or in another order
            if same and sum(counts) == self.natoms and len(counts) == len(self.elements):
                return counts
        message = f"states the number of atoms of {len(self.counts)} species out of {len(self.elements)}"
        raise SourceError(message, where=self.file.name, hint="put the POSCAR beside it, or read vasprun.xml")


def poscar_counts(file: SourceFile) -> list[int]:
    """The line of counts, the sixth or seventh of a POSCAR; [] where there is none."""
    for line in file.text().splitlines()[5:7]:
        words = line.split()
        if words and all(word.isdigit() for word in words):
            return [int(word) for word in words]
    return []


OUTCAR = TextReader(
    name="vasp/outcar",
    run=OutcarRun,
    states=lambda file: outcar_theory(file.lines()),
    signs=(b"\n executed on ",),
    options={"energy": ("free", "sigma0")},
)
