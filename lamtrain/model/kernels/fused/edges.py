"""Lists and sums of edges without a net in them; see cpp/edges.h."""

from __future__ import annotations

import torch
from torch import Tensor

from ..native import ready, run


def near(
    points: Tensor, neighbors: Tensor, offsets: Tensor, *, cutoff: float, slots: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """`points` (N, 3), `neighbors` (N, M), `offsets` (3, N, M) float64 -> vectors (N, slots, 3), neighbours (N, slots), edges of each atom (N,).

    An empty slot is (cutoff + 1, 0, 0) from the atom itself. Where an atom has more edges than slots, the nearest are in them.
    """
    n, m = neighbors.shape
    vectors, rows, counts = torch.empty(n, slots, 3, dtype=dtype), neighbors.new_empty(n, slots), neighbors.new_empty(n)
    run("edges_near", vectors, [points, neighbors, offsets, vectors, rows, counts], [n, m, slots], [cutoff])
    return vectors, rows, counts


def sums(slopes: Tensor, vectors: Tensor, neighbors: Tensor, forces: Tensor, start: int) -> Tensor:
    """Add what slopes (N, W, 3) of rows from `start` on are as forces to `forces` (A, 3), by row; return virials (N, 3, 3)."""
    slopes, vectors = ready(slopes, vectors)
    virials = slopes.new_empty(len(slopes), 3, 3)
    run("edges_sums", slopes, [slopes, vectors, neighbors.contiguous(), forces, virials], [*slopes.shape[:2], len(forces), start])
    return virials
