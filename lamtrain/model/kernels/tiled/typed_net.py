"""What an atom sums over its edges of a net of widths n, 2n, 4n that types reach: the moment and the three-body sum, but for their kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from .launch import PROGRAMS, launch
from .operators import Second, Tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedNet:
    """x (N, W, ...) of edges; w (n,), A and B (ntypes, n), W2 (n, 2n), b2, W3 (2n, 4n), b3; then types.

    A kind names its file of kernels, what their names begin with, how many rows the sum has, what sizes else its kernels are told, and how many registers a thread may have.
    """

    source: ClassVar[str]
    kernels: ClassVar[str]
    rows: ClassVar[tuple[int, ...]] = ()
    sizes: ClassVar[tuple[int, ...]] = ()
    registers: ClassVar[int | None] = None
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
        self._launch("slopes", x, len(out), cotangents, out, [out.shape[1]])
        return [out], []

    def gradients(self, x: Tensors, kept: Tensors, cotangents: Tensors, second: Second | None) -> tuple[list[Tensor | None], Tensors]:
        """See `Operator`."""
        n, width, weights = len(x[0]), x[0].shape[1], x[1:8]
        programs, types = max(1, min(PROGRAMS, n)), len(weights[1])
        sums = x[0].new_zeros(programs, sum(one.numel() for one in weights))
        more: list[Any] = [None, None] if second is None else [second.dots[0], second.hats[0]]
        flags = {"T": types, "JOINT": second is not None, "SIZE": sums.shape[1]}
        self._launch("gradients", x, programs, [*cotangents, *more], sums, [width, n, types], **flags)
        parts = torch.split(sums.sum(0), [of.numel() for of in weights])
        return [None], [part.view_as(of) for part, of in zip(parts, weights)]

    def _forward(self, x: Tensors, dots: Tensor | None) -> Tensor:
        n, width, _ = x[0].shape
        out = x[0].new_empty(n, *self.rows, 4 * len(x[1]))
        self._launch("forward", x, n, [dots], out, [width], TANGENT=dots is not None)
        return out

    def _launch(self, what: str, x: Tensors, programs: int, more: Any, out: Tensor, sizes: list[int], **flags: Any) -> None:
        given = [x[0], *x[8:], *x[1:8], *more]
        launch(
            self.source,
            f"{self.kernels}_{what}",
            [programs],
            given,
            [out],
            [*sizes, *self.sizes],
            registers=self.registers,
            **self._constants(x),
            **flags,
        )

    def _constants(self, x: Tensors) -> dict[str, Any]:
        """Sizes that its kernels are compiled for."""
        raise NotImplementedError
