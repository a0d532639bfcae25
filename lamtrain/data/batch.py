"""Frames -> Batch: type indices, neighbour lists, rows sorted by neighbour count, labels as tensors.

The only place that knows which atomic number is which type index. Runs in loader threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lamdata.errors import DataError
from lamdata.frames import MASKED, Frames

from ..model.config import ModelConfig, NeighborList
from ..model.elements import NUMBERS, SYMBOLS
from ..model.heads import head_kind
from ..model.inputs import Batch, Chunk, HeadRows, KindTiles, Tiles
from ..model.kernels.choose import PLAIN
from ..tasks import kinds_of
from .neighbors import Edges, cut_neighbors, find_neighbors

__all__ = ["Batch", "Chunk", "HeadRows", "collate", "edges_of"]

WEIGHTS_AS_ROWS = 8  # rows of a product that cost about as much as the weights of one more tile
WIDTH_STEP = 1  # widths are rounded up to a multiple; on a GPU a larger step would save kernel variants


def collate(
    frames: Frames,
    config: ModelConfig,
    *,
    dtype: torch.dtype = torch.float64,
    chunk_atoms: int = PLAIN.chunk_atoms,
    edges: Sequence[Edges] | None = None,
) -> Batch:
    """Turn frames of any size, head and periodicity into one batch for `config`'s model.

    `dtype` is that of edges and of atomic labels; energies stay float64. What suits a model is its `chunk_atoms`. `edges` are those of
    each frame, where somebody has them already, within the first of the descriptor's lists or further; otherwise they are found here.
    Raises DataError for an element that the model does not have, ValueError for edges that are not those of the frames.
    """
    lists = config.descriptor.lists
    types = type_indices(frames.numbers, config)
    clean = types if frames.clean_numbers is None else type_indices(frames.clean_numbers, config)
    frame = np.repeat(np.arange(len(frames)), frames.natoms)
    kinds = _has_forces(frames, config)[frame]
    table = _edge_table(edges_of(frames, lists) if edges is None else _given(edges, frames, lists), lists)
    rows = _sorted_rows(table, kinds, lists)
    chunks = tuple(_chunks(rows, kinds, dtype=dtype, chunk_atoms=chunk_atoms))
    return Batch(
        natoms=torch.from_numpy(frames.natoms.astype(np.int64)),
        frame=torch.from_numpy(frame),
        head=torch.from_numpy(frames.head.astype(np.int64)),
        types=torch.from_numpy(types),
        clean_types=torch.from_numpy(clean),
        labels=_labels(frames, config, dtype),
        order=torch.from_numpy(rows.order),
        rank=torch.from_numpy(rows.rank),
        chunks=chunks,
        heads=(heads := tuple(_head_rows(frames.head[frame][rows.order], chunks, config))),
        tiles=_tiles(heads, config),
        truncated=table.truncated,
    )


def type_indices(numbers: NDArray[np.uint8], config: ModelConfig) -> NDArray[np.int64]:
    """(A,) atomic numbers -> (A,) indices in `config.elements`; MASKED becomes `config.masked_type`."""
    index = np.full(256, -1, np.int64)
    index[[NUMBERS[symbol] for symbol in config.elements]] = np.arange(len(config.elements))
    index[MASKED] = config.masked_type
    types = index[numbers]
    if (types < 0).any():
        strange = sorted({int(z) for z in numbers[types < 0]})
        names = ", ".join(SYMBOLS[z - 1] if z <= len(SYMBOLS) else f"number {z}" for z in strange)
        raise DataError(f"the model has no type for {names}; its elements are {', '.join(config.elements)}")
    return types


def _has_forces(frames: Frames, config: ModelConfig) -> NDArray[np.int64]:
    """(F,) 1 for frames of heads that are differentiated, 0 for the others."""
    derived = np.array([head_kind(kind).has_forces for kind in config.heads.values()], np.int64)
    if len(frames) and not 0 <= frames.head.min() <= frames.head.max() < len(derived):
        raise DataError(f"a frame is for head {int(frames.head.max())}, but the model has {len(derived)}: {', '.join(config.heads)}")
    return derived[frames.head]


@dataclass(frozen=True, slots=True, kw_only=True)
class _EdgeTable:
    """All frames' edges, flat, in the caller's order of atoms (A atoms, E edges)."""

    counts: dict[str, NDArray[np.int64]]  # list -> (A,) edges within its cutoff, at most its nsel
    neighbors: NDArray[np.int64]  # (E,)
    vectors: NDArray[np.float64]  # (E, 3) Å
    truncated: dict[str, int]


def edges_of(frames: Frames, lists: dict[str, NeighborList]) -> list[Edges]:
    """The edges of each frame within the first of the descriptor's lists, which holds the others."""
    longest, starts = next(iter(lists.values())), frames.starts
    return [
        find_neighbors(
            frames.positions[starts[f] : starts[f + 1]], cell=frames.cell[f], pbc=frames.pbc[f], cutoff=longest.rcut, most=longest.nsel
        )
        for f in range(len(frames))
    ]


def _given(edges: Sequence[Edges], frames: Frames, lists: dict[str, NeighborList]) -> list[Edges]:
    """Edges from elsewhere, cut to the first of the descriptor's lists."""
    natoms = [len(part.starts) - 1 for part in edges]
    if natoms != frames.natoms.tolist():
        raise ValueError(f"edges of structures with {natoms} atoms, for frames with {frames.natoms.tolist()}")
    longest = next(iter(lists.values()))
    return [cut_neighbors(part, cutoff=longest.rcut, most=longest.nsel) for part in edges]


def _edge_table(edges: Sequence[Edges], lists: dict[str, NeighborList]) -> _EdgeTable:
    (longest, _), *shorter = lists.items()
    all_counts = np.concatenate([part.counts for part in edges])
    center = np.repeat(np.arange(len(all_counts)), all_counts)
    distances = np.concatenate([part.distances for part in edges])
    counts, truncated = {longest: all_counts}, {longest: sum(part.truncated for part in edges)}
    for name, wanted in shorter:
        counts[name], truncated[name] = _within(center, distances, wanted.rcut, wanted.nsel, len(all_counts))
    first = np.cumsum([0, *(len(part.starts) - 1 for part in edges)])
    return _EdgeTable(
        counts=counts,
        neighbors=np.concatenate([part.neighbors + start for part, start in zip(edges, first)]),
        vectors=np.concatenate([part.vectors for part in edges]),
        truncated=truncated,
    )


def _within(
    center: NDArray[np.int64], distances: NDArray[np.float64], cutoff: float, most: int, natoms: int
) -> tuple[NDArray[np.int64], int]:
    """(A,) edges within `cutoff`, at most `most`; and how many atoms had more."""
    counts = np.bincount(center[distances < cutoff], minlength=natoms)
    return np.minimum(counts, most), int(np.count_nonzero(counts > most))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """The atoms of a batch in the order of its chunks."""

    order: NDArray[np.int64]  # (A,) caller's index of each row
    rank: NDArray[np.int64]  # (A,) row of each of the caller's atoms
    starts: NDArray[np.int64]  # (A + 1,) where the edges of each of the caller's atoms begin
    table: _EdgeTable
    lists: dict[str, NeighborList]


def _sorted_rows(table: _EdgeTable, kinds: NDArray[np.int64], lists: dict[str, NeighborList]) -> _Rows:
    """Sort atoms by whether they have forces, then by the count of the last list, then by that of the first."""
    longest, *_, shortest = [*lists, *lists]
    counts = table.counts[longest]
    order = np.lexsort((counts, table.counts[shortest], kinds))
    return _Rows(order=order, rank=_inverse(order), starts=np.concatenate([[0], np.cumsum(counts)]), table=table, lists=lists)


def _chunks(rows: _Rows, kinds: NDArray[np.int64], *, dtype: torch.dtype, chunk_atoms: int) -> Iterator[Chunk]:
    """Cut the rows into runs of about `chunk_atoms`, never across the border between frames without forces and with them."""
    border = int(np.count_nonzero(kinds == 0))
    for first, last in ((0, border), (border, len(rows.order))):
        for start, stop in _runs(first, last, chunk_atoms):
            yield _chunk(rows, start, stop, with_forces=first == border, dtype=dtype)


def _runs(first: int, last: int, length: int) -> Iterator[tuple[int, int]]:
    """Split `first:last` into equal runs of about `length`."""
    if last > first:
        cuts = np.linspace(first, last, max(1, round((last - first) / length)) + 1).astype(int)
        yield from ((int(a), int(b)) for a, b in zip(cuts[:-1], cuts[1:]))


def _chunk(rows: _Rows, start: int, stop: int, *, with_forces: bool, dtype: torch.dtype) -> Chunk:
    """Lay the edges of rows `start:stop` out as a table as wide as the longest list among them."""
    atoms, table = rows.order[start:stop], rows.table
    (longest, wanted), *_ = rows.lists.items()
    counts = table.counts[longest][atoms]
    width = _rounded(counts.max(), wanted.nsel)
    row = np.repeat(np.arange(len(atoms)), counts)
    slot = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    edge = rows.starts[atoms][row] + slot
    vectors = np.zeros((len(atoms), width, 3))
    vectors[:, :, 0] = wanted.rcut + 1.0
    vectors[row, slot] = table.vectors[edge]
    neighbors = np.repeat(np.arange(start, stop)[:, None], width, axis=1)
    neighbors[row, slot] = rows.rank[table.neighbors[edge]]
    return Chunk(
        start=start,
        stop=stop,
        vectors=torch.from_numpy(vectors).to(dtype),
        neighbors=torch.from_numpy(neighbors),
        widths={name: min(_rounded(table.counts[name][atoms].max(), each.nsel), width) for name, each in rows.lists.items()},
        with_forces=with_forces,
    )


def _rounded(count: int, most: int) -> int:
    """A width of at least one slot, in steps, never above the configured number."""
    return min(max(-(-int(count) // WIDTH_STEP), 1) * WIDTH_STEP, most)


def _head_rows(head: NDArray[np.integer], chunks: tuple[Chunk, ...], config: ModelConfig) -> Iterator[HeadRows]:
    """Rows of each head that has any; `head` is (A,) by row."""
    for index, name in enumerate(config.heads):
        mine = head == index
        if mine.any():
            parts = tuple(torch.from_numpy(np.flatnonzero(mine[chunk.start : chunk.stop])) for chunk in chunks)
            yield HeadRows(name=name, rows=torch.from_numpy(np.flatnonzero(mine)), by_chunk=parts)


def _tiles(heads: Sequence[HeadRows], config: ModelConfig) -> dict[str, KindTiles]:
    """For each kind of which several heads have rows, how these are laid out."""
    out = {}
    for kind in dict.fromkeys(config.heads.values()):
        own = [head for head in heads if config.heads[head.name] == kind]
        if len(own) > 1:
            by_chunk = tuple(_lay_out([rows.numpy() for rows in parts]) for parts in zip(*(head.by_chunk for head in own)))
            atoms = _lay_out([head.rows.numpy() for head in own])
            assert atoms is not None, "they have rows"
            out[kind] = KindTiles(atoms=atoms, by_chunk=by_chunk)
    return out


def _lay_out(rows: Sequence[NDArray[np.int64]]) -> Tiles | None:
    """Tiles of the rows of each head; None where there are none."""
    counts = np.array([len(part) for part in rows])
    if not counts.any():
        return None
    heights = np.unique(-(-counts.max() // np.arange(1, len(rows) + 1)))
    tiles = -(-counts // heights[:, None])  # (heights, heads)
    height = int(heights[np.argmin(tiles.sum(1) * (heights + WEIGHTS_AS_ROWS))])
    heads = np.repeat(np.arange(len(rows)), -(-counts // height))
    first = np.cumsum(-(-counts // height)) - -(-counts // height)  # tile of each head
    slots = np.concatenate([start * height + np.arange(count) for start, count in zip(first, counts)])
    laid = np.repeat(np.array([part[0] if len(part) else 0 for part in rows])[heads], height)
    laid[slots] = np.concatenate(rows)
    whole = len(heads) == len(rows) and bool(counts.all())
    return Tiles(
        count=len(heads),
        rows=torch.from_numpy(laid),
        slots=torch.from_numpy(slots),
        heads=None if whole else torch.from_numpy(heads),
    )


def _labels(frames: Frames, config: ModelConfig, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Labels and flags of all kinds of the model's heads, in the caller's order; a kind's flags are off in frames of other kinds."""
    labels: dict[str, torch.Tensor] = {}
    for name, kind in kinds_of(config.heads).items():
        mine = np.array([its == name for its in config.heads.values()])[frames.head]
        own = kind.labels(frames, mine, dtype=dtype)
        if both := labels.keys() & own.keys():
            raise DataError(f"the task {name!r} has a label called {sorted(both)[0]!r}, and so has another task of the model")
        labels |= own
    return labels


def _inverse(order: NDArray[np.int64]) -> NDArray[np.int64]:
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank
