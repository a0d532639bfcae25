"""How the updates of a layer are added to a channel: averaged, as scaled increments, or weighted by learned vectors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .config import RepformerConfig
from .kernels.choose import PLAIN, Kernels

Update = Tensor | tuple[Tensor, Callable[[Tensor], Tensor]]  # as it is, or what it is made from and the function that makes it


class Residual(nn.Module):
    """u, {term: u_k} -> u + the updates, in the order of `terms`, K of them.

    res_avg: (u + sum u_k) / sqrt(K + 1); res_incr: u + sum u_k / sqrt(K); res_residual: u + sum r_k u_k.
    Parameters (res_residual only): `scale.<term>` (dim,).
    """

    kernels: Kernels = PLAIN

    def __init__(self, config: RepformerConfig, dim: int, terms: list[str]):
        super().__init__()
        self.style, self.terms = config.update_style, terms
        self.scale = nn.ParameterDict()
        if self.style == "res_residual":
            start = torch.ones if config.update_residual_init == "const" else torch.randn
            self.scale.update({term: nn.Parameter(start(dim) * config.update_residual) for term in terms})

    def forward(self, u: Tensor, updates: dict[str, Update]) -> Tensor:
        if self.style == "res_residual":
            for term in self.terms:
                u = self._added(u, self.scale[term], updates[term])
            return u
        total = _made(updates[self.terms[0]])
        for term in self.terms[1:]:
            total = total + _made(updates[term])
        count = len(self.terms)
        return (u + total) * (count + 1) ** -0.5 if self.style == "res_avg" else u + total * count**-0.5

    def _added(self, u: Tensor, scale: Tensor, update: Update) -> Tensor:
        if isinstance(update, tuple):
            value, make = update
            if make is torch.tanh and self.kernels.add_tanh is not None:
                return self.kernels.add_tanh(u, value, scale)
            if isinstance(make, nn.LayerNorm) and self.kernels.add_norm is not None:
                return self.kernels.add_norm(u, value, scale * make.weight, scale * make.bias, make.eps)
        return torch.addcmul(u, scale, _made(update))


def _made(update: Update) -> Tensor:
    return update if isinstance(update, Tensor) else update[1](update[0])
