"""Neighbour lists: one structure -> its edges, sorted by centre and then by distance, the nearest kept; anew, or from a list with a skin.

Built by vesin, called through ctypes, which lets go of the interpreter's lock; vesin itself searches one structure at a time, whichever
thread asks. Batches are made by `edge_table.py`, which searches side by side where it was compiled.
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


class SkinList:
    """Edges of a structure that moves: those that `find_neighbors` gives, from a longer list that is searched anew only when it must be.

    The list holds all pairs within `cutoff + skin`. It serves as long as no pair that it lacks can have come within `cutoff`: with F the
    deformation of the cell since the search, and u_i what an atom moved beyond it, r' = r F + u_j - u_i, so that it serves while
    (cutoff + 2 max |u|) |1/F| <= cutoff + skin. In a cell that stays as it is, that is: no atom moved by more than half the skin.
    """

    def __init__(self, *, cutoff: float, most: int | None = None, skin: float = 1.0):
        if not skin >= 0.0:
            raise ValueError(f"a skin is at least 0 Å, not {skin}")
        self.cutoff, self.most, self.skin = cutoff, most, skin
        self.searches = 0
        self._cell = np.zeros((3, 3))
        self._pbc = np.zeros(3, bool)
        self._points = np.empty((0, 3))

    def edges(self, positions: NDArray[np.floating], *, cell: NDArray[np.floating], pbc: NDArray[np.bool_]) -> Edges:
        """List the neighbours as they are now; the arguments are those of `find_neighbors`."""
        points = np.ascontiguousarray(positions, np.float64)
        self.table(points, cell=cell, pbc=pbc)
        return self._nearest(points)

    def table(
        self, positions: NDArray[np.floating], *, cell: NDArray[np.floating], pbc: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Neighbours (N, M) of the longer list, and (3, N, M) Å from the cell of an atom to that of each; an empty place is infinitely far."""
        points, box, pbc = np.ascontiguousarray(positions, np.float64), np.array(cell, np.float64), np.array(pbc, bool)
        if not self._serves(points, box, pbc):
            self._search(points, box, pbc)
        elif not np.array_equal(box, self._cell_of_offsets):
            self._set_offsets(box)
        return self._neighbors, self._offsets

    def _serves(self, points: NDArray[np.float64], cell: NDArray[np.float64], pbc: NDArray[np.bool_]) -> bool:
        """Whether the list still holds every pair within the cutoff."""
        if not self.searches or points.shape != self._points.shape or not np.array_equal(pbc, self._pbc):
            return False
        before, stretch = self._points, 1.0
        if not np.array_equal(cell, self._cell):
            if not pbc.all():
                return False
            deformation = np.linalg.solve(self._cell, cell)
            before, stretch = before @ deformation, float(np.linalg.norm(np.linalg.inv(deformation), 2))
        moved = float(np.sqrt(np.square(points - before).sum(1).max())) if len(points) else 0.0
        return (self.cutoff + 2.0 * moved) * stretch <= self.cutoff + self.skin

    def _search(self, points: NDArray[np.float64], cell: NDArray[np.float64], pbc: NDArray[np.bool_]) -> None:
        """List all pairs within the cutoff and the skin, those of an atom by index, in a table as wide as the longest."""
        search = NeighborList(cutoff=self.cutoff + self.skin, full_list=True, n_threads=1)
        center, neighbor, shifts = search.compute(points, complete_cell(cell, pbc), pbc, "ijS")
        small = np.min_scalar_type(len(points))  # few bytes are sorted by radix
        order = np.lexsort((neighbor.astype(small), center.astype(small)))
        center, neighbor = center[order].astype(np.int64), neighbor[order].astype(np.int64)
        counts = np.bincount(center, minlength=len(points))
        slot = np.arange(len(center)) - (np.cumsum(counts) - counts)[center]
        width = int(counts.max()) if len(counts) else 0
        self._neighbors = np.zeros((len(points), width), np.int64)
        self._neighbors[center, slot] = neighbor
        self._shifts = np.zeros((len(points), width, 3))
        self._shifts[center, slot] = shifts[order]
        self._empty = np.arange(width) >= counts[:, None]
        self._points, self._cell, self._pbc = points.copy(), cell, pbc
        self.searches += 1
        self._set_offsets(cell)

    def _set_offsets(self, cell: NDArray[np.float64]) -> None:
        """(3, N, M) Å from the cell of an atom to that of each neighbour; an empty slot is infinitely far."""
        self._offsets = np.ascontiguousarray(np.moveaxis(self._shifts @ complete_cell(cell, self._pbc), 2, 0))
        self._offsets[:, self._empty] = np.inf
        self._cell_of_offsets = cell

    def _nearest(self, points: NDArray[np.float64]) -> Edges:
        """Measure all pairs of the list, and keep those within the cutoff, the nearest first."""
        ways = [points[:, axis][self._neighbors] - points[:, axis, None] + self._offsets[axis] for axis in range(3)]
        squares = ways[0] * ways[0] + ways[1] * ways[1] + ways[2] * ways[2]
        squares[squares >= self.cutoff * self.cutoff] = np.inf
        counts = np.count_nonzero(squares < np.inf, axis=1)
        kept = counts if self.most is None else np.minimum(counts, self.most)
        order, nearest = _sorted_in_rows(squares, width=int(counts.max(initial=0)))
        chosen = np.arange(order.shape[1]) < kept[:, None]
        places = (order + np.arange(len(points))[:, None] * squares.shape[1])[chosen]
        return Edges(
            starts=np.concatenate([[0], np.cumsum(kept)]).astype(np.int64),
            neighbors=self._neighbors.ravel()[places],
            vectors=np.stack([way.ravel()[places] for way in ways], axis=1),
            distances=np.sqrt(nearest[chosen]),
            truncated=0 if self.most is None else int(np.count_nonzero(counts > self.most)),
        )


def _sorted_in_rows(values: NDArray[np.float64], *, width: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The order of each row's `width` smallest and their values; equal ones stay as they stand, for which the quick sort has no promise."""
    for kind in ("quicksort", "stable"):
        order = np.argsort(values, axis=1, kind=kind)[:, :width]
        found = np.take_along_axis(values, order, 1)
        if not ((found[:, 1:] == found[:, :-1]) & (found[:, 1:] < np.inf)).any():
            break
    return order, found


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
