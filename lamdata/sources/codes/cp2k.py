"""CP2K Quickstep output of single points, in the layouts of versions 6 to 2025: text in, one frame a run out.

Runs with several steps keep their positions in a second file: `cp2k/aimd` reads those. virial = +V x the printed stress. A run with
periodicity NONE is a molecule without a cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import Frame, Rejection

from ..build import build
from ..bytes.files import SourceFile
from .cp2k_log import NOT_QUICKSTEP, Cp2kRun, read_runs
from .cp2k_theory import cp2k_theory

SINGLE = ("ENERGY", "ENERGY_FORCE", "WFN_OPT", "WAVEFUNCTION_OPTIMIZATION")  # runs that have one geometry
SAME_ENERGY = 1e-9  # eV: a line that is printed twice


class Cp2kReader:
    """CP2K output with positions, energy and forces (`cp2k/output`)."""

    name = "cp2k/output"
    options: dict[str, tuple[str, ...]] = {}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Frame | Rejection]:
        """Yield a frame for each run in the file; an unconverged run is rejected."""
        for index, run in enumerate(read_runs(file.lines())):
            yield _frame(run, file, f"{file.name}#{index}")

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Return what the first run states."""
        return cp2k_theory(file.lines())

    def guess(self, file: SourceFile, head: bytes) -> bool:
        return b"CP2K| version string" in head or (b"PROGRAM STARTED AT" in head and b"DBCSR|" in head)


def _frame(run: Cp2kRun, file: SourceFile, origin: str) -> Frame | Rejection:
    """Build the frame, or say why there is none."""
    if not run.ended:
        raise SourceError("ends before `PROGRAM ENDED`: truncated, or the run was killed", where=file.name)
    if run.converged is False:
        return Rejection(origin=origin, reason="unconverged")
    if not run.positions or not run.energies:
        raise SourceError("holds no positions or no energy", where=file.name)
    if run.kind not in SINGLE and len(run.energies) > 1:
        raise SourceError(f"a run of type {run.kind} keeps its positions elsewhere", where=file.name, hint="read it as `format: cp2k/aimd`")
    if other := next((method for method in run.methods if method != "QS"), None):  # the coordinates are Quickstep's alone
        return Rejection(origin=origin, reason=NOT_QUICKSTEP, value=f"FORCE_EVAL ( {other} )")
    if max(run.energies) - min(run.energies) > SAME_ENERGY:  # as with a numerical stress, whose last energy is of a strained cell
        return Rejection(origin=origin, reason="several energies for one geometry", value=run.energies[:4])
    cell = run.cell if any(run.pbc) else None
    return build(
        origin=origin,
        numbers=np.array(run.numbers),
        positions=run.positions,
        cell=cell,
        pbc=run.pbc,
        energy=run.energies[-1],
        forces=run.forces,
        virial=None if cell is None or run.stress is None else abs(float(np.linalg.det(cell))) * run.stress,
        charge=run.charge,
        multiplicity=run.multiplicity,
        converged=run.converged,
        group=file.name,
        left_out=() if run.forces is not None else _beside(file, run.project),
    )


def _beside(file: SourceFile, project: str) -> tuple[str, ...]:
    """Tables that the run printed into files of their own, which are not read."""
    names = [one.basename for one in file.siblings("*.xyz") if project and one.basename.startswith(f"{project}-forces-")]
    return tuple(f"forces: those in files of their own ({name}) are not read" for name in names[:1])
