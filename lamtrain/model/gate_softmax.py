"""The softmax inside both attentions, with the columns that the reference's padding adds to its denominator.

    u = S * C + B      p_j = exp(u_j) / (sum_j exp(u_j) + phantom * exp(-20))      A = p * D

The reference pads every neighbour list to nsel and lets the padding into the softmax at a logit of exactly -20. Here lists
are only as wide as they must be; the columns left out are counted (`phantom`) and enter the denominator in closed form.
"""

from __future__ import annotations

import torch
from torch import Tensor

SHIFT = 20.0  # `attnw_shift` of the reference: logits fade to -SHIFT at the cutoff
EXCLUDED = -1e9  # logit of a column that takes no part (smooth off); finite, so that an atom without neighbours gives no NaN


def gate_softmax(s: Tensor, c: Tensor, b: Tensor, d: Tensor, phantom: int) -> Tensor:
    """`s` (N, I, H, J) logits; `c`, `b`, `d` (N, I, J), shared by the heads H; -> (N, I, H, J)."""
    u = torch.addcmul(b.unsqueeze(2), s, c.unsqueeze(2))
    top = u.detach().amax(-1, keepdim=True)
    if phantom:
        top = top.clamp_min(-SHIFT)
    weight = (u - top).exp()
    total = weight.sum(-1, keepdim=True)
    if phantom:
        total = total + phantom * (-SHIFT - top).exp()
    return weight * (d.unsqueeze(2) / total)
