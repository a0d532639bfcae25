"""Quantum ESPRESSO pw.x: the text output of scf, relax, vc-relax and md runs in, every ionic step out.

The output alone is enough. It prints the first geometry with 6 or 7 digits; where the input lies beside it (same name, .in) and
agrees, the input's digits are taken. Energies are the `!    total energy` of each step: with smearing the free energy F = E - TS, of which
forces and stress are the derivatives. Stress is printed positive when compressed, so virial = +V x printed.
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
from ..units import BOHR, RYDBERG
from .build import MAX_ATOMS, build
from .files import SourceFile
from .numbers import floats
from .qe_theory import pw_theory

FORCE = RYDBERG / BOHR  # eV/Å
STRESS = RYDBERG / BOHR**3  # eV/Å^3
AGREE = 2e-6  # alat: half a unit of the last digit that pw.x prints, with room

# A line that matters holds one of these; the handler of the same name reads it and what follows.
MARKS = {
    "header": r"Program PWSCF v",
    "natoms": r"number of atoms/cell",
    "electrons": r"number of electrons ",
    "alat": r"celldm\(1\)=",
    "axes": r"crystal axes:",
    "species": r"atomic species   valence",
    "sites": r"positions \(alat units\)",
    "cell": r"^CELL_PARAMETERS",
    "positions": r"^ATOMIC_POSITIONS",
    "start": r"^     Self-consistent Calculation",
    "energy": r"^!+ +total energy",
    "converged": r"convergence has been achieved",
    "unconverged": r"convergence NOT achieved",
    "forces": r"Forces acting on atoms",
    "stress": r"total   stress  \(Ry/bohr",
    "done": r"JOB DONE",
}
MARK = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in MARKS.items()))


class PwReader:
    """pw.x output (`qe/pw`)."""

    name = "qe/pw"
    options: dict[str, tuple] = {}
    open_units = False

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield every ionic step; a step whose SCF did not converge is rejected, a cut last step too."""
        run = Run(file)
        for index, step in enumerate(run.steps()):
            origin = f"{file.name}#{index}"
            reason = step.problem()
            if reason == "truncated" and index == 0:
                raise SourceError("ends in the middle of its first step: truncated", where=file.name)
            yield Rejection(origin=origin, reason=reason) if reason else run.frame(step, origin)

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Return what the first step's output states."""
        return pw_theory(file.lines())

    def guess(self, file: SourceFile, head: bytes) -> bool:
        return b"Program PWSCF" in head


@dataclass(slots=True)
class Step:
    """What is known of one ionic step, in eV and Å."""

    positions: F64  # (A, 3)
    cell: F64  # (3, 3)
    energy: float | None = None
    forces: F64 | None = None  # (A, 3)
    stress: F64 | None = None  # (3, 3), positive when compressed
    converged: bool | None = None
    complete: bool = False  # something follows that is printed only after a step

    def problem(self) -> str | None:
        """Why there is no frame, or `None`."""
        if self.converged is False:
            return "unconverged"
        return None if self.complete and self.converged and self.energy is not None else "truncated"


@dataclass(slots=True)
class Run:
    """The state of a pw.x output while it is read from top to bottom."""

    file: SourceFile
    natoms: int = 0
    alat: float = 0.0  # Å
    electrons: float | None = None
    elements: dict[str, str] = field(default_factory=dict)  # label of a species -> chemical symbol
    valence: dict[str, float] = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    cell: F64 | None = None  # (3, 3) Å
    positions: F64 | None = None  # (A, 3) Å
    step: Step | None = None
    lines: Iterator[str] = iter(())

    def steps(self) -> Iterator[Step]:
        """Yield the steps in order; the state describes the step while its consumer holds it."""
        self.lines = self.file.lines()
        for line in self.lines:
            found = MARK.search(line)
            if found is None:
                continue
            kind = found.lastgroup
            if kind in ("header", "start", "cell", "positions", "done") and self.step is not None:
                # pw.x prints these only when the step before is over.
                self.step.complete = True
                yield self.step
                self.step = None
            getattr(self, f"_{kind}")(line)
        if self.step is not None:
            yield self.step

    def frame(self, step: Step, origin: str) -> Frame | Rejection:
        """Build the frame of a step."""
        missing = [label for label in self.labels if label not in self.elements]
        symbols = [self.elements.get(label) or _element(label) for label in self.labels]
        charge = 0
        if self.electrons is not None and not missing:
            charge = round(sum(self.valence[label] for label in self.labels) - self.electrons)
        return build(
            origin=origin,
            symbols=symbols,
            positions=step.positions,
            cell=step.cell,
            energy=step.energy,
            forces=step.forces,
            virial=None if step.stress is None else abs(float(np.linalg.det(step.cell))) * step.stress,
            charge=charge,
            converged=True,
            group=self.file.name,
        )

    def _header(self, line: str) -> None:
        self.step = self.cell = self.positions = None

    def _natoms(self, line: str) -> None:
        self.natoms = int(line.split("=")[1])
        if not 0 < self.natoms <= MAX_ATOMS:
            raise SourceError(f"states {self.natoms} atoms", where=self.file.name)

    def _electrons(self, line: str) -> None:
        self.electrons = floats(line.split("=")[1])[0]

    def _alat(self, line: str) -> None:
        self.alat = floats(line.split("=")[1])[0] * BOHR

    def _axes(self, line: str) -> None:
        self.cell = self._table(3, after="=") * self.alat

    def _species(self, line: str) -> None:
        for line in self.lines:
            words = line.split()
            if len(words) < 4:
                return
            self.valence[words[0]] = float(words[1])
            self.elements[words[0]] = _element(words[3])

    def _sites(self, line: str) -> None:
        rows = [next(self.lines, "") for _ in range(self.natoms)]
        self.labels = [row.split()[1] for row in rows]
        self.positions = np.array([floats(row.rpartition("(")[2])[:3] for row in rows]) * self.alat
        self._take_digits_of_input()

    def _cell(self, line: str) -> None:
        self.cell = self._table(3) * self._unit(line)

    def _positions(self, line: str) -> None:
        rows = [next(self.lines, "").split() for _ in range(self.natoms)]
        self.labels = [row[0] for row in rows]
        table = np.array([[float(word) for word in row[1:4]] for row in rows])
        self.positions = table @ self.cell if "crystal" in line else table * self._unit(line)

    def _start(self, line: str) -> None:
        if self.positions is None or self.cell is None:
            raise SourceError("an SCF before any geometry", where=self.file.name)
        self.step = Step(self.positions, self.cell)

    def _energy(self, line: str) -> None:
        if self.step is not None:
            self.step.energy = floats(line.split("=")[1])[0] * RYDBERG

    def _converged(self, line: str) -> None:
        if self.step is not None:
            self.step.converged = True

    def _unconverged(self, line: str) -> None:
        if self.step is not None:
            self.step.converged = False

    def _forces(self, line: str) -> None:
        if self.step is not None and self.step.forces is None:
            next(self.lines, "")
            self.step.forces = self._table(self.natoms, after="force =") * FORCE

    def _stress(self, line: str) -> None:
        if self.step is not None:
            self.step.stress = self._table(3) * STRESS  # these columns have more digits than those in kbar

    def _done(self, line: str) -> None:
        """Nothing follows."""

    def _unit(self, line: str) -> float:
        """Å in the unit that the title of a card states; QE's older outputs leave `alat` out."""
        if "angstrom" in line:
            return 1.0
        if "bohr" in line:
            return BOHR
        stated = floats(line.partition("=")[2])
        return stated[0] * BOHR if stated else self.alat

    def _table(self, rows: int, *, after: str = "") -> F64:
        """The next lines' first three numbers, (rows, 3); `after` is a mark before them."""
        out = np.empty((rows, 3))
        for i in range(rows):
            line = next(self.lines, "")
            values = floats(line.partition(after)[2] if after else line)
            if len(values) < 3:
                raise SourceError(f"expected three numbers, found {line.strip()[:80]!r}", where=self.file.name)
            out[i] = values[:3]
        return out

    def _take_digits_of_input(self) -> None:
        """Replace the first geometry by the input's, which is the same with more digits."""
        deck = self.file.sibling(self.file.basename.rpartition(".")[0] + ".in")
        if deck is None or self.cell is None or deck.size > 64 << 20:
            return
        found = _deck_geometry(deck)
        if found is None:
            return
        cell, positions = found
        near = AGREE * self.alat
        if positions.shape == self.positions.shape and abs(cell - self.cell).max() < near and abs(positions - self.positions).max() < near:
            self.cell, self.positions = cell, positions


def _deck_geometry(deck: SourceFile) -> tuple[F64, F64] | None:
    """Cell and positions of a pw.x input in Å, or `None` where it is not plain: the output is enough."""
    import io

    from ase.io.espresso import read_espresso_in

    try:
        atoms = read_espresso_in(io.StringIO(deck.text()))
    except Exception:
        return None
    return np.array(atoms.cell), atoms.positions


def _element(label: str) -> str:
    """Fe of Fe1, Fe_up and "Fe(": QE tells species apart by what follows the symbol."""
    found = re.match(r"[A-Za-z][a-z]?", label)
    return found[0].capitalize() if found else label
