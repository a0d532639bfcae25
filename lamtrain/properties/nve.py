"""Dynamics at constant energy -> how far the total energy drifts, and whether the crystal stays one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from lamdata.errors import DataError

from .crystal import repeat_to

if TYPE_CHECKING:
    from ase import Atoms

title = "dynamics at constant energy"
TEMPERATURE, TIMESTEP, STEPS = 300.0, 1.0, 2000  # K, fs
ATOMS, HEIGHT = 32, 6.0  # of a supercell, at least
SETTLING = 0.2  # share of the steps that no line is laid through
SHOWN = 200  # points that are kept


def measure(crystal: Atoms, calculator: Any, *, steps: int | None = None, timestep: float = TIMESTEP) -> dict[str, Any]:
    """2,000 steps of 1 fs from the crystal at rest with velocities of 600 K, of which half become potential energy: 300 K.

    `drift_ev_per_atom_per_ps` is the slope of the line through the total energies after a fifth of the steps. A calculator that refuses a
    structure on the way ends the run: `steps_done` says when, and `stopped_by` why.
    """
    from ase import units
    from ase.md.verlet import VelocityVerlet

    steps = STEPS if steps is None else steps
    given: Any = crystal
    atoms: Any = given * repeat_to(crystal, height=HEIGHT, atoms=ATOMS)
    atoms.calc = calculator
    _set_in_motion(atoms, 2 * TEMPERATURE)
    energies: list[float] = []
    temperatures: list[float] = []

    def look() -> None:
        energies.append(float(atoms.get_total_energy() / len(atoms)))
        temperatures.append(float(atoms.get_temperature()))

    run: Any = VelocityVerlet(atoms, timestep=timestep * units.fs)
    run.attach(look)
    stopped = None
    try:
        run.run(steps)
    except DataError as err:
        stopped = str(err)
    times = np.arange(len(energies)) * timestep / 1000
    found = {"atoms": len(atoms), "timestep_fs": timestep, "steps": steps, "steps_done": len(energies) - 1, "stopped_by": stopped}
    every = max(len(times) // SHOWN, 1)
    series = {"times_ps": times[::every].tolist(), "energies_ev_per_atom": energies[::every]}
    heat = {"temperature_k": float(np.mean(temperatures[int(SETTLING * steps) :] or temperatures)), "hottest_k": max(temperatures)}
    return found | drift_of(times, energies) | heat | {"series": series} if stopped is None else found | heat | {"series": series}


def _set_in_motion(atoms: Any, temperature: float) -> None:
    """Random velocities whose temperature is exactly that, and whose momenta sum to zero."""
    speeds = np.random.default_rng(1).normal(size=(len(atoms), 3)) / np.sqrt(atoms.get_masses())[:, None]
    momenta = speeds * atoms.get_masses()[:, None]
    atoms.set_momenta(momenta - momenta.mean(0))
    atoms.set_momenta(atoms.get_momenta() * np.sqrt(temperature / atoms.get_temperature()))


def drift_of(times_ps: ArrayLike, energies: ArrayLike) -> dict[str, float]:
    """Slope of the line through energies by atom (eV) after a fifth of the times (ps), and what they scatter about it."""
    times, values = np.asarray(times_ps, np.float64), np.asarray(energies, np.float64)
    first = int(SETTLING * len(times))
    line = np.polyfit(times[first:], values[first:], 1)
    scatter = values[first:] - np.polyval(line, times[first:])
    return {"drift_ev_per_atom_per_ps": float(line[0]), "scatter_ev_per_atom": float(np.sqrt(np.mean(scatter**2)))}


def draw(axis: Any, found: dict[str, Any]) -> None:
    """The total energy from its start."""
    times, energies = np.array(found["series"]["times_ps"]), np.array(found["series"]["energies_ev_per_atom"])
    axis.plot(times, 1000 * (energies - energies[0]), color="tab:blue", linewidth=1)
    drift = found.get("drift_ev_per_atom_per_ps")
    words = f"stopped after {found['steps_done']} steps" if drift is None else f"drift {drift:.1e} eV/atom/ps"
    axis.set(xlabel="time, ps", ylabel="total energy from its start, meV/atom", title=words)
