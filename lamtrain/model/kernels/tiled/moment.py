"""Repinit's moment; see source/moment.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .launch import power
from .operators import Tensors
from .typed_net import TypedNet

TILE = 16  # edges that a program has before it at once: with fewer rows than columns the four warps share the columns, and none computes what another does


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment(TypedNet):
    """R (N, W, 4); the weights; types of the centres (N,) and of the neighbours (N, W) -> (N, 4, 4n)."""

    source: ClassVar[str] = "moment"
    kernels: ClassVar[str] = "moment"
    rows: ClassVar[tuple[int, ...]] = (4,)
    sizes: ClassVar[tuple[int, ...]] = (4,)  # blocks of n columns that a net ends in
    registers: ClassVar[int | None] = 255  # left alone, the compiler aims at 128, and spills
    precision: str

    def _constants(self, x: Tensors) -> dict[str, Any]:
        n = len(x[1])
        return {"N1": n, "NP": power(n), "BW": TILE, "PRECISION": self.precision}
