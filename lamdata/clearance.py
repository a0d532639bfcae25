"""Frames and some of their atoms -> the pairs of those atoms that are closer than a limit, over all frames at once.

F = frames, A = all their atoms, P = pairs. A lattice has reciprocal vectors b_k with b_k . a_l = delta_kl: a pair closer than
L differs by at most L |b_k| in its k-th fractional coordinate, which as a 32-bit fraction of the cell wraps by itself. Almost
all pairs are ruled out by such a subtraction, and only what is left is measured.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import DataError
from .frames import Frames
from .ragged import chunks, products

_HASH_LENGTH = 64.0  # Å after which coordinates of a molecule wrap; it only sorts pairs out, so that any length is right
_NARROW = 0.49  # of a cell's width: for a longer limit the nearest image of a pair is not the only one to look at
_LARGE = 2000  # atoms from which a cell list is faster than all pairs
_CHUNK = 1 << 16  # pairs at a time, to stay in the cache


class Pairs(NamedTuple):
    """Two atoms each, as places in the flat arrays, and how far apart they are."""

    first: NDArray[np.int64]  # (P,) one of the atoms that were asked for
    second: NDArray[np.int64]  # (P,)
    distance: NDArray[np.float64]  # (P,) Å


class _Lattice(NamedTuple):
    """Cells of some frames, U of them, with what sorts pairs out."""

    cell: NDArray[np.float64]  # (U, 3, 3) Å, rows are lattice vectors; zeros along axes without a period
    reciprocal: NDArray[np.float64]  # (U, 3, 3) 1/Å, rows are b_k; zeros along axes without a period, but for molecules
    window: NDArray[np.float64]  # (U, 3) L |b_k|


def close_pairs(frames: Frames, positions: NDArray[np.floating], atoms: NDArray[np.int64], *, limit: NDArray[np.float64]) -> Pairs:
    """Return every pair of one of `atoms` and another atom of its frame, or an image of it, that is closer than `limit[f]`, Å.

    `positions` (A, 3), Å, stand in for those of `frames`; `atoms` ascend. A pair may be listed more than once; an atom and its own images never.
    """
    frame = np.searchsorted(frames.starts, atoms, side="right") - 1
    new = np.diff(frame, prepend=-1) != 0
    used, local = frame[new], np.cumsum(new) - 1
    lattice = _lattice(frames, used, limit=limit[used])
    plain = (frames.natoms[used] < _LARGE) & (lattice.window < _NARROW).all(axis=1)
    parts = [_measured(positions, lattice, limit[used], *_candidates(frames, positions, lattice, used, atoms, local, plain))]
    for u in np.flatnonzero(~plain):
        parts.append(_listed(frames, positions, atoms[local == u], int(used[u]), limit=float(limit[used[u]])))
    return Pairs(*(np.concatenate(arrays) for arrays in zip(*parts)))


def _lattice(frames: Frames, used: NDArray[np.int64], *, limit: NDArray[np.float64]) -> _Lattice:
    pbc = frames.pbc[used]
    cell = np.where(pbc[:, :, None], frames.cell[used], 0.0)
    periods = pbc.sum(axis=1)
    full, mixed = periods == 3, (periods > 0) & (periods < 3)
    reciprocal = np.zeros_like(cell)
    try:
        reciprocal[full] = np.linalg.inv(cell[full]).swapaxes(1, 2)
    except np.linalg.LinAlgError as err:
        flat = frames.index[used[full][np.linalg.det(cell[full]) == 0]]
        raise DataError(f"periodic frames whose cells have no volume: rows {flat.tolist()} of their dataset") from err
    reciprocal[mixed] = np.linalg.pinv(cell[mixed]).swapaxes(1, 2)
    reciprocal[periods == 0] = np.eye(3) / _HASH_LENGTH
    return _Lattice(cell, reciprocal, limit[:, None] * np.sqrt((reciprocal**2).sum(axis=2)))


def _candidates(frames, positions, lattice: _Lattice, used, atoms, local, plain):
    """Return (first, second, local frame) of the pairs that no coordinate rules out, in frames that are `plain`."""
    natoms = np.where(plain, frames.natoms[used], 0).astype(np.int64)
    start, base = frames.starts[used], np.cumsum(natoms) - natoms
    member = np.repeat(start - base, natoms) + np.arange(natoms.sum())  # (B,) atoms of the plain frames
    turns = _turns(positions[member], lattice.reciprocal, natoms)
    atoms, local = atoms[plain[local]], local[plain[local]]
    own = atoms - start[local] + base[local]  # where each asked atom is among the members
    # Three units of slack: each of the two coordinates is off by less than one, and so is the window.
    reach = np.minimum(lattice.window * 2.0**32 + 3, 2.0**31 - 1).astype(np.uint32)[local].T
    pieces = [
        _sieve(turns, own[part], first=base[local[part]], count=natoms[local[part]], reach=reach[:, part], offset=part.start)
        for part in chunks(natoms[local], size=_CHUNK)
    ]
    asked, other = (np.concatenate(arrays) for arrays in zip(*pieces)) if pieces else (np.zeros(0, np.int64),) * 2
    return atoms[asked], member[other], local[asked]


def _turns(positions: NDArray[np.floating], reciprocal: NDArray[np.float64], natoms: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Return (3, B) fractional coordinates in units of 2**-32, whole turns dropped."""
    turns = np.empty((3, len(positions)), np.uint32)
    for atoms, axis, values in products(reciprocal * 2.0**32, positions, counts=natoms):
        turns[axis, atoms] = values.astype(np.int64)
    return turns


def _sieve(turns, own, *, first, count, reach, offset: int):
    """Return (asked atom, member) of pairs whose three coordinates all differ by at most `reach`; uint32 subtraction wraps."""
    lead = turns[:, own] + reach
    member = np.arange(count.sum())
    member += np.repeat(first - (np.cumsum(count) - count), count)
    near = np.flatnonzero(np.repeat(lead[0], count) - turns[0].take(member) <= np.repeat(2 * reach[0], count))
    asked, member = np.repeat(np.arange(len(own)), count).take(near), member.take(near)
    for axis in (1, 2):
        near = np.flatnonzero(lead[axis].take(asked) - turns[axis].take(member) <= 2 * reach[axis].take(asked))
        asked, member = asked.take(near), member.take(near)
    other = member != own[asked]
    return asked[other] + offset, member[other]


def _measured(positions, lattice: _Lattice, limit, first, second, local) -> Pairs:
    """Keep the pairs whose nearest image is closer than their limit."""
    delta = positions[first].astype(np.float64) - positions[second]
    turns = np.rint(np.einsum("pij,pj->pi", lattice.reciprocal[local], delta))
    delta -= np.einsum("pi,pij->pj", turns, lattice.cell[local])
    distance = np.sqrt((delta**2).sum(axis=1))
    near = distance < limit[local]
    return Pairs(first[near], second[near], distance[near])


def _listed(frames: Frames, positions, atoms, frame: int, *, limit: float) -> Pairs:
    """Do one frame with a cell list: it is large, or so narrow that several images of a pair count."""
    from vesin import NeighborList

    start, stop = frames.starts[frame : frame + 2]
    points, cell = positions[start:stop].astype(np.float64), frames.cell[frame].astype(np.float64)
    pairs = NeighborList(cutoff=limit, full_list=True, n_threads=1).compute(points, cell, frames.pbc[frame], "ijd")
    first, second, distance = pairs[0].astype(np.int64) + start, pairs[1].astype(np.int64) + start, pairs[2]
    keep = np.isin(first, atoms) & (first != second)
    return Pairs(first[keep], second[keep], distance[keep])
