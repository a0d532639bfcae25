"""The formulas that the fused kernels replace, where they are not written in the model's own files."""

from __future__ import annotations

import torch
from torch import Tensor

from ..gather import gather_rows, join


def neighbor_sums(
    g1: Tensor, u: list[Tensor] | None, h: list[Tensor] | None, neighbors: list[Tensor]
) -> tuple[Tensor | None, Tensor | None]:
    """sum_j u_ij g1_j (A, d), elementwise, and sum_j h_ij g1_j (A, 3, d).

    `g1` (A, d); for each chunk of consecutive rows `u` (N, V, d), `h` (N, 3, V), `neighbors` (N, V). A factor that is None has
    no sum.
    """
    if u is None and h is None:
        return None, None
    gathered = gather_rows(g1, neighbors)
    scaled = None if u is None else join([(a * g).sum(1) for a, g in zip(u, gathered)])
    turned = None if h is None else join([torch.bmm(a, g) for a, g in zip(h, gathered)])
    return scaled, turned


def symmetrize(moments: list[Tensor], axis: int) -> Tensor:
    """Sums H (A, 3, d), each of a width d of its own -> the invariants H[:, :axis]^T H / 3 side by side, (A, axis * sum of all d)."""
    return join([torch.bmm(h[:, :, :axis].transpose(1, 2), h).flatten(1) * (1.0 / 3.0) for h in moments], -1)
