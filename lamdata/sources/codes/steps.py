"""Ionic steps: what the readers of text outputs share. Marked lines in, steps in between, frames out.

A program prints the same titles before the same tables at each step. A `Run` names the titles (its marks) and has a method for
each, which fills the current `Step` and returns it when it is over. A `TextReader` is the reader of a format as data: what steps
through a file, what the file states, what tells it from others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import F64, MAX_ATOMS, Frame, Rejection
from lamdata.frames import Parsed

from ..build import NUMBERS, Unusable, atomic_numbers, build, number_of, whole
from ..bytes.files import SourceFile
from ..bytes.lines import Lines
from ..bytes.numbers import columns
from ..gathered import LARGE, TRUNCATED, Row, gather, is_finite, is_sound, not_only_cut

BRACKETS = re.compile(r"[\[(]([^\[\]()]+)[\])]")
SAME = 1e-5  # eV: two prints of one energy differ by their digits alone


@dataclass(slots=True)
class Step:
    """What is known of one ionic step, in eV and Å."""

    symbols: Sequence[str | int] = ()  # (A,) elements or atomic numbers
    positions: F64 | None = None  # (A, 3)
    cell: F64 | None = None  # (3, 3); None for a molecule
    energy: float | None = None
    forces: F64 | None = None  # (A, 3)
    stress: F64 | None = None  # (3, 3) eV/Å^3, positive when compressed: the opposite of ASE's sign
    charge: int = 0
    multiplicity: int | None = None
    converged: bool | None = None  # None where the program does not say
    complete: bool = False  # something follows that is printed only after a step
    left_out: tuple[str, ...] = ()  # labels that stand in the file and not here: "label: why"
    reason: str | None = None  # why it must not be used, where that is already known
    value: object = None  # what decided

    def state_energy(self, energy: float) -> None:
        """Take the energy. Two that differ are of two geometries, of which the file prints one: nobody knows which."""
        if self.energy is not None and abs(energy - self.energy) > SAME:
            self.refuse("two energies for one geometry", value=f"{self.energy} and {energy} eV")
        self.energy = energy

    def state_charge(self, charge: float) -> None:
        """Take the charge in e, which a frame has as a whole number."""
        try:
            self.charge = whole(round(charge, 3), "charge")  # electrons are printed with three or four decimals
        except Unusable as bad:
            self.refuse(bad.reason, value=charge)

    def refuse(self, reason: str, *, value: object = None) -> None:
        """Say why the step must not be used; what is said first stands."""
        if self.reason is None:
            self.reason, self.value = reason, value

    def leave_out(self, label: str, why: str) -> None:
        """Name a label that stands in the file and is not given."""
        if (text := f"{label}: {why}") not in self.left_out:
            self.left_out = (*self.left_out, text)

    def problem(self) -> str | None:
        """Why there is no frame, or `None`."""
        if self.reason is None and self.converged is False:
            return "unconverged"
        if self.reason is None and (not self.complete or self.energy is None):
            return TRUNCATED
        return self.reason or ("no positions" if self.positions is None else None)

    def frame(self, origin: str, group: str) -> Frame | Rejection:
        """Build the frame."""
        virial = None
        if self.stress is not None and self.cell is not None:
            virial = abs(float(np.linalg.det(self.cell))) * self.stress
        return build(
            origin=origin,
            symbols=self.symbols,
            positions=self.positions,
            cell=self.cell,
            energy=self.energy,
            forces=self.forces,
            virial=virial,
            charge=self.charge,
            multiplicity=self.multiplicity,
            converged=self.converged,
            group=group,
            left_out=self._not_given(virial),
        )

    def row(self, origin: str, group: str) -> Row | None:
        """The frame on its way into arrays, where all of it is plain; else None."""
        numbers, forces, cell = numbers_of(tuple(self.symbols)), self.forces, self.cell
        positions = np.asarray(self.positions)
        if numbers is None or positions.dtype != np.float64 or positions.shape != (len(numbers), 3) or not is_finite(positions):
            return None
        if forces is not None and (forces.shape != positions.shape or not is_finite(forces)):
            return None
        if any(table is not None and np.shape(table) != (3, 3) for table in (cell, self.stress)):
            return None
        stress = None if self.stress is None or cell is None else -self.stress
        if cell is not None and not (is_sound(cell) and (stress is None or is_finite(stress))):
            return None
        if self.energy is None or not abs(self.energy) < LARGE or self.multiplicity is not None:
            return None
        return Row(
            numbers=numbers,
            positions=positions,
            cell=cell,
            pbc=(cell is not None,) * 3,
            energy=self.energy,
            forces=forces,
            virial=None,
            charge=self.charge,
            multiplicity=None,
            converged=self.converged,
            group=group,
            origin=origin,
            split="",
            isolated=False,
            left_out=self._not_given(stress),
            stress=stress,
        )

    def _not_given(self, virial: F64 | None) -> tuple[str, ...]:
        """What is left out, but for what came after all."""
        given = {"energy": self.energy, "forces": self.forces, "virial": virial}
        return tuple(text for text in self.left_out if given.get(text.partition(":")[0]) is None)


@lru_cache(maxsize=16)
def numbers_of(symbols: tuple[str | int, ...]) -> NDArray[np.uint8] | None:
    """Atomic numbers (A,) of the elements of a run, which all its steps have; None where one is none."""
    try:
        return atomic_numbers([NUMBERS.get(str(symbol)) or number_of(symbol) for symbol in symbols]) if symbols else None
    except Unusable:
        return None


def frames(file: SourceFile, steps: Iterator[Step | Parsed]) -> Iterator[Parsed | Rejection]:
    """Turn the steps of a file into frames and rejections; a file of one step that is cut is an error."""
    return gather(not_only_cut(_one_by_one(file, steps), "ends in the middle of its first step: truncated", file=file))


def _one_by_one(file: SourceFile, steps: Iterator[Step | Parsed]) -> Iterator[Frame | Row | Parsed | Rejection]:
    index = 0
    for step in steps:
        if isinstance(step, Parsed):
            index += len(step)
            yield step
            continue
        origin, reason = f"{file.name}#{index}", step.problem()
        index += 1
        if reason:
            yield Rejection(origin=origin, reason=reason, value=step.value)
        else:
            yield step.row(origin, file.name) or step.frame(origin, file.name)


def marks(**titles: str | tuple[str, ...]) -> dict[str, str]:
    """Titles by the name of the method, after `on_`, that reads what follows: text -> name; `^` asks for the start of the line."""
    several = {name: (title,) if isinstance(title, str) else title for name, title in titles.items()}
    return {re.sub(r"^\^", "\n", title): name for name, group in several.items() for title in group}


@lru_cache(maxsize=32)
def _titles_of(marks: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those that must stand at the start of a line, and the others."""
    return tuple(mark[1:] for mark in marks if mark[0] == "\n"), tuple(mark for mark in marks if mark[0] != "\n")


@dataclass(slots=True)
class Run:
    """A text output while it is read from top to bottom, once."""

    marks: ClassVar[dict[str, str]]

    file: SourceFile
    spec: SourceSpec | None = None
    lines: Lines = field(init=False)
    step: Step | None = None
    taken: Step | None = field(default=None, init=False)  # by the title that is being read
    passing: frozenset[str] = field(default=frozenset(), init=False)  # titles of which the next lines need only be counted
    given: int = field(default=0, init=False)  # steps so far

    def steps(self) -> Iterator[Step | Parsed]:
        """Yield the steps in order, or many at once."""
        self.lines = self.file.lines()
        for step in self._steps():
            self.given += len(step) if isinstance(step, Parsed) else 1
            yield step

    def _steps(self) -> Iterator[Step | Parsed]:
        while True:
            if (many := self.alike()) is not None:
                yield many
                continue
            if (found := self._next_title()) is None:
                break
            name, line = found
            self.taken = None
            try:
                done = getattr(self, f"on_{name}")(line)
            except (ValueError, IndexError, TypeError) as err:
                if next(self.lines, None) is None:  # the file ends within a table: that costs the step alone, and not the one before
                    if self.taken is not None:
                        yield self.taken
                    break
                where = f"{self.file.name}:{self.line_number()}"
                raise SourceError(f"{name} cannot be read ({type(err).__name__}: {str(err)[:80]})", where=where) from err
            if done is not None:
                yield done
        if (last := self.at_end()) is not None:
            yield last

    def alike(self) -> Parsed | None:
        """Steps that come next and are plainly written as the last one was; None where they are to be read one by one."""
        return None

    def _next_title(self) -> tuple[str, str] | None:
        if not self.passing:
            return self.lines.title(self.marks)
        passed: dict[str, tuple[int, str]] = {}
        found = self.lines.title(self.marks, passing=self.passing, passed=passed)
        self.passing = frozenset()
        for title, (count, last) in passed.items():
            self.on_passed(self.marks[title], count, last)
        return found

    def on_passed(self, name: str, count: int, last: str) -> None:
        """Take in what `passing` passed over: lines by the name of their title, how many there were, and the last of them."""

    def at_end(self) -> Step | None:
        """The step that was not over when the file ended; `complete` decides whether it stands."""
        return self.step

    def take(self) -> Step | None:
        """Close the current step: what comes now belongs to the next."""
        self.taken, self.step = self.step, None
        if self.taken is not None:
            self.taken.complete = True
        return self.taken

    def line_number(self) -> int:
        """Number of the line that was read last, found by counting again: only an error asks for it."""
        end, lines = self.lines.tell(), self.file.lines()
        for number, _ in enumerate(lines, start=1):
            if lines.tell() >= end:
                return number
        return 0

    def option(self, name: str, default: str) -> str:
        """The card's choice."""
        return str(self.spec.options.get(name, default)) if self.spec else default

    def rows(self, count: int, *, width: int = 3, after: str = "") -> F64:
        """The next lines' first numbers, (count, width); `after` is a mark before them in each line."""
        out = np.empty((self.checked(count), width))
        if self.lines.take("n" * width + "+", out, after=after):
            return out
        table = []
        for _ in range(count):
            line = next(self.lines, "")
            values = columns(line.partition(after)[2] if after else line, count=width)
            if len(values) < width:
                raise ValueError(f"expected {width} numbers, found {line.strip()[:60]!r}")
            table.append(values[:width])
        return np.array(table)

    def unit(self, line: str, factors: Mapping[str, float]) -> float:
        """The factor of the unit that a title names in brackets; a file in another unit is refused."""
        named = BRACKETS.findall(line)
        if (known := next((name for name in named if name in factors), None)) is None:
            found = f"in {named[-1]!r}" if named else "in no unit"
            raise SourceError(f"{line.strip(' *|')[:60]!r} is {found}, expected {' or '.join(factors)}", where=self.file.name)
        return factors[known]

    def words(self, *, least: int) -> Iterator[list[str]]:
        """The next lines as words, up to the first line with fewer than `least`."""
        for line in self.lines:
            words = line.split()
            if len(words) < least:
                return
            yield words

    def body(self) -> Iterator[str]:
        """The next lines, up to one with a title, as where what wrote them was killed and the next run goes on; that line comes again."""
        at_start, anywhere = _titles_of(tuple(self.marks))
        return self.lines.until(lambda line: line.startswith(at_start) or any(title in line for title in anywhere))

    def boxed(self, edge: str) -> Iterator[str]:
        """The next lines that begin with the edge of a box; the first other one, as where what wrote it was killed, comes again."""
        return self.lines.until(lambda line: not line.lstrip().startswith(edge))

    def skip(self, count: int) -> None:
        """Pass over lines."""
        for _ in range(count):
            next(self.lines, "")

    def checked(self, natoms: int) -> int:
        """A number of atoms that can be believed."""
        if not 0 < natoms <= MAX_ATOMS:
            raise SourceError(f"states {natoms} atoms", where=self.file.name)
        return natoms


class Stepwise(Protocol):
    """A file that gives its steps: a `Run`, or what reads another kind of file."""

    def steps(self) -> Iterator[Step] | Iterator[Step | Parsed]:
        """Yield the steps in order, or many at once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TextReader:
    """The reader of a format whose files are read step by step."""

    name: str
    run: Callable[[SourceFile, SourceSpec], Stepwise]
    states: Callable[[SourceFile], dict[str, Any]]
    signs: tuple[bytes | tuple[bytes, ...], ...]  # any of them in the first bytes tells the format; of several in brackets, all
    endings: tuple[str, ...] = ("",)  # of the name of a file, any of them
    options: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Parsed | Rejection]:
        """Yield every ionic step, many at once."""
        return frames(file, self.run(file, spec).steps())

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Return what the file states."""
        return self.states(file)

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """Look for a sign."""
        signs = [sign if isinstance(sign, tuple) else (sign,) for sign in self.signs]
        return file.basename.endswith(self.endings) and any(all(part in head for part in sign) for sign in signs)
