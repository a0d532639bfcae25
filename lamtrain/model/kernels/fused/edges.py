"""Sums over edges without a net in them; see cpp/edges.h."""

from __future__ import annotations

from torch import Tensor

from ..native import ready, run


def sums(slopes: Tensor, vectors: Tensor, neighbors: Tensor, forces: Tensor, start: int) -> Tensor:
    """Add what slopes (N, W, 3) of rows from `start` on are as forces to `forces` (A, 3), by row; return virials (N, 3, 3)."""
    slopes, vectors = ready(slopes, vectors)
    virials = slopes.new_empty(len(slopes), 3, 3)
    run("edges_sums", slopes, [slopes, vectors, neighbors.contiguous(), forces, virials], [*slopes.shape[:2], len(forces), start])
    return virials
