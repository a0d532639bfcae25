"""Edges -> what each block of the descriptor reads of them; see source/edges.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .launch import launch, power
from .operators import Second, Tensors

Lists = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edges:
    """d (N, W, 3) Å; types (N,), std (ntypes, 4) of the wide, the near and the pair list -> (N, W, 4), (N, near, 3), (N, pairs), (N, pairs, 3), (N, pairs).

    Those are the environment matrix, the directions of the three-body block (nothing where it has none: `near` 0), and the first column, the others
    and the switch of the repformer. `lists` are where each switch begins and ends, in that order.
    """

    lists: Lists
    near: int
    pairs: int
    protection: float
    moving: int = 1
    weights: int = 0
    bent: tuple[bool, ...] = (False,)

    def value(self, x: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`."""
        return self._run("value", x, None), []

    def tangents(self, x: Tensors, kept: Tensors, dots: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`."""
        return self._run("tangents", x, dots[0]), []

    def slopes(self, x: Tensors, kept: Tensors, cotangents: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`."""
        out = torch.empty_like(x[0])
        self._launch("slopes", x, [None, *cotangents], [out])
        return [out], []

    def gradients(self, x: Tensors, kept: Tensors, cotangents: Tensors, second: Second | None) -> tuple[list[Tensor | None], Tensors]:
        """There are no weights."""
        return [None], []

    def _run(self, mode: str, x: Tensors, dots: Tensor | None) -> Tensors:
        n, w, _ = x[0].shape
        shapes = ((n, w, 4), (n, self.near, 3), (n, self.pairs), (n, self.pairs, 3), (n, self.pairs))
        out = [x[0].new_empty(shape) for shape in shapes]
        self._launch(mode, x, [dots], [*out, None])
        return out

    def _launch(self, mode: str, x: Tensors, given: Sequence[Tensor | None], written: Sequence[Tensor | None]) -> None:
        n, w, _ = x[0].shape
        names = ("SMOOTH", "CUTOFF", "SMOOTH3", "CUTOFF3", "SMOOTH2", "CUTOFF2")
        cutoffs: dict[str, Any] = dict(zip(names, (number for one in self.lists for number in one)))
        flags: dict[str, Any] = {"PROTECTION": self.protection, "THREE": self.near > 0, "MODE": mode, "WP": power(w)}
        launch("edges", "edges", [n], [*x, *given], written, [w, self.near, self.pairs], **cutoffs, **flags)
