"""The three-body sum; see source/three_body.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .launch import PROGRAMS, launch, power
from .moment import found
from .operators import Second, Tensors

ROWS = 4  # edges whose pairs with all others are in registers at once


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreeBodySum:
    """d (N, V, 3); w (m,), A and B (ntypes, m), W2 (m, 2m), b2, W3 (2m, 4m), b3; types of the neighbours (N, V) -> (N, 4m)."""

    scale: float
    moving: int = 1
    weights: int = 7
    bent: tuple[bool, ...] = (False,)

    def value(self, x: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`."""
        return [self._forward(x, None)], []

    def tangents(self, x: Tensors, kept: Tensors, dots: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`."""
        return [self._forward(x, dots[0])], []

    def slopes(self, x: Tensors, kept: Tensors, cotangents: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`."""
        out = torch.empty_like(x[0])
        launch("three_body", "three_slopes", [len(out)], [*self._given(x), *cotangents], [out], [out.shape[1]], **self._constants(x))
        return [out], []

    def gradients(self, x: Tensors, kept: Tensors, cotangents: Tensors, second: Second | None) -> tuple[list[Tensor | None], Tensors]:
        """See `Operator`."""
        (n, v, _), weights = x[0].shape, x[1:8]
        programs, types = max(1, min(PROGRAMS, n)), len(weights[1])
        sums = x[0].new_zeros(programs, sum(one.numel() for one in weights))
        more: list[Any] = [None, None] if second is None else [second.dots[0], second.hats[0]]
        flags = {"T": types, "TP": power(types), "JOINT": second is not None, "SIZE": sums.shape[1]}
        launch(
            "three_body",
            "three_gradients",
            [programs],
            [*self._given(x), *cotangents, *more],
            [sums],
            [v, n],
            **self._constants(x),
            **flags,
        )
        return [None], found(sums, weights)

    def _given(self, x: Tensors) -> Tensors:
        return [x[0], x[8], *x[1:8]]

    def _constants(self, x: Tensors) -> dict[str, Any]:
        return {"M": len(x[1]), "VP": power(x[0].shape[1]), "BJ": ROWS, "SCALE": self.scale}

    def _forward(self, x: Tensors, dots: Tensor | None) -> Tensor:
        n, v, _ = x[0].shape
        out = x[0].new_empty(n, 4 * len(x[1]))
        launch("three_body", "three_forward", [n], [*self._given(x), dots], [out], [v], **self._constants(x), TANGENT=dots is not None)
        return out
