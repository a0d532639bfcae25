"""Clean frames -> frames whose chosen atoms are displaced, no two atoms closer than a stated distance.

F = frames, A = all their atoms, M = atoms that are displaced.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..counter import U32, Purpose, draw, normal, uniform
from ..distances import shortest_distances
from ..errors import DataError
from ..frames import Frames
from .choose import choose, wanted
from .clearance import close_pairs
from .specs import NoiseSpec

_CUT = 2.0  # sigma at which a truncated Gaussian ends
_REDRAWS = 10  # full-size draws after the first
_SHRINKS = 3  # then draws of 1/2, 1/4, 1/8; then the atom stays where it was


class _Draft(NamedTuple):
    """Displacements while they are drawn: arrays that are written to, draw after draw."""

    atoms: NDArray[np.int64]  # (M,) the atoms that were chosen, in order
    owner: NDArray[np.int64]  # (M,) the frame of each
    steps: NDArray[np.floating]  # (M, 3) Å, how each is displaced
    positions: NDArray[np.floating]  # (A, 3) Å, of all atoms, displaced


def displace(frames: Frames, spec: NoiseSpec, *, keys: U32) -> tuple[Frames, NDArray[np.bool_]]:
    """Return the frames with noise on, without the labels that it makes untrue, and (A,) which atoms were chosen.

    A chosen atom that found no room in any attempt stays clean, and is not `noised`. With `centered` atoms that were not chosen carry noise
    too: the mean of the others' taken away.
    """
    if frames.noise is not None:
        raise DataError("these frames carry noise already")
    count = wanted(frames.natoms, probability=spec.probability, number=spec.number)
    chosen = choose(frames.natoms, count, keys=keys, purpose=Purpose.MOVED_ATOMS)
    draft = _settle(frames, spec, atoms=np.flatnonzero(chosen), owner=np.repeat(np.arange(len(frames)), count), keys=keys)
    noise, noised = np.zeros_like(draft.positions), np.zeros_like(chosen)
    noise[draft.atoms] = draft.steps
    noised[draft.atoms] = draft.steps.any(axis=1)
    positions = draft.positions
    if spec.centered:
        mean = np.add.reduceat(noise.astype(np.float64), frames.starts[:-1]) / frames.natoms[:, None]
        noise -= np.repeat(mean, frames.natoms, axis=0).astype(noise.dtype)
        noised &= noise.any(axis=1)
        positions = frames.positions + noise
    return _without_labels(frames).with_(positions=positions, noise=noise, noised=noised), chosen


def _settle(frames: Frames, spec: NoiseSpec, *, atoms: NDArray[np.int64], owner: NDArray[np.int64], keys: U32) -> _Draft:
    """Draw for all `atoms`, then again for those that came too close to another, until none does.

    The attempt is part of the counter, and a frame takes part in a round only if it did in the last, so that the rounds of
    other frames make no difference.
    """
    place, scale = atoms - frames.starts[owner], _scales(frames, spec)[owner]
    steps = _steps(spec, keys.take(owner, axis=1), place, attempt=0, scale=scale).astype(frames.positions.dtype)
    positions = frames.positions.copy()
    positions[atoms] += steps
    draft = _Draft(atoms, owner, steps, positions)
    limit = clearance(frames, min_distance=spec.min_distance)
    crowded = _crowded_at_first(frames, draft, limit=limit)
    attempt = 0
    while len(crowded):
        attempt += 1
        steps[crowded] = _steps(spec, keys.take(owner[crowded], axis=1), place[crowded], attempt=attempt, scale=scale[crowded])
        positions[atoms[crowded]] = frames.positions[atoms[crowded]] + steps[crowded]
        crowded = _crowded(frames, draft, since=crowded, limit=limit)
    return draft


def clearance(frames: Frames, *, min_distance: float) -> NDArray[np.float64]:
    """Return (F,) the distance, Å, that no displaced atom may fall short of: `min_distance`, or less where the clean frame has less."""
    limit = np.fmin(frames.shortest.astype(np.float64), min_distance)
    unknown = np.isnan(frames.shortest)
    if min_distance > 0 and unknown.any():
        atoms = np.flatnonzero(np.repeat(unknown, frames.natoms))
        pairs = close_pairs(frames, frames.positions, atoms, limit=limit)
        np.minimum.at(limit, np.searchsorted(frames.starts, pairs.first, side="right") - 1, pairs.distance)
    return limit


def _scales(frames: Frames, spec: NoiseSpec) -> NDArray[np.float64]:
    """Return (F,) the size of the noise of each frame, Å; 0 for a lone atom where it is a share of the shortest distance."""
    if not spec.relative:
        return np.full(len(frames), spec.scale)
    shortest = frames.shortest.astype(np.float64)
    if np.isnan(shortest).any():
        shortest = np.where(np.isnan(shortest), shortest_distances(frames), shortest)
    return np.where(np.isinf(shortest), 0.0, spec.scale * shortest)


def _steps(spec: NoiseSpec, keys: U32, place: NDArray[np.int64], *, attempt: int, scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (M, 3) displacements, Å, of the atoms at `place` in the frames of `keys` (4, M), of sizes `scale` (M,) Å."""
    shrinks = max(0, attempt - _REDRAWS)
    if shrinks > _SHRINKS:
        return np.zeros((len(place), 3))
    words = draw(keys, purpose=Purpose.DISPLACEMENT, position=place, attempt=attempt)[:3]
    unit = uniform(words) if spec.kind == "uniform" else normal(words, cut=_CUT if spec.kind == "truncated" else None)
    return unit.T * (scale * 0.5**shrinks)[:, None]


def _crowded_at_first(frames: Frames, draft: _Draft, *, limit: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which rows of the draft stand too close to another atom after the first draw.

    Most need no look: two atoms that were `shortest` apart cannot get closer than that less the lengths of their steps. Those
    that went far are measured against all atoms, those that came near only if another moved too against the displaced.
    """
    size = np.sqrt((draft.steps.astype(np.float64) ** 2).sum(axis=1))
    first = np.flatnonzero(np.diff(draft.owner, prepend=-1))
    farthest = np.repeat(np.maximum.reduceat(size, first), np.diff(first, append=len(size)))
    # Slack for the rounding of positions in single precision, 1000 Å from the origin. Not known is NaN, which is never enough.
    room = (frames.shortest - limit - 1e-3)[draft.owner]
    far = ~(size <= room) & (limit[draft.owner] > 0)
    doubtful = ~far & (size + farthest > room)
    close = np.zeros(len(size), bool)
    close[_crowded(frames, draft, since=np.flatnonzero(far), limit=limit)] = True
    displaced = frames.with_(natoms=np.bincount(draft.owner, minlength=len(frames)))  # the draft's atoms alone
    pairs = close_pairs(displaced, draft.positions[draft.atoms], np.flatnonzero(doubtful), limit=limit)
    close[pairs.first] = close[pairs.second] = True
    return np.flatnonzero(close)


def _crowded(frames: Frames, draft: _Draft, *, since: NDArray[np.int64], limit: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which rows of the draft stand too close to another atom, now that the rows `since` moved.

    Atoms back in their clean places are not among them: they give way to nobody, or the search might never end.
    """
    pairs = close_pairs(frames, draft.positions, draft.atoms[since], limit=limit)
    close = np.zeros(len(draft.positions), bool)
    close[pairs.first] = close[pairs.second] = True
    rows = np.flatnonzero(close[draft.atoms])
    return rows[draft.steps[rows].any(axis=1)]


def _without_labels(frames: Frames) -> Frames:
    """Drop energies, forces and virials: they belong to the clean structure."""
    none = np.zeros(len(frames), bool)
    return frames.with_(
        energy=np.zeros_like(frames.energy), forces=np.zeros_like(frames.forces), virial=np.zeros_like(frames.virial),
        has_energy=none, has_forces=none.copy(), has_virial=none.copy(),
    )  # fmt: skip
