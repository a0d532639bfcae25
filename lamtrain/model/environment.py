"""Edges -> the environment matrix: s [1/r, x/r^2, y/r^2, z/r^2], shifted and scaled by statistics of the centre's type.

N atoms, W edge slots. Equations: env_mat.py of DeePMD-kit; Zhang et al., npj Comput. Mater. 10, 293 (2024).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


def switch(r: Tensor, rcut_smth: float, rcut: float) -> Tensor:
    """1 below `rcut_smth`, 0 from `rcut` on, and a fifth-order step between, smooth to the second derivative."""
    u = ((r - rcut_smth) / (rcut - rcut_smth)).clamp(0.0, 1.0)
    return u * u * u * (-6.0 * u * u + 15.0 * u - 10.0) + 1.0


def type_pair_mask(exclude_types: list[tuple[int, int]], ntypes: int) -> Tensor | None:
    """(ntypes, ntypes) 0 where two types do not see each other, else 1; None when all do."""
    if not exclude_types:
        return None
    mask = torch.ones(ntypes, ntypes)
    for a, b in exclude_types:
        mask[a, b] = mask[b, a] = 0.0
    return mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """What every block reads of a chunk's edges, computed once; blocks with a shorter list take the leading slots."""

    vectors: Tensor  # (N, W, 3) Å
    r: Tensor  # (N, W) Å
    inverse: Tensor  # (N, W) 1 / (r + env_protection)
    seen: Tensor | None  # (N, W) 0 where the pair of types is excluded; None when none is

    @classmethod
    def of(cls, vectors: Tensor, *, env_protection: float, seen: Tensor | None) -> Geometry:
        r = (vectors * vectors).sum(-1).sqrt()
        return cls(vectors=vectors, r=r, inverse=1.0 / (r + env_protection), seen=seen)

    def leading(self, width: int) -> Geometry:
        """The first `width` slots."""
        if width == self.r.shape[1]:
            return self
        seen = None if self.seen is None else self.seen[:, :width]
        return Geometry(vectors=self.vectors[:, :width], r=self.r[:, :width], inverse=self.inverse[:, :width], seen=seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The environment matrix of one block; slots without a visible neighbour hold zeros."""

    switch: Tensor  # (N, W) 1 near, 0 from the cutoff on
    radial: Tensor  # (N, W) its first column
    direction: Tensor  # (N, W, 3) its other columns


class EnvironmentMatrix(nn.Module):
    """The environment matrix of a block with its own cutoff and statistics.

    Buffers: `mean`, `std` (ntypes, 4), by the centre's type; the same for all slots of an atom.
    """

    def __init__(self, *, rcut: float, rcut_smth: float, ntypes: int, set_davg_zero: bool):
        super().__init__()
        self.rcut, self.rcut_smth, self.centered = rcut, rcut_smth, not set_davg_zero
        self.register_buffer("mean", torch.zeros(ntypes, 4))
        self.register_buffer("std", torch.ones(ntypes, 4))

    def forward(self, geometry: Geometry, types: Tensor) -> Environment:
        """`types` (N,) of the centres."""
        s = switch(geometry.r, self.rcut_smth, self.rcut)
        if geometry.seen is not None:
            s = s * geometry.seen
        std = self.std[types].unsqueeze(1)
        radial = s * geometry.inverse
        if self.centered:
            radial = radial - self.real(geometry) * self.mean[types, 0].unsqueeze(1)
        direction = geometry.vectors * (s * geometry.inverse.square()).unsqueeze(-1)
        return Environment(switch=s, radial=radial / std[..., 0], direction=direction / std[..., 1:])

    def real(self, geometry: Geometry) -> Tensor:
        """(N, W) 1 where the slot holds a neighbour that is seen, 0 where it is padding, out of reach or excluded."""
        real = (geometry.r < self.rcut).to(geometry.r.dtype)
        return real if geometry.seen is None else real * geometry.seen

    def shift(self, types: Tensor) -> Tensor:
        """(N,) radial value of a padded slot in the reference: (0 - mean) / std."""
        return -(self.mean / self.std)[types, 0]
