"""The pair channel of a layer: update, and attention to the other edges of the centre; see source/pairs.py and source/pairs_back.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .launch import PROGRAMS, launch, power
from .operators import Second, Tensors

ROWS = 16  # edges whose attention to all others is in registers at once


def warps(width: int) -> int:
    """Of a program: they share the columns of its tiles, eight or sixteen each."""
    return max(4, power(width) // 8)


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
        self._forward(x, [None] * 4, z, out, tangent=False)
        return [out], [z]

    def tangents(self, x: Tensors, kept: Tensors, dots: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`; the tangent of z is kept."""
        out, z = torch.empty_like(x[0]), torch.empty_like(x[0]) if self.heads else x[0]
        self._forward(x, [*dots, kept[0]], z, out, tangent=True)
        return [out], [z]

    def slopes(self, x: Tensors, kept: Tensors, cotangents: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`."""
        out = [torch.empty_like(x[0]), *(torch.zeros_like(one) for one in x[1:3])]
        self.add_slopes(x, kept[0], cotangents[0], out, add=False)
        return out, []

    def add_slopes(self, x: Tensors, z: Tensor, g: Tensor, out: Tensors, *, add: bool) -> None:
        """Those of h2 and s added; x's as well, or written."""
        flags = {"JOINT": False, "GEOMETRY": self.heads > 0, "WEIGHTS": False, "SIZE": 0, "ADD": add}
        self._reverse(x, [z, None, g, *[None] * 4], [*out, *[None] * 5], len(x[0]), flags)

    def gradients(self, x: Tensors, kept: Tensors, cotangents: Tensors, second: Second | None) -> tuple[list[Tensor | None], Tensors]:
        """See `Operator`."""
        out = torch.empty_like(x[0])
        return [out, None, None], self.add_gradients(x, kept, cotangents, second, out, add=False)

    def add_gradients(self, x: Tensors, kept: Tensors, cotangents: Tensors, second: Second | None, out: Tensor, *, add: bool) -> Tensors:
        """Those of the weights; x's is added to `out`, or written."""
        (n, v, k), joint = x[0].shape, second is not None
        zd, more = (None, [None] * 4) if second is None else (second.kept_dots[0], [*second.dots, second.hats[0]])
        edges, wide, rows = (2 if joint else 1) * n * v, self.heads * k, 5 if self.heads else 2
        programs = max(1, min(PROGRAMS, n))
        sums = out.new_empty(programs, k * k + rows * k)
        given, flags = (
            [kept[0], zd, cotangents[0], *more],
            {"JOINT": joint, "GEOMETRY": False, "WEIGHTS": True, "SIZE": sums.shape[1], "ADD": add},
        )
        products = [out.new_empty(edges, width) for width in (k, wide, wide, k)] if self.heads else []
        factors: list[Tensor | None] = [*products] or [None] * 4
        self._reverse(x, given, [out, None, None, sums, *factors], programs, flags)
        w, *vectors = torch.split(sums.sum(0), [k * k, *[k] * rows])
        if not self.heads:
            return [w.view(k, k), *vectors]
        (left, turns, taken, right), (b, r, bias, scale, shift) = products, vectors
        return [left.t() @ turns, taken.t() @ right, bias, w.view(k, k), b, r, scale, shift]

    def _given(self, x: Tensors) -> list[Tensor | None]:
        if self.heads:
            return [*x[:11]]
        return [*x[:3], None, None, None, *x[3:6], None, None]

    def _constants(self, x: Tensor) -> dict[str, Any]:
        _, v, k = x.shape
        return {
            "K": k, "KP": power(k), "VP": power(v), "BI": ROWS, "H": self.heads, "GATED": self.gated,
            "C": self.logit, "D": self.weight, "EPS": self.eps, "PRECISION": self.precision,
        }  # fmt: skip

    def _forward(self, x: Tensors, dots: list[Any], z: Tensor, out: Tensor, *, tangent: bool) -> None:
        constants = self._constants(x[0])
        launch(
            "pairs",
            "pairs_forward",
            [len(out)],
            [*self._given(x), *dots],
            [z, out],
            [out.shape[1], self.heads, self.phantom],
            warps=warps(out.shape[1]),
            **constants,
            TANGENT=tangent,
        )

    def _reverse(self, x: Tensors, given: list[Any], out: list[Any], programs: int, flags: dict[str, Any]) -> None:
        sizes, inputs = [x[0].shape[1], len(x[0]), self.heads, self.phantom], [*self._given(x), *given]
        launch("pairs_back", "pairs_reverse", [programs], inputs, out, sizes, warps=warps(sizes[0]), **self._constants(x[0]), **flags)
