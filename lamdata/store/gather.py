"""Gather: copy frames out of some `Frames`, in any order, into new ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..frames import ATOM_FIELDS, FRAME_FIELDS, Frames
from ..places.pool import POOL
from .rows import copy_rows


def reorder(frames: Frames, order: NDArray[np.integer]) -> Frames:
    """Frames in the given order, copied: `Frames.take`, several times faster."""
    return gather([frames], order)


def gather(parts: Sequence[Frames], order: NDArray[np.integer]) -> Frames:
    """Frame j of the result is frame `order[j]` of the parts, which are counted one after the other.

    As in `Frames.concatenate`, float64 if any part is, and where only some parts carry noise or masks, the others are clean.
    """
    values: dict[str, Any] = {}
    for name in FRAME_FIELDS:
        columns = [getattr(part, name) for part in parts]
        values[name] = np.take(columns[0] if len(parts) == 1 else np.concatenate(columns), order, axis=0)
    ends = np.cumsum(values["natoms"], dtype=np.int64)
    targets = ends - values["natoms"]
    by_source = np.argsort(order)
    borders = np.searchsorted(order[by_source], np.cumsum([0, *map(len, parts)])).tolist()
    chosen = [by_source[first:last] for first, last in zip(borders, borders[1:])]
    ranges, before = [], 0
    for part, places in zip(parts, chosen):
        rows, starts = order[places] - before, part.starts
        ranges.append((starts[rows], part.natoms[rows].astype(np.int64), targets[places]))
        before += len(part)
    atoms = int(ends[-1]) if len(ends) else 0
    for name in ATOM_FIELDS:
        columns = [getattr(part, name) for part in parts]
        if all(column is None for column in columns):
            values[name] = None
            continue
        columns = [part.clean(name) if column is None else column for part, column in zip(parts, columns)]
        values[name] = POOL.take((atoms, *columns[0].shape[1:]), np.result_type(*columns))
        for column, (begins, lengths, places) in zip(columns, ranges):
            copy_rows(column, begins, lengths, values[name], places)
    return Frames(**values)
