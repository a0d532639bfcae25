"""CP2K trajectories: PROJECT-pos-1.xyz with, beside it, PROJECT-frc-1.xyz, PROJECT-1.cell, the log and the input.

Positions and energies stand in the .xyz. Forces come from PROJECT-frc-1.xyz or from the log, stress and the convergence of each SCF
from the log; a step of the log belongs to the step of the .xyz with the same energy. The cell comes from PROJECT-1.cell, the input
or the log, in this order.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import F64, MAX_ATOMS, Frame, Rejection
from lamdata.units import BOHR, HARTREE

from ..build import build, element
from ..bytes.files import SourceFile
from .cp2k import MARKS, READ, Cp2kRun
from .cp2k_theory import cp2k_theory

SAME = 1e-7  # Hartree: the .xyz has 10 decimals
LOGS = ("*.log", "*.out", "output")


class Cp2kMdReader:
    """CP2K md or geometry optimisation, named by its -pos-1.xyz (`cp2k/aimd`)."""

    name = "cp2k/aimd"
    options: dict[str, tuple] = {}
    open_units = False

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield every printed step."""
        log = _log(file)
        project = re.sub(r"-pos-\d+\.xyz$", "", file.basename)
        forces_file = file.sibling(f"{project}-frc-1.xyz")
        forces = xyz_steps(forces_file) if forces_file else None
        cells = _cells(file.sibling(f"{project}-1.cell"))
        run = Cp2kRun()
        blocks = log_steps(log, run) if log else iter(())
        block = next(blocks, None)  # reads the header too
        cell, pbc = _fixed_cell(file, run)
        for index, (step, energy, symbols, positions) in enumerate(xyz_steps(file)):
            origin = f"{file.name}#{index}"
            while block is not None and energy is not None and abs(block.energies[-1] / HARTREE - energy) > SAME:
                block = next(blocks, None)
            labels = _forces(forces, forces_file, step, block)
            if block is not None and block.converged is False:
                yield Rejection(origin=origin, reason="unconverged")
                continue
            now = cells.get(step, cell)
            if any(pbc) and now is None:
                raise SourceError("no cell: neither a .cell file, an input nor a log is beside it", where=file.name)
            yield build(
                origin=origin,
                symbols=symbols,
                positions=positions,
                cell=now if any(pbc) else None,
                pbc=pbc,
                energy=None if energy is None else energy * HARTREE,
                forces=labels,
                virial=None if block is None or block.stress is None or now is None else abs(float(np.linalg.det(now))) * block.stress,
                charge=run.charge,
                multiplicity=run.multiplicity,
                converged=None if block is None else block.converged,
                group=file.name,
            )

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Return what the log beside it states."""
        log = _log(file)
        return cp2k_theory(log.lines()) if log else {"code": "CP2K"}

    def guess(self, file: SourceFile, head: bytes) -> bool:
        return bool(re.search(r"-pos-\d+\.xyz$", file.basename)) and b" i = " in head


def _log(file: SourceFile) -> SourceFile | None:
    found = (log for pattern in LOGS for log in file.siblings(pattern))
    return next((log for log in found if b"CP2K|" in log.head(65536)), None)


def xyz_steps(file: SourceFile) -> Iterator[tuple[int, float | None, list[str], F64]]:
    """Step number, energy in Hartree, elements and table (A, 3) of each step of a CP2K .xyz."""
    lines = file.lines()
    for line in lines:
        if not line.strip():
            continue
        natoms, title = int(line) if line.strip().isdigit() else 0, next(lines, "")
        rows = [row.split() for row in itertools.islice(lines, min(natoms, MAX_ATOMS))]
        number = re.search(r"\bi *= *(\d+)", title)
        if not 0 < natoms <= MAX_ATOMS or len(rows) < natoms or any(len(row) < 4 for row in rows) or number is None:
            raise SourceError("damaged or truncated .xyz", where=file.name)
        energy = re.search(r"\bE *= *(\S+)", title)
        table = np.array([[float(word) for word in row[1:4]] for row in rows])
        yield int(number[1]), float(energy[1].rstrip(",")) if energy else None, [element(row[0]) for row in rows], table


def log_steps(log: SourceFile, header: Cp2kRun) -> Iterator[Cp2kRun]:
    """The labels of each step of a log; what stands before the first goes to `header` too."""
    now = header
    lines = log.lines()
    while (found := lines.title(MARKS)) is not None:
        name, line = found
        if name in ("start", "atoms"):
            continue
        if name in ("converged", "unconverged", "energy") and now.energies:
            yield now
            now = Cp2kRun()
        READ[name](now, line, lines)
    if now.energies:
        yield now


def _fixed_cell(file: SourceFile, run: Cp2kRun) -> tuple[F64 | None, tuple[bool, bool, bool]]:
    """The cell of an input beside the file, which has all digits, else the log's; and its periodicity."""
    for deck in file.siblings("*.inp"):
        found = deck_cell(deck.text())
        if found is not None:
            return found
    return (np.array(run.vectors[:3]) if len(run.vectors) >= 3 else None), run.pbc


def deck_cell(text: str) -> tuple[F64, tuple[bool, bool, bool]] | None:
    """Cell in Å and periodicity of the &CELL section of an input; `None` where it is not written out in Å."""
    section = re.search(r"^[ \t]*&CELL[ \t]*$(.*?)^[ \t]*&END", text, re.DOTALL | re.MULTILINE | re.IGNORECASE)
    rows = {words[0].upper(): words[1:] for line in (section[1].splitlines() if section else []) if (words := line.split())}
    if any("[" in word and word.lower() != "[angstrom]" for words in rows.values() for word in words):
        return None
    plain = {key: [word for word in words if not word.startswith("[")] for key, words in rows.items()}
    try:
        if "ABC" in plain and "ALPHA_BETA_GAMMA" not in plain:
            cell = np.diag([float(word) for word in plain["ABC"][:3]])
        else:
            cell = np.array([[float(word) for word in plain[axis][:3]] for axis in "ABC"])
    except (KeyError, ValueError):
        return None
    axes = plain.get("PERIODIC", ["XYZ"])[0].upper()
    return cell, tuple(axis in axes and axes != "NONE" for axis in "XYZ")


def _cells(file: SourceFile | None) -> dict[int, F64]:
    """Cells in Å by step, of PROJECT-1.cell."""
    out = {}
    for line in file.lines() if file else ():
        words = line.split()
        if len(words) >= 11 and words[0].isdigit():
            out[int(words[0])] = np.array([float(word) for word in words[2:11]]).reshape(3, 3)
    return out


def _forces(stream: Iterator | None, file: SourceFile | None, step: int, block: Cp2kRun | None) -> F64 | None:
    if stream is None:
        return None if block is None else block.forces
    number, _, _, table = next(stream, (None, None, None, None))
    if number != step:
        raise SourceError(f"step {number} where the positions have step {step}", where=file.name)
    return table * HARTREE / BOHR
