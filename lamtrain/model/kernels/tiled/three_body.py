"""The three-body sum; see source/three_body.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .launch import power
from .operators import Tensors
from .typed_net import TypedNet

ROWS = 4  # edges whose pairs with all others are in registers at once


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreeBodySum(TypedNet):
    """d (N, V, 3); the weights; types of the neighbours (N, V) -> (N, 4m)."""

    source: ClassVar[str] = "three_body"
    kernels: ClassVar[str] = "three"
    scale: float

    def _constants(self, x: Tensors) -> dict[str, Any]:
        return {"M": len(x[1]), "VP": power(x[0].shape[1]), "BJ": ROWS, "SCALE": self.scale}
