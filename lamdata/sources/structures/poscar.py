"""POSCAR and CONTCAR -> structures, one or many in a file; XDATCAR, CHGCAR and the like, which begin as one.

VASP 5 (symbols above the counts, several lines of both allowed) and VASP 4 (symbols in the title or after the coordinates); a negative
scale is the volume; selective dynamics are checked and dropped; velocities are passed over, and so is what lies on a grid
(https://www.vasp.at/wiki/index.php/POSCAR). Elements that stand above the counts and after the coordinates must be the same. Options: `symbols`,
"O H" where the file names none; `charge` of all structures in e. There are no labels. The group is the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import MAX_ATOMS, Frame, Rejection
from lamdata.frames import Parsed

from ..build import NUMBERS, Unusable, build, rejects, whole
from ..bytes.files import SourceFile
from ..bytes.scan import take_rows
from ..gathered import gather

MAX_BYTES = 256 << 20
NAME = re.compile(r"(^|[._-])(POSCAR|CONTCAR|XDATCAR|CHG|LOCPOT|ELFCAR|PARCHG|AECCAR)|\.vasp$|\.poscar$", re.IGNORECASE)
CONFIGURATION = re.compile("direct configuration", re.IGNORECASE)
GRID = re.compile(r"\s*\d+\s+\d+\s+\d+\s*")  # the line above the numbers of a CHGCAR


@dataclass(frozen=True, slots=True, kw_only=True)
class Poscar:
    """One structure and the line after its coordinates."""

    title: str
    symbols: list[str]  # (A,)
    cell: np.ndarray  # (3, 3) Å
    positions: np.ndarray  # (A, 3) Å
    end: int


class PoscarReader:
    """POSCAR, CONTCAR, `*.vasp`, and many of them one after the other."""

    name = "vasp/poscar"
    options: dict[str, tuple[str, ...]] = {"symbols": (), "charge": ()}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Parsed | Rejection]:
        """Yield the structures, many at once."""
        return gather(self._frames(file, spec))

    def _frames(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        lines = file.bytes(MAX_BYTES).decode("utf-8", "replace").splitlines()
        named = str(spec.options.get("symbols", "")).split()
        common = {"group": file.name, "charge": whole(spec.options.get("charge", 0), "charge")}
        at: int | None = 0
        i = 0
        while at is not None and at < len(lines):
            try:
                first = parse_poscar(lines, at, named=named)
            except Unusable as bad:
                at = search_start(lines, at + 1)
                if i == 0 and at is None:
                    raise SourceError(bad.reason, where=f"{file.name}#{i}") from None
                yield Rejection(origin=f"{file.name}#{i}", reason=bad.reason, value=bad.value)
                i += 1
                continue
            yield build(origin=f"{file.name}#{i}", symbols=first.symbols, positions=first.positions, cell=first.cell, **common)
            end, i = first.end, i + 1
            while CONFIGURATION.match(_line(lines, end)):
                rows, end = lines[end + 1 : end + 1 + len(first.symbols)], end + 1 + len(first.symbols)
                yield _moved(first, rows, origin=f"{file.name}#{i}", **common)
                i += 1
            at = next_start(lines, end)

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Nothing is stated."""
        return {}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        """A scale and three vectors in lines 2 to 5; below them counts and the kind of coordinates, or a usual name."""
        lines = head.decode("utf-8", "replace").splitlines()
        return looks_like_poscar(lines, 0) and (bool(NAME.search(file.basename)) or has_heading(lines, 0))


@rejects("a configuration")
def _moved(first: Poscar, rows: Sequence[str], *, origin: str, **common: Any) -> Frame | Rejection:
    """`first` with the direct coordinates in `rows`: an XDATCAR of fixed cell prints nothing else again."""
    if len(rows) < len(first.symbols):
        raise Unusable("truncated")
    positions = _coordinates(rows) @ first.cell
    return build(origin=origin, symbols=first.symbols, positions=positions, cell=first.cell, **common)


def looks_like_poscar(lines: Sequence[str], at: int) -> bool:
    """Say whether a structure starts at line `at`: title, scale, three vectors, then symbols or counts."""
    if len(lines) < at + 7:
        return False
    scale, *vectors, names = (line.split("!")[0].split() for line in lines[at + 1 : at + 6])
    if len(scale) not in (1, 3) or not all(map(_number, scale)) or not names:
        return False
    whole = all(word.isdigit() for word in names) or not any(map(_number, names))
    return whole and all(len(v) >= 3 and all(map(_number, v[:3])) for v in vectors)


def has_heading(lines: Sequence[str], at: int) -> bool:
    """Say whether names, counts and the kind of coordinates follow the vectors of the structure that starts at line `at`."""
    names, here = _run(lines, at + 5, numbers=False)
    counts, here = _run(lines, here, numbers=True)
    here += _line(lines, here)[:1] in "Ss"
    return bool(counts) and len(names) in (0, len(counts)) and _line(lines, here)[:1] in "CcKkDd"


def search_start(lines: Sequence[str], at: int) -> int | None:
    """The next line from `at` on where a structure with a whole heading starts."""
    return next((i for i in range(at, len(lines)) if looks_like_poscar(lines, i) and has_heading(lines, i)), None)


def next_start(lines: Sequence[str], end: int) -> int | None:
    """The line where another structure starts after `end`; None where only velocities, a grid or nothing follow."""
    if not _line(lines, end).strip() and GRID.fullmatch(_line(lines, end + 1)):
        return None
    for at in range(end, min(end + 2, len(lines))):
        if looks_like_poscar(lines, at) and not all(map(_number, lines[at].split()[:3] or ["x"])):
            return at
    return None


def parse_poscar(lines: Sequence[str], at: int, *, named: Sequence[str] = ()) -> Poscar:
    """Parse the structure that starts at line `at`."""
    if not looks_like_poscar(lines, at):
        raise Unusable("not a POSCAR: expected a scale and three vectors after the title")
    title = lines[at]
    cell = _cell(lines[at + 1].split(), [line.split()[:3] for line in lines[at + 2 : at + 5]])
    here = at + 5
    symbols, here = _run(lines, here, numbers=False)
    counts, here = _run(lines, here, numbers=True)
    numbers = [int(n) for n in counts]
    if not counts or min(numbers) < 0 or not 0 < sum(numbers) <= MAX_ATOMS:
        raise Unusable("no sensible number of atoms", " ".join(counts)[:60])
    selective = _line(lines, here)[:1] in "Ss"
    here += selective
    mode = _line(lines, here)[:1]
    if mode not in "CcKkDd":
        raise Unusable(f"expected Direct or Cartesian, found {_line(lines, here)[:30]!r}")
    rows = [line.split() for line in lines[here + 1 : here + 1 + sum(numbers)]]
    if len(rows) != sum(numbers) or any(len(row) < (6 if selective else 3) for row in rows):
        raise Unusable(f"{sum(numbers)} lines of {'6' if selective else '3'} columns expected")
    if selective and any(flag.strip(".").upper()[:1] not in ("T", "F") for row in rows for flag in row[3:6]):
        raise Unusable("a selective-dynamics flag is neither T nor F")
    given = _floats([row[:3] for row in rows])
    scale = cell[1]
    positions = given * scale if mode in "CcKk" else given @ cell[0]
    names = _symbols(symbols, title, rows, 6 if selective else 3, numbers, named)
    return Poscar(title=title, symbols=names, cell=cell[0], positions=positions, end=here + 1 + len(rows))


def _cell(scale: list[str], vectors: list[list[str]]) -> tuple[np.ndarray, np.ndarray]:
    """(cell, scale of Cartesian coordinates); one negative number is the volume."""
    cell, factors = _floats(vectors), np.array(scale, np.float64)
    if len(factors) == 1 and factors[0] < 0:
        volume = abs(np.linalg.det(cell))
        if volume == 0:
            raise Unusable("zero volume", 0.0)
        factors = np.array([(-factors[0] / volume) ** (1 / 3)])
    return cell * factors, factors


def _floats(rows: list[list[str]]) -> np.ndarray:
    """Numbers, finite or not: that costs the structure, and not those after it."""
    try:
        return np.array(rows, dtype=np.float64)
    except ValueError:
        raise Unusable("a coordinate is not a number") from None


def _coordinates(rows: Sequence[str]) -> np.ndarray:
    """(A, 3) the first numbers of some lines."""
    out = np.empty((len(rows), 3))
    text = "\n".join([*rows, ""]).encode()
    return out if take_rows(text, 0, "nnn*", out, style="plain") == (len(rows), len(text)) else _floats([row.split()[:3] for row in rows])


def _run(lines: Sequence[str], at: int, *, numbers: bool) -> tuple[list[str], int]:
    """Words of consecutive lines that are all counts, or all not; VASP breaks long ones."""
    words: list[str] = []
    while at < len(lines) and (found := lines[at].split("!")[0].split()) and all(w.isdigit() == numbers for w in found):
        if not numbers and _line(lines, at)[:1] in "SsCcDdKk" and words:
            break
        words += found
        at += 1
    return words, at


def _line(lines: Sequence[str], at: int) -> str:
    return (lines[at].strip() if at < len(lines) else "") or " "


def _symbols(above: list[str], title: str, rows: list[list[str]], column: int, counts: list[int], named: Sequence[str]) -> list[str]:
    """Symbol of each atom: by the card, above the counts, after the coordinates, or in the title."""
    if any(name not in NUMBERS for name in named):
        raise Unusable("option symbols names what is no element", " ".join(named)[:60])
    if named and len(named) != len(counts):
        raise Unusable(f"option symbols names {len(named)} elements, the file has {len(counts)} counts")
    trailing = [row[column] if len(row) > column else "" for row in rows]
    stated = [re.split(r"[/_]", word)[0] for word in above]
    found = {
        "option symbols": _each(named, counts),
        "above the counts": _each(stated, counts),
        "after the coordinates": trailing if all(name in NUMBERS for name in trailing) else None,
    }
    known = {where: names for where, names in found.items() if names is not None}
    if not known and (in_title := _each(title.split(), counts)) is not None:
        known = {"in the title": in_title}
    if not known:
        raise Unusable("the file names no elements: say `options: {symbols: ...}` in the card")
    (first, names), *others = known.items()
    for where, other in others:
        if [NUMBERS[name] for name in other] != [NUMBERS[name] for name in names]:
            raise Unusable(
                f"elements {first} are not those {where}", f"{' '.join(dict.fromkeys(names))} against {' '.join(dict.fromkeys(other))}"[:80]
            )
    return names


def _each(names: Sequence[str], counts: list[int]) -> list[str] | None:
    """The element of each atom, if these are elements and as many as counts."""
    if len(names) != len(counts) or not all(name in NUMBERS for name in names):
        return None
    return [name for name, n in zip(names, counts) for _ in range(n)]


def _number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
