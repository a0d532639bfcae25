"""Padding: frames without labels, empty slots and spare tiles, which bring batches to few shapes; a step of a shape that was seen can be replayed.

Sizes are m 2^k with m from 5 to 8, or 3 and 4 for the widths of lists: less than a quarter, or half, is added. A padded frame has atoms
without neighbours, weight 0 and no label, so that it adds zeros to every sum. A batch so has one chunk of rows without forces and one of rows with
them, and several heads of a kind share tiles of one height, however their frames are mixed. Shapes: F frames, A atoms.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from lamdata.frames import Frames

from ..model.config import ModelConfig
from ..model.elements import NUMBERS
from ..model.inputs import HeadRows, KindTiles, Tiles
from .edge_table import EdgeTable

WEIGHTS_AS_ROWS = 8  # rows of a product that cost about as much as the weights of one more tile
WHOLE = 1 << 30  # atoms of a chunk: all


def size_above(count: int, *, steps: int = 4) -> int:
    """The smallest size that holds `count`, of `steps` (a power of 2) in each doubling."""
    step = 1 << max(0, (count - 1).bit_length() - steps.bit_length())
    return -(-count // step) * step


def width_above(count: int, most: int) -> int:
    """The same of the slots of a neighbour list: fewer sizes, never above the configured number."""
    return min(size_above(max(count, 1), steps=2), most)


def pad_frames(frames: Frames, config: ModelConfig) -> Frames:
    """The frames, and behind them those that bring their number, and the atoms of each kind of head, to a size.

    Each kind that is here gets one at least, for its first head here; the last gets what more there must be. So sizes are the next above what is there
    and as many more as there are kinds: where all batches are alike, padding is one atom for each kind.
    """
    kinds = list(config.heads.values())
    here = [[head for head in np.unique(frames.head).tolist() if kinds[head] == kind] for kind in dict.fromkeys(kinds)]
    present = [heads for heads in here if heads]
    more = [1] * len(present)
    more[-1] += size_above(len(frames)) - len(frames)
    natoms, head = [], []
    for heads, count in zip(present, more):
        atoms = int(frames.natoms[np.isin(frames.head, heads)].sum())
        natoms += [*[1] * (count - 1), 1 + size_above(atoms) - atoms]
        head += [heads[0]] * count
    numbers = np.full(sum(natoms), NUMBERS[config.elements[0]], np.uint8)
    empty = Frames.from_arrays(
        numbers=numbers, positions=np.zeros((len(numbers), 3), frames.positions.dtype), natoms=np.array(natoms, np.int32)
    )
    typed = {name: getattr(empty, name).astype(getattr(frames, name).dtype) for name in ("cell", "forces", "virial")}
    return Frames.concatenate([frames, empty.with_(head=np.array(head, np.int32), weight=np.zeros(len(natoms)), **typed)])


def pad_edges(table: EdgeTable, natoms: int) -> EdgeTable:
    """A table of `natoms` atoms, of which the last have no edge."""
    more = np.zeros(natoms - len(table.begins), np.int64)
    counts = {name: np.concatenate([count, more]) for name, count in table.counts.items()}
    return replace(table, begins=np.concatenate([table.begins, more]), counts=counts)


def pad_heads(
    heads: tuple[HeadRows, ...], cuts: NDArray[np.int64], config: ModelConfig
) -> tuple[tuple[HeadRows, ...], dict[str, KindTiles]]:
    """Rows of heads, and tiles, in shapes that follow from the rows of a kind and from which heads there are; `cuts` are those of the chunks.

    Where a kind has tiles, these say which rows are whose: its heads have none by themselves.
    """
    none = torch.empty(0, dtype=torch.int64)
    several: dict[str, KindTiles] = {}
    for kind in dict.fromkeys(config.heads.values()):
        own = [head.rows.numpy() for head in heads if config.heads[head.name] == kind]
        if len(own) > 1:
            start = int(cuts[np.searchsorted(cuts, own[0][0], side="right") - 1])
            places = [None if cut != start else _tiles([rows - start for rows in own]) for cut in cuts[:-1].tolist()]
            several[kind] = KindTiles(atoms=_tiles(own), by_chunk=tuple(places))
    alone = (head if config.heads[head.name] not in several else HeadRows(name=head.name, rows=none, by_chunk=()) for head in heads)
    return tuple(alone), several


def _tiles(rows: list[NDArray[np.int64]]) -> Tiles:
    """Tiles of one height for the rows of H heads, as many as any mix of so many rows may need; what is left over repeats a row."""
    counts, n, heads = np.array([len(own) for own in rows]), sum(map(len, rows)), len(rows)
    height = max(1, round((WEIGHTS_AS_ROWS * n / heads) ** 0.5))
    tiles = -(-counts // height)
    whole = n // height + heads
    names = np.zeros(whole, np.int64)
    names[: tiles.sum()] = np.repeat(np.arange(heads), tiles)
    first = (np.cumsum(tiles) - tiles) * height
    slots = np.arange(n) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    laid = np.repeat(np.array([own[0] for own in rows])[names], height)
    laid[slots] = np.concatenate(rows)
    return Tiles(count=whole, rows=torch.from_numpy(laid), slots=torch.from_numpy(slots), heads=torch.from_numpy(names))
