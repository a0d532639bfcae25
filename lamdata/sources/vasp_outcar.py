"""VASP OUTCAR: text in, every ionic step out, read line by line.

Energy is the free energy (TOTEN), of which forces and stress are the derivatives; `options: {energy: sigma0}` takes energy(sigma->0).
`in kB` is positive when compressed, so virial = +V x printed. Runs with a machine-learned force field print two energies a step: only
steps that were computed ab initio become frames, the others are rejected as `machine-learned`. With NWRITE=0 most steps print no positions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..catalog import SourceSpec
from ..errors import SourceError
from ..frame import F64, Frame, Rejection
from ..units import KBAR
from .build import MAX_ATOMS, build
from .files import SourceFile
from .numbers import floats
from .vasp_theory import outcar_theory, settled

MARKS = {
    "potcar": r"^ POTCAR:",
    "vrhfin": r"VRHFIN =",
    "zval": r"POMASS =.*ZVAL",
    "natoms": r"number of ions +NIONS =",
    "counts": r"ions per type =",
    "nelm": r"^ +NELM +=",
    "ediff": r"^ +EDIFF +=",
    "electrons": r"^ +NELECT +=",
    "iteration": r"- Iteration",
    "change": r"total energy-change",
    "lattice": r"direct lattice vectors",
    "learned": r"ML FORCE on cell",
    "stress": r"^ +in kB ",
    "forces": r"POSITION +TOTAL-FORCE",
    "free": r"free  energy",
    "sigma0": r"energy  without entropy",
}
MARK = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in MARKS.items()))
XYZ = ((0, 0), (1, 1), (2, 2), (0, 1), (1, 2), (2, 0))  # the order of `in kB`


class OutcarReader:
    """VASP OUTCAR (`vasp/outcar`); option `energy`: free or sigma0."""

    name = "vasp/outcar"
    options = {"energy": ("free", "sigma0")}
    open_units = False

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield every ionic step, rejections with their reason."""
        run = Outcar(file, sigma0=spec.options.get("energy") == "sigma0")
        for index, step in enumerate(run.steps()):
            origin = f"{file.name}#{index}"
            reason = step.problem(run)
            if reason == "truncated" and index == 0:
                raise SourceError("ends in the middle of its first ionic step: truncated", where=file.name)
            yield Rejection(origin=origin, reason=reason, value=step.value(reason)) if reason else run.frame(step, origin)

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Return what the header states."""
        return outcar_theory(file.lines())

    def guess(self, file: SourceFile, head: bytes) -> bool:
        return head.lstrip()[:5] == b"vasp." and b"executed on" in head[:1000]


@dataclass(slots=True)
class Step:
    """What is known of one ionic step, in eV and Å."""

    loops: int = 0  # electronic steps
    change: float | None = None  # eV, in the last electronic step
    cell: F64 | None = None
    stress: F64 | None = None  # (3, 3) eV/Å^3, positive when compressed
    positions: F64 | None = None
    forces: F64 | None = None
    energy: float | None = None
    learned: bool = False

    def problem(self, run: Outcar) -> str | None:
        """Why there is no frame, or `None`."""
        if self.learned:
            return "machine-learned"
        if self.energy is None:
            return "truncated"
        if not settled(self.loops, run.nelm, self.change, run.ediff, run.natoms):
            return "unconverged"
        return "no positions" if self.positions is None or self.cell is None else None

    def value(self, reason: str) -> float | None:
        """The number behind a reason: the last change of the energy in eV."""
        return self.change if reason == "unconverged" else None


@dataclass(slots=True)
class Outcar:
    """The state of an OUTCAR while it is read from top to bottom."""

    file: SourceFile
    sigma0: bool = False
    elements: list[str] = field(default_factory=list)  # one a POTCAR
    titles: list[str] = field(default_factory=list)  # "PAW_PBE Ti_pv 02Aug2007": what NWRITE=0 leaves; all are listed twice
    valence: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    natoms: int = 0
    nelm: int = 0
    ediff: float = 0.0  # eV
    electrons: float | None = None
    cell: F64 | None = None
    in_learned: bool = False
    step: Step | None = None
    finished: bool = False
    lines: Iterator[str] = iter(())

    def steps(self) -> Iterator[Step]:
        """Yield the ionic steps in order."""
        self.lines = self.file.lines()
        for line in self.lines:
            found = MARK.search(line)
            if found is not None:
                getattr(self, f"_{found.lastgroup}")(line)
                if self.finished:
                    step, self.step, self.finished = self.step, None, False
                    yield step
        if self.step is not None and (self.step.loops or self.step.learned):
            yield self.step

    def frame(self, step: Step, origin: str) -> Frame | Rejection:
        """Build the frame of a step."""
        counts = self._all_counts()
        charge = 0
        if self.electrons is not None and len(self.valence) == len(counts):
            exact = sum(n * z for n, z in zip(counts, self.valence)) - self.electrons
            charge = round(exact) if abs(exact - round(exact)) < 1e-3 else 0
        return build(
            origin=origin,
            symbols=[element for element, count in zip(self.elements, counts) for _ in range(count)],
            positions=step.positions,
            cell=step.cell,
            energy=step.energy,
            forces=step.forces,
            virial=None if step.stress is None else abs(float(np.linalg.det(step.cell))) * step.stress,
            charge=charge,
            converged=True,
            group=self.file.name,
        )

    def _all_counts(self) -> list[int]:
        """Atoms of each species; VASP prints at most ten, the rest stands in the POSCAR."""
        self.elements = self.elements or self.titles[: len(self.counts)]
        if sum(self.counts) == self.natoms and len(self.counts) == len(self.elements):
            return self.counts
        for name in ("POSCAR", "CONTCAR"):
            beside = self.file.sibling(name)
            counts = [] if beside is None else _poscar_counts(beside)
            if sum(counts) == self.natoms and len(counts) == len(self.elements):
                self.counts = counts
                return counts
        message = f"states {len(self.counts)} of {len(self.elements)} counts of atoms"
        raise SourceError(message, where=self.file.name, hint="put the POSCAR beside it, or read vasprun.xml")

    def _current(self) -> Step:
        if self.step is None:
            self.step = Step()
        return self.step

    def _potcar(self, line: str) -> None:
        self.titles.append(line.partition(":")[2].split()[1].partition("_")[0].partition(".")[0])

    def _vrhfin(self, line: str) -> None:
        self.elements.append(line.partition("=")[2].partition(":")[0].strip())

    def _zval(self, line: str) -> None:
        self.valence.append(floats(line.partition("ZVAL")[2])[0])

    def _natoms(self, line: str) -> None:
        if self.natoms == 0:  # the RPA header of some versions states others below
            self.natoms = int(floats(line.rpartition("=")[2])[0])
            if not 0 < self.natoms <= MAX_ATOMS:
                raise SourceError(f"states {self.natoms} atoms", where=self.file.name)

    def _counts(self, line: str) -> None:
        self.counts = self.counts or [int(word) for word in line.partition("=")[2].split()]

    def _nelm(self, line: str) -> None:
        self.nelm = int(floats(line.partition("=")[2])[0])

    def _ediff(self, line: str) -> None:
        self.ediff = floats(line.partition("=")[2])[0]

    def _electrons(self, line: str) -> None:
        self.electrons = floats(line.partition("=")[2])[0]

    def _iteration(self, line: str) -> None:
        self.in_learned = False
        step = self._current()
        step.learned = False  # this step is computed ab initio after all
        step.loops += 1

    def _change(self, line: str) -> None:
        self._current().change = next(iter(floats(line.partition(":")[2])), None)

    def _lattice(self, line: str) -> None:
        self.cell = self._table(3, columns=3)

    def _learned(self, line: str) -> None:
        if self.step is not None and self.step.learned:
            self.finished = True  # the step before had nothing but learned labels
        self.in_learned = True

    def _stress(self, line: str) -> None:
        values = floats(line.partition("kB")[2])
        if self.in_learned or len(values) != 6:
            return
        stress = np.zeros((3, 3))
        for (i, j), value in zip(XYZ, values):
            stress[i, j] = stress[j, i] = value * KBAR
        self._current().stress = stress

    def _forces(self, line: str) -> None:
        if "(ML)" in line:
            return
        next(self.lines, "")
        table = self._table(self.natoms, columns=6)
        step = self._current()
        step.positions, step.forces, step.cell = table[:, :3], table[:, 3:], self.cell

    def _free(self, line: str) -> None:
        if "ML TOTEN" in line:
            self._current().learned = self._current().energy is None
        elif "TOTEN" in line:
            self._current().energy = floats(line.partition("=")[2])[0]

    def _sigma0(self, line: str) -> None:
        """The last line of a step."""
        if "ML energy" in line:
            self.in_learned = False
            return
        if self.sigma0:
            self._current().energy = floats(line.rpartition("=")[2])[0]
        self.finished = True

    def _table(self, rows: int, *, columns: int) -> F64:
        out = np.empty((rows, columns))
        for i in range(rows):
            line = next(self.lines, "")
            values = floats(line)
            if len(values) < columns:
                raise SourceError(f"expected {columns} numbers, found {line.strip()[:80]!r}", where=self.file.name)
            out[i] = values[:columns]
        return out


def _poscar_counts(file: SourceFile) -> list[int]:
    lines = file.text().splitlines()[5:7]
    return next(([int(w) for w in line.split()] for line in lines if line.split() and all(w.isdigit() for w in line.split())), [])
