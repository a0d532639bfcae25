"""The gated softmax with its first and second derivative written out, in PyTorch: any device, and only the logits are kept.

    u = S C + B     p = softmax with phantom columns     A = p D

With W the cotangent of A, and a, x, y, z those of the first derivative (S', C', B', D'):

    u' = p (W D - <W D>)             S' = u' C    C' = sum_h u' S    B' = sum_h u'    D' = sum_h p W
    v = a C + S x + y                q = (W D - <W D>) v - W D <v> + z W        r = p (q - <q>)
    S'' = r C + u' x    C'' = sum_h (r S + u' a)    B'' = sum_h r    D'' = sum_h W p (v - <v>)    W'' = p (D (v - <v>) + z)

<f> = sum_j p_j f_j. Shapes as in `gate_softmax`: S, W (N, I, H, J); C, B, D (N, I, J), shared by the heads H.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..gate_softmax import gate_softmax as plain_gate_softmax
from .native import apply


def gate_softmax(s: Tensor, c: Tensor, b: Tensor, d: Tensor, phantom: int) -> Tensor:
    """As `lamtrain.model.gate_softmax.gate_softmax`."""
    out: Tensor = apply(_Forward, s, c, b, d, phantom)
    return out


def _softmax(s: Tensor, c: Tensor, b: Tensor, phantom: int) -> Tensor:
    return plain_gate_softmax(s, c, b, torch.ones_like(c), phantom)


def _mean(p: Tensor, f: Tensor) -> Tensor:
    return (p * f).sum(-1, keepdim=True)


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, s: Tensor, c: Tensor, b: Tensor, d: Tensor, phantom: int) -> Tensor:
        ctx.save_for_backward(s, c, b, d)
        ctx.phantom = phantom
        return plain_gate_softmax(s, c, b, d, phantom)

    @staticmethod
    def backward(ctx: Any, w: Tensor) -> tuple[Tensor | None, ...]:
        return *apply(_Backward, *ctx.saved_tensors, w, ctx.phantom), None


class _Backward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, s: Tensor, c: Tensor, b: Tensor, d: Tensor, w: Tensor, phantom: int) -> tuple[Tensor, ...]:
        ctx.save_for_backward(s, c, b, d, w)
        ctx.phantom = phantom
        p, wd = _softmax(s, c, b, phantom), w * d.unsqueeze(2)
        u = p * (wd - _mean(p, wd))
        return u * c.unsqueeze(2), (u * s).sum(2), u.sum(2), (p * w).sum(2)

    @staticmethod
    def backward(ctx: Any, a: Tensor, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor | None, ...]:
        s, c, b, d, w = ctx.saved_tensors
        p, wd = _softmax(s, c, b, ctx.phantom), w * d.unsqueeze(2)
        c, d, x, y, z = (tensor.unsqueeze(2) for tensor in (c, d, x, y, z))
        above, v = wd - _mean(p, wd), a * c + s * x + y
        drift = v - _mean(p, v)
        q = above * v - wd * _mean(p, v) + z * w
        r, u = p * (q - _mean(p, q)), p * above
        return r * c + u * x, (r * s + u * a).sum(2), r.sum(2), (w * p * drift).sum(2), p * (d * drift + z), None
