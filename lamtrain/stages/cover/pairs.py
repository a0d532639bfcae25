"""Neighbours -> the pairs of elements that are within the cutoff of each other, and those of them that training has nowhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lamdata.elements import SYMBOLS

from ...data.neighbors import Edges
from .sketch import Sketch

Pair = tuple[int, int]  # atomic numbers, the smaller first


def pair_codes(numbers: NDArray[np.uint8], edges: Edges) -> NDArray[np.int64]:
    """(n,) pairs of elements that are neighbours, as 256 times the smaller atomic number plus the larger."""
    one, other = np.repeat(numbers, edges.counts).astype(np.int64), numbers[edges.neighbors].astype(np.int64)
    return np.unique(np.minimum(one, other) * 256 + np.maximum(one, other))


def pairs_of(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n, 2) atomic numbers."""
    return np.stack([codes >> 8, codes & 255], axis=-1)


def unseen_pairs(numbers: NDArray[np.uint8], edges: Edges, sketch: Sketch) -> tuple[Pair, ...]:
    """Pairs of elements that are neighbours here, and nowhere in training."""
    codes = pair_codes(numbers, edges)
    known = sketch.pairs[:, 0] * 256 + sketch.pairs[:, 1]
    return tuple((one, other) for one, other in pairs_of(codes[~np.isin(codes, known)]).tolist())


def pair_name(pair: Pair) -> str:
    """As "C-H"."""
    return "-".join(SYMBOLS[z] for z in pair)
