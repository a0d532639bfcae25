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
from .edge_table import EdgeTable, find_edges, given_edges, lay_out
from .neighbors import Edges
from .padding import WEIGHTS_AS_ROWS, WHOLE, pad_edges, pad_frames, pad_heads, width_above

__all__ = ["Batch", "Chunk", "HeadRows", "collate"]


def collate(
    frames: Frames,
    config: ModelConfig,
    *,
    dtype: torch.dtype = torch.float64,
    chunk_atoms: int = PLAIN.chunk_atoms,
    edges: Sequence[Edges] | None = None,
    padded: bool = False,
) -> Batch:
    """Turn frames of any size, head and periodicity into one batch for `config`'s model.

    `dtype` is that of edges and of atomic labels; energies stay float64. What suits a model is its `chunk_atoms`. `edges` are those of
    each frame, where somebody has them already, within the first of the descriptor's lists or further; otherwise they are found here.
    `padded` brings the batch to one of few shapes (`padding.py`): its own frames and atoms come first, as without.
    Raises DataError for an element that the model does not have, ValueError for edges that are not those of the frames.
    """
    lists = config.descriptor.lists
    table = find_edges(frames, lists) if edges is None else given_edges(edges, frames, lists)
    if padded:
        own, frames, chunk_atoms = len(frames.numbers), pad_frames(frames, config), WHOLE
        table = pad_edges(table, len(frames.numbers))
    types = type_indices(frames.numbers, config)
    clean = types if frames.clean_numbers is None else type_indices(frames.clean_numbers, config)
    frame = np.repeat(np.arange(len(frames)), frames.natoms)
    kinds = _has_forces(frames, config)[frame]
    rows = _sorted_rows(table, kinds, lists, chunk_atoms=chunk_atoms)
    chunks = tuple(_chunks(table, rows, lists, dtype=dtype, padded=padded))
    heads = tuple(_head_rows(frames.head[frame][rows.order], rows.cuts, config))
    heads, tiles = pad_heads(heads, rows.cuts, config) if padded else (heads, _tiles(heads, rows.cuts, config))
    return Batch(
        natoms=torch.from_numpy(frames.natoms.astype(np.int64)),
        frame=torch.from_numpy(frame),
        head=torch.from_numpy(frames.head.astype(np.int64)),
        types=torch.from_numpy(types),
        clean_types=torch.from_numpy(clean),
        weight=None if (frames.weight == 1.0).all() else torch.from_numpy(frames.weight.astype(np.float64)),
        labels=_labels(frames, config, dtype),
        order=torch.from_numpy(rows.order),
        rank=torch.from_numpy(rows.rank),
        chunks=chunks,
        heads=heads,
        tiles=tiles,
        truncated=table.truncated,
        padding=len(types) - own if padded else 0,
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
class _Rows:
    """The atoms of a batch in the order of its chunks."""

    order: NDArray[np.int64]  # (A,) caller's index of each row
    rank: NDArray[np.int64]  # (A,) row of each of the caller's atoms
    cuts: NDArray[np.int64]  # (chunks + 1,) where each chunk begins, and the end
    border: int  # rows without forces, which come before those with them


def _sorted_rows(table: EdgeTable, kinds: NDArray[np.int64], lists: dict[str, NeighborList], *, chunk_atoms: int) -> _Rows:
    """Sort atoms by whether they have forces, then by the count of the last list, then by that of the first.

    They are cut into runs of about `chunk_atoms`, never across the border between frames without forces and with them.
    """
    longest, *_, shortest = [*lists, *lists]
    keys = (table.counts[longest], table.counts[shortest], kinds)
    order = np.lexsort([key.astype(np.min_scalar_type(key.max(initial=0))) for key in keys])  # few bytes are sorted by radix
    border = int(np.count_nonzero(kinds == 0))
    cuts = [0, *_runs(0, border, chunk_atoms), *_runs(border, len(order), chunk_atoms)]
    return _Rows(order=order, rank=_inverse(order), cuts=np.array(cuts), border=border)


def _runs(first: int, last: int, length: int) -> list[int]:
    """Where the runs end if `first:last` is split into equal ones of about `length`."""
    if last == first:
        return []
    return [int(end) for end in np.linspace(first, last, max(1, round((last - first) / length)) + 1)[1:]]


def _chunks(table: EdgeTable, rows: _Rows, lists: dict[str, NeighborList], *, dtype: torch.dtype, padded: bool) -> Iterator[Chunk]:
    """Lay the edges of each run of rows out as a table as wide as the longest list among them, or `padded` to a width above it."""
    longest, first = next(iter(lists.values())), rows.cuts[:-1]
    widths = {name: np.maximum(np.maximum.reduceat(table.counts[name][rows.order], first), 1) for name in lists}
    if padded:
        widths = {name: np.array([width_above(one, lists[name].nsel) for one in own.tolist()]) for name, own in widths.items()}
    (widest, *_), names = widths.values(), list(lists)
    laid = lay_out(table, rows.order, rows.rank, cuts=rows.cuts, widths=widest, far=longest.rcut + 1.0, dtype=dtype)
    of_lists = np.minimum(list(widths.values()), widest).T.tolist()
    for start, stop, mine, (vectors, neighbors) in zip(first.tolist(), rows.cuts[1:].tolist(), of_lists, laid):
        yield Chunk(
            start=start,
            stop=stop,
            vectors=vectors,
            neighbors=neighbors,
            widths=dict(zip(names, mine)),
            with_forces=start >= rows.border,
        )


def _head_rows(head: NDArray[np.integer], cuts: NDArray[np.int64], config: ModelConfig) -> Iterator[HeadRows]:
    """Rows of each head that has any; `head` is (A,) by row."""
    sizes, heads, chunks = np.diff(cuts), len(config.heads), len(cuts) - 1
    order, first = np.argsort(head, kind="stable"), np.repeat(cuts[:-1], sizes)
    counts = np.bincount(head * chunks + np.repeat(np.arange(chunks), sizes), minlength=heads * chunks).reshape(heads, chunks)
    by_head = counts.sum(1).tolist()
    of_heads, in_chunks = torch.split(torch.from_numpy(order), by_head), torch.split(torch.from_numpy(order - first[order]), by_head)
    for name, rows, inside, parts in zip(config.heads, of_heads, in_chunks, counts.tolist()):
        if len(rows):
            yield HeadRows(name=name, rows=rows, by_chunk=torch.split(inside, parts))


def _tiles(heads: Sequence[HeadRows], cuts: NDArray[np.int64], config: ModelConfig) -> dict[str, KindTiles]:
    """For each kind of which several heads have rows, how these are laid out."""
    out = {}
    for kind in dict.fromkeys(config.heads.values()):
        own = [head.rows.numpy() for head in heads if config.heads[head.name] == kind]
        if len(own) > 1:
            rows, which = np.concatenate(own), np.repeat(np.arange(len(own)), [len(part) for part in own])
            chunk = np.searchsorted(cuts, rows, side="right") - 1
            counts = np.bincount(chunk * len(own) + which, minlength=(len(cuts) - 1) * len(own)).reshape(-1, len(own))
            (atoms,) = _lay_out(rows, counts.sum(0, keepdims=True))
            assert atoms is not None, "they have rows"
            out[kind] = KindTiles(atoms=atoms, by_chunk=tuple(_lay_out((rows - cuts[chunk])[np.argsort(chunk, kind="stable")], counts)))
    return out


def _lay_out(rows: NDArray[np.int64], counts: NDArray[np.int64]) -> Iterator[Tiles | None]:
    """Tiles for each of K places, of the rows that each of H heads has there; None where there are none.

    `counts` is (K, H), and `rows` are those of the first place, head after head, then those of the next.
    """
    places, heads = counts.shape
    heights = np.maximum(-(-counts.max(1, keepdims=True) // np.arange(heads, 0, -1)), 1)  # (K, H), those to choose from
    tiles = -(-counts[:, None] // heights[:, :, None])  # (K, H, heads)
    height = np.take_along_axis(heights, np.argmin(tiles.sum(2) * (heights + WEIGHTS_AS_ROWS), 1)[:, None], 1)  # (K, 1)
    tiles = -(-counts // height)
    sizes, first = tiles.sum(1), (np.cumsum(tiles, 1) - tiles) * height  # slot that each head begins at
    many, begins = counts.ravel(), np.cumsum(counts) - counts.ravel()
    slots = np.arange(len(rows)) + np.repeat(first.ravel() - begins, many)
    laid = np.repeat(rows[np.minimum(begins, len(rows) - 1)], (tiles * height).ravel())
    room, there = sizes * height[:, 0], counts.sum(1)
    laid[slots + np.repeat(np.cumsum(room) - room, there)] = rows
    names = np.repeat(np.tile(np.arange(heads), places), tiles.ravel())
    whole = (sizes == heads) & counts.all(1)
    parts = (torch.split(torch.from_numpy(all_), each.tolist()) for all_, each in ((laid, room), (slots, there), (names, sizes)))
    for count, each_its_own, its_rows, its_slots, its_heads in zip(sizes.tolist(), whole.tolist(), *parts):
        yield Tiles(count=count, rows=its_rows, slots=its_slots, heads=None if each_its_own else its_heads) if count else None


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
