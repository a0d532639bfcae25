"""Edges -> the environment matrix: s [1/r, x/r^2, y/r^2, z/r^2], shifted and scaled by statistics of the centre's type.

N atoms, W edge slots. Equations: env_mat.py of DeePMD-kit; Zhang et al., npj Comput. Mater. 10, 293 (2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from .kernels.choose import PLAIN, Kernels
from .options import NeighborList


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


class Geometry:
    """What every block reads of a chunk's edges, computed when first asked for; blocks with a shorter list take the leading slots."""

    def __init__(self, vectors: Tensor, *, env_protection: float, seen: Tensor | None):
        self.vectors = vectors  # (N, W, 3) Å
        self.env_protection = env_protection
        self.seen = seen  # (N, W) 0 where the pair of types is excluded; None when none is
        self._whole: Geometry | None = None

    @cached_property
    def r(self) -> Tensor:
        """(N, W) Å."""
        if self._whole is not None:
            return self._whole.r[:, : self.vectors.shape[1]]
        return (self.vectors * self.vectors).sum(-1).sqrt()

    @cached_property
    def inverse(self) -> Tensor:
        """(N, W) 1 / (r + env_protection)."""
        if self._whole is not None:
            return self._whole.inverse[:, : self.vectors.shape[1]]
        return 1.0 / (self.r + self.env_protection)

    def leading(self, width: int) -> Geometry:
        """The first `width` slots."""
        if width == self.vectors.shape[1]:
            return self
        seen = None if self.seen is None else self.seen[:, :width]
        part = Geometry(self.vectors[:, :width], env_protection=self.env_protection, seen=seen)
        part._whole = self
        return part


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

    kernels: Kernels = PLAIN
    mean: Tensor
    std: Tensor

    def __init__(self, block: NeighborList, ntypes: int):
        super().__init__()
        self.rcut, self.rcut_smth, self.centered = block.rcut, block.rcut_smth, not block.set_davg_zero
        self.register_buffer("mean", torch.zeros(ntypes, 4))
        self.register_buffer("std", torch.ones(ntypes, 4))

    def forward(self, geometry: Geometry, types: Tensor) -> Environment:
        """`types` (N,) of the centres."""
        if self.kernels.environment is not None:
            mean = self.mean[types, 0] if self.centered else torch.zeros_like(self.mean[types, 0])
            s, radial, direction = self.kernels.environment(
                geometry.vectors, geometry.seen, mean, self.std[types], self.rcut_smth, self.rcut, geometry.env_protection
            )
            return Environment(switch=s, radial=radial, direction=direction)
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
