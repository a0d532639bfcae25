"""The two attentions of a repformer layer, with the projections of each head merged before they meet the edges.

Per head h: logit = (x Wq_h)(y Wk_h)^T = x (Wq_h Wk_h^T) y^T, and sum_j a_j (y_j Wv_h) Wo_h = (sum_j a_j y_j)(Wv_h Wo_h).
The merged matrices cost a few small products a step, shared by all chunks; queries, keys and values of every edge are never formed.
Parameters are kept as the reference has them: heads are the fastest index of a projection, the hidden width the slower.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .gate_softmax import EXCLUDED, SHIFT
from .kernels.choose import PLAIN, Kernels
from .layers import Dense
from .pairs import Angles, Sums


class PairWeights(nn.Module):
    """Weights between the edges of a centre. Parameter: `query_key` (ng2, hidden * 2 heads), queries in the first half."""

    kernels: Kernels = PLAIN

    def __init__(self, dim: int, hidden: int, heads: int):
        super().__init__()
        self.hidden, self.heads = hidden, heads
        self.query_key = Dense(dim, hidden * 2 * heads, bias=False)

    def merged(self) -> Tensor:
        """(ng2, heads * ng2): for each head, query matrix times key matrix."""
        both = self.query_key.weight.view(-1, self.hidden, 2 * self.heads)
        query, key = torch.split(both, self.heads, dim=2)
        return torch.einsum("adh,bdh->ahb", query, key).flatten(1)

    def forward(self, g2: Tensor, merged: Tensor, angles: Angles, phantom: int) -> Tensor:
        """`g2` (N, V, ng2) -> (N, V, heads, V)."""
        n, v, dim = g2.shape
        query = (g2 @ merged).view(n, v * self.heads, dim)
        logits = torch.bmm(query, g2.transpose(1, 2)).view(n, v, self.heads, v)
        weights: Tensor = self.kernels.gate_softmax(logits, *angles.gate_shift_weight, phantom)
        return weights


class PairAttention(nn.Module):
    """What g2 takes from the other edges of its centre, up to `norm`. Parameters: `value` (ng2, ng2 * heads), `head_map`, `norm`."""

    kernels: Kernels = PLAIN

    def __init__(self, dim: int, heads: int, *, ln_eps: float, trainable_ln: bool):
        super().__init__()
        self.heads = heads
        self.value = Dense(dim, dim * heads, bias=False)
        self.head_map = Dense(dim * heads, dim)
        self.norm = nn.LayerNorm(dim, eps=ln_eps)
        self.norm.requires_grad_(trainable_ln)

    def merged(self) -> Tensor:
        """(heads * ng2, ng2): for each head, value matrix times its share of the head map."""
        dim = len(self.value.weight)
        value = self.value.weight.view(dim, dim, self.heads)
        return torch.einsum("cdh,dho->hco", value, self.head_map.weight.view(dim, self.heads, dim)).flatten(0, 1)

    def forward(self, weights: Tensor, g2: Tensor, merged: Tensor) -> Tensor:
        """`weights` (N, V, heads, V) between the edges, `g2` (N, V, ng2) -> (N, V, ng2)."""
        context = torch.bmm(weights.flatten(1, 2), g2).view(*g2.shape[:2], -1)
        return torch.nn.functional.linear(context, merged.t(), self.head_map.bias)

    def fused(self, g2: Tensor, query_key: Tensor, merged: Tensor, angles: Angles, phantom: int) -> Tensor:
        """The same, smooth, where a kernel computes the weights on the way; `query_key` is `PairWeights.merged`."""
        bias, a = self.head_map.bias, angles
        assert self.kernels.pair_attention is not None
        scales = (a.logit_scale, a.weight_scale, a.gated, phantom)
        taken: Tensor = self.kernels.pair_attention(g2, query_key, merged, bias, a.fading, a.both, *scales)
        return taken


class VectorAttention(nn.Module):
    """What h2 takes from the other edges of its centre. Parameter: `head_map` (heads, 1)."""

    def __init__(self, heads: int):
        super().__init__()
        self.head_map = Dense(heads, 1, bias=False)

    def forward(self, weights: Tensor, h2: Tensor) -> Tensor:
        """`weights` (N, V, heads, V), `h2` (N, V, 3) -> (N, V, 3)."""
        return torch.einsum("nihj,h,njx->nix", weights, self.head_map.weight.squeeze(1), h2)


class LocalAttention(nn.Module):
    """What g1 takes from its neighbours' g1.

    Parameters: `query` (ng1, hidden * heads), `key_value` (ng1, (hidden + ng1) * heads), `head_map` (ng1 * heads, ng1).
    """

    kernels: Kernels = PLAIN

    def __init__(self, dim: int, hidden: int, heads: int):
        super().__init__()
        self.hidden, self.heads = hidden, heads
        self.query = Dense(dim, hidden * heads, bias=False)
        self.key_value = Dense(dim, (hidden + dim) * heads, bias=False)
        self.head_map = Dense(dim * heads, dim)

    def merged(self) -> tuple[Tensor, Tensor]:
        """(ng1, hidden, heads) keys, and (heads * ng1, ng1): for each head, value matrix times its share of the head map."""
        dim = len(self.key_value.weight)
        key, value = torch.split(self.key_value.weight.view(dim, self.hidden + dim, self.heads), [self.hidden, dim], dim=1)
        return key, torch.einsum("cdh,hdo->hco", value, self.head_map.weight.view(self.heads, dim, dim)).flatten(0, 1)

    def forward(self, g1: Tensor, neighbors_g1: Tensor, merged: tuple[Tensor, Tensor], sums: Sums) -> Tensor:
        """`g1` (N, ng1), `neighbors_g1` (N, V, ng1) -> (N, ng1)."""
        key, value = merged
        query = self.query(g1).view(len(g1), self.hidden, self.heads)
        logits = torch.bmm(torch.einsum("ndh,cdh->nhc", query, key), neighbors_g1.transpose(1, 2)) * self.hidden**-0.5
        context = torch.bmm(self._weights(logits, sums), neighbors_g1)
        return torch.nn.functional.linear(context.flatten(1), value.t(), self.head_map.bias)

    def _weights(self, logits: Tensor, sums: Sums) -> Tensor:
        """(N, heads, V) softmax over neighbours; the centre is the only row, so it goes in as one."""
        weight = sums.weight.unsqueeze(1)
        if sums.smooth:
            c, b = weight, SHIFT * (weight - 1.0)
        else:
            c, b = torch.ones_like(weight), (1.0 - weight) * EXCLUDED
        weights: Tensor = self.kernels.gate_softmax(logits.unsqueeze(1), c, b, weight, sums.phantom)
        return weights.squeeze(1)
