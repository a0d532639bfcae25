"""An embedding net over (scalar, types of two atoms), with the types' part of its first layer read from tables.

The reference concatenates [x, tebd_a, tebd_b] for every pair and multiplies by the first layer's matrix. The types' parts take
at most ntypes values each, so they are computed once per step and looked up: x w0 + A[a] + B[b]. Same numbers, no wide tensor.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import mlp


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """What an embedding looks up; computed once per step."""

    tebd: Tensor  # (ntypes, tebd_dim)
    first: Tensor | None = None  # concat: (ntypes, n) share of type a and the bias in the first layer
    second: Tensor | None = None  # concat, two-sided: (ntypes, n) share of type b
    pairs: Tensor | None = None  # strip: (ntypes * ntypes, width), row a + ntypes * b; (ntypes, width) if one-sided


class TypedEmbedding(nn.Module):
    """(scalar, type a, type b) -> (width,), in mode `concat` or `strip`.

    `concat`: net([x, tebd_a, tebd_b]).  `strip`: net(x) * (1 + fade * net_t([tebd_a, tebd_b])).
    One-sided: type b is left out. Parameters: `layers`, and `type_layers` in mode `strip`.
    """

    def __init__(self, widths: list[int], *, tebd_dim: int, mode: str, one_sided: bool, activation_function: str, resnet_dt: bool):
        super().__init__()
        self.one_sided, self.tebd_dim = one_sided, tebd_dim
        self.fusable = mode == "concat" and activation_function == "tanh" and not resnet_dt
        dim_types = tebd_dim if one_sided else 2 * tebd_dim
        options = {"activation_function": activation_function, "resnet_dt": resnet_dt}
        self.layers = mlp(1 + dim_types if mode == "concat" else 1, widths, **options)
        self.type_layers = mlp(dim_types, widths, **options) if mode == "strip" else None
        self.fusable = self.fusable and not self.layers[0].repeats

    def tables(self, tebd: Tensor) -> Tables:
        if self.type_layers is not None:
            return Tables(tebd=tebd, pairs=self.type_layers(self._pairs(tebd)))
        layer, split = self.layers[0], 1 + self.tebd_dim
        first = F.linear(tebd, layer.weight[1:split].t(), layer.bias)
        return Tables(tebd=tebd, first=first, second=None if self.one_sided else tebd @ layer.weight[split:])

    def _pairs(self, tebd: Tensor) -> Tensor:
        """(ntypes * ntypes, 2 tebd_dim) [tebd_a, tebd_b] in row a + ntypes * b, or the single rows if one-sided."""
        if self.one_sided:
            return tebd
        n = len(tebd)
        return torch.cat([tebd.repeat(n, 1), tebd.repeat_interleave(n, 0)], -1)

    def rows(self, a: Tensor, b: Tensor, tables: Tables) -> Tensor:
        """Row of a pair of types; `a` and `b` broadcast."""
        return a if self.one_sided else a + len(tables.tebd) * b

    def forward(self, x: Tensor, a: Tensor, b: Tensor, tables: Tables, *, fade: Tensor | None) -> Tensor:
        """`x` (...,), types `a` and `b` that broadcast to it -> (..., width); `fade` (...,) scales the types' factor of `strip`."""
        if tables.pairs is not None:
            plain, factor = self.layers(x.unsqueeze(-1)), F.embedding(self.rows(a, b, tables), tables.pairs)
            return plain + plain * (factor if fade is None else factor * fade.unsqueeze(-1))
        layer = self.layers[0]
        linear = F.embedding(a, tables.first)
        if tables.second is not None:
            linear = linear + F.embedding(b, tables.second)
        linear = torch.addcmul(linear, x.unsqueeze(-1), layer.weight[0])
        skip = torch.cat([x.unsqueeze(-1), F.embedding(self.rows(a, b, tables), self._pairs(tables.tebd))], -1) if layer.repeats else None
        return self.layers[1:](layer.finish(linear, skip))

    def fused_weights(self, tables: Tables) -> list[Tensor]:
        """For the fused kernels: the first layer's table over `rows`, its row for x, then matrix and bias of each further layer."""
        table = tables.first if tables.second is None else (tables.second.unsqueeze(1) + tables.first).flatten(0, 1)
        rest = [tensor for layer in self.layers[1:] for tensor in (layer.weight, layer.bias)]
        return [table, self.layers[0].weight[0], *rest]
