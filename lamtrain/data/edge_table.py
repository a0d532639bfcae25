"""The edges of a batch: found in its frames, or given, as one flat table; and laid out as the tables of chunks.

`_edges.c` does both where it could be compiled at installation, and other threads run meanwhile; vesin and NumPy, several times slower and
one search at a time, do the same to the bit where it could not. Shapes: A atoms, E edges, L lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamdata.frames import Frames

from ..model.config import NeighborList
from .neighbors import Edges, cut_neighbors, find_neighbors

compiled: ModuleType | None
try:
    from . import _edges as compiled
except ImportError:
    compiled = None

I64 = NDArray[np.int64]
ALIGNED = 16  # slots: where a chunk's table begins in the memory of all


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeTable:
    """All frames' edges, those of an atom side by side with the nearest first; atoms are in the caller's order."""

    begins: I64  # (A,) where the edges of each atom begin
    counts: dict[str, I64]  # list -> (A,) edges within its cutoff, at most its nsel; of the first list, all that the atom has
    neighbors: I64  # (E,) of the batch's atoms
    vectors: NDArray[np.float64]  # (E, 3) Å
    truncated: dict[str, int]  # list -> atoms that have more neighbours within its cutoff than it keeps


def find_edges(frames: Frames, lists: dict[str, NeighborList]) -> EdgeTable:
    """The edges within the first of the descriptor's lists, which holds the others."""
    table = None if compiled is None else _search(compiled, frames, lists)
    return _joined(edges_of(frames, lists), lists) if table is None else table


def given_edges(edges: Sequence[Edges], frames: Frames, lists: dict[str, NeighborList]) -> EdgeTable:
    """Edges from elsewhere, cut to the first of the descriptor's lists. Raises ValueError for such as are not those of the frames."""
    natoms = [len(part.starts) - 1 for part in edges]
    if natoms != frames.natoms.tolist():
        raise ValueError(f"edges of structures with {natoms} atoms, for frames with {frames.natoms.tolist()}")
    longest = next(iter(lists.values()))
    return _joined([cut_neighbors(part, cutoff=longest.rcut, most=longest.nsel) for part in edges], lists)


def _search(compiled: ModuleType, frames: Frames, lists: dict[str, NeighborList]) -> EdgeTable | None:
    """By the compiled search; None for what it leaves to vesin: a cell without volume, numbers that are none, images by the million."""
    natoms, most = len(frames.positions), next(iter(lists.values())).nsel
    begins, counts, truncated = np.empty(natoms, np.int64), np.empty((len(lists), natoms), np.int64), np.empty(len(lists), np.int64)
    neighbors, vectors = np.empty(natoms * most, np.int64), np.empty((natoms * most, 3))  # the system gives no memory that is not written
    edges = compiled.find(
        np.ascontiguousarray(frames.positions, np.float64),
        frames.starts,
        np.ascontiguousarray(frames.cell, np.float64),
        np.ascontiguousarray(frames.pbc, bool),
        np.array([wanted.rcut for wanted in lists.values()]),
        np.array([wanted.nsel for wanted in lists.values()]),
        begins,
        counts,
        neighbors,
        vectors,
        truncated,
    )
    if edges < 0:
        return None
    return EdgeTable(
        begins=begins,
        counts=dict(zip(lists, counts)),
        neighbors=neighbors[:edges],
        vectors=vectors[:edges],
        truncated=dict(zip(lists, truncated.tolist())),
    )


def edges_of(frames: Frames, lists: dict[str, NeighborList]) -> list[Edges]:
    """The same for each frame by itself, by vesin."""
    longest, starts = next(iter(lists.values())), frames.starts
    return [
        find_neighbors(
            frames.positions[starts[f] : starts[f + 1]], cell=frames.cell[f], pbc=frames.pbc[f], cutoff=longest.rcut, most=longest.nsel
        )
        for f in range(len(frames))
    ]


def _joined(edges: Sequence[Edges], lists: dict[str, NeighborList]) -> EdgeTable:
    (longest, _), *shorter = lists.items()
    all_counts = np.concatenate([part.counts for part in edges])
    center = np.repeat(np.arange(len(all_counts)), all_counts)
    distances = np.concatenate([part.distances for part in edges])
    counts, truncated = {longest: all_counts}, {longest: sum(part.truncated for part in edges)}
    for name, wanted in shorter:
        counts[name], truncated[name] = _within(center, distances, wanted.rcut, wanted.nsel, len(all_counts))
    first = np.cumsum([0, *(len(part.starts) - 1 for part in edges)])
    return EdgeTable(
        begins=np.cumsum(all_counts) - all_counts,
        counts=counts,
        neighbors=np.concatenate([part.neighbors + start for part, start in zip(edges, first)]),
        vectors=np.concatenate([part.vectors for part in edges]),
        truncated=truncated,
    )


def _within(center: I64, distances: NDArray[np.float64], cutoff: float, most: int, natoms: int) -> tuple[I64, int]:
    """(A,) edges within `cutoff`, at most `most`; and how many atoms had more."""
    counts = np.bincount(center[distances < cutoff], minlength=natoms)
    return np.minimum(counts, most), int(np.count_nonzero(counts > most))


def lay_out(
    table: EdgeTable, order: I64, rank: I64, *, cuts: I64, widths: I64, far: float, dtype: torch.dtype
) -> Iterator[tuple[Tensor, Tensor]]:
    """For each chunk c, `vectors` (N, W, 3) in `dtype` and `neighbors` (N, W) of rows `cuts[c] : cuts[c + 1]`, W = `widths[c]`.

    Row r is the caller's atom `order[r]`, and `rank` is the inverse. A slot without an edge leads to its own row, from `far` Å away.
    """
    slots = np.diff(cuts) * widths
    ends = np.cumsum(-(-slots // ALIGNED) * ALIGNED)
    places, room = ends - -(-slots // ALIGNED) * ALIGNED, int(ends[-1]) if len(ends) else 0
    vectors, neighbors = torch.empty((room, 3), dtype=dtype), torch.empty(room, dtype=torch.int64)
    out = vectors.numpy(), neighbors.numpy()
    if compiled is not None:
        (counts, *_), size = table.counts.values(), vectors.element_size()
        compiled.lay_out(order, rank, table.begins, counts, table.neighbors, table.vectors, cuts, widths, places, *out, far, size)
    else:
        _lay_out(table, order, rank, cuts, widths, places, far, *out)
    for rows, width, place in zip(np.diff(cuts).tolist(), widths.tolist(), places.tolist()):
        mine = slice(place, place + rows * width)
        yield vectors[mine].view(rows, width, 3), neighbors[mine].view(rows, width)


def _lay_out(
    table: EdgeTable, order: I64, rank: I64, cuts: I64, widths: I64, places: I64, far: float, vectors: NDArray[np.floating], neighbors: I64
) -> None:
    """The plain way, in NumPy alone."""
    longest = next(iter(table.counts.values()))
    for start, stop, width, place in zip(cuts[:-1], cuts[1:], widths, places):
        atoms = order[start:stop]
        counts, slots = longest[atoms], slice(place, place + len(atoms) * width)
        row = np.repeat(np.arange(len(atoms)), counts)
        slot = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        edge = table.begins[atoms][row] + slot
        mine = vectors[slots].reshape(len(atoms), width, 3)
        mine[:] = (far, 0.0, 0.0)
        mine[row, slot] = table.vectors[edge]
        ends = neighbors[slots].reshape(len(atoms), width)
        ends[:] = np.arange(start, stop)[:, None]
        ends[row, slot] = rank[table.neighbors[edge]]
