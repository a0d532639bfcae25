"""The pair channel of a layer: update, and attention to the other edges of the centre; see source/pairs.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .launch import PROGRAMS, launch, power
from .operator import Second, Tensors

ROWS = 16  # edges whose attention to all others is in registers at once


@dataclass(frozen=True, slots=True, kw_only=True)
class PairUpdate:
    """x (N, V, K), h2 (N, V, 3), s (N, V); M (K, H K), Z (H K, K), bias (K,), W (K, K), b, r, w, c (K,) -> (N, V, K); without attention no heads, and no M, Z, bias, w, c."""

    heads: int
    gated: bool
    phantom: int
    logit: float
    weight: float
    eps: float
    precision: str
    moving: int = 3
    bent: tuple[bool, ...] = (True, False, False)

    @property
    def weights(self) -> int:
        """M, Z, bias, W, b, r, w, c; or W, b, r."""
        return 8 if self.heads else 3

    def value(self, x: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`; z is kept."""
        out, z = torch.empty_like(x[0]), torch.empty_like(x[0]) if self.heads else x[0]
        self._forward(x, [None] * 3, z, out, tangent=False)
        return [out], [z]

    def tangents(self, x: Tensors, kept: Tensors, dots: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`; z and behind it its tangent are kept."""
        out, z = torch.empty_like(x[0]), kept[0]
        if self.heads:
            z = torch.cat([z, z])
        self._forward(x, [*dots], z, out, tangent=True)
        return [out], [z]

    def slopes(self, x: Tensors, kept: Tensors, cotangents: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`."""
        out = [torch.empty_like(x[0]), *(torch.zeros_like(one) for one in x[1:3])]
        self.add_slopes(x, kept[0], cotangents[0], out)
        return out, []

    def add_slopes(self, x: Tensors, z: Tensor, g: Tensor, out: Tensors) -> None:
        """x's written, those of h2 and s added."""
        self._reverse(x, z, g, [None] * 4, [*out, None], programs=len(x[0]), joint=False, geometry=self.heads > 0, weights=False)

    def gradients(self, x: Tensors, kept: Tensors, cotangents: Tensors, second: Second | None) -> tuple[list[Tensor | None], Tensors]:
        """See `Operator`."""
        out, programs = torch.empty_like(x[0]), max(1, min(PROGRAMS, len(x[0])))
        sizes = [one.numel() for one in self._laid(x[3 : 3 + self.weights])]
        sums = out.new_zeros(programs, sum(sizes))
        z, more = (kept[0], [None] * 4) if second is None else (second.kept_dots[0], [*second.dots, second.hats[0]])
        self._reverse(x, z, cotangents[0], more, [out, None, None, sums], programs=programs, joint=second is not None, geometry=False, weights=True)
        return [out, None, None], self._found(sums.sum(0), x[3 : 3 + self.weights], sizes)

    def _laid(self, weights: Tensors) -> Tensors:
        """In the order of the sums: M, Z, W, b, r, bias, w, c."""
        return [weights[k] for k in ((0, 1, 3, 4, 5, 2, 6, 7) if self.heads else (0, 1, 2))]

    def _found(self, total: Tensor, weights: Tensors, sizes: list[int]) -> Tensors:
        parts = [part.view_as(of) for part, of in zip(total.split(sizes), self._laid(weights))]
        return [parts[k] for k in (0, 1, 5, 2, 3, 4, 6, 7)] if self.heads else parts

    def _given(self, x: Tensors) -> list[Tensor | None]:
        if self.heads:
            return [*x[:11]]
        return [*x[:3], None, None, None, *x[3:6], None, None]

    def _constants(self, x: Tensor) -> dict[str, Any]:
        _, v, k = x.shape
        return {
            "K": k, "KP": power(k), "VP": power(v), "BI": ROWS, "H": self.heads, "GATED": self.gated, "PHANTOM": self.phantom,
            "C": self.logit, "D": self.weight, "EPS": self.eps, "PRECISION": self.precision,
        }  # fmt: skip

    def _forward(self, x: Tensors, dots: list[Any], z: Tensor, out: Tensor, *, tangent: bool) -> None:
        constants = self._constants(x[0])
        launch("pairs", "pairs_forward", [len(out)], [*self._given(x), *dots], [z, out], [out.shape[1], self.heads], **constants, TANGENT=tangent)

    def _reverse(self, x: Tensors, z: Tensor, g: Tensor, more: list[Any], out: list[Any], *, programs: int, joint: bool, geometry: bool, weights: bool) -> None:
        n, v, _ = x[0].shape
        size = out[3].shape[1] if weights else 0
        flags = {"JOINT": joint, "GEOMETRY": geometry, "WEIGHTS": weights, "SIZE": size}
        launch("pairs", "pairs_reverse", [programs], [*self._given(x), z, g, *more], out, [v, n, self.heads], **self._constants(x[0]), **flags)
