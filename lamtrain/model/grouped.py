"""Grouped nets: those of several heads, alike in shape, each on rows of its own, as one product over tiles (`inputs.Tiles`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .inputs import Tiles
from .layers import Dense, SkipDense


def lay(values: Tensor, tiles: Tiles) -> Tensor:
    """(A, ...) by row -> (tiles, height, ...)."""
    return values[tiles.rows].view(tiles.count, -1, *values.shape[1:])


def take_up(values: Tensor, tiles: Tiles) -> Tensor:
    """(tiles, height, ...) -> (n, ...), head after head as `Tiles.own_rows`."""
    return values.flatten(0, 1)[tiles.slots]


def stacked(values: Sequence[Tensor], tiles: Tiles) -> Tensor:
    """That of the head of each tile: (...) each -> (tiles, ...)."""
    whole = torch.stack(list(values))
    return whole if tiles.heads is None else whole[tiles.heads]


def dense(nets: Sequence[Dense], x: Tensor, tiles: Tiles) -> Tensor:
    """x W + b with each head's own: (tiles, height, in) -> (tiles, height, out)."""
    weight = stacked([net.weight for net in nets], tiles)
    biases = [net.bias for net in nets if net.bias is not None]
    return torch.baddbmm(stacked(biases, tiles).unsqueeze(1), x, weight) if biases else torch.bmm(x, weight)


def mlp(nets: Sequence[nn.Sequential], x: Tensor, tiles: Tiles) -> Tensor:
    """`layers.mlp` with each head's own parameters."""
    for layers in zip(*nets):
        assert all(isinstance(layer, SkipDense) for layer in layers), "they were made by `layers.mlp`"
        steps = [layer.dt for layer in layers if layer.dt is not None]
        x = layers[0].finish(dense(layers, x, tiles), x, dt=stacked(steps, tiles).unsqueeze(1) if steps else None)
    return x


def layer_norm(nets: Sequence[nn.LayerNorm], x: Tensor, tiles: Tiles) -> Tensor:
    """`nn.LayerNorm` with each head's own weight and bias."""
    weight, bias = (stacked([getattr(net, name) for net in nets], tiles).unsqueeze(1) for name in ("weight", "bias"))
    return torch.addcmul(bias, torch.nn.functional.layer_norm(x, nets[0].normalized_shape, eps=nets[0].eps), weight)
