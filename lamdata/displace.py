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
    atoms, owner = np.flatnonzero(chosen), np.repeat(np.arange(len(frames)), count)
    steps, positions = _settle(frames, spec, atoms=atoms, owner=owner, keys=keys)
    noise, noised = np.zeros_like(positions), np.zeros_like(chosen)
    noise[atoms] = steps
    noised[atoms] = steps.any(axis=1)
    return _without_labels(frames).with_(positions=positions, noise=noise, noised=noised), chosen


def _settle(frames: Frames, spec: NoiseSpec, *, atoms: NDArray[np.int64], owner: NDArray[np.int64], keys: U32):
    """Return displacements (M, 3) of `atoms` (M,), in the frames `owner` (M,), and displaced positions (A, 3), Å.

    Draw for all, then again for those that came too close, until none does. The attempt is part of the counter, and a frame
    takes part in a round only if it did in the last, so that the rounds of other frames make no difference.
    """
    place = atoms - frames.starts[owner]
    steps = _steps(spec, keys.take(owner, axis=1), place, attempt=0).astype(frames.positions.dtype)
    positions = frames.positions.copy()
    positions[atoms] += steps
    limit = clearance(frames, min_distance=spec.min_distance)
    crowded = _crowded_at_first(frames, positions, atoms, steps, owner=owner, limit=limit)
    attempt = 0
    while len(crowded):
        attempt += 1
        steps[crowded] = _steps(spec, keys.take(owner[crowded], axis=1), place[crowded], attempt=attempt)
        positions[atoms[crowded]] = frames.positions[atoms[crowded]] + steps[crowded]
        crowded = _crowded(frames, positions, atoms, steps, since=crowded, limit=limit)
    return steps, positions


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


def _crowded_at_first(frames: Frames, positions, atoms, steps, *, owner, limit) -> NDArray[np.int64]:
    """Return which rows of `atoms` and `steps` stand too close to another atom after the first draw.

    Most need no look: two atoms that were `shortest` apart cannot get closer than that less the lengths of their steps. Those
    that went far are measured against all atoms, those that only came near if another moved too against the displaced.
    """
    size = np.sqrt((steps.astype(np.float64) ** 2).sum(axis=1))
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    farthest = np.repeat(np.maximum.reduceat(size, first), np.diff(first, append=len(owner)))
    # Slack for the rounding of positions in single precision, 1000 Å from the origin. Not known is NaN, which is never enough.
    room = (frames.shortest - limit - 1e-3)[owner]
    far = ~(size <= room) & (limit[owner] > 0)
    doubtful = ~far & (size + farthest > room)
    close = np.zeros(len(atoms), bool)
    close[_crowded(frames, positions, atoms, steps, since=np.flatnonzero(far), limit=limit)] = True
    displaced = frames.with_(natoms=np.bincount(owner, minlength=len(frames)))
    pairs = close_pairs(displaced, positions[atoms], np.flatnonzero(doubtful), limit=limit)
    close[pairs.first] = close[pairs.second] = True
    return np.flatnonzero(close)


def _crowded(frames: Frames, positions, atoms, steps, *, since: NDArray[np.int64], limit: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which rows of `atoms` and `steps` stand too close to another atom, now that the rows `since` moved.

    Atoms back in their clean places are not among them: they give way to nobody, or the search might never end.
    """
    pairs = close_pairs(frames, positions, atoms[since], limit=limit)
    close = np.zeros(len(positions), bool)
    close[pairs.first] = close[pairs.second] = True
    rows = np.flatnonzero(close[atoms])
    return rows[steps[rows].any(axis=1)]


def _without_labels(frames: Frames) -> Frames:
    """Drop energies, forces and virials: they belong to the clean structure."""
    none = np.zeros(len(frames), bool)
    return frames.with_(
        energy=np.zeros_like(frames.energy), forces=np.zeros_like(frames.forces), virial=np.zeros_like(frames.virial),
        has_energy=none, has_forces=none.copy(), has_virial=none.copy(),
    )  # fmt: skip
