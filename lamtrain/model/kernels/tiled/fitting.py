"""The energy heads by as few operators as they have layers: all nets packed into one row each, and every derivative written out.

    y_k = tanh(x_k W_k + b_k)      x_{k+1} = dt_k y_k + skip      E = x w + b

Products go to the matrix library, tile by tile (see `../../inputs.py` for tiles). A bar is the cotangent of a value, a hat that of a tangent:

    z^ = v^ dt s     z_ = v_ dt s - 2 y z' z^     W = x^T z_ + x'^T z^     dt = sum v_ y + v^ s z'     s = 1 - y^2, z' = x' W
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from ...layers import SkipDense
from .operators import Second, Tensors, evaluate

if TYPE_CHECKING:
    from ...heads import Features
    from ...inputs import HeadRows, Tiles

EnergyHead: TypeAlias = Any  # its file imports what chooses the kernels

slope = torch.ops.aten.tanh_backward
Layers = tuple[tuple[int, int, int, bool], ...]  # width in and out, repeats of the skip, whether it has a step


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """x (tiles, height, d); packed (heads, P): of each layer W, b and, if there is one, dt, then w and b; head of each tile -> (tiles, height, 1)."""

    layers: Layers
    moving: int = 1
    weights: int = 1
    bent: tuple[bool, ...] = (True,)

    def value(self, x: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`; x and y of each layer are kept, and the parameters of each tile."""
        own, at = x[1][x[2]], x[0]
        kept: Tensors = []
        *hidden, (w, b) = self._parts(own)
        for (_, _, repeats, _), (weight, bias, *dt) in zip(self.layers, hidden):
            y = torch.baddbmm(bias, at, weight).tanh_()
            kept += [at, y]
            at = _skipped(y, at, repeats, dt)
        return [torch.baddbmm(b, at, w)], [own, *kept, at]

    def slopes(self, x: Tensors, kept: Tensors, cotangents: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`; v of each layer's output and z of each layer are kept."""
        *hidden, (w, _) = self._parts(kept[0])
        v = cotangents[0] * w.transpose(1, 2)
        hats: Tensors = []
        for k in reversed(range(len(hidden))):
            weight, _, *dt = hidden[k]
            z = slope(v * dt[0] if dt else v, kept[2 + 2 * k])
            hats += [v, z]
            v = _through(v, z, weight, self.layers[k])
        return [v], hats

    def tangents(self, x: Tensors, kept: Tensors, dots: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`; x', z' and s z' of each layer are kept."""
        *hidden, (w, _) = self._parts(kept[0])
        at = dots[0]
        found: Tensors = []
        for k, ((_, _, repeats, _), (weight, _, *dt)) in enumerate(zip(self.layers, hidden)):
            z = torch.bmm(at, weight)
            y = slope(z, kept[2 + 2 * k])
            found += [at, z, y]
            at = _skipped(y, at, repeats, dt)
        return [torch.bmm(at, w)], [*found, at]

    def gradients(self, x: Tensors, kept: Tensors, cotangents: Tensors, second: Second | None) -> tuple[list[Tensor | None], Tensors]:
        """See `Operator`."""
        grads = torch.empty_like(kept[0])
        *hidden, (w, _) = self._parts(kept[0])
        *to, (to_w, to_b) = self._parts(grads)
        g, last = cotangents[0], len(hidden) - 1
        to_w.baddbmm_(kept[-1].transpose(1, 2), g, beta=0.0)
        torch.sum(g, 1, keepdim=True, out=to_b)
        if second is not None:
            to_w.baddbmm_(second.kept_dots[-1].transpose(1, 2), second.hats[0])
        v = g * w.transpose(1, 2)
        for k in reversed(range(len(hidden))):
            (weight, _, *dt), (to_weight, to_bias, *to_dt), (at, y) = hidden[k], to[k], kept[1 + 2 * k : 3 + 2 * k]
            z = slope(v * dt[0] if dt else v, y)
            stepped = v * y if dt else v
            if second is not None:
                v_hat, z_hat = second.kept_hats[2 * (last - k) : 2 * (last - k) + 2]
                at_dot, z_dot, y_dot = second.kept_dots[3 * k : 3 * k + 3]
                z.addcmul_(y * z_dot, z_hat, value=-2.0)
                if dt:
                    stepped.addcmul_(v_hat, y_dot)
            to_weight.baddbmm_(at.transpose(1, 2), z, beta=0.0)
            if second is not None:
                to_weight.baddbmm_(at_dot.transpose(1, 2), z_hat)
            torch.sum(z, 1, keepdim=True, out=to_bias)
            if dt:
                torch.sum(stepped, 1, keepdim=True, out=to_dt[0])
            v = _through(v, z, weight, self.layers[k])
        return [v], [torch.zeros_like(x[1]).index_add_(0, x[2], grads)]

    def _parts(self, packed: Tensor) -> list[Tensors]:
        """Views of rows (n, P): of each layer (n, in, out), (n, 1, out) and, if there is one, (n, 1, out); then w and b."""
        start = 0
        parts: list[Tensors] = []

        def take(*shape: int) -> Tensor:
            nonlocal start
            start += shape[0] * shape[1]
            return packed[:, start - shape[0] * shape[1] : start].view(len(packed), *shape)

        for wide, out, _, stepped in self.layers:
            parts.append([take(wide, out), take(1, out), *([take(1, out)] if stepped else [])])
        parts.append([take(self.layers[-1][1], 1), take(1, 1)])
        return parts


def _skipped(y: Tensor, x: Tensor, repeats: int, dt: Tensors) -> Tensor:
    if not repeats:
        return y * dt[0] if dt else y
    skip = x if repeats == 1 else torch.cat([x, x], -1)
    return torch.addcmul(skip, y, dt[0]) if dt else skip + y


def _through(v: Tensor, z: Tensor, weight: Tensor, layer: tuple[int, int, int, bool]) -> Tensor:
    """The cotangent of a layer's input from those of its output and of z."""
    wide, _, repeats, _ = layer
    if not repeats:
        return torch.bmm(z, weight.transpose(1, 2))
    return torch.baddbmm(v if repeats == 1 else v[..., :wide] + v[..., wide:], z, weight.transpose(1, 2))


def energies(heads: Sequence[tuple[HeadRows, EnergyHead]], features: Features, tiles: Tiles | None) -> tuple[Tensor, Tensor]:
    """Rows (n,) and their energies (n,) float64 eV, head after head; without tiles there is one head."""
    nets, atoms = [net for _, net in heads], features.descriptor.atoms
    if tiles is None:
        ((own, _),) = heads
        rows, count, slots, heads_of = own.rows, 1, torch.arange(len(own.rows), device=atoms.device), None
    else:
        rows, count, slots, heads_of = tiles.rows, tiles.count, tiles.slots, tiles.heads
    if heads_of is None:
        heads_of = torch.arange(count, device=atoms.device)
    x = atoms[rows].view(count, -1, atoms.shape[1])
    if len(nets[0].case):
        case = torch.stack([net.case for net in nets])[heads_of].unsqueeze(1)
        x = torch.cat([x, case.expand(-1, x.shape[1], -1)], -1)
    layers = [layer for layer in nets[0].layers if isinstance(layer, SkipDense)]
    packed = torch.cat([tensor.reshape(-1) for net in nets for tensor in _tensors(net)]).view(len(nets), -1)
    shape = tuple((*layer.weight.shape, layer.repeats, layer.dt is not None) for layer in layers)
    (energy,) = evaluate(Fitting(layers=shape), [x, packed, heads_of])
    bias = F.embedding(features.types[rows] + _offset(heads_of, nets, rows, count), torch.cat([net.bias for net in nets]).unsqueeze(1))
    whole = energy.flatten().double() + bias.squeeze(1)
    return (rows if tiles is None else tiles.own_rows), whole[slots]


def _offset(heads: Tensor, nets: Sequence[EnergyHead], rows: Tensor, count: int) -> Tensor:
    """Where the references of each row's head begin among those of all heads."""
    return (heads * len(nets[0].bias)).repeat_interleave(len(rows) // count, output_size=len(rows))


def _tensors(net: EnergyHead) -> list[Any]:
    found: list[Any] = []
    for layer in net.layers:
        assert isinstance(layer, SkipDense)
        found += [layer.weight, layer.bias, *([] if layer.dt is None else [layer.dt])]
    return [*found, net.last.weight, net.last.bias]
