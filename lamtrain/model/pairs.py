"""The pair channel of a chunk: what the layers of the repformer share about its edges.

N atoms, V edge slots. `weight` is what multiplies a neighbour in every sum: the switch, or with `smooth` off 1 or 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .gate_softmax import EXCLUDED, SHIFT


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """How sums over neighbours are weighted and divided; the same in all layers."""

    weight: Tensor  # (N, V)
    scale: Tensor  # (N, V) weight divided by nsel: the factor of every convolution
    symmetric: Tensor | float  # (N, 1, 1) or a number: 1 / sqrt(nsel), or 1 / nsel
    smooth: bool
    phantom: int  # nsel - V: slots that the reference has and this chunk does not

    @classmethod
    def smoothed(cls, switch: Tensor, *, nsel: int, sqrt_nnei: bool) -> Sums:
        """Divide by the configured number of neighbours."""
        symmetric = nsel**-0.5 if sqrt_nnei else 1.0 / nsel
        return cls(weight=switch, scale=switch * (1.0 / nsel), symmetric=symmetric, smooth=True, phantom=nsel - switch.shape[1])

    @classmethod
    def counted(cls, real: Tensor, *, sqrt_nnei: bool) -> Sums:
        """Divide by the true number of neighbours, kept from zero by 1e-4 as in the reference."""
        count = real.sum(1).view(-1, 1, 1)
        symmetric = 1.0 / (1e-4 + (count.sqrt() if sqrt_nnei else count))
        return cls(weight=real, scale=real / (1e-4 + count.squeeze(-1)), symmetric=symmetric, smooth=False, phantom=0)


class Angles:
    """What the pair attention reads of two edges of a centre, (N, V, V) each: products of h2 and fading, and of both.

    Smooth, with a gate: logit (q k inner + 20) both - 20, weight inner both / sqrt(3).
    """

    def __init__(self, h2: Tensor, sums: Sums, *, hidden: int, gated: bool):
        self.inner = torch.bmm(h2, h2.transpose(1, 2))
        self.both = sums.weight.unsqueeze(2) * sums.weight.unsqueeze(1)
        self.fading = self.inner * self.both
        self.logit_scale, self.weight_scale, self.gated, self._sums = hidden**-0.5, 3**-0.5, gated, sums

    @cached_property
    def gate_shift_weight(self) -> tuple[Tensor, Tensor, Tensor]:
        """`c`, `b`, `d` of `gate_softmax`."""
        if self._sums.smooth:
            c, b = (self.fading if self.gated else self.both), SHIFT * (self.both - 1.0)
        else:
            c = self.inner if self.gated else torch.ones_like(self.inner)
            b = ((1.0 - self._sums.weight) * EXCLUDED).unsqueeze(1).expand_as(c).contiguous()
        return c * self.logit_scale, b, self.fading * self.weight_scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """The state of a chunk between layers."""

    g2: Tensor  # (N, V, ng2) invariant pair channel
    h2: Tensor  # (N, V, 3) equivariant pair channel
    h2_sum: Tensor  # (N, 3, V) h2 weighted and divided: the left factor of every symmetrised sum
    sums: Sums
    angles: Angles | None  # None when no layer needs them
    neighbors: Tensor  # (N, V) rows of the neighbours
    start: int
    stop: int


def weighted_h2(h2: Tensor, sums: Sums) -> Tensor:
    """(N, 3, V)."""
    return (h2 * (sums.weight.unsqueeze(-1) * sums.symmetric)).transpose(1, 2).contiguous()
