"""Superposition: two structures -> how far apart their atoms are when one is laid on the other, or nothing where they differ.

The exact answer behind a fingerprint. A motion (rotation or reflection, then a shift) is guessed by laying an atom and two of its
neighbours on an atom and two neighbours of the other structure, wherever elements and distances allow; it is fitted to ever more
atoms, and holds only if it lays every atom, and the whole lattice, on the other's. Mirror images are one structure: a potential
cannot tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..frame import F64, Frame
from .fingerprint import environments
from .points import Points

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

DEEP, DEEP_RANKS = 10.0, 256  # Å and distances: how far environments are compared where nearer ones are alike
AMBIGUOUS = 2  # atoms of equal environment, from which on it is cheaper to look deeper than to try each
FURTHEST = 3.0  # no atom may be this many times the tolerance, which is for the root mean square, from its place
NEIGHBOURS = 12  # a motion is fitted to at least so many neighbours first, if there are so many
ENOUGH = 200  # neighbours among which one must be off the line of the others, or the structure counts as straight
OFF_LINE = 0.5  # Å
ON_TOP = 0.01  # Å; an atom this near gives no direction
SHELL = 1.0  # Å; an atom further than this from every place is not near one
FITS = 3  # neighbours found and motion fitted, in turn
MOTIONS_AT_ONCE = 4096  # laid on neighbours
TRIED_TOGETHER = 16  # laid on all atoms


class Structure:
    """A frame made ready to be laid on others. N atoms."""

    def __init__(self, frame: Frame):
        self.points = Points.of_one(frame)
        self.numbers, self.home = self.points.numbers, self.points.home
        self.cell, self.reciprocal = self.points.cell[0], self.points.reciprocal[0]

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def lattice(self) -> F64:
        """(P, 3) Å, lattice vectors of the compact cell along axes with a period."""
        rows: F64 = self.cell[self.cell.any(axis=1)]
        return rows

    @property
    def extent(self) -> float:
        """Å^P, volume, area or length of the cell; 1 without a period."""
        return float(np.sqrt(np.linalg.det(self.lattice @ self.lattice.T))) if len(self.lattice) else 1.0

    @cached_property
    def rows(self) -> F64:
        """(N, elements x K) Å, the environment of each atom."""
        (part,) = environments(self.points)
        return part.distances.reshape(len(self), -1)

    @cached_property
    def deep_rows(self) -> F64:
        """(N, elements x K) Å, the same further out."""
        (part,) = environments(self.points, cutoff=DEEP, depth=DEEP_RANKS // len(np.unique(self.numbers)))
        return part.distances.reshape(len(self), -1)

    @cached_property
    def _places(self) -> cKDTree:
        from scipy.spatial import cKDTree

        row, near = self.points.images(SHELL)
        return cKDTree(_by_element(near, self.numbers[row]))

    def offsets(self, numbers: NDArray[np.uint8], points: F64) -> F64:
        """(..., 3) Å, from each of `points` (..., 3) to the nearest atom of its element (...); inf where none is within SHELL."""
        wrapped = points - np.floor(points @ self.reciprocal) @ self.cell
        flat = _by_element(wrapped.reshape(-1, 3), np.broadcast_to(numbers, points.shape[:-1]).ravel())
        distance, row = self._places.query(flat, distance_upper_bound=SHELL)
        found = np.isfinite(distance)
        out = np.full((len(flat), 3), np.inf)
        out[found] = self._places.data[row[found], :3] - flat[found, :3]
        return out.reshape(points.shape)

    def around(self, atom: int, radius: float) -> tuple[NDArray[np.uint8], F64]:
        """Elements (n,) and positions (n, 3) relative to an atom, Å, of the atoms within `radius` of it, from itself outwards."""
        row, near = self.points.images(radius)
        relative = near - self.home[atom]
        distance = np.linalg.norm(relative, axis=1)
        order = np.argsort(distance, kind="stable")
        order = order[distance[order] <= radius]
        return self.numbers[row[order]], relative[order]

    def neighbourhood(self, atom: int) -> tuple[NDArray[np.uint8], F64]:
        """The same within a radius that holds NEIGHBOURS, not all on one line, or all there are."""
        radius = 4.0
        reach = np.inf if len(self.lattice) else 2 * float(np.ptp(self.home, axis=0).sum())
        while True:
            numbers, relative = self.around(atom, radius)
            if radius > reach or len(numbers) >= ENOUGH or (len(numbers) >= NEIGHBOURS and _triangle(relative)[1] > OFF_LINE):
                return numbers, relative
            radius *= 1.5


def superpose(first: Structure, second: Structure, *, tolerance: float) -> float | None:
    """Return the root mean square displacement in Å of the atoms of one structure laid on the other.

    `None` when it exceeds `tolerance`, when an atom or a lattice vector is further than FURTHEST times it from its place, or when no
    motion lays one on the other at all. Of two cells of one crystal the larger is laid on the smaller.
    """
    if len(first) < len(second):
        first, second = second, first
    if len(first.lattice) != len(second.lattice) or not _equally_dense(first, second):
        return None
    furthest = FURTHEST * tolerance
    alike = _alike(first, second, within=2 * furthest)
    if alike is None:
        return None
    anchor = int(np.argmin(alike.sum(axis=1)))
    near = first.neighbourhood(anchor)
    kinds = np.concatenate([first.numbers, near[0]])
    points = np.concatenate([first.home - first.home[anchor], near[1]])
    for place in np.flatnonzero(alike[anchor]):
        for turns, shifts in _motions(second, int(place), *near, furthest=furthest):
            turns, _, offsets = _fit(second, kinds, points, turns, shifts)
            displacement = np.linalg.norm(offsets[:, : len(first)], axis=2)
            rms = np.sqrt(np.mean(displacement**2, axis=1))
            for i in np.flatnonzero((rms <= tolerance) & (displacement.max(axis=1) <= furthest)):
                if _keeps_lattice(first, second, turns[i], furthest=furthest):
                    return float(rms[i])
    return None


def _by_element(positions: F64, numbers: NDArray[np.uint8]) -> F64:
    """(n, 4): along the fourth axis each element has a place of its own."""
    return np.column_stack([positions, 2 * SHELL * numbers.astype(float)])


def _equally_dense(first: Structure, second: Structure) -> bool:
    """Whether a cell of N atoms is N/n times one of n: one atom more or less would show."""
    ratio = first.extent * len(second) / (second.extent * len(first))
    return abs(ratio - 1) < 0.5 / len(first)


def _alike(first: Structure, second: Structure, *, within: float) -> NDArray[np.bool_] | None:
    """(N, n) which atoms have equal environments; `None` where an atom of either has no like."""
    alike: NDArray[np.bool_] = first.numbers[:, None] == second.numbers
    for rows in ("rows", "deep_rows"):
        mine, theirs = getattr(first, rows), getattr(second, rows)
        if mine.shape[1] != theirs.shape[1]:
            return None
        for k in range(mine.shape[1]):  # one column at a time: (N, n, K) would be large
            alike &= np.abs(mine[:, k, None] - theirs[:, k]) <= within
        if not (alike.any(axis=0).all() and alike.any(axis=1).all()):
            return None
        if alike.sum(axis=1).min() < AMBIGUOUS:
            break
    return alike


def _triangle(relative: F64) -> tuple[list[int], float]:
    """Choose two of the points (n, 3) around an atom: the nearest, and the one furthest from the line to it, by how many Å.

    None where there is no other atom; the nearest twice where all are on the line. Atoms on top of the atom itself do not count.
    """
    distance = np.linalg.norm(relative, axis=1)
    nearest = int(np.argmax(distance > ON_TOP))
    if distance[nearest] <= ON_TOP:
        return [], 0.0
    axis = relative[nearest] / distance[nearest]
    off = np.linalg.norm(relative - np.outer(relative @ axis, axis), axis=1)
    off[distance <= ON_TOP] = 0
    return [nearest, int(np.argmax(off)) if off.any() else nearest], float(off.max())


def _motions(second: Structure, place: int, numbers: NDArray[np.uint8], relative: F64, *, furthest: float) -> Iterator[tuple[F64, F64]]:
    """Yield turns (C, 3, 3) and shifts (C, 3) that lay the anchor on `place` and atoms near it (n,), (n, 3) on others; the best comes alone."""
    ends, _ = _triangle(relative)
    if not ends:
        yield np.eye(3)[None], second.home[place][None]
        return
    for turns in _turns(second, place, numbers[ends], relative[ends], slack=2 * furthest):
        shifts = np.broadcast_to(second.home[place], (len(turns), 3))
        turns, shifts, offsets = _fit(second, numbers, relative, turns, shifts)
        far = np.linalg.norm(offsets, axis=2).max(axis=1)
        good = np.argsort(far)[: np.count_nonzero(far <= 2 * furthest)]  # the fit to all atoms may leave these half as far
        for some in np.split(good, range(1, len(good), TRIED_TOGETHER)):
            if len(some):
                yield turns[some], shifts[some]


def _turns(second: Structure, place: int, numbers: NDArray[np.uint8], triangle: F64, *, slack: float) -> Iterator[F64]:
    """Yield (C, 3, 3): all turns, proper and not, that lay two neighbours (2, 3) on two of `place` as far away and as far apart."""
    lengths, apart = np.linalg.norm(triangle, axis=1), np.linalg.norm(triangle[1] - triangle[0])
    there, near = second.around(place, float(lengths.max()) + slack)
    distance = np.linalg.norm(near, axis=1)
    ends = [np.flatnonzero((there == z) & (np.abs(distance - length) <= slack)) for z, length in zip(numbers, lengths)]
    one, other = (axis.ravel() for axis in np.meshgrid(*ends, indexing="ij"))
    fits = np.abs(np.linalg.norm(near[one] - near[other], axis=1) - apart) <= slack
    one, other = one[fits], other[fits]
    basis = _bases(triangle[:1], triangle[1:])[0]
    for i in range(0, len(one), MOTIONS_AT_ONCE):
        bases = _bases(near[one[i : i + MOTIONS_AT_ONCE]], near[other[i : i + MOTIONS_AT_ONCE]])
        mirrored = bases * np.array([1, 1, -1])[:, None]
        yield np.einsum("kx,cky->cxy", basis, np.concatenate([bases, mirrored]))


def _bases(one: F64, other: F64) -> F64:
    """(C, 3, 3), rows: along `one`, towards `other`, and normal to both; any normals where both lie on a line."""
    e1 = one / np.linalg.norm(one, axis=1, keepdims=True)
    side = other - (other * e1).sum(axis=1, keepdims=True) * e1
    straight = np.linalg.norm(side, axis=1) < 1e-6
    least = np.eye(3)[np.argmin(np.abs(e1), axis=1)]
    side[straight] = np.cross(e1, least)[straight]
    e2 = side / np.linalg.norm(side, axis=1, keepdims=True)
    return np.stack([e1, e2, np.cross(e1, e2)], axis=1)


def _fit(second: Structure, numbers: NDArray[np.uint8], points: F64, turns: F64, shifts: F64) -> tuple[F64, F64, F64]:
    """Fit C motions to where the points' nearest atoms are, FITS times: turns (C, 3, 3), shifts (C, 3), offsets left (C, n, 3) in Å.

    A motion takes a row vector x to x @ turn + shift; fitted by the orthogonal Procrustes solution (Kabsch), each keeps its handedness.
    """
    hand = np.sign(np.linalg.det(turns))
    for _ in range(FITS):
        laid = points @ turns + shifts[:, None]
        offsets = second.offsets(numbers, laid)
        target = np.where(np.isfinite(offsets), laid + offsets, laid)
        centre, target_centre = points.mean(axis=0), target.mean(axis=1)
        u, _, vt = np.linalg.svd(np.einsum("nx,cny->cxy", points - centre, target - target_centre[:, None]))
        u[:, :, 2] *= (hand * np.sign(np.linalg.det(u @ vt)))[:, None]
        turns = u @ vt
        shifts = target_centre - centre @ turns
    return turns, shifts, second.offsets(numbers, points @ turns + shifts[:, None])


def _keeps_lattice(first: Structure, second: Structure, turn: F64, *, furthest: float) -> bool:
    """Whether each lattice vector of the first, turned, moves the second onto itself."""
    moved = second.home + (first.lattice @ turn)[:, None]
    return bool((np.linalg.norm(second.offsets(second.numbers, moved), axis=2) <= furthest).all())
