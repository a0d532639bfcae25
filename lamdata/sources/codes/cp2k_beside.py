"""Files of a CP2K trajectory that stand beside each other -> which step of one is which step of the other.

Nothing is joined by the folder: a log, a table of forces and a table of cells belong to a trajectory where their steps are its steps,
by number and energy. What matches once and misses elsewhere gives no label there.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from lamdata.elements import SYMBOLS
from lamdata.errors import SourceError
from lamdata.frame import F64, MAX_ATOMS
from lamdata.units import HARTREE

from ..build import element
from ..bytes.files import SourceFile
from ..bytes.numbers import columns, first_number
from .cp2k_log import ENERGY_LINE, Cp2kRun, read_energy, read_steps

POSITIONS = re.compile(r"-pos-(\d+)\.xyz$")
SAME = 2e-9  # Hartree: a title has 10 decimals
CODATA = (27.2113838565563, 27.21138505, 27.21138602, 27.211386245988)  # eV in a Hartree of 2006 to 2018: a log in eV does not say which
LOGS = ("*.log", "*.out", "output")
MAX_LOGS = 50


@dataclass(frozen=True, slots=True)
class Title:
    """The second line of a step of a CP2K .xyz."""

    step: int
    time: float | None  # fs; optimisations have none
    energy: float | None  # Hartree, whatever the UNIT of the table

    def same(self, other: Title) -> bool:
        """Whether both are of one step of one run."""
        energies = self.energy is None or other.energy is None or abs(self.energy - other.energy) < SAME
        times = self.time is None or other.time is None or abs(self.time - other.time) < 1e-3
        return self.step == other.step and energies and times


def parse_title(line: str) -> Title | None:
    """` i = 3, time = 1.500, E = -7.8012345678`, or None."""
    found = {name: re.search(rf"\b{name} *= *([^\s,]+)", line) for name in ("i", "time", "E")}
    if found["i"] is None or not found["i"][1].isdigit():
        return None
    time, energy = (first_number(one[1]) if (one := found[name]) else None for name in ("time", "E"))
    return Title(int(found["i"][1]), time, energy)


def read_titles(file: SourceFile) -> list[Title]:
    """The titles of all steps, found without reading the tables."""
    lines, out = file.lines(), []
    while (found := lines.title({" i =": "title"})) is not None:
        title = parse_title(found[1])
        if title is not None:
            out.append(title)
    return out


def xyz_steps(file: SourceFile) -> Iterator[tuple[Title, tuple[str, ...], F64]]:
    """Title, elements and table (A, 3), in the file's unit, of each step of a CP2K .xyz."""
    lines = file.lines()
    for line in lines:
        if not line.strip():
            continue
        natoms, title = int(line) if line.strip().isdigit() else 0, parse_title(next(lines, ""))
        if not 0 < natoms <= MAX_ATOMS or title is None:
            raise SourceError("damaged or truncated .xyz", where=file.name)
        out, numbers = np.empty((natoms, 3)), np.empty(natoms, np.uint8)
        if lines.take("ennn+", out, numbers=numbers):
            yield title, _symbols(numbers.tobytes()), out
            continue
        rows = [row.split() for row in itertools.islice(lines, natoms)]
        if len(rows) < natoms or any(len(row) < 2 for row in rows) or lines.cut:
            raise SourceError("damaged or truncated .xyz", where=file.name)
        table = [columns(" ".join(row[1:]), count=3)[:3] for row in rows]
        if any(len(row) < 3 for row in table):
            raise SourceError("damaged .xyz: a row without three numbers", where=file.name)
        yield title, tuple(element(row[0]) for row in rows), np.array(table)


@lru_cache(maxsize=16)
def _symbols(numbers: bytes) -> tuple[str, ...]:
    """Elements of atomic numbers, which all steps have."""
    return tuple(SYMBOLS[number] for number in numbers)


def align(wanted: Sequence[Title], present: Sequence[Title]) -> list[int | None]:
    """For each title the place of the same step in the other file, going forwards; None where it has none."""
    places: dict[int, list[int]] = {}
    for place, title in enumerate(present):
        places.setdefault(title.step, []).append(place)
    out: list[int | None] = []
    start = 0
    for title in wanted:
        found = next((place for place in places.get(title.step, ()) if place >= start and title.same(present[place])), None)
        start = start if found is None else found + 1
        out.append(found)
    return out


def align_energies(wanted: Sequence[Title], present: Sequence[float], *, width: float) -> list[int | None]:
    """For each title the place of its energy (Hartree) among others, going forwards; None where it has none within `width`."""
    places: dict[int, list[int]] = {}
    for place, energy in enumerate(present):
        if np.isfinite(energy):
            places.setdefault(round(energy / width), []).append(place)
    out: list[int | None] = []
    start = 0
    for title in wanted:
        near: list[int] = []
        for bucket in () if title.energy is None else (round(title.energy / width) + shift for shift in (-1, 0, 1)):
            held = places.get(bucket, [])
            near += [p for p in held[bisect.bisect_left(held, start) :][:1] if abs(present[p] - (title.energy or 0.0)) <= width]
        start = min(near) + 1 if near else start
        out.append(min(near) if near else None)
    return out


@dataclass(slots=True)
class Log:
    """A log whose steps are those of a trajectory, read forwards with it."""

    file: SourceFile
    places: list[int | None]  # for each step of the trajectory
    _steps: Iterator[tuple[Cp2kRun, Cp2kRun]] | None = None
    _read: int = 0
    _last: tuple[Cp2kRun, Cp2kRun] = field(default_factory=lambda: (Cp2kRun(), Cp2kRun()))

    def step(self, index: int) -> tuple[Cp2kRun, Cp2kRun] | None:
        """(run, step) of step `index` of the trajectory."""
        place = self.places[index]
        if place is None:
            return None
        if self._steps is None:
            self._steps = read_steps(self.file.lines())
        while self._read <= place:
            self._last = next(self._steps)
            self._read += 1
        return self._last

    def run(self) -> Cp2kRun:
        """What the first run that belongs to the trajectory says of all its steps."""
        place = next(place for place in self.places if place is not None)
        return next(itertools.islice(read_steps(self.file.lines()), place, None))[0]


def find_logs(file: SourceFile, titles: Sequence[Title]) -> tuple[list[Log], str]:
    """The logs of a trajectory; where there is none, why one that looks so is not."""
    found: list[Log] = []
    near: list[str] = []
    for log, project in _candidates(file):
        energies, hartree = _energies(log)
        factors = [1.0] if hartree else [HARTREE / factor for factor in CODATA]
        tried = [align_energies(titles, [energy * factor for energy in energies], width=SAME) for factor in factors]
        places = max(tried, key=lambda found: sum(place is not None for place in found))
        same, mine = any(place is not None for place in places), _is_of(project, file)
        if same and mine:
            found.append(Log(log, places))
        elif same:
            near.append(f"{log.basename} has its energies, and is of project {project}")
        elif mine and energies:
            near.append(f"{log.basename} has none of its energies")
    return found, near[0] if near and not found else ""


def _candidates(file: SourceFile) -> Iterator[tuple[SourceFile, str]]:
    """CP2K logs in the folder, and the project that each states."""
    for log in [log for pattern in LOGS for log in file.siblings(pattern)][:MAX_LOGS]:
        head = log.head(65536)
        if b"CP2K|" in head or b"DBCSR|" in head:
            stated = re.search(rb"GLOBAL\| Project name +(\S+)", head)
            yield log, stated[1].decode("utf-8", errors="replace") if stated else ""


def _is_of(project: str, file: SourceFile) -> bool:
    """Whether a trajectory may be of a project: PROJECT-pos-1.xyz, or PROJECT-NAME-pos-1.xyz."""
    stem = stem_of(file)
    return project in ("", stem) or stem.startswith(f"{project}-")


def _energies(log: SourceFile) -> tuple[list[float], bool]:
    """Energies in Hartree of all steps, and whether they are printed in Hartree."""
    lines, out, hartree = log.lines(), [], True
    while (found := lines.title({ENERGY_LINE: "energy"})) is not None:
        value, _, is_hartree = read_energy(found[1])
        out.append(value / HARTREE)
        hartree = hartree and is_hartree
    return out, hartree


def stem_of(file: SourceFile) -> str:
    """PROJECT of PROJECT-pos-1.xyz."""
    return POSITIONS.sub("", file.basename)


def number_of_run(file: SourceFile) -> str:
    """1 of PROJECT-pos-1.xyz."""
    found = POSITIONS.search(file.basename)
    return found[1] if found else "1"


@dataclass(slots=True)
class Forces:
    """A table of forces whose steps are those of a trajectory, read forwards with it."""

    file: SourceFile
    places: list[int | None]
    _steps: Iterator[tuple[Title, tuple[str, ...], F64]] | None = None
    _read: int = 0

    def step(self, index: int, symbols: tuple[str, ...]) -> F64 | None:
        """The table of step `index` of the trajectory; None where there is none, or where it is of other atoms."""
        place = self.places[index]
        if place is None:
            return None
        if self._steps is None:
            self._steps = xyz_steps(self.file)
        rest = itertools.islice(self._steps, place - self._read, None)
        _, others, table = next(rest)
        self._read = place + 1
        return table if others == symbols else None


def find_forces(file: SourceFile, titles: Sequence[Title]) -> tuple[Forces | None, str]:
    """The table of forces of a trajectory, whatever its name; or why there is none, "" where no file looks like one."""
    stem, number = stem_of(file), number_of_run(file)
    beside = [one for one in file.siblings("*.xyz") if re.search(r"(frc|forc).*\.xyz$", one.basename, re.IGNORECASE)]
    beside = [one for one in beside if one.name != file.name]
    joined = (Forces(one, align(titles, read_titles(one))) for one in beside)
    found = [one for one in joined if any(place is not None for place in one.places)]
    for usual in (f"{stem}-frc-{number}.xyz", f"{stem}-frc-1.xyz"):
        for one in found:
            if one.file.basename == usual:
                return one, ""
    if len(found) > 1:
        return None, f"{' and '.join(sorted(one.file.basename for one in found)[:2])} both have its steps"
    mine = [one.basename for one in beside if one.basename.startswith(stem) or len(beside) == 1]
    return (found[0], "") if found else (None, f"{mine[0]} has none of its steps, by number and energy" if mine else "")
