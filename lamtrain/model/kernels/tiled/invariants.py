"""Repinit's invariants of the moment, D = c M^T M[:, :axis]: products as small as the matrix library takes in one call for all atoms."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .operators import Second, Tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariants:
    """M (N, 4, m) -> (N, m, axis), c sum_x M_xo M_xa."""

    axis: int
    scale: float
    moving: int = 1
    weights: int = 0
    bent: tuple[bool, ...] = (True,)

    def value(self, x: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`."""
        return [self._product(x[0], x[0])], []

    def tangents(self, x: Tensors, kept: Tensors, dots: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`."""
        out = self._product(x[0], dots[0])
        return [out.baddbmm_(dots[0].transpose(1, 2), x[0][:, :, : self.axis], alpha=self.scale)], []

    def slopes(self, x: Tensors, kept: Tensors, cotangents: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`."""
        return [self._back(torch.empty_like(x[0]), x[0], cotangents[0], beta=0.0)], []

    def gradients(self, x: Tensors, kept: Tensors, cotangents: Tensors, second: Second | None) -> tuple[list[Tensor | None], Tensors]:
        """See `Operator`."""
        out = self._back(torch.empty_like(x[0]), x[0], cotangents[0], beta=0.0)
        return [out if second is None else self._back(out, second.dots[0], second.hats[0], beta=1.0)], []

    def _product(self, left: Tensor, right: Tensor) -> Tensor:
        out = left.new_empty(len(left), left.shape[2], self.axis)
        return out.baddbmm_(left.transpose(1, 2), right[:, :, : self.axis], beta=0.0, alpha=self.scale)

    def _back(self, out: Tensor, m: Tensor, g: Tensor, *, beta: float) -> Tensor:
        """`beta` out and the cotangent of M: M[:, :axis] g^T, and M g added to its first columns."""
        out.baddbmm_(m[:, :, : self.axis], g.transpose(1, 2), beta=beta, alpha=self.scale)
        out[:, :, : self.axis].baddbmm_(m, g, alpha=self.scale)
        return out
