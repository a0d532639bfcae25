"""The vectors of atoms of a layer, from their sums over neighbours to the next; see source/nodes.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .launch import launch, power
from .operators import Second, Tensors

ATOMS, BLOCK = 16, 32  # of a tile; columns that are read at once


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeUpdate:
    """g1, conv (A, d), H (A, 3, d), I (A, 3, K); W (axis (K + d), d), b, V (d, d), bias, r_s, r_c, r_l (d,) -> (A, d)."""

    axis: int
    precision: str
    moving: int = 4
    weights: int = 7
    bent: tuple[bool, ...] = (True, True, True, True)

    def value(self, x: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`; both tanh are kept."""
        out, kept = torch.empty_like(x[0]), x[0].new_empty(2, *x[0].shape)
        self._forward(x, [None] * 5, kept, out, tangent=False)
        return [out], [kept]

    def tangents(self, x: Tensors, kept: Tensors, dots: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`; the tangents of what both tanh are of are kept."""
        out, along = torch.empty_like(x[0]), torch.empty_like(kept[0])
        self._forward(x, [*dots, kept[0]], along, out, tangent=True)
        return [out], [along]

    def slopes(self, x: Tensors, kept: Tensors, cotangents: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`."""
        out = [torch.empty_like(one) for one in x[:4]]
        room = out[0].new_empty(2 * len(out[0]), out[0].shape[1])
        self._reverse(x, kept[0], cotangents[0], None, [*out, room, None, None, None])
        return out, []

    def gradients(self, x: Tensors, kept: Tensors, cotangents: Tensors, second: Second | None) -> tuple[list[Tensor | None], Tensors]:
        """See `Operator`."""
        (a, d), rows, g = x[0].shape, 1 if second is None else 2, x[0]
        out = [torch.empty_like(one) for one in x[:4]]
        s, left, right = g.new_empty(rows * a, len(x[4])), g.new_empty(rows * a, d), g.new_empty(2 * rows * a, d)
        sums = g.new_empty(-(-a // ATOMS), 5, d)
        self._reverse(x, kept[0], cotangents[0], second, [*out, right, s, left, sums])
        b, bias, r_s, r_c, r_l = sums.sum(0).unbind()
        by_w, by_v = torch.mm(s.t(), right[: rows * a]), torch.mm(left.t(), right[rows * a :])
        return [*out], [by_w, b, by_v, bias, r_s, r_c, r_l]

    def _constants(self, x: Tensors) -> dict[str, Any]:
        d = x[0].shape[1]
        return {"AXIS": self.axis, "d": d, "K": x[3].shape[2], "BA": ATOMS, "BO": BLOCK, "PRECISION": self.precision}

    def _forward(self, x: Tensors, dots: list[Any], kept: Tensor, out: Tensor, *, tangent: bool) -> None:
        a = len(out)
        launch(
            "nodes",
            "nodes_forward",
            [-(-a // ATOMS)],
            [*x[:11], *dots],
            [kept, out],
            [a, self.axis],
            DP=power(len(x[5])),
            TANGENT=tangent,
            **self._constants(x),
        )

    def _reverse(self, x: Tensors, kept: Tensor, g: Tensor, second: Second | None, out: list[Any]) -> None:
        a, (w, _, v, _, *scales) = len(g), x[4:11]
        more: list[Any] = [None] * 5 if second is None else [*second.dots, second.hats[0]]
        flags = {"JOINT": second is not None, "WEIGHTS": out[5] is not None, "AP": power(self.axis, 2)}
        along = None if second is None else second.kept_dots[0]
        given = [*x[:4], w, v, *scales, kept, along, g, *more]
        launch("nodes", "nodes_reverse", [-(-a // ATOMS)], given, out, [a, self.axis, g.shape[1]], **flags, **self._constants(x))
