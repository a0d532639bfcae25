"""What a CP2K run prints -> `Cp2kRun`: the one place that knows its titles, its units and the spellings of versions 2.6 to 2025.

Energies are `Total FORCE_EVAL energy`. The stress is printed positive when compressed. Each unit stands in brackets in its title;
one that is not known is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lamdata.errors import SourceError
from lamdata.frame import F64
from lamdata.units import GPA

from ..bytes.lines import Lines
from ..bytes.numbers import columns, floats
from ..unit_names import TABLES, canonical

BAR = {"bar": 1e-4 * GPA, "mpa": 1e-3 * GPA, "pa": 1e-9 * GPA}  # eV/Å^3
MOLAR = {"kcalmol": "kcal/mol", "kjmol": "kJ/mol"}  # as CP2K writes them
FIXED_CELL = ("NVE", "NVT", "ISOKIN", "LANGEVIN", "NVT_ADIABATIC")  # ensembles
PRINTED = 2e-3  # Å: vectors are printed with 3 decimals
NOT_QUICKSTEP = "the energy is not of Quickstep alone"
ENERGY_LINE = "ENERGY| Total FORCE_EVAL"
STEADY = (
    "input",
    "kind_of_run",
    "project",
    "ensemble",
    "vector",
    "corner",
    "periodic",
    "charge",
    "multiplicity",
)  # what is said once for all steps

# Title -> what it is about; a line break before a title asks for the start of the line.
MARKS = {
    "PROGRAM STARTED AT": "start",
    "CP2K| Input file name": "input",
    "GLOBAL| Project name": "project",
    "GLOBAL| Run type": "kind_of_run",
    "\n CELL| Vector": "vector",
    "\n CELL| Angle (": "corner",
    "\n CELL| Periodicity": "periodic",
    "\n POISSON| Periodicity": "periodic",
    "DFT| Charge ": "charge",
    "DFT| Multiplicity ": "multiplicity",
    "MODULE QUICKSTEP: ": "atoms",
    "\n MD_PAR| Ensemble type": "ensemble",
    "\n MD| Ensemble Type": "ensemble",
    "\n ENSEMBLE TYPE": "ensemble",
    "SCF run converged": "converged",
    "outer SCF loop converged": "converged",
    "SCF run NOT converged": "unconverged",
    "outer SCF loop FAILED": "unconverged",
    ENERGY_LINE: "energy",
    "\n ATOMIC FORCES in": "forces",
    "FORCES| Atomic forces": "forces",
    "\n STRESS TENSOR [": "stress",
    "STRESS| Analytical stress tensor": "stress",
    "STRESS| Numerical stress tensor": "stress",
    "\n MD| Step number": "step",
    "\n STEP NUMBER": "step",
    "\n MD| Cell lengths [": "lengths",
    "\n CELL LNTHS[": "lengths",
    "\n MD| Cell angles [": "angles",
    "\n CELL ANGLS[": "angles",
    "\n MD_INI| Cell angles [": "first_angles",
    "\n INITIAL CELL ANGLS[": "first_angles",
    "PROGRAM ENDED AT": "end",
}


@dataclass(slots=True)
class Cp2kRun:
    """What one run, or one step of it, printed; lengths in Å, energies in eV."""

    input: str = ""  # name of its input
    project: str = ""
    kind: str = ""
    ensemble: str = ""
    vectors: list[F64] = field(default_factory=list)
    corners: list[float] = field(default_factory=list)  # alpha, beta, gamma in degrees
    periodic: dict[str, str] = field(default_factory=dict)  # who says so -> "XYZ", "NONE", ...
    charge: int = 0
    multiplicity: int | None = None
    numbers: list[int] = field(default_factory=list)
    positions: list[list[float]] = field(default_factory=list)
    converged: bool | None = None
    energies: list[float] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)  # of which FORCE_EVAL each energy is: "QS", "QMMM", ...
    forces: F64 | None = None
    stress: F64 | None = None  # (3, 3) eV/Å^3, positive when compressed
    step: int | None = None
    lengths: F64 | None = None  # (3,) Å, of the cell of this step
    angles: F64 | None = None  # (3,) degrees, in the order in which they are printed
    first_angles: F64 | None = None  # (3,) degrees, the same of the first cell
    ended: bool = False

    @property
    def cell(self) -> F64 | None:
        """The cell of the start, (3, 3): its lengths and angles, which have more digits than its vectors, where they make the same."""
        if len(self.vectors) < 3:
            return None
        vectors = np.array(self.vectors[:3])
        if len(self.corners) < 3:
            return vectors
        exact = cell_of_lengths(np.linalg.norm(vectors, axis=1), np.array(self.corners[:3]))
        return exact if abs(exact - vectors).max() < PRINTED else vectors

    @property
    def pbc(self) -> tuple[bool, bool, bool]:
        """What the cell says; older versions print only what the Poisson solver took."""
        return periodic_axes(self.periodic.get("CELL") or self.periodic.get("POISSON") or "XYZ")


def cell_of_lengths(lengths: F64, angles: F64) -> F64:
    """Cell (3, 3) from three lengths and alpha, beta, gamma in degrees: a along x, b in the xy plane, as CP2K sets it up."""
    straight = np.where(angles == 90.0, 0.0, np.cos(np.radians(angles)))
    alpha, beta, gamma = straight
    sine = math.sqrt(1.0 - gamma**2)
    cy = (alpha - beta * gamma) / sine
    return np.array([[1.0, 0.0, 0.0], [gamma, sine, 0.0], [beta, cy, math.sqrt(max(0.0, 1.0 - beta**2 - cy**2))]]) * lengths[:, None]


def periodic_axes(word: str) -> tuple[bool, bool, bool]:
    """`XYZ`, `XY`, `NONE` as three truths."""
    found = [axis in word and word != "NONE" for axis in "XYZ"]
    return found[0], found[1], found[2]


def unit_of(name: str, quantity: str) -> float:
    """eV, Å, eV/Å or eV/Å^3 in what CP2K calls `name`: "hartree", "angstrom", "hartree*bohr^-1", "[bar]"."""
    plain = name.strip(" []()").lower().replace("*", "/").replace("^-1", "").replace("^-3", "^3").replace("internal_cp2k", "a.u.")
    if quantity == "stress" and plain in BAR:
        return BAR[plain]
    for ours, theirs in MOLAR.items():
        plain = plain.replace(ours, theirs.lower())
    found = canonical(plain, quantity)
    if found is None:
        raise SourceError(f"the unit {name.strip()!r} of the {quantity} is not known")
    return TABLES[quantity][found]


def read_energy(line: str) -> tuple[float, str, bool]:
    """Energy in eV, the FORCE_EVAL that it is of, and whether it is printed in Hartree, of an `ENERGY|` line."""
    found = re.search(r"FORCE_EVAL *\( *(\w+) *\) *energy *[\[(] *(.*?) *[\])] *:? *(\S+)\s*$", line)
    if found is None:
        raise SourceError(f"an energy is not printed as expected: {line.strip()[:80]!r}")
    unit = unit_of(found[2], "energy")
    value = math.nan if "*" in found[3] else float(found[3])
    return value * unit, found[1], unit == TABLES["energy"]["Hartree"]


def _vector(run: Cp2kRun, line: str, lines: Lines) -> None:
    """Components have 3 decimals, the length has up to 6: together they are closer than dpdata's 3."""
    unit = re.search(r"\[([A-Za-z.]+)", line)
    values = floats(line.partition("]")[2] if "]" in line else line.partition("strom")[2])
    vector = np.array(values[:3])
    if len(values) < 4 or not np.linalg.norm(vector):
        raise SourceError(f"expected a cell vector, found {line.strip()[:80]!r}")
    run.vectors.append(vector * (values[3] / np.linalg.norm(vector)) * unit_of(unit[1] if unit else "angstrom", "length"))


def _corner(run: Cp2kRun, line: str, lines: Lines) -> None:
    if "[degree]" not in line:
        raise SourceError(f"angles are not in degrees: {line.strip()[:60]!r}")
    run.corners.append(float(line.split()[-1]))


def _periodic(run: Cp2kRun, line: str, lines: Lines) -> None:
    run.periodic[line.split("|")[0].strip()] = line.split()[-1]


def _atoms(run: Cp2kRun, line: str, lines: Lines) -> None:
    if "ATOMIC COORDINATES" not in line:
        return
    unit = unit_of(line.rpartition(" IN ")[2].strip().strip(":"), "length")
    run.numbers, run.positions = [], []
    for line in lines:
        words = line.split()
        if len(words) >= 5 and words[0].isdigit() and words[3].isdigit():
            values = columns(" ".join(words[4:]), count=5)
            if len(values) < 5:
                raise SourceError(f"a row of the atoms is cut: {line.strip()[:60]!r}")
            run.numbers.append(int(words[3]))
            run.positions.append([value * unit for value in values[:3]])
        elif run.positions:
            return


def _energy(run: Cp2kRun, line: str, lines: Lines) -> None:
    value, method, _ = read_energy(line)
    run.energies.append(value)
    run.methods.append(method)


def _forces(run: Cp2kRun, line: str, lines: Lines) -> None:
    unit = _stated_unit(line, "force")
    rows = []
    for line in lines:
        words = line.replace("FORCES|", " ").split()
        if words and words[0].isdigit():  # old: atom, kind, element, x, y, z; new: atom, x, y, z, norm
            new = "FORCES|" in line
            rows.append([_number(word) for word in (words[1:4] if new else words[3:6])])
            rows += lines.take_while("winnn*" if new else "iwwnnn*", 4)[:, 1:].tolist()
        elif rows or line.startswith(" SUM OF"):
            break
    run.forces = np.array(rows) * unit


def _stress(run: Cp2kRun, line: str, lines: Lines) -> None:
    unit = _stated_unit(line, "stress")
    rows = []
    for line in lines:
        words = line.replace("STRESS|", " ").split()
        if len(words) == 4 and words[0].lower() in "xyz":
            rows.append([_number(word) for word in words[1:]])
        if len(rows) == 3:
            break
    run.stress = np.array(rows) * unit


def _number(word: str) -> float:
    """A number, or nan for the stars of one that is too wide."""
    return math.nan if "*" in word else float(word)


def _stated_unit(line: str, quantity: str) -> float:
    stated = re.search(r"\[(.*?)\]", line)
    if stated is None:
        raise SourceError(f"states no unit: {line.strip()[:60]!r}")
    return unit_of(stated[1], quantity)


def _lengths(run: Cp2kRun, line: str, lines: Lines) -> None:
    run.lengths = np.array(floats(line.partition("]")[2])[:3]) * _stated_unit(line, "length")


def _angles(name: str) -> Callable[[Cp2kRun, str, Lines], None]:
    def read(run: Cp2kRun, line: str, lines: Lines) -> None:
        if "[deg" not in line:
            raise SourceError(f"angles are not in degrees: {line.strip()[:60]!r}")
        setattr(run, name, np.array(floats(line.partition("]")[2])[:3]))

    return read


def _word(name: str, value: Callable[[str], Any]) -> Callable[[Cp2kRun, str, Lines], None]:
    return lambda run, line, lines: setattr(run, name, value(line.split()[-1]))


def _unconverged(run: Cp2kRun, line: str, lines: Lines) -> None:
    run.converged = False


def _converged(run: Cp2kRun, line: str, lines: Lines) -> None:
    run.converged = run.converged is not False


def _end(run: Cp2kRun, line: str, lines: Lines) -> None:
    run.ended = True


READ: dict[str, Callable[[Cp2kRun, str, Lines], None]] = {
    "input": _word("input", str),
    "project": _word("project", str),
    "kind_of_run": _word("kind", str),
    "ensemble": _word("ensemble", str),
    "vector": _vector,
    "corner": _corner,
    "periodic": _periodic,
    "charge": _word("charge", int),
    "multiplicity": _word("multiplicity", int),
    "atoms": _atoms,
    "converged": _converged,
    "unconverged": _unconverged,
    "energy": _energy,
    "forces": _forces,
    "stress": _stress,
    "step": _word("step", int),
    "lengths": _lengths,
    "angles": _angles("angles"),
    "first_angles": _angles("first_angles"),
    "end": _end,
}


def read_runs(lines: Lines) -> Iterator[Cp2kRun]:
    """The runs of an output one after the other: a restart appends to the same file."""
    run: Cp2kRun | None = None
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


def read_steps(lines: Lines) -> Iterator[tuple[Cp2kRun, Cp2kRun]]:
    """(run, step) for each `ENERGY|` line of an output: what the run said of all its steps, and what this step printed."""
    run = step = Cp2kRun()
    while (found := lines.title(MARKS)) is not None:
        name, line = found
        if name == "start":
            if step.energies:
                yield run, step
            run = step = Cp2kRun()
            continue
        if name in ("converged", "unconverged", "energy") and step.energies:
            yield run, step
            step = Cp2kRun()
        READ[name](run if name in STEADY or name == "first_angles" else step, line, lines)
    if step.energies:
        yield run, step
