"""What atoms take from their edges and from the atoms at the other end; see source/neighbors.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .launch import PROGRAMS, launch, power
from .operators import Second, Tensors

EDGES, COLUMNS = 16, 32
"""That are in registers at once, of g1 the columns: with fewer rows than columns the four warps of a program share the columns, and none computes what another does."""


def ending(neighbors: Tensor, atoms: int) -> tuple[Tensor, Tensor]:
    """`neighbors` (N, V) rows of a chunk -> the edges (flat) in the order of the atom that they end in, and where those of each begin, (atoms + 1,)."""
    flat, order = torch.sort(neighbors.reshape(-1), stable=True)
    return order, torch.searchsorted(flat, torch.arange(atoms + 1, device=flat.device))


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighborSums:
    """g1 (A, d), g2 (N, V, K), h2 (N, V, 3), s (N, V) of a chunk; W (K, d); neighbors (N, V), order, ends of `ending` -> (A, d), (A, 3, d), (A, 3, K).

    Rows of other chunks are 0 in what it makes by itself; `RepformerLayer` lets all chunks write into one.
    """

    start: int
    scale: float
    turn: float
    precision: str
    moving: int = 4
    weights: int = 1
    bent: tuple[bool, ...] = (True, True, False, False)

    def value(self, x: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`."""
        out = self.room(x[0], x[1].shape[2], zeros=True)
        self.write(x, None, out)
        return out, []

    def tangents(self, x: Tensors, kept: Tensors, dots: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`."""
        out = self.room(x[0], x[1].shape[2], zeros=True)
        self.write(x, dots, out)
        return out, []

    def slopes(self, x: Tensors, kept: Tensors, cotangents: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`."""
        by_g1, out = torch.empty_like(x[0]), [torch.empty_like(one) for one in x[1:4]]
        self.edges(x, cotangents, None, [*out, None], programs=len(x[1]))
        self.atoms(x, cotangents, None, by_g1, add=False)
        return [by_g1, *out], []

    def gradients(self, x: Tensors, kept: Tensors, cotangents: Tensors, second: Second | None) -> tuple[list[Tensor | None], Tensors]:
        """See `Operator`."""
        by_g1 = torch.empty_like(x[0])
        more = None if second is None else [*second.dots, *second.hats]
        by_g2, by_w = self.by_edges(x, cotangents, more)
        self.atoms(x, cotangents, more, by_g1, add=False)
        return [by_g1, by_g2, None, None], [by_w]

    def by_edges(self, x: Tensors, cotangents: Tensors, more: Tensors | None) -> tuple[Tensor, Tensor]:
        """Gradients of g2 and W."""
        by_g2, programs = torch.empty_like(x[1]), max(1, min(PROGRAMS, len(x[1])))
        sums = by_g2.new_empty(programs, *x[4].shape)
        self.edges(x, cotangents, more, [by_g2, None, None, sums], programs=programs)
        return by_g2, sums.sum(0)

    @staticmethod
    def room(g1: Tensor, k: int, *, zeros: bool) -> Tensors:
        """For conv, H and I."""
        make = g1.new_zeros if zeros else g1.new_empty
        a, d = g1.shape
        return [make(a, d), make(a, 3, d), make(a, 3, k)]

    def _constants(self, x: Tensors) -> dict[str, Any]:
        d, k = x[0].shape[1], x[1].shape[2]
        return {
            "d": d,
            "BD": COLUMNS,
            "K": k,
            "KP": power(k),
            "BE": EDGES,
            "SCALE": self.scale,
            "TURN": self.turn,
            "PRECISION": self.precision,
        }

    def write(self, x: Tensors, dots: Tensors | None, out: Tensors) -> None:
        """conv, H and I of the chunk's rows, or their tangents."""
        n, v, _ = x[1].shape
        more: list[Any] = [None] * 4 if dots is None else [*dots]
        launch(
            "neighbors",
            "neighbors_forward",
            [n],
            [*x[:6], *more],
            out,
            [v, self.start],
            TANGENT=dots is not None,
            **self._constants(x),
        )

    def edges(self, x: Tensors, cotangents: Tensors, more: Tensors | None, out: list[Tensor | None], *, programs: int) -> None:
        """Cotangents of g2 and, where wanted, h2 and s, or sums of W's; `more` are tangents and hats."""
        n, v, _ = x[1].shape
        flags = {"JOINT": more is not None, "GEOMETRY": out[1] is not None, "WEIGHTS": out[3] is not None}
        given: list[Tensor | None] = [*x[:6], *cotangents, *(more if more is not None else [None] * 7)]
        launch(
            "neighbors",
            "neighbors_edges",
            [programs],
            given,
            out,
            [v, self.start, n],
            registers=255,  # left alone, the compiler aims at 128, and spills
            **flags,
            **self._constants(x),
        )

    def atoms(self, x: Tensors, cotangents: Tensors, more: Tensors | None, by_g1: Tensor, *, add: bool) -> None:
        """The cotangent of g1."""
        a, d = x[0].shape
        _, g2, h, s, w, _, order, ends = x
        tangents: list[Any] = [None] * 7 if more is None else [*more]
        _, *dots, ph, qh, _ = tangents
        flags = {"JOINT": more is not None, "ADD": add}
        given = [g2, h, s, w, order, ends, *cotangents[:2], *dots, ph, qh]
        launch(
            "neighbors", "neighbors_atoms", [a, -(-d // COLUMNS)], given, [by_g1], [g2.shape[1], self.start], **flags, **self._constants(x)
        )
