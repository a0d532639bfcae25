"""Fingerprint: a structure -> numbers that do not change with the order of atoms, motion, reflection, or the choice of cell.

An atom's environment is, for each element of the structure, the sorted distances to the nearest atoms of that element, images
included (the pointwise distance distribution of Widdowson and Kurlin, arXiv:2108.04798, split by element). A structure's fingerprint
is the mean, the least and the largest of each such distance over the atoms of each element: intensive, so a supercell has the
fingerprint of its cell. Distances stop at CUTOFF, which stands for "further, or none".

When no atom is displaced by more than d, no k-th nearest distance changes by more than 2d, however neighbours change places, and so
no component of a fingerprint does. A search within 2d (in the largest component) therefore misses no copy; that it finds some that
are none is settled by `superposition`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..frame import F64
from ..frames import Frames
from .points import Points

CUTOFF = 6.0  # Å
RANKS = {  # number of elements -> which of the nearest distances to each are kept; the 20th tells hcp from fcc
    1: (1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18, 20, 24, 32, 40, 48),
    2: (1, 2, 4, 6, 12, 20),
    3: (1, 3, 8),
}
FEW = (1, 4)  # where there are more elements
ATOMS_AT_ONCE = 4096  # atoms whose images are held together: bounds memory

Key = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprints:
    """F structures. Only those with equal keys can be copies of each other."""

    keys: list[Key]  # periodic axes, charge, then (atomic number, count) of the formula: reduced where there is a period
    vectors: list[NDArray[np.float32]]  # Å; equally long for equal keys


def fingerprints(frames: Frames) -> Fingerprints:
    """Take the fingerprint of each frame.

    >>> from lamdata.frame import Frame
    >>> dimers = [Frame(numbers=np.array([29, 29]), positions=np.array([[0, 0, 0], [0, 0, z]])) for z in (2.5, -2.5)]
    >>> first, second = fingerprints(Frames.from_list(dimers)).vectors
    >>> bool((first == second).all())
    True
    """
    keys: list[Key] = []
    vectors: list[NDArray[np.float32]] = []
    for start, stop in _parts(frames.natoms):
        part = frames.part(start, stop)
        keys += [_key(part, f, numbers) for f, numbers in enumerate(np.split(part.numbers, part.starts[1:-1]))]
        vectors += _vectors(Points.of(part))
    return Fingerprints(keys=keys, vectors=vectors)


def _parts(natoms: NDArray[np.integer]) -> Iterator[tuple[int, int]]:
    """Cut frames into runs of about ATOMS_AT_ONCE atoms."""
    ends, start = np.cumsum(natoms, dtype=np.int64), 0
    while start < len(natoms):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + ATOMS_AT_ONCE, side="right")))
        yield start, stop
        start = stop


def _key(frames: Frames, f: int, numbers: NDArray[np.uint8]) -> Key:
    periods = int(np.count_nonzero(frames.pbc[f]))
    elements, counts = np.unique(numbers, return_counts=True)
    charge = int(frames.charge[f])
    units = int(np.gcd(np.gcd.reduce(counts), charge)) if periods else 1
    return periods, charge // units, *np.stack([elements, counts // units], axis=1).ravel().tolist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Environments:
    """Sorted distances from each atom to each element of its frame, for frames of equally many elements. Q = atoms x elements."""

    frame: NDArray[np.int64]  # (Q,)
    atom: NDArray[np.int64]  # (Q,) row of the atom
    element: NDArray[np.int64]  # (Q,) which of its frame's elements the distances are to, by atomic number
    own: NDArray[np.int64]  # (Q,) which of them the atom is
    distances: F64  # (Q, K) Å, ascending; the cutoff where there is none nearer


def environments(points: Points, *, cutoff: float = CUTOFF, depth: int | None = None) -> Iterator[Environments]:
    """Measure the environment of every atom, frames with equally many elements together.

    With `depth`, the nearest `depth` distances to each element are kept, not those of RANKS.
    """
    from scipy.spatial import cKDTree

    code = points.frame * 256 + points.numbers  # an element of a frame
    slots, own = np.unique(code, return_inverse=True)  # ascending: by frame, then by atomic number
    frame_slots = np.bincount(slots // 256, minlength=len(points.cell))
    row, near = points.images(cutoff)
    apart = 2 * cutoff  # along a fourth axis each element of each frame has a place of its own, so one tree serves them all
    tree = cKDTree(np.column_stack([near, apart * own[row]]))
    first_slot = np.concatenate([[0], np.cumsum(frame_slots)])
    for elements in np.unique(frame_slots):
        atoms = np.flatnonzero(frame_slots[points.frame] == elements)
        atom, element = np.repeat(atoms, elements), np.tile(np.arange(elements), len(atoms))
        slot = first_slot[points.frame[atom]] + element
        ranks = np.array(RANKS.get(int(elements), FEW) if depth is None else range(1, depth + 1))
        found, _ = tree.query(np.column_stack([points.home[atom], apart * slot]), k=ranks[-1] + 1, distance_upper_bound=cutoff)
        own_kind = (own[atom] == slot)[:, None]
        distances = np.minimum(np.where(own_kind, found[:, ranks], found[:, ranks - 1]), cutoff)  # an atom is not its own neighbour
        of_frame = own[atom] - first_slot[points.frame[atom]]
        yield Environments(frame=points.frame[atom], atom=atom, element=element, own=of_frame, distances=distances)


def _vectors(points: Points) -> list[NDArray[np.float32]]:
    """Reduce environments over the atoms of each element of each frame."""
    vectors = [np.empty(0, np.float32)] * len(points.cell)
    for part in environments(points):
        order = np.lexsort((part.element, part.own, part.frame))
        kinds = np.stack([part.frame, part.own, part.element])[:, order]
        starts = np.concatenate([[0], np.flatnonzero((np.diff(kinds) != 0).any(axis=0)) + 1])
        distances = part.distances[order]
        count = np.diff(np.append(starts, len(order)))[:, None]
        reduced = [
            np.add.reduceat(distances, starts) / count,
            np.minimum.reduceat(distances, starts),
            np.maximum.reduceat(distances, starts),
        ]
        frames = np.unique(part.frame)
        for f, vector in zip(frames, np.stack(reduced, axis=1).astype(np.float32).reshape(len(frames), -1)):
            vectors[f] = vector
    return vectors
