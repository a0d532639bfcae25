"""The cell of each step of a CP2K trajectory, from where that step states it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lamdata.errors import SourceError
from lamdata.frame import F64

from ..build import Unusable
from ..bytes.files import SourceFile
from .cp2k_beside import Log, Title, align, number_of_run, stem_of
from .cp2k_input import Cp2kInput
from .cp2k_log import FIXED_CELL, PRINTED, Cp2kRun, cell_of_lengths, unit_of

CLOSE = 1e-4  # degrees: older versions print 7 digits
UNKNOWN = "the cell of this step is stated nowhere: it needs the .cell file, or a log that prints it"


class Cells:
    """Cells of a trajectory by step; raises `Unusable` for a step whose cell is not known."""

    def __init__(self, file: SourceFile, titles: Sequence[Title], logs: Sequence[Log], run: Cp2kRun, deck: Cp2kInput | None):
        stem = stem_of(file)
        named = [file.sibling(f"{stem}-{number}.cell") for number in (number_of_run(file), "1")]
        table = next(filter(None, [*named, *(one for one in file.siblings("*.cell") if one.basename.startswith(f"{stem}-"))]), None)
        rows = _rows(table) if table else []
        self.rows = [None if place is None else rows[place][1] for place in align(titles, [title for title, _ in rows])]
        self.fixed = _is_fixed(run, deck, logs)
        self.run = run
        self.stated = None if deck is None else deck.cell()  # it has all digits

    def of(self, index: int, pair: tuple[Cp2kRun, Cp2kRun] | None) -> F64:
        """The cell (3, 3) of step `index`, of which a log printed `pair`: what holds for the run, and for the step."""
        run, step = pair or (self.run, None)
        start = self._start(run)
        if (row := self.rows[index]) is not None:
            _prove(row, None if step is None else step.lengths, start if step is run else None)
            return row
        if start is not None and (self.fixed is True or step is run):
            return start
        if start is None or step is None or step.lengths is None:
            raise Unusable(UNKNOWN)
        return _turned(start, step.lengths, step.angles, run.first_angles)

    def _start(self, run: Cp2kRun) -> F64 | None:
        """The cell at the start of a run, with the digits of the input where it has the same."""
        same = self.stated is not None and (run.cell is None or abs(run.cell - self.stated).max() < PRINTED)
        return self.stated if same else run.cell


def _prove(row: F64, lengths: F64 | None, start: F64 | None) -> None:
    """Refuse a row of the .cell file that is not what the log prints of the same step."""
    if lengths is not None and abs(np.linalg.norm(row, axis=1) - lengths).max() > PRINTED:
        raise Unusable("the .cell file and the log have two cells for this step")
    if start is not None and abs(row - start).max() > PRINTED:
        raise Unusable("the .cell file and the log have two cells for this step")


def _turned(start: F64, lengths: F64, printed: F64 | None, first_printed: F64 | None) -> F64:
    """Three vectors from lengths and angles: those of the start, scaled, where the angles are as at the start."""
    first = _angles(start)
    now = first if printed is None else _in_order(printed, first_printed, first)
    if abs(now - first).max() < CLOSE:
        return np.asarray(start * (lengths / np.linalg.norm(start, axis=1))[:, None])
    if abs(np.triu(start, 1)).max() > 1e-6:  # only with a along x and b in the xy plane do they tell the vectors
        raise Unusable("lengths and angles do not tell how the cell of this step is turned: it needs the .cell file")
    return cell_of_lengths(lengths, now)


def _in_order(angles: F64, first_printed: F64 | None, first: F64) -> F64:
    """Angles as alpha, beta, gamma: versions differ in the order that they print, and the start tells which."""
    if abs(angles - first).max() < CLOSE or abs(angles[0] - angles[2]) < CLOSE:
        return angles
    straight, turned = (first_printed is not None and abs(way - first).max() < CLOSE for way in _both_ways(first_printed))
    if straight == turned:
        raise Unusable("the order of the cell's angles is not known: it needs the .cell file")
    return angles if straight else angles[::-1]


def _both_ways(angles: F64 | None) -> tuple[F64, F64]:
    angles = np.zeros(3) if angles is None else angles
    return angles, angles[::-1]


def _angles(cell: F64) -> F64:
    """alpha, beta, gamma in degrees."""
    unit = cell / np.linalg.norm(cell, axis=1)[:, None]
    return np.asarray(np.degrees(np.arccos(np.clip([unit[1] @ unit[2], unit[0] @ unit[2], unit[0] @ unit[1]], -1.0, 1.0))))


def _is_fixed(run: Cp2kRun, deck: Cp2kInput | None, logs: Sequence[Log]) -> bool | None:
    """Whether the run keeps its cell, as the log or the input says; a log that prints no cell with its steps keeps it."""
    stated = None if deck is None else deck.cell_is_fixed()
    if run.ensemble:
        return run.ensemble.upper() in FIXED_CELL or (run.ensemble.upper() == "REFTRAJ" and stated is True)
    if stated is not None:
        return stated
    if not logs:
        return None
    if run.kind not in ("", "MD", "MOLECULAR_DYNAMICS"):
        return run.kind in ("GEO_OPT", "GEOMETRY_OPTIMIZATION")
    return not any(_prints_cells(log.file) for log in logs)


def _prints_cells(log: SourceFile) -> bool:
    return log.lines().title({"\n MD| Cell lengths [": "", "\n CELL LNTHS[": ""}) is not None


def _rows(table: SourceFile) -> list[tuple[Title, F64]]:
    """Steps and cells in Å of PROJECT-1.cell."""
    out, unit = [], 1.0
    for line in table.lines():
        words = line.split()
        if line.lstrip().startswith("#"):
            unit = unit_of(line.partition("Ax")[2].partition("[")[2].partition("]")[0] or "angstrom", "length")
        elif words and (len(words) < 11 or not words[0].isdigit()):
            raise SourceError(f"a row is damaged: {line.strip()[:60]!r}", where=table.name)
        elif words:
            cell = np.array([float(word) for word in words[2:11]]).reshape(3, 3) * unit
            out.append((Title(int(words[0]), float(words[1]), None), cell))
    return out
