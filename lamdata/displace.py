"""Clean frames -> frames whose chosen atoms are displaced, no two atoms closer than a stated distance.

F = frames, A = all their atoms, M = atoms that are displaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .choose import choose, wanted
from .clearance import close_pairs
from .counter import U32, Purpose, draw, normal, uniform
from .errors import DataError
from .frames import Frames

if TYPE_CHECKING:
    from .augment import NoiseSpec

_CUT = 2.0  # sigma at which a truncated Gaussian ends
_REDRAWS = 10  # full-size draws after the first
_SHRINKS = 3  # then draws of 1/2, 1/4, 1/8; then the atom stays where it was


def displace(frames: Frames, spec: NoiseSpec, *, keys: U32) -> tuple[Frames, NDArray[np.bool_]]:
    """Return the frames with noise on, without the labels that it makes untrue, and (A,) which atoms were chosen.

    A chosen atom that found no room in any attempt stays clean, and is not `noised`.
    """
    if frames.noise is not None:
        raise DataError("these frames carry noise already")
    count = wanted(frames.natoms, probability=spec.probability, number=spec.number)
    chosen = choose(frames.natoms, count, keys=keys, purpose=Purpose.MOVED_ATOMS)
    noise = _noise(frames, spec, atoms=np.flatnonzero(chosen), owner=np.repeat(np.arange(len(frames)), count), keys=keys)
    noised = chosen & noise.any(axis=1)
    return _without_labels(frames).with_(positions=frames.positions + noise, noise=noise, noised=noised), chosen


def _noise(frames: Frames, spec: NoiseSpec, *, atoms: NDArray[np.int64], owner: NDArray[np.int64], keys: U32) -> NDArray[np.floating]:
    """Return (A, 3) displacements, Å: draw all, then draw again for those of `atoms` (M,) that came too close."""
    place = atoms - frames.starts[owner]
    noise = np.zeros_like(frames.positions)
    noise[atoms] = _steps(spec, keys[:, owner], place, attempt=0)
    limit = clearance(frames, min_distance=spec.min_distance)
    checked = atoms[_doubtful(noise[atoms], owner, frames=frames, limit=limit)]
    attempt = 0
    while len(checked):
        checked = _crowded(frames, noise, checked, limit=limit)
        attempt += 1
        m = np.searchsorted(atoms, checked)
        noise[checked] = _steps(spec, keys[:, owner[m]], place[m], attempt=attempt)
    return noise


def clearance(frames: Frames, *, min_distance: float) -> NDArray[np.float64]:
    """Return (F,) the distance, Å, that no displaced atom may fall short of: `min_distance`, or what the clean frame has where that is less."""
    limit = np.fmin(frames.shortest.astype(np.float64), min_distance)
    unknown = np.isnan(frames.shortest)
    if min_distance > 0 and unknown.any():
        atoms = np.flatnonzero(np.repeat(unknown, frames.natoms))
        pairs = close_pairs(frames, frames.positions, atoms, limit=limit)
        np.minimum.at(limit, np.searchsorted(frames.starts, pairs.first, side="right") - 1, pairs.distance)
    return limit


def _steps(spec: NoiseSpec, keys: U32, place: NDArray[np.int64], *, attempt: int) -> NDArray[np.float64]:
    """Return (M, 3) displacements, Å, of the atoms at `place` in the frames of `keys` (4, M)."""
    shrinks = max(0, attempt - _REDRAWS)
    if shrinks > _SHRINKS:
        return np.zeros((len(place), 3))
    words = draw(keys, purpose=Purpose.DISPLACEMENT, position=place, attempt=attempt)[:3]
    unit = uniform(words) if spec.kind == "uniform" else normal(words, cut=_CUT if spec.kind == "truncated" else None)
    return unit.T * (spec.scale * 0.5**shrinks)


def _doubtful(steps: NDArray[np.floating], owner: NDArray[np.int64], *, frames: Frames, limit: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return (M,) which atoms moved so far that they, and whatever else moved, could have come too close."""
    size = np.sqrt((steps.astype(np.float64) ** 2).sum(axis=1))
    farthest = np.zeros(len(frames))
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    farthest[owner[first]] = np.maximum.reduceat(size, first)
    # Slack for the rounding of positions in single precision, 1000 Å from the origin.
    slack = frames.shortest - limit - 1e-3
    enough = size + farthest[owner] <= slack[owner]
    return ~enough & (limit[owner] > 0)  # an unknown shortest distance is NaN, which is never enough


def _crowded(frames: Frames, noise: NDArray[np.floating], atoms: NDArray[np.int64], *, limit: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return, in order, the displaced atoms that stand too close to another because one of `atoms` moved."""
    pairs = close_pairs(frames, frames.positions + noise, atoms, limit=limit)
    crowded = np.unique(np.concatenate([pairs.first, pairs.second]))
    return crowded[noise[crowded].any(axis=1)]


def _without_labels(frames: Frames) -> Frames:
    """Drop energies, forces and virials: they belong to the clean structure."""
    none = np.zeros(len(frames), bool)
    return frames.with_(
        energy=np.zeros_like(frames.energy), forces=np.zeros_like(frames.forces), virial=np.zeros_like(frames.virial),
        has_energy=none, has_forces=none.copy(), has_virial=none.copy(),
    )  # fmt: skip
