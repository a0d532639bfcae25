"""Neighbour lists: one structure -> its edges, sorted by centre and then by distance, the nearest kept.

Built by vesin, called through ctypes, which lets go of the interpreter's lock: loader threads work side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from vesin import NeighborList


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """Directed edges of one structure; those of atom i are `starts[i]:starts[i + 1]`, the nearest first."""

    starts: NDArray[np.int64]  # (N + 1,)
    neighbors: NDArray[np.int64]  # (E,) index of the atom at the far end; an image of the centre itself is a neighbour too
    vectors: NDArray[np.float64]  # (E, 3) Å, from the centre to the neighbour's image
    distances: NDArray[np.float64]  # (E,) Å
    truncated: int  # atoms that had more than `most` neighbours, and lost the farthest

    @property
    def counts(self) -> NDArray[np.int64]:
        """(N,) neighbours of each atom."""
        return np.diff(self.starts)


def find_neighbors(
    positions: NDArray[np.floating],
    *,
    cell: NDArray[np.floating],
    pbc: NDArray[np.bool_],
    cutoff: float,
    most: int | None = None,
) -> Edges:
    """List the neighbours of every atom within `cutoff` Å, at most the `most` nearest of each.

    `positions` (N, 3) Å and `cell` (3, 3) Å with rows as lattice vectors; rows of directions that are not periodic may be zero.
    Atoms may lie outside the cell. Neighbours at one distance are ordered by index, so that equal input gives equal edges.
    """
    points = np.ascontiguousarray(positions, np.float64)
    pbc = np.asarray(pbc, bool)
    search = NeighborList(cutoff=cutoff, full_list=True, n_threads=1)
    box = complete_cell(np.asarray(cell, np.float64), pbc)
    center, neighbor, vectors, distances = search.compute(points, box, pbc, "ijDd")
    center, neighbor = center.astype(np.int64), neighbor.astype(np.int64)
    small = np.min_scalar_type(len(points))  # few bytes are sorted by radix
    order = np.lexsort((neighbor.astype(small), distances, center.astype(small)))
    center, neighbor, vectors, distances = center[order], neighbor[order], vectors[order], distances[order]
    counts = np.bincount(center, minlength=len(points))
    truncated = 0 if most is None else int(np.count_nonzero(counts > most))
    if most is not None and truncated:
        slot = np.arange(len(center)) - (np.cumsum(counts) - counts)[center]
        keep = slot < most
        neighbor, vectors, distances = neighbor[keep], vectors[keep], distances[keep]
        counts = np.minimum(counts, most)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Edges(starts=starts, neighbors=neighbor, vectors=vectors, distances=distances, truncated=truncated)


def cut_neighbors(edges: Edges, *, cutoff: float, most: int) -> Edges:
    """Of edges that reach further than needed, those within `cutoff` Å, at most the `most` nearest of each atom.

    Raises ValueError where those would not be what `find_neighbors` gives: edges out of order, or without neighbours that are wanted.
    """
    counts = edges.counts
    center = np.repeat(np.arange(len(counts)), counts)
    if ((np.diff(edges.distances) < 0) & (np.diff(center) == 0)).any():
        raise ValueError("the edges of an atom must have the nearest first")
    within = edges.distances <= cutoff
    keep = within & (np.arange(len(center)) - edges.starts[center] < most)
    if edges.truncated and (not keep.all() or counts.max() < most):
        raise ValueError(f"edges that lost neighbours are cut to {cutoff:g} Å and {most} neighbours: find them without `most`")
    inside = np.bincount(center[within], minlength=len(counts))
    return Edges(
        starts=np.concatenate([[0], np.cumsum(np.minimum(inside, most))]).astype(np.int64),
        neighbors=edges.neighbors[keep],
        vectors=edges.vectors[keep],
        distances=edges.distances[keep],
        truncated=edges.truncated or int(np.count_nonzero(inside > most)),
    )


def complete_cell(cell: NDArray[np.float64], pbc: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Replace the rows of directions that are not periodic by unit vectors, so that the cell has a volume.

    Such a row says nothing about images, but the search divides space along it; a zero or slanted row would break that.
    """
    free = [axis for axis in range(3) if not pbc[axis]]
    if not free:
        return cell
    box = np.array(cell)
    if len(free) == 3:
        return np.eye(3)
    bound = box[[axis for axis in range(3) if pbc[axis]]]
    _, _, directions = np.linalg.svd(bound)  # the last rows span what is perpendicular to the periodic rows
    for axis, direction in zip(free, directions[len(bound) :], strict=True):
        box[axis] = direction
    return box
