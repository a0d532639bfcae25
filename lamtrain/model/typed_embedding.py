"""An embedding net over (scalar, types of two atoms), with the types' part of its first layer read from tables.

The reference concatenates [x, tebd_a, tebd_b] for every pair and multiplies by the first layer's matrix. The types' parts take
at most ntypes values each, so they are computed once per step and looked up: x w0 + A[a] + B[b]. Same numbers, no wide tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import SkipDense, mlp


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
        self.fusable = activation_function == "tanh" and not resnet_dt
        dim_types = tebd_dim if one_sided else 2 * tebd_dim
        net = partial(mlp, widths=widths, activation_function=activation_function, resnet_dt=resnet_dt)
        self.layers = net(1 + dim_types if mode == "concat" else 1)
        self.type_layers = net(dim_types) if mode == "strip" else None
        self.fusable = self.fusable and not self.dense[0].repeats

    @property
    def dense(self) -> list[SkipDense]:
        """The layers of the net."""
        return [layer for layer in self.layers if isinstance(layer, SkipDense)]

    def tables(self, tebd: Tensor) -> Tables:
        """What is looked up of the types' embeddings (ntypes, tebd_dim)."""
        if self.type_layers is not None:
            return Tables(tebd=tebd, pairs=self.type_layers(self._pairs(tebd)))
        layer, split = self.dense[0], 1 + self.tebd_dim
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
            plain: Tensor = self.layers(x.unsqueeze(-1))
            factor = F.embedding(self.rows(a, b, tables), tables.pairs)
            return plain + plain * (factor if fade is None else factor * fade.unsqueeze(-1))
        assert tables.first is not None
        layer, *further = self.dense
        linear = F.embedding(a, tables.first)
        if tables.second is not None:
            linear = linear + F.embedding(b, tables.second)
        linear = torch.addcmul(linear, x.unsqueeze(-1), layer.weight[0])
        skip = torch.cat([x.unsqueeze(-1), F.embedding(self.rows(a, b, tables), self._pairs(tables.tebd))], -1) if layer.repeats else None
        y = layer.finish(linear, skip, dt=layer.dt)
        for layer in further:
            y = layer(y)
        return y

    def fused_weights(self, tables: Tables) -> list[Tensor]:
        """For the fused kernels: the first layer's table over `rows`, its row for x, then matrix and bias of each further layer.

        In mode `strip`, whose net knows no types, the table is one row, its bias.
        """
        first, *further = self.dense
        if tables.first is None:
            table = first.bias.unsqueeze(0)
        else:
            table = tables.first if tables.second is None else (tables.second.unsqueeze(1) + tables.first).flatten(0, 1)
        return [table, first.weight[0], *(tensor for layer in further for tensor in (layer.weight, layer.bias))]
