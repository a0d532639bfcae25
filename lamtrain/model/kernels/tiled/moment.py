"""Repinit's moment; see source/moment.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .launch import PROGRAMS, launch, power
from .operators import Second, Tensors

TILE, WARPS = 32, 8  # edges of a tile, and the warps that share them


def found(sums: Tensor, weights: Tensors) -> Tensors:
    """The sums of all programs, as gradients of the weights."""
    return [part.view_as(of) for part, of in zip(torch.split(sums.sum(0), [of.numel() for of in weights]), weights)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """R (N, W, 4); w (n,), A and B (ntypes, n), W2 (n, 2n), b2, W3 (2n, 4n), b3; types of the centres (N,) and of the neighbours (N, W) -> (N, 4, 4n)."""

    precision: str
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
        launch(
            "moment", "moment_slopes", [len(out)], [*self._given(x), *cotangents], [out], [out.shape[1]], warps=WARPS, **self._constants(x)
        )
        return [out], []

    def gradients(self, x: Tensors, kept: Tensors, cotangents: Tensors, second: Second | None) -> tuple[list[Tensor | None], Tensors]:
        """See `Operator`."""
        (n, w, _), weights = x[0].shape, x[1:8]
        programs, types = max(1, min(PROGRAMS, n)), len(weights[1])
        sums = x[0].new_zeros(programs, sum(one.numel() for one in weights))
        more: list[Any] = [None, None] if second is None else [second.dots[0], second.hats[0]]
        flags = {"JOINT": second is not None, "T": types, "TP": power(types), "SIZE": sums.shape[1]}
        given = [*self._given(x), *cotangents, *more]
        launch("moment", "moment_gradients", [programs], given, [sums], [w, n], warps=WARPS, **self._constants(x), **flags)
        return [None], found(sums, weights)

    def _given(self, x: Tensors) -> Tensors:
        return [x[0], x[8], x[9], *x[1:8]]

    def _constants(self, x: Tensors) -> dict[str, Any]:
        n = len(x[1])
        return {"N1": n, "NP": power(n), "BW": TILE, "PRECISION": self.precision}

    def _forward(self, x: Tensors, dots: Tensor | None) -> Tensor:
        (n, w, _), tangent = x[0].shape, dots is not None
        out = x[0].new_empty(n, 4, 4 * len(x[1]))
        launch("moment", "moment_forward", [n], [*self._given(x), dots], [out], [w], warps=WARPS, **self._constants(x), TANGENT=tangent)
        return out
