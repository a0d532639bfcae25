"""Explore: structures, conditions and a calculator -> trajectories, each of which is the same whenever it is run, and ends where it blows up."""

from __future__ import annotations

import io
import itertools
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lamdata.errors import ConfigError, DataError
from lamdata.frame import Frame

from ...files import replace_file
from .config import DistilConfig, ExploreSpec

if TYPE_CHECKING:
    from ase import Atoms

F64 = NDArray[np.float64]
DEAL, HELD_OUT, MOTION = 1, 2, 3  # what a seed is for
BAROSTAT = 20  # times slower than the thermostat
Step = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a trajectory is of."""

    structure: int  # which of the structures
    supercell: tuple[int, int, int]
    temperature: float  # K
    pressure: float | None  # GPa; None at constant volume


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """T frames of A atoms that move."""

    numbers: NDArray[np.uint8]  # (A,)
    pbc: NDArray[np.bool_]  # (3,)
    cells: F64  # (T, 3, 3) Å, zeros for a molecule
    positions: F64  # (T, A, 3) Å
    planned: int  # frames that there would be, had it not blown up
    steps: int  # that were done
    stopped: str = ""  # why it blew up

    def __len__(self) -> int:
        return len(self.positions)

    def frames(self, name: str, *, split: str) -> list[Frame]:
        """As structures without labels, of one group."""
        x, y, z = self.pbc.tolist()
        return [
            Frame(
                numbers=self.numbers,
                positions=points,
                cell=cell if cell.any() else None,
                pbc=(x, y, z),
                group=name,
                origin=f"{name}#{index}",
                split=split,
            )
            for index, (points, cell) in enumerate(zip(self.positions, self.cells))
        ]

    def save(self, path: Path) -> None:
        """Whole or not at all; equal trajectories are equal bytes."""
        data = io.BytesIO()
        np.savez(data, **{name: np.asarray(getattr(self, name)) for name in self.__slots__})  # type: ignore[arg-type]
        replace_file(path, data.getvalue())

    @staticmethod
    def load(path: Path) -> Trajectory:
        """What `save` wrote."""
        with np.load(path, allow_pickle=False) as data:
            values: dict[str, Any] = {name: data[name] for name in data.files}
        return Trajectory(**values | {"planned": int(values["planned"]), "steps": int(values["steps"]), "stopped": str(values["stopped"])})


def conditions_of(config: DistilConfig, structures: int) -> list[Condition]:
    """All that there are."""
    parts = itertools.product(range(structures), config.supercells, config.temperatures, config.pressures)
    return [Condition(structure=s, supercell=cells, temperature=t, pressure=p) for s, cells, t, p in parts]


def deal(config: DistilConfig, structures: Sequence[Frame], number: int) -> list[tuple[Condition, bool]]:
    """The conditions of a round, and whether each trajectory is held out: a pure function of the seed and the number of the round.

    Each condition comes once before any comes again, and each structure before any does. The first round trains on all elements; raises
    ConfigError where it has too few trajectories for that.
    """
    known, count = conditions_of(config, len(structures)), config.explore.trajectories
    chosen = []
    for slot in range(number * count, (number + 1) * count):
        order = _turns(known, np.random.default_rng([config.seed, DEAL, slot // len(known)]))
        chosen.append(known[order[slot % len(known)]])
    held = min(max(round(config.keep.hold_out * count), 1), count - 1)
    order = np.random.default_rng([config.seed, HELD_OUT, number]).permutation(count).tolist()
    elements = [set(structures[condition.structure].numbers.tolist()) for condition in chosen]
    out: set[int] = set()
    for place in order:
        rest = set().union(*(elements[other] for other in range(count) if other not in out | {place}))
        if len(out) < held and (number or rest == set().union(*elements)):
            out.add(place)
    everything = {z for frame in structures for z in frame.numbers.tolist()}
    if not number and (not out or set().union(*elements) != everything):
        found = f"{count} trajectories of {len(structures)} structures leave none to hold out, or an element untrained"
        raise ConfigError(found, where="explore.trajectories", hint=f"as {2 * len(structures)}")
    return [(condition, place in out) for place, condition in enumerate(chosen)]


def _turns(known: Sequence[Condition], chance: np.random.Generator) -> list[int]:
    """Conditions in an order of chance in which structures take turns."""
    seen: Counter[int] = Counter()
    turns = []
    for row in chance.permutation(len(known)).tolist():
        turns.append((seen[known[row].structure], row))
        seen[known[row].structure] += 1
    return [row for _, row in sorted(turns, key=lambda turn: turn[0])]


class BlownUp(Exception):
    """The reason for which a trajectory ends."""


def follow(
    atoms: Atoms,
    calculator: Any,
    condition: Condition,
    spec: ExploreSpec,
    *,
    seed: Sequence[int],
    step: Step = lambda: None,
) -> Trajectory:
    """Move atoms from velocities of the temperature by BAOAB Langevin dynamics; `step` is called after each step, and may raise.

    A barostat, where there is a pressure, scales the cell without changing its shape (Quigley and Probert, J. Chem. Phys. 120, 11432).
    """
    from ase.md.velocitydistribution import Stationary, thermalize_momenta

    moving: Any = atoms
    chance = np.random.default_rng([*seed, MOTION])
    moving.calc = calculator
    positions: list[F64] = []
    cells: list[F64] = []
    run: Any = None
    stopped = ""

    def look() -> None:
        refuse_blown_up(moving, spec, temperature=condition.temperature)
        if run.nsteps and run.nsteps % spec.every == 0:
            positions.append(moving.get_positions())
            cells.append(np.array(moving.cell))
        if run.nsteps:
            step()

    thermalize_momenta(moving, temperature_K=condition.temperature, rng=chance)
    Stationary(moving)
    try:
        run = _dynamics(moving, condition, spec, chance)
        run.attach(look)
        run.run(spec.steps)
    except (BlownUp, DataError) as err:  # the model was asked about what is no structure any more
        stopped = str(err)
    count, atoms_there = len(positions), len(moving)
    return Trajectory(
        numbers=moving.numbers.astype(np.uint8),
        pbc=np.array(moving.pbc, bool),
        cells=np.array(cells).reshape(count, 3, 3),
        positions=np.array(positions).reshape(count, atoms_there, 3),
        planned=spec.steps // spec.every,
        steps=0 if run is None else int(run.nsteps),
        stopped=stopped,
    )


def _dynamics(atoms: Any, condition: Condition, spec: ExploreSpec, chance: np.random.Generator) -> Any:
    from ase import units
    from ase.md.langevinbaoab import LangevinBAOAB

    slow = units.fs / spec.friction
    barostat: dict[str, Any] = {}
    if condition.pressure is not None:
        barostat = {"externalstress": -condition.pressure * units.GPa, "hydrostatic": True, "P_tau": BAROSTAT * slow}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using heuristic P_mass")  # which is what is wanted
        integrator: Any = LangevinBAOAB
        return integrator(atoms, spec.timestep * units.fs, temperature_K=condition.temperature, T_tau=slow, rng=chance, **barostat)


def refuse_blown_up(atoms: Any, spec: ExploreSpec, *, temperature: float) -> None:
    """Raise where no number of the dynamics means anything any more."""
    largest = float(np.sqrt(np.square(atoms.get_forces()).sum(1).max()))
    if not largest <= spec.max_force:
        raise BlownUp(f"a force of {largest:.3g} eV/Å")
    hot = float(atoms.get_temperature())
    if not hot <= spec.max_temperature * temperature:
        raise BlownUp(f"{hot:.3g} K instead of {temperature:g}")
