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
from torch import Tensor, nn

from .activations import activation
from .attention import LocalAttention, PairAttention, PairWeights, VectorAttention
from .dpa2_config import RepformerConfig
from .gather import gather_rows, join, split
from .kernels.choose import PLAIN, Kernels
from .kernels.plain import neighbor_sums
from .layers import Dense
from .pairs import Angles, Pairs, weighted_h2
from .residual import Residual

ACTIVATED = ("self", "linear")  # terms of g1's update that are activated


class RepformerLayer(nn.Module):
    """See the module. `last`: the pair channel is not needed any more, and is not updated."""

    kernels: Kernels = PLAIN

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
        self.needs_edges = self.local_attention is not None or self.g1g1 is not None  # neighbours' g1 on every edge

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
        self.fusable_nodes = self.act is torch.tanh and c.update_style == "res_residual"
        self.fusable = not g1g1 and self.fusable_nodes

    def forward(self, g1: Tensor, chunks: list[Pairs]) -> tuple[Tensor, list[Pairs]]:
        """`g1` (A, ng1) -> (A, ng1), with the chunks' pair channels."""
        own = split(g1, [pairs.stop - pairs.start for pairs in chunks])
        gathered = gather_rows(g1, [pairs.neighbors for pairs in chunks]) if self.needs_edges else [None] * len(chunks)
        updates = self._neighbor_terms(g1, chunks)
        if self.self_mlp is not None:
            updates["self"] = self.self_mlp(g1)
        if self.local_attention is not None:
            merged = self.local_attention.merged()
            updates["attn"] = join([self.local_attention(a, b, merged, pairs.sums) for a, b, pairs in zip(own, gathered, chunks)])
        query_key = None if self.pair_weights is None else self.pair_weights.merged()
        value = None if self.pair_attention is None else self.pair_attention.merged()
        new = chunks if self.last else [self._update_pairs(*some, query_key, value) for some in zip(chunks, own, gathered)]
        return self._update_nodes(g1, updates), new

    def _update_nodes(self, g1: Tensor, updates: dict[str, Tensor]) -> Tensor:
        """`self` and `linear` are still to be activated."""
        if self.kernels.node_update is not None and self.fusable_nodes:
            scale = self.g1_residual.scale
            terms = [(scale[term], updates[term], term in ACTIVATED) for term in self.g1_residual.terms]
            return self.kernels.node_update(g1, terms)
        active = {term: self.act(value) if term in ACTIVATED else value for term, value in updates.items()}
        updated: Tensor = self.g1_residual(g1, active)
        return updated

    def _neighbor_terms(self, g1: Tensor, chunks: list[Pairs]) -> dict[str, Tensor]:
        """The terms `linear`, still to be activated, and `conv` of g1's update, (A, ng1)."""
        c, neighbors = self.config, [pairs.neighbors for pairs in chunks]
        g2, h2_sum = [pairs.g2 for pairs in chunks], [pairs.h2_sum for pairs in chunks]
        scales = [pairs.sums.scale for pairs in chunks] if self.conv is not None else []
        alone = self.conv if c.g1_out_conv else None
        conv: Tensor | None
        moment: Tensor | None
        own: Tensor | None
        if alone is not None and c.update_g1_has_drrd and self.kernels.neighbor_sums is not None:
            conv, moment, own = self.kernels.neighbor_sums(g1, alone.weight, g2, scales, h2_sum, neighbors)
        else:
            weighted = [g * scale.unsqueeze(-1) for g, scale in zip(g2, scales)]
            u = None if alone is None else [alone(w) for w in weighted]
            conv, moment = neighbor_sums(g1, u, h2_sum if c.update_g1_has_drrd else None, neighbors)
            own = join([torch.bmm(h, g) for h, g in zip(h2_sum, g2)]) if c.update_g1_has_grrg else None
        inputs = [] if c.g1_out_mlp else [g1]
        if self.conv is not None and alone is None:
            summed, _ = neighbor_sums(self.conv(g1), weighted, None, neighbors)
            assert summed is not None
            inputs.append(summed)
        wanted = ((own, c.update_g1_has_grrg), (moment, c.update_g1_has_drrd))
        moments = [sums for sums, on in wanted if on and sums is not None]
        if moments:
            inputs.append(self.kernels.symmetrize(moments, c.axis_neuron))
        updates = {"linear": self.linear1(inputs[0] if len(inputs) == 1 else join(inputs, -1))}
        return updates if alone is None or conv is None else updates | {"conv": conv}

    def _update_pairs(
        self, pairs: Pairs, own_g1: Tensor, neighbors_g1: Tensor | None, query_key: Tensor | None, value: Tensor | None
    ) -> Pairs:
        """`own_g1` (N, ng1); `neighbors_g1` (N, V, ng1) for the product of both atoms' g1; the merged matrices of the attention."""
        g2 = pairs.g2
        if self.kernels.pair_update is not None and self.fusable:
            attended, weights = self._attended(pairs, query_key, value)
            new = replace(pairs, g2=self._fused_update(g2, attended))
        else:
            assert self.linear2 is not None and self.g2_residual is not None
            updates = {"linear": self.act(self.linear2(g2))}
            if self.g1g1 is not None:
                assert neighbors_g1 is not None
                product = own_g1.unsqueeze(1) * neighbors_g1
                updates["g1g1"] = self.g1g1(product * pairs.sums.weight.unsqueeze(-1))
            attended, weights = self._attended(pairs, query_key, value)
            if attended is not None:
                assert self.pair_attention is not None
                updates["attn"] = self.pair_attention.norm(attended)
            new = replace(pairs, g2=self.g2_residual(g2, updates))
        if self.vector_attention is None or self.h2_residual is None:
            return new
        return self._turn(new, self.h2_residual(pairs.h2, {"attn": self.vector_attention(weights, pairs.h2)}))

    def _attended(self, pairs: Pairs, query_key: Tensor | None, value: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """What g2 takes by attention, up to its norm, and the weights, where they are formed and asked for."""
        if self.pair_weights is None:
            return None, None
        assert query_key is not None and pairs.angles is not None
        fused = self.vector_attention is None and self.kernels.pair_attention is not None and pairs.sums.smooth
        if fused and self.pair_attention is not None and value is not None:
            return self.pair_attention.fused(pairs.g2, query_key, value, pairs.angles, pairs.sums.phantom), None
        weights = self.pair_weights(pairs.g2, query_key, pairs.angles, pairs.sums.phantom)
        return None if self.pair_attention is None else self.pair_attention(weights, pairs.g2, value), weights

    def _fused_update(self, g2: Tensor, attended: Tensor | None) -> Tensor:
        """The same as the residual makes of `linear` and the normed attention."""
        assert self.linear2 is not None and self.g2_residual is not None and self.kernels.pair_update is not None
        scale = self.g2_residual.scale
        attention: list[Tensor | float | None] = [None, None, None, 0.0]
        if attended is not None:
            assert self.pair_attention is not None
            norm = self.pair_attention.norm
            attention = [attended, scale["attn"] * norm.weight, scale["attn"] * norm.bias, norm.eps]
        return self.kernels.pair_update(g2, self.linear2.weight, self.linear2.bias, scale["linear"], *attention)

    def _turn(self, pairs: Pairs, h2: Tensor) -> Pairs:
        """The pairs with a new h2, and what hangs on it."""
        c = self.config
        angles = Angles(h2, pairs.sums, hidden=c.attn2_hidden, gated=c.attn2_has_gate)
        return replace(pairs, h2=h2, h2_sum=weighted_h2(h2, pairs.sums), angles=angles)
