"""One layer of the repformer: (g1, g2, h2) -> (g1, g2, h2), all terms from the old values.

    g1 += self   act(W g1)                                   conv   sum_j sw_j (W g2_j) g1_j / nsel
          linear act(W [grrg, drrd])                         attn   attention over neighbours
    g2 += linear act(W g2)       g1g1  W (sw g1_i g1_j)      attn   gated attention over the centre's other edges
    h2 += attn   the same weights, applied to h2

grrg = H(g2)[:, :axis]^T H(g2) / 3 and drrd = H(g1_j)[:, :axis]^T H(g1_j) / 3, with H(a) = sum_j h2_j sw_j a_j / sqrt(nsel).
N atoms of a chunk, A of all chunks, V edge slots. Source: repformer_layer.py of DeePMD-kit.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .activations import activation
from .attention import LocalAttention, PairAttention, PairWeights, VectorAttention
from .config import RepformerConfig
from .layers import Dense
from .pairs import Angles, Pairs, weighted_h2
from .residual import Residual


class RepformerLayer(nn.Module):
    """See the module. `last`: the pair channel is not needed any more, and is not updated."""

    def __init__(self, config: RepformerConfig, *, last: bool):
        super().__init__()
        self.config, self.act, self.last = config, activation(config.activation_function), last
        g1, g2 = config.g1_dim, config.g2_dim
        self.linear1 = Dense(config.linear1_dim, g1)
        self.self_mlp = Dense(g1, g1) if config.g1_out_mlp else None
        self.conv = None
        if config.update_g1_has_conv:
            self.conv = Dense(g2, g1, bias=False) if config.g1_out_conv else Dense(g1, g2, bias=False)
        self.local_attention = LocalAttention(g1, config.attn1_hidden, config.attn1_nhead) if config.update_g1_has_attn else None
        self.g1_residual = Residual(config, g1, self._g1_terms())
        self._add_pair_channel(config, g2, last)

    def _g1_terms(self) -> list[str]:
        c = self.config
        terms = ["self"] * c.g1_out_mlp + ["conv"] * (c.update_g1_has_conv and c.g1_out_conv)
        return [*terms, "linear"] + ["attn"] * c.update_g1_has_attn

    def _add_pair_channel(self, c: RepformerConfig, g2: int, last: bool) -> None:
        attn, g1g1 = c.update_g2_has_attn and not last, c.update_g2_has_g1g1 and not last
        self.update_h2 = c.update_h2 and not last
        self.linear2 = None if last else Dense(g2, g2)
        self.g1g1 = Dense(c.g1_dim, g2, bias=False) if g1g1 else None
        self.pair_weights = PairWeights(g2, c.attn2_hidden, c.attn2_nhead) if attn or self.update_h2 else None
        ln_eps = 1e-5 if c.ln_eps is None else c.ln_eps
        self.pair_attention = PairAttention(g2, c.attn2_nhead, ln_eps=ln_eps, trainable_ln=c.trainable_ln) if attn else None
        self.vector_attention = VectorAttention(c.attn2_nhead) if self.update_h2 else None
        self.g2_residual = None if last else Residual(c, g2, ["linear"] + ["g1g1"] * g1g1 + ["attn"] * attn)
        self.h2_residual = Residual(c, 1, ["attn"]) if self.update_h2 else None

    def forward(self, g1: Tensor, chunks: list[Pairs]) -> tuple[Tensor, list[Pairs]]:
        """`g1` (A, ng1) -> (A, ng1), with the chunks' pair channels."""
        parts = [self._sums(g1, pairs) for pairs in chunks]
        linear_in, conv, attn = (torch.cat(part) if part[0] is not None else None for part in zip(*parts))
        if self.self_mlp is None:
            linear_in = torch.cat([g1, linear_in], -1)
        updates = {"linear": self.act(self.linear1(linear_in)), "conv": conv, "attn": attn}
        if self.self_mlp is not None:
            updates["self"] = self.act(self.self_mlp(g1))
        new = chunks if self.last else [self._update_pairs(g1, pairs) for pairs in chunks]
        return self.g1_residual(g1, updates), new

    def _sums(self, g1: Tensor, pairs: Pairs) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """A chunk's share of g1's update: input of linear1 (N, .), conv (N, ng1) by itself, attention (N, ng1)."""
        c, own = self.config, None
        neighbors_g1 = F.embedding(pairs.neighbors, g1)
        inputs = []
        if self.conv is not None:
            conv = self._convolve(pairs, neighbors_g1)
            own = conv if c.g1_out_conv else None
            inputs += [] if c.g1_out_conv else [conv]
        if c.update_g1_has_grrg:
            inputs.append(symmetrize(pairs.h2_sum, pairs.g2, c.axis_neuron))
        if c.update_g1_has_drrd:
            inputs.append(symmetrize(pairs.h2_sum, neighbors_g1, c.axis_neuron))
        attn = None
        if self.local_attention is not None:
            attn = self.local_attention(g1[pairs.start : pairs.stop], neighbors_g1, pairs.sums)
        joined = torch.cat(inputs, -1) if inputs else g1.new_zeros(len(neighbors_g1), 0)
        return joined, own, attn

    def _convolve(self, pairs: Pairs, neighbors_g1: Tensor) -> Tensor:
        """(N, ng1) if the term stands alone, (N, ng2) if it feeds linear1."""
        weighted = pairs.g2 * (pairs.sums.weight.unsqueeze(-1) * pairs.sums.conv)
        if not self.config.g1_out_conv:
            return (weighted * self.conv(neighbors_g1)).sum(1)
        # sum_j (W g2_j) g1_j = diag(W^T sum_j g2_j g1_j^T): the sum first, so that W meets atoms, not edges
        return (torch.bmm(weighted.transpose(1, 2), neighbors_g1) * self.conv.weight).sum(1)

    def _update_pairs(self, g1: Tensor, pairs: Pairs) -> Pairs:
        g2, h2 = pairs.g2, pairs.h2
        updates = {"linear": self.act(self.linear2(g2))}
        if self.g1g1 is not None:
            product = g1[pairs.start : pairs.stop].unsqueeze(1) * F.embedding(pairs.neighbors, g1)
            updates["g1g1"] = self.g1g1(product * pairs.sums.weight.unsqueeze(-1))
        if self.pair_weights is None:
            return replace(pairs, g2=self.g2_residual(g2, updates))
        weights = self.pair_weights(g2, pairs.angles, pairs.sums.phantom)
        if self.pair_attention is not None:
            updates["attn"] = self.pair_attention(weights, g2)
        new = replace(pairs, g2=self.g2_residual(g2, updates))
        if self.vector_attention is None:
            return new
        return self._turn(new, self.h2_residual(h2, {"attn": self.vector_attention(weights, h2)}))

    def _turn(self, pairs: Pairs, h2: Tensor) -> Pairs:
        """The pairs with a new h2, and what hangs on it."""
        c = self.config
        angles = Angles.of(h2, pairs.sums, hidden=c.attn2_hidden, gated=c.attn2_has_gate)
        return replace(pairs, h2=h2, h2_sum=weighted_h2(h2, pairs.sums), angles=angles)


def symmetrize(h2_sum: Tensor, values: Tensor, axis: int) -> Tensor:
    """(N, 3, V), (N, V, d) -> (N, axis * d): invariant of the sum H = h2_sum values."""
    moment = torch.bmm(h2_sum, values)
    return torch.bmm(moment[:, :, :axis].transpose(1, 2), moment).flatten(1) * (1.0 / 3.0)
