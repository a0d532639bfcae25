"""An embedding net over (scalar, types of two atoms), with the types' part of its first layer read from a table.

The reference concatenates [x, tebd_a, tebd_b] for every pair and multiplies by the first layer's matrix. The types' part takes
at most ntypes^2 values, so it is computed once per step and looked up: x w0 + T[a, b]. Same numbers, no wide tensor.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import mlp


class TypedEmbedding(nn.Module):
    """(scalar, two types) -> (width,), in mode `concat` or `strip`.

    `concat`: net([x, tebd_a, tebd_b]).  `strip`: net(x) * (1 + fade * net_t([tebd_a, tebd_b])).
    One-sided: the second type is left out. Parameters: `layers`, and `type_layers` in mode `strip`.
    """

    def __init__(self, widths: list[int], *, tebd_dim: int, mode: str, one_sided: bool, activation_function: str, resnet_dt: bool):
        super().__init__()
        self.one_sided, self.mode = one_sided, mode
        dim_types = tebd_dim if one_sided else 2 * tebd_dim
        dim_first = 1 + dim_types if mode == "concat" else 1
        options = {"activation_function": activation_function, "resnet_dt": resnet_dt}
        self.layers = mlp(dim_first, widths, **options)
        self.type_layers = mlp(dim_types, widths, **options) if mode == "strip" else None

    def pair_table(self, tebd: Tensor) -> Tensor:
        """(ntypes * ntypes, dim_types) [tebd_a, tebd_b] in row a + ntypes * b, or (ntypes, tebd_dim) if one-sided."""
        if self.one_sided:
            return tebd
        n = len(tebd)
        return torch.cat([tebd.repeat(n, 1), tebd.repeat_interleave(n, 0)], -1)

    def tables(self, tebd: Tensor) -> Tensor:
        """What `forward` looks up for each pair of types; compute it once per step."""
        pairs = self.pair_table(tebd)
        if self.type_layers is not None:
            return self.type_layers(pairs)
        first = self.layers[0]
        return F.linear(pairs, first.weight[1:].t(), first.bias)

    def forward(self, x: Tensor, tables: Tensor, pair: Tensor, *, tebd: Tensor, fade: Callable[[Tensor], Tensor]) -> Tensor:
        """`x` (...,) and `pair` (...,), a row of `tables`, -> (..., width). `fade` multiplies the types' factor of `strip`."""
        if self.type_layers is not None:
            plain = self.layers(x.unsqueeze(-1))
            return plain + plain * fade(F.embedding(pair, tables))
        first = self.layers[0]
        linear = torch.addcmul(F.embedding(pair, tables), x.unsqueeze(-1), first.weight[0])
        skip = torch.cat([x.unsqueeze(-1), F.embedding(pair, self.pair_table(tebd))], -1) if first.repeats else None
        return self.layers[1:](first.finish(linear, skip))
