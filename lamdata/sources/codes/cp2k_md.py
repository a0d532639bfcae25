"""CP2K trajectories: PROJECT-pos-1.xyz with, beside it, a table of forces, PROJECT-1.cell, the log and the input.

Positions and energies stand in the .xyz. Forces come from the .xyz of forces or from the log, stress and the convergence of each SCF from
the log. What stands beside is taken where its steps are those of the trajectory (`cp2k_beside`). The cell of a step comes from
where that step states it: PROJECT-1.cell, or the log; from the input or the start of the log only where the run keeps its cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import F64, Frame, Rejection
from lamdata.frames import Parsed
from lamdata.units import BOHR, HARTREE

from ..build import NUMBERS, Unusable, build
from ..bytes.files import SourceFile
from ..gathered import gather
from .cp2k_beside import POSITIONS, Forces, Log, Title, find_forces, find_logs, number_of_run, read_titles, stem_of, xyz_steps
from .cp2k_cells import Cells
from .cp2k_input import Cp2kInput
from .cp2k_log import MARKS, NOT_QUICKSTEP, Cp2kRun
from .cp2k_theory import cp2k_theory

INPUTS = ("*.inp", "*.in")
SAME_FORCE = 1e-5  # eV/Å: the log has 8 decimals of Hartree/bohr
KINETIC = "virial: the .stress beside it holds the motion of the nuclei too"
NO_STEP = "virial: the log has a stress, but not for this step"


class Cp2kMdReader:
    """CP2K md or geometry optimisation, named by its -pos-1.xyz (`cp2k/aimd`)."""

    name = "cp2k/aimd"
    options: dict[str, tuple[str, ...]] = {}
    open_units: tuple[str, ...] = ()
    open_keys: tuple[str, ...] = ()

    def read(self, file: SourceFile, spec: SourceSpec) -> Iterator[Parsed | Rejection]:
        """Yield every printed step, many at once."""
        return gather(self._frames(file))

    def _frames(self, file: SourceFile) -> Iterator[Frame | Rejection]:
        joined = _join(file)
        for index, (title, symbols, table) in enumerate(xyz_steps(file)):
            yield joined.frame(index, title, symbols, table)

    def theory(self, file: SourceFile) -> dict[str, Any]:
        """Return what its log states."""
        logs, _ = find_logs(file, read_titles(file))
        stated = cp2k_theory(logs[0].file.lines()) if logs else {"code": "CP2K"}
        deck = _input(file, logs[0].run() if logs else None)
        states = [] if deck is None else deck.states()
        return stated | ({"state": ", ".join(states)} if states and "state" not in stated else {})

    def guess(self, file: SourceFile, head: bytes) -> bool:
        return bool(POSITIONS.search(file.basename)) and b" i = " in head


@dataclass(slots=True)
class _Joined:
    """A trajectory with what belongs to it."""

    file: SourceFile
    logs: list[Log]
    forces: Forces | None
    cells: Cells
    run: Cp2kRun  # what is said of all steps
    pbc: tuple[bool, bool, bool]
    length: float  # Å in the unit of the positions
    force: float  # eV/Å in the unit of the table of forces
    left_out: tuple[str, ...]
    stress: bool  # whether a log prints one
    _kept: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)

    def frame(self, index: int, title: Title, symbols: tuple[str, ...], table: F64) -> Frame | Rejection:
        """Build the frame of one step, or say why there is none."""
        origin = f"{self.file.name}#{index}"
        pair = self._step(index, title)
        run, step = pair or (self.run, None)
        if step is not None and step.converged is False:
            return Rejection(origin=origin, reason="unconverged")
        if step is not None and (other := next((method for method in step.methods if method != "QS"), None)):
            return Rejection(origin=origin, reason=NOT_QUICKSTEP, value=f"FORCE_EVAL ( {other} )")
        try:
            cell = self.cells.of(index, pair) if any(self.pbc) else None
            forces, missing = self._forces(index, step, symbols)
        except Unusable as bad:
            return Rejection(origin=origin, reason=bad.reason, value=bad.value)
        virial = None if step is None or step.stress is None or cell is None else abs(float(np.linalg.det(cell))) * step.stress
        left_out = tuple(text for text in self.left_out if virial is None or not text.startswith("virial"))
        left_out += ((NO_STEP,) if virial is None and self.stress and cell is not None else ()) + missing
        return build(
            origin=origin,
            symbols=symbols,
            positions=table * self.length,
            cell=cell,
            pbc=self.pbc,
            energy=None if title.energy is None else title.energy * HARTREE,
            forces=forces,
            virial=virial,
            charge=run.charge,
            multiplicity=run.multiplicity,
            converged=None if step is None else step.converged,
            group=self.file.name,
            left_out=self._kept.setdefault(left_out, left_out),
        )

    def _step(self, index: int, title: Title) -> tuple[Cp2kRun, Cp2kRun] | None:
        """What a log printed of the run and of this step, by its energy, and by its number where it prints one."""
        found = (pair for log in self.logs if (pair := log.step(index)) is not None)
        return next((pair for pair in found if pair[1].step in (None, title.step)), None)

    def _forces(self, index: int, step: Cp2kRun | None, symbols: tuple[str, ...]) -> tuple[F64 | None, tuple[str, ...]]:
        """The forces, in two places the same; and what is to be said where there are none."""
        printed = None if step is None else step.forces
        table = None if self.forces is None else self.forces.step(index, symbols)
        if self.forces is None:
            return printed, ()
        if table is None:
            return printed, () if printed is not None else (f"forces: {self.forces.file.basename} has not this step of these atoms",)
        forces = table * self.force
        if printed is not None and (printed.shape != forces.shape or abs(printed - forces).max() > SAME_FORCE):
            raise Unusable(f"the forces of the log and of {self.forces.file.basename} differ", float(abs(printed[:1] - forces[:1]).max()))
        return forces, ()


def _join(file: SourceFile) -> _Joined:
    """Find what belongs to a trajectory, and what looks so and does not."""
    titles = read_titles(file)
    logs, near = find_logs(file, titles)
    forces, why = find_forces(file, titles)
    run = logs[0].run() if logs else None
    deck = _input(file, run)
    if run is None:
        run = Cp2kRun() if deck is None else Cp2kRun(charge=deck.charge(), multiplicity=deck.multiplicity())
    left_out = [f"forces: {why}"] if why and forces is None else []
    left_out += [f"virial: {near}"] if near else []
    left_out += [KINETIC] if file.sibling(f"{stem_of(file)}-{number_of_run(file)}.stress") else []
    length = (deck.unit("TRAJECTORY", "length") if deck else None) or 1.0
    if logs:
        _check_first(file, run, length)
    return _Joined(
        file=file,
        logs=logs,
        forces=forces,
        cells=Cells(file, titles, logs, run, deck),
        run=run,
        pbc=deck.pbc() if deck is not None and not run.periodic else run.pbc,
        length=length,
        force=(deck.unit("FORCES", "force") if deck else None) or HARTREE / BOHR,
        left_out=tuple(left_out),
        stress=any(log.file.lines().title({title: "" for title, name in MARKS.items() if name == "stress"}) for log in logs),
    )


def _check_first(file: SourceFile, run: Cp2kRun, length: float) -> None:
    """Refuse atoms or a unit other than those with which the log begins: no file states the unit but the input."""
    _, symbols, table = next(xyz_steps(file))
    if len(run.numbers) != len(symbols):  # the log lists the atoms of Quickstep alone
        return
    other = next((i for i, (number, symbol) in enumerate(zip(run.numbers, symbols)) if NUMBERS.get(symbol) != number), None)
    if other is not None:
        raise SourceError(f"atom {other + 1} is {symbols[other]}, and of number {run.numbers[other]} in its log", where=file.name)
    ratio = float(np.linalg.norm(table)) * length / max(float(np.linalg.norm(run.positions)), 1e-9)
    if min(abs(ratio * BOHR - 1.0), abs(ratio / BOHR - 1.0)) < 0.01:
        raise SourceError(f"its positions are {ratio:.4f} times those of its log: a UNIT that no input beside it states", where=file.name)


def _input(file: SourceFile, run: Cp2kRun | None) -> Cp2kInput | None:
    """The input of a trajectory: of its project, and the one that the log names where there are several."""
    stem = stem_of(file)
    found = []
    for one in (one for pattern in INPUTS for one in file.siblings(pattern)):
        deck = Cp2kInput(one)
        named = deck.project or one.basename.rpartition(".")[0]
        if named == stem or stem.startswith(f"{named}-"):
            found.append(deck)
    found.sort(key=lambda deck: run is None or deck.file.basename != run.input)
    differ = next((deck for deck in found if deck.says() != found[0].says()), None)
    if differ is not None and (run is None or found[0].file.basename != run.input):
        names = f"{found[0].file.basename} and {differ.file.basename}"
        raise SourceError(f"{names} are both inputs of project {stem}, and differ", where=file.name, hint="keep the one that was run")
    return found[0] if found else None
