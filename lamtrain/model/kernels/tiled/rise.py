"""The pair channel before the first layer; see source/rise.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .launch import PROGRAMS, launch, power
from .operators import Second, Tensors

TILE = 128  # edges


@dataclass(frozen=True, slots=True, kw_only=True)
class Rise:
    """x (N, V); w, b (K,) -> tanh(x w + b) (N, V, K)."""

    moving: int = 1
    weights: int = 2
    bent: tuple[bool, ...] = (False,)

    def value(self, x: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`."""
        return [self._write("value", x, [None] * 3, x[0].new_empty(*x[0].shape, len(x[1])))], []

    def tangents(self, x: Tensors, kept: Tensors, dots: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`."""
        return [self._write("tangents", x, [None, *dots, None], x[0].new_empty(*x[0].shape, len(x[1])))], []

    def slopes(self, x: Tensors, kept: Tensors, cotangents: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`."""
        return [self._write("slopes", x, [*cotangents, None, None], torch.empty_like(x[0]))], []

    def gradients(self, x: Tensors, kept: Tensors, cotangents: Tensors, second: Second | None) -> tuple[list[Tensor | None], Tensors]:
        """See `Operator`."""
        sums = x[0].new_zeros(self._programs(x[0]), 2, len(x[1]))
        more: list[Any] = [None, None] if second is None else [second.dots[0], second.hats[0]]
        self._launch("gradients", x, [*cotangents, *more], [None, sums], joint=second is not None)
        by_w, by_b = sums.sum(0).unbind()
        return [None], [by_w, by_b]

    def _programs(self, x: Tensor) -> int:
        return max(1, min(PROGRAMS, -(-x.numel() // TILE)))

    def _write(self, mode: str, x: Tensors, given: list[Any], out: Tensor) -> Tensor:
        self._launch(mode, x, given, [out, None], joint=False)
        return out

    def _launch(self, mode: str, x: Tensors, given: list[Any], written: list[Any], *, joint: bool) -> None:
        k = len(x[1])
        launch(
            "rise", "rise", [self._programs(x[0])], [*x, *given], written, [x[0].numel()], K=k, KP=power(k), BE=TILE, MODE=mode, JOINT=joint
        )
