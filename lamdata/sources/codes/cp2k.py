"""CP2K Quickstep output of single points, in the layouts of versions 6 to 2025: text in, one frame a run out.

Runs with several steps keep their positions in a second file: `cp2k/aimd` reads those. Energies are `Total FORCE_EVAL energy`.
The stress is printed positive when compressed, so virial = +V x printed. A run with periodicity NONE is a molecule without a cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import F64, Frame, Rejection
from lamdata.units import BOHR, GPA, HARTREE

from ..build import build
from ..bytes.files import SourceFile
from ..bytes.numbers import floats
from .cp2k_theory import cp2k_theory

FORCE_UNITS = {"a.u.": HARTREE / BOHR, "hartree/bohr": HARTREE / BOHR, "ev/angstrom": 1.0, "hartree/angstrom": HARTREE}  # eV/Å
STRESS_UNITS = {"gpa": GPA, "bar": 1e-4 * GPA, "kbar": 0.1 * GPA, "a.u.": HARTREE / BOHR**3, "ev/angstrom^3": 1.0}  # eV/Å^3
SINGLE = ("ENERGY", "ENERGY_FORCE")

# Title -> what it is about; a line break before a title asks for the start of the line.
MARKS = {
    "PROGRAM STARTED AT": "start",
    "GLOBAL| Run type": "kind_of_run",
    "\n CELL| Vector": "vector",
    "\n CELL| Periodicity": "periodic",
    "\n POISSON| Periodicity": "periodic",
    "DFT| Charge ": "charge",
    "DFT| Multiplicity ": "multiplicity",
    "MODULE QUICKSTEP: ": "atoms",
    "SCF run converged": "converged",
    "outer SCF loop converged": "converged",
    "SCF run NOT converged": "unconverged",
    "outer SCF loop FAILED": "unconverged",
    "ENERGY| Total FORCE_EVAL": "energy",
    "\n ATOMIC FORCES in": "forces",
    "FORCES| Atomic forces": "forces",
    "\n STRESS TENSOR [": "stress",
    "STRESS| Analytical stress tensor": "stress",
    "STRESS| Numerical stress tensor": "stress",
    "PROGRAM ENDED AT": "end",
}


class Cp2kReader:
    """CP2K output with positions, energy and forces (`cp2k/output`)."""

    name = "cp2k/output"
    options: dict[str, tuple] = {}
    open_units = False

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield a frame for each run in the file; an unconverged run is rejected."""
        for index, run in enumerate(runs(file)):
            yield run.frame(file, f"{file.name}#{index}")

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Return what the first run states."""
        return cp2k_theory(file.lines())

    def guess(self, file: SourceFile, head: bytes) -> bool:
        return b"CP2K| version string" in head or (b"PROGRAM STARTED AT" in head and b"DBCSR|" in head)


@dataclass(slots=True)
class Cp2kRun:
    """What one run printed; lengths in Å, energies in eV."""

    kind: str = ""
    vectors: list[F64] = field(default_factory=list)
    periodic: dict[str, str] = field(default_factory=dict)  # who says so -> "XYZ", "NONE", ...
    charge: int = 0
    multiplicity: int | None = None
    numbers: list[int] = field(default_factory=list)
    positions: list[list[float]] = field(default_factory=list)
    converged: bool | None = None
    energies: list[float] = field(default_factory=list)
    forces: F64 | None = None
    stress: F64 | None = None  # (3, 3) eV/Å^3, positive when compressed
    ended: bool = False

    @property
    def pbc(self) -> tuple[bool, bool, bool]:
        """What the cell says; older versions print only what the Poisson solver took."""
        axes = self.periodic.get("CELL") or self.periodic.get("POISSON") or "XYZ"
        return tuple(axis in axes and axes != "NONE" for axis in "XYZ")

    def frame(self, file: SourceFile, origin: str) -> Frame | Rejection:
        """Build the frame, or say why there is none."""
        if not self.ended:
            raise SourceError("ends before `PROGRAM ENDED`: truncated, or the run was killed", where=file.name)
        if self.converged is False:
            return Rejection(origin=origin, reason="unconverged")
        if not self.positions or not self.energies:
            raise SourceError("holds no positions or no energy", where=file.name)
        if self.kind not in SINGLE and len(self.energies) > 1:
            raise SourceError(
                f"a run of type {self.kind} keeps its positions elsewhere", where=file.name, hint="read it as `format: cp2k/aimd`"
            )
        cell = np.array(self.vectors[:3]) if any(self.pbc) and len(self.vectors) >= 3 else None
        return build(
            origin=origin,
            numbers=np.array(self.numbers),
            positions=self.positions,
            cell=cell,
            pbc=self.pbc,
            energy=self.energies[-1],
            forces=self.forces,
            virial=None if cell is None or self.stress is None else abs(float(np.linalg.det(cell))) * self.stress,
            charge=self.charge,
            multiplicity=self.multiplicity,
            converged=self.converged,
            group=file.name,
        )


def runs(file: SourceFile) -> Iterator[Cp2kRun]:
    """Read the runs of an output one after the other: a restart appends to the same file."""
    run: Cp2kRun | None = None
    lines = file.lines()
    while (found := lines.title(MARKS)) is not None:
        name, line = found
        if name == "start":
            if run is not None and run.energies:
                run.ended = True  # killed and started again: what it finished stands
                yield run
            run = Cp2kRun()
        elif run is not None:
            READ[name](run, line, lines)
    if run is not None:
        yield run


def _vector(run: Cp2kRun, line: str, lines: Iterator[str]) -> None:
    """Components have 3 decimals, the length has up to 6: together they are closer than dpdata's 3."""
    values = floats(line.partition("]")[2] if "]" in line else line.partition("strom")[2])
    vector = np.array(values[:3])
    if len(values) < 4 or not np.linalg.norm(vector):
        raise SourceError(f"expected a cell vector, found {line.strip()[:80]!r}")
    run.vectors.append(vector * (values[3] / np.linalg.norm(vector)))


def _periodic(run: Cp2kRun, line: str, lines: Iterator[str]) -> None:
    run.periodic[line.split("|")[0].strip()] = line.split()[-1]


def _atoms(run: Cp2kRun, line: str, lines: Iterator[str]) -> None:
    if "ATOMIC COORDINATES" not in line:
        return
    unit = BOHR if "bohr" in line.lower() else 1.0
    run.numbers, run.positions = [], []
    for line in lines:
        words = line.split()
        if len(words) >= 8 and words[0].isdigit() and words[3].isdigit():
            run.numbers.append(int(words[3]))
            run.positions.append([float(word) * unit for word in words[4:7]])
        elif run.positions:
            return


def _energy(run: Cp2kRun, line: str, lines: Iterator[str]) -> None:
    run.energies.append(float(line.split()[-1]) * HARTREE)


def _forces(run: Cp2kRun, line: str, lines: Iterator[str]) -> None:
    unit = _unit(line, FORCE_UNITS)
    rows = []
    for line in lines:
        words = line.replace("FORCES|", " ").split()
        if words and words[0].isdigit():  # old: atom, kind, element, x, y, z; new: atom, x, y, z, norm
            rows.append([float(word) for word in (words[1:4] if "FORCES|" in line else words[3:6])])
        elif rows or line.startswith(" SUM OF"):
            break
    run.forces = np.array(rows) * unit


def _stress(run: Cp2kRun, line: str, lines: Iterator[str]) -> None:
    unit = _unit(line, STRESS_UNITS)
    rows = []
    for line in lines:
        words = line.replace("STRESS|", " ").split()
        if len(words) == 4 and words[0].lower() in "xyz":
            rows.append([float(word) for word in words[1:]])
        if len(rows) == 3:
            break
    run.stress = np.array(rows) * unit


def _unit(line: str, table: dict[str, float]) -> float:
    stated = re.search(r"\[(.*?)\]", line)
    if stated is None or stated[1].lower() not in table:
        raise SourceError(f"unit of {line.strip()[:60]!r} is not known")
    return table[stated[1].lower()]


def _set(name: str, value) -> Any:
    return lambda run, line, lines: setattr(run, name, value(line) if callable(value) else value)


def _unconverged(run: Cp2kRun, line: str, lines: Iterator[str]) -> None:
    run.converged = False


def _converged(run: Cp2kRun, line: str, lines: Iterator[str]) -> None:
    run.converged = run.converged is not False


READ = {
    "kind_of_run": _set("kind", lambda line: line.split()[-1]),
    "vector": _vector,
    "periodic": _periodic,
    "charge": _set("charge", lambda line: int(line.split()[-1])),
    "multiplicity": _set("multiplicity", lambda line: int(line.split()[-1])),
    "atoms": _atoms,
    "converged": _converged,
    "unconverged": _unconverged,
    "energy": _energy,
    "forces": _forces,
    "stress": _stress,
    "end": _set("ended", True),
}
