"""Frames and some of their atoms -> the pairs of those atoms that are closer than a limit, over all frames at once.

F = frames, A = all their atoms, P = pairs. A lattice has reciprocal vectors b_k with b_k . a_l = delta_kl: a pair closer than
L differs by at most L |b_k| in its k-th fractional coordinate, which as a 32-bit fraction of the cell wraps by itself. Almost
all pairs are ruled out by such a subtraction, and only what is left is measured.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..frames import Frames
from ..images import pairs_over_images
from .ragged import chunks, products

I64 = NDArray[np.int64]
Floats = NDArray[np.floating]

_HASH_LENGTH = 64.0  # Å after which coordinates of a molecule wrap; it only sorts pairs out, so that any length is right
_NARROW = 0.49  # of a cell's width: for a longer limit the nearest image of a pair is not the only one to look at
_LARGE = 2000  # atoms from which a tree is faster than all pairs
_CHUNK = 1 << 16  # pairs at a time, to stay in the cache


class Pairs(NamedTuple):
    """Two atoms each, as places in the flat arrays, and how far apart they are."""

    first: NDArray[np.int64]  # (P,) one of the atoms that were asked for
    second: NDArray[np.int64]  # (P,)
    distance: NDArray[np.float64]  # (P,) Å


class _Cells(NamedTuple):
    """The frames whose atoms are asked for, U of them, with what sorts pairs out."""

    frame: NDArray[np.int64]  # (U,)
    limit: NDArray[np.float64]  # (U,) Å
    cell: NDArray[np.float64]  # (U, 3, 3) Å, rows are lattice vectors; zeros along axes without a period
    reciprocal: NDArray[np.float64]  # (U, 3, 3) 1/Å, rows are b_k; zeros along axes without a period, but for molecules
    window: NDArray[np.float64]  # (U, 3) L |b_k|


def close_pairs(frames: Frames, positions: NDArray[np.floating], atoms: NDArray[np.int64], *, limit: NDArray[np.float64]) -> Pairs:
    """Return every pair of one of `atoms` and another atom of its frame, or an image of it, that is closer than `limit[f]`, Å.

    `positions` (A, 3), Å, stand in for those of `frames`; `atoms` ascend. A pair may be listed more than once; an atom and its
    own images never.
    """
    frame = np.searchsorted(frames.starts, atoms, side="right") - 1
    new = np.diff(frame, prepend=-1) != 0
    cells, local = _cells(frames, frame[new], limit=limit), np.cumsum(new) - 1
    hard = (frames.natoms[cells.frame] >= _LARGE) | (cells.window >= _NARROW).any(axis=1)
    if not hard.any():
        return _measured(positions, cells, *_candidates(frames, positions, atoms, local, cells))
    parts = [close_pairs(frames, positions, atoms[~hard[local]], limit=limit)]
    for u in np.flatnonzero(hard):
        start, stop = frames.starts[cells.frame[u] : cells.frame[u] + 2]
        points, asked = positions[start:stop].astype(np.float64), atoms[local == u] - start
        first, second, distance = pairs_over_images(points, asked, cell=cells.cell[u], limit=float(cells.limit[u]))
        parts.append(Pairs(first + start, second + start, distance))
    return Pairs(*(np.concatenate(arrays) for arrays in zip(*parts)))


def _cells(frames: Frames, used: NDArray[np.int64], *, limit: NDArray[np.float64]) -> _Cells:
    pbc = frames.pbc[used]
    cell = np.where(pbc[:, :, None], frames.cell[used].astype(np.float64), 0.0)
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
    window = limit[used, None] * np.sqrt((reciprocal**2).sum(axis=2))
    return _Cells(frame=used, limit=limit[used], cell=cell, reciprocal=reciprocal, window=window)


def _candidates(frames: Frames, positions: Floats, atoms: I64, local: I64, cells: _Cells) -> tuple[I64, I64, I64]:
    """Return (first, second, row of `cells`) of the pairs that no coordinate rules out; `local` is the row of each of `atoms`."""
    natoms = frames.natoms[cells.frame].astype(np.int64)
    start, base = frames.starts[cells.frame], np.cumsum(natoms) - natoms
    member = np.repeat(start - base, natoms) + np.arange(natoms.sum())  # (B,) all atoms of these frames
    turns = _turns(positions[member], cells.reciprocal, natoms)
    own = atoms - start[local] + base[local]  # where each asked atom is among the members
    # Three units of slack: each of the two coordinates is off by less than one, and so is the window.
    reach = (cells.window * 2.0**32 + 3).astype(np.uint32)[local].T
    pieces = [(np.zeros(0, np.int64),) * 2]
    for part in chunks(natoms[local], size=_CHUNK):
        first, count = base[local[part]], natoms[local[part]]
        asked, other = _sieve(turns, own[part], first=first, count=count, reach=reach[:, part])
        pieces.append((asked + part.start, other))
    asked, other = (np.concatenate(arrays) for arrays in zip(*pieces))
    return atoms[asked], member[other], local[asked]


def _turns(positions: NDArray[np.floating], reciprocal: NDArray[np.float64], natoms: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Return (3, B) fractional coordinates in units of 2**-32, whole turns dropped."""
    turns = np.empty((3, len(positions)), np.uint32)
    for atoms, axis, values in products(reciprocal * 2.0**32, positions, counts=natoms):
        turns[axis, atoms] = values.astype(np.int64)
    return turns


def _sieve(turns: NDArray[np.uint32], own: I64, *, first: I64, count: I64, reach: NDArray[np.uint32]) -> tuple[I64, I64]:
    """Return (row of `own`, member) of pairs whose three coordinates all differ by at most `reach`; uint32 subtraction wraps.

    Each of `own` meets `count` members from `first` on; `turns` (3, B), `reach` (3, rows of `own`).
    """
    lead = turns[:, own] + reach
    member = np.arange(count.sum())
    member += np.repeat(first - (np.cumsum(count) - count), count)
    near = np.flatnonzero(np.repeat(lead[0], count) - turns[0].take(member) <= np.repeat(2 * reach[0], count))
    asked, member = np.repeat(np.arange(len(own)), count).take(near), member.take(near)
    for axis in (1, 2):
        near = np.flatnonzero(lead[axis].take(asked) - turns[axis].take(member) <= 2 * reach[axis].take(asked))
        asked, member = asked.take(near), member.take(near)
    other = member != own[asked]
    return asked[other], member[other]


def _measured(positions: Floats, cells: _Cells, first: I64, second: I64, local: I64) -> Pairs:
    """Keep the pairs whose nearest image is closer than their limit."""
    delta = positions[first].astype(np.float64) - positions[second]
    turns = np.rint(np.einsum("pij,pj->pi", cells.reciprocal[local], delta))
    delta -= np.einsum("pi,pij->pj", turns, cells.cell[local])
    distance = np.sqrt((delta**2).sum(axis=1))
    near = distance < cells.limit[local]
    return Pairs(first[near], second[near], distance[near])
