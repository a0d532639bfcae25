"""The pair channel of a layer: update, and attention to the other edges of the centre; see source/pairs.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .launch import PROGRAMS, launch, power
from .operator import Second, Tensors

ROWS, WARPS = 16, 8  # edges whose attention to all others is in registers at once, and the warps that share them


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
        out, (n, v, k), count = torch.empty_like(x[0]), x[0].shape, self.weights
        programs, joint = max(1, min(PROGRAMS, n)), second is not None
        z, more = (kept[0], [None] * 4) if second is None else (second.kept_dots[0], [*second.dots, second.hats[0]])
        sums = out.new_zeros(programs, k * k + (5 if self.heads else 2) * k)
        self._reverse(x, z, cotangents[0], more, [out, None, None, sums], programs=programs, joint=joint, geometry=False, weights=True)
        w, *vectors = [part.view(shape) for part, shape in zip(sums.sum(0).split([k * k, *[k] * (5 if self.heads else 2)]), [(k, k), *[(k,)] * count])]
        if not self.heads:
            return [out, None, None], [w, *vectors]
        b, r, bias, scale, shift = vectors
        shares = out.new_empty(programs, 2, self.heads * k * k)
        given = [*x[:5], x[9], z, cotangents[0], *more]
        launch("pairs", "pairs_weights", [programs, self.heads], given, [shares], [v, n], warps=WARPS, **self._constants(x[0]), JOINT=joint)
        by_m, by_z = shares.sum(0).unbind()
        return [out, None, None], [by_m.view_as(x[3]), by_z.view_as(x[4]), bias, w, b, r, scale, shift]

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
        launch("pairs", "pairs_forward", [len(out)], [*self._given(x), *dots], [z, out], [out.shape[1], self.heads], warps=WARPS, **constants, TANGENT=tangent)

    def _reverse(self, x: Tensors, z: Tensor, g: Tensor, more: list[Any], out: list[Any], *, programs: int, joint: bool, geometry: bool, weights: bool) -> None:
        n, v, _ = x[0].shape
        size = out[3].shape[1] if weights else 0
        flags = {"JOINT": joint, "GEOMETRY": geometry, "WEIGHTS": weights, "SIZE": size}
        launch("pairs", "pairs_reverse", [programs], [*self._given(x), z, g, *more], out, [v, n, self.heads], warps=WARPS, **self._constants(x[0]), **flags)
