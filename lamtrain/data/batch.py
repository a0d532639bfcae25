"""Frames -> Batch: type indices, neighbour lists, rows sorted by neighbour count, labels as tensors.

The only place that knows which atomic number is which type index. Runs in loader threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lamdata.errors import DataError
from lamdata.frames import MASKED, Frames

from ..model.config import ModelConfig
from ..model.elements import NUMBERS, SYMBOLS
from ..model.inputs import Batch, Chunk, HeadRows
from ..model.kernels.choose import PLAIN
from .neighbors import find_neighbors

__all__ = ["Batch", "Chunk", "HeadRows", "collate"]

WIDTH_STEP = 1  # widths are rounded up to a multiple; on a GPU a larger step would save kernel variants


def collate(
    frames: Frames,
    config: ModelConfig,
    *,
    dtype: torch.dtype = torch.float64,
    chunk_atoms: int = PLAIN.chunk_atoms,
) -> Batch:
    """Turn frames of any size, head and periodicity into one batch for `config`'s model.

    `dtype` is that of edges and of atomic labels; energies stay float64. What suits a model is its `chunk_atoms`.
    Raises DataError for an element that the model does not have.
    """
    types = type_indices(frames.numbers, config)
    clean = types if frames.clean_numbers is None else type_indices(frames.clean_numbers, config)
    frame = np.repeat(np.arange(len(frames)), frames.natoms)
    table = _edge_table(frames, config)
    kinds = _head_kinds(frames, config)[frame]
    order = np.lexsort((table.counts, table.repformer_counts, kinds))
    chunks = tuple(_chunks(table, order, kinds, config, dtype=dtype, chunk_atoms=chunk_atoms))
    return Batch(
        **_labels(frames, dtype),
        frame=torch.from_numpy(frame),
        types=torch.from_numpy(types),
        lead_types=torch.from_numpy(types[frames.starts[:-1]][frame]),
        masked=torch.from_numpy(frames.numbers == MASKED),
        clean_types=torch.from_numpy(clean),
        order=torch.from_numpy(order),
        rank=torch.from_numpy(_inverse(order)),
        chunks=chunks,
        heads=tuple(_head_rows(frames.head[frame][order], chunks, config)),
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


def _head_kinds(frames: Frames, config: ModelConfig) -> NDArray[np.int64]:
    """(F,) 1 for frames of energy heads, 0 for frames of denoise heads."""
    kinds = np.array([kind == "energy_force" for kind in config.heads.values()], np.int64)
    if len(frames) and not 0 <= frames.head.min() <= frames.head.max() < len(kinds):
        raise DataError(f"a frame is for head {int(frames.head.max())}, but the model has {len(kinds)}: {', '.join(config.heads)}")
    return kinds[frames.head]


@dataclass(frozen=True, slots=True, kw_only=True)
class _EdgeTable:
    """All frames' edges, flat, in the caller's order of atoms (A atoms, E edges)."""

    counts: NDArray[np.int64]  # (A,)
    repformer_counts: NDArray[np.int64]  # (A,) edges within the repformer's cutoff, at most its nsel
    three_body_counts: NDArray[np.int64]  # (A,)
    neighbors: NDArray[np.int64]  # (E,)
    vectors: NDArray[np.float64]  # (E, 3) Å
    truncated: tuple[int, int, int]


def _edge_table(frames: Frames, config: ModelConfig) -> _EdgeTable:
    wide, narrow = config.descriptor.repinit, config.descriptor.repformer
    starts = frames.starts
    lists = [
        find_neighbors(
            frames.positions[starts[f] : starts[f + 1]], cell=frames.cell[f], pbc=frames.pbc[f], cutoff=wide.rcut, most=wide.nsel
        )
        for f in range(len(frames))
    ]
    counts = np.concatenate([edges.counts for edges in lists])
    center = np.repeat(np.arange(len(counts)), counts)
    distances = np.concatenate([edges.distances for edges in lists])
    near, near_cut = _within(center, distances, narrow.rcut, narrow.nsel, len(counts))
    three, three_cut = _within(center, distances, wide.three_body_rcut, wide.three_body_sel, len(counts))
    return _EdgeTable(
        counts=counts,
        repformer_counts=near,
        three_body_counts=three,
        neighbors=np.concatenate([edges.neighbors + start for edges, start in zip(lists, starts)]),
        vectors=np.concatenate([edges.vectors for edges in lists]),
        truncated=(sum(edges.truncated for edges in lists), near_cut, three_cut if wide.use_three_body else 0),
    )


def _within(center: NDArray, distances: NDArray, cutoff: float, most: int, natoms: int) -> tuple[NDArray[np.int64], int]:
    """(A,) edges within `cutoff`, at most `most`; and how many atoms had more."""
    counts = np.bincount(center[distances < cutoff], minlength=natoms)
    return np.minimum(counts, most), int(np.count_nonzero(counts > most))


def _chunks(
    table: _EdgeTable, order: NDArray, kinds: NDArray, config: ModelConfig, *, dtype: torch.dtype, chunk_atoms: int
) -> Iterator[Chunk]:
    """Cut the rows into runs of about `chunk_atoms`, never across the border between denoise and energy frames."""
    rank, starts = _inverse(order), np.concatenate([[0], np.cumsum(table.counts)])
    border = int(np.count_nonzero(kinds == 0))
    for first, last in ((0, border), (border, len(order))):
        for start, stop in _runs(first, last, chunk_atoms):
            yield _chunk(table, order, rank, starts, start, stop, config, with_forces=first == border, dtype=dtype)


def _runs(first: int, last: int, length: int) -> Iterator[tuple[int, int]]:
    """Split `first:last` into equal runs of about `length`."""
    if last > first:
        cuts = np.linspace(first, last, max(1, round((last - first) / length)) + 1).astype(int)
        yield from ((int(a), int(b)) for a, b in zip(cuts[:-1], cuts[1:]))


def _chunk(
    table: _EdgeTable,
    order: NDArray,
    rank: NDArray,
    starts: NDArray,
    start: int,
    stop: int,
    config: ModelConfig,
    *,
    with_forces: bool,
    dtype: torch.dtype,
) -> Chunk:
    """Lay the edges of rows `start:stop` out as a table as wide as the longest list among them."""
    wide, narrow = config.descriptor.repinit, config.descriptor.repformer
    atoms = order[start:stop]
    counts = table.counts[atoms]
    width = _rounded(counts.max(), wide.nsel)
    row = np.repeat(np.arange(len(atoms)), counts)
    slot = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    edge = starts[atoms][row] + slot
    vectors = np.zeros((len(atoms), width, 3))
    vectors[:, :, 0] = wide.rcut + 1.0
    vectors[row, slot] = table.vectors[edge]
    neighbors = np.repeat(np.arange(start, stop)[:, None], width, axis=1)
    neighbors[row, slot] = rank[table.neighbors[edge]]
    return Chunk(
        start=start,
        stop=stop,
        vectors=torch.from_numpy(vectors).to(dtype),
        neighbors=torch.from_numpy(neighbors),
        repformer_width=min(_rounded(table.repformer_counts[atoms].max(), narrow.nsel), width),
        three_body_width=min(_rounded(table.three_body_counts[atoms].max(), wide.three_body_sel), width),
        with_forces=with_forces,
    )


def _rounded(count: int, most: int) -> int:
    """A width of at least one slot, in steps, never above the configured number."""
    return min(max(-(-int(count) // WIDTH_STEP), 1) * WIDTH_STEP, most)


def _head_rows(head: NDArray, chunks: tuple[Chunk, ...], config: ModelConfig) -> Iterator[HeadRows]:
    """Rows of each head that has any; `head` is (A,) by row."""
    for index, name in enumerate(config.heads):
        mine = head == index
        if mine.any():
            parts = tuple(torch.from_numpy(np.flatnonzero(mine[chunk.start : chunk.stop])) for chunk in chunks)
            yield HeadRows(name=name, rows=torch.from_numpy(np.flatnonzero(mine)), by_chunk=parts)


def _labels(frames: Frames, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Labels and flags as tensors, in the caller's order."""
    natoms = len(frames.numbers)
    clean = frames.noise is None
    return {
        "natoms": torch.from_numpy(frames.natoms.astype(np.int64)),
        "head": torch.from_numpy(frames.head.astype(np.int64)),
        "energy": torch.from_numpy(frames.energy.astype(np.float64)),
        "forces": torch.from_numpy(np.ascontiguousarray(frames.forces)).to(dtype),
        "virial": torch.from_numpy(np.ascontiguousarray(frames.virial)).to(dtype),
        "has_energy": torch.from_numpy(frames.has_energy.copy()),
        "has_forces": torch.from_numpy(frames.has_forces.copy()),
        "has_virial": torch.from_numpy(frames.has_virial.copy()),
        "displacement": torch.zeros(natoms, 3, dtype=dtype) if clean else torch.from_numpy(-frames.noise).to(dtype),
        "noised": torch.zeros(natoms, dtype=torch.bool) if frames.noised is None else torch.from_numpy(frames.noised.copy()),
    }


def _inverse(order: NDArray[np.int64]) -> NDArray[np.int64]:
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank
