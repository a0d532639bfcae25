"""How the updates of a layer are added to a channel: averaged, as scaled increments, or weighted by learned vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .dpa2_config import RepformerConfig


class Residual(nn.Module):
    """u, {term: u_k} -> u + the updates, in the order of `terms`, K of them.

    res_avg: (u + sum u_k) / sqrt(K + 1); res_incr: u + sum u_k / sqrt(K); res_residual: u + sum r_k u_k.
    Parameters (res_residual only): `scale.<term>` (dim,).
    """

    def __init__(self, config: RepformerConfig, dim: int, terms: list[str]):
        super().__init__()
        self.style, self.terms = config.update_style, terms
        self.scale = nn.ParameterDict()
        if self.style == "res_residual":
            start = torch.ones if config.update_residual_init == "const" else torch.randn
            self.scale.update({term: nn.Parameter(start(dim) * config.update_residual) for term in terms})

    def forward(self, u: Tensor, updates: dict[str, Tensor]) -> Tensor:
        if self.style == "res_residual":
            for term in self.terms:
                u = torch.addcmul(u, self.scale[term], updates[term])
            return u
        total = updates[self.terms[0]]
        for term in self.terms[1:]:
            total = total + updates[term]
        averaged = self.style == "res_avg"
        scale: float = (len(self.terms) + averaged) ** -0.5
        return (u + total) * scale if averaged else u + total * scale
