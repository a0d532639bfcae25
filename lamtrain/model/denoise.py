"""Denoise head: descriptor and pair channel -> the way back to the clean position, and the hidden element.

    dx_i = sum_j f(g2_ij) sw_ij d_ij / (sum_j sw_ij + 1e-6)      logits_i = W LN(gelu(V D_i + c)) + b

d_ij are the plain edge vectors in Å, so dx turns with the frame and is a length; f is a net K -> K -> 1 with gelu.
Source: NonLinearHead and MaskLMHead of the pre-release DPA-2 code (deepmd-pytorch), where d_ij was the normalised vector.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig
from .heads import Features, HeadKind
from .inputs import HeadRows
from .layers import Dense
from .pairs import Pairs


class DenoiseHead(nn.Module):
    """Parameters: `pair_hidden`, `pair_out` (f); `type_hidden`, `type_norm`, `type_out` (the logits)."""

    def __init__(self, config: ModelConfig, name: str):
        super().__init__()
        pair, atom = config.descriptor.dim_pair, config.descriptor.dim_out
        hidden, type_hidden = config.denoise.hidden or pair, config.denoise.type_hidden or atom
        self.pair_hidden = Dense(pair, hidden)
        self.pair_out = Dense(hidden, 1)
        self.type_hidden = Dense(atom, type_hidden)
        self.type_norm = nn.LayerNorm(type_hidden, eps=config.denoise.ln_eps)
        self.type_out = Dense(type_hidden, len(config.elements))

    def displacement(self, pairs: Pairs, vectors: Tensor, rows: Tensor) -> Tensor:
        """`rows` (n,) of a chunk with edges `vectors` (N, W, 3) Å -> (n, 3) Å."""
        g2, weight = pairs.g2[rows], pairs.sums.weight[rows]
        factor = self.pair_out(F.gelu(self.pair_hidden(g2))).squeeze(-1) * weight
        moved = torch.bmm(factor.unsqueeze(1), vectors[rows, : g2.shape[1]]).squeeze(1)
        return moved / (weight.sum(1, keepdim=True) + 1e-6)

    def type_logits(self, descriptor: Tensor) -> Tensor:
        """(n, d) -> (n, elements)."""
        return self.type_out(self.type_norm(F.gelu(self.type_hidden(descriptor))))


def evaluate(heads: Sequence[tuple[HeadRows, DenoiseHead]], features: Features) -> dict[str, Tensor]:
    """The way back of each atom (A, 3) Å, and the logits of its element (A, elements)."""
    batch, descriptor = features.batch, features.descriptor
    moved = descriptor.atoms.new_zeros(batch.natoms_total, 3)
    logits = descriptor.atoms.new_zeros(batch.natoms_total, len(features.config.elements))
    for head, net in heads:
        chunks = zip(descriptor.chunks, features.vectors, head.by_chunk)
        parts = [net.displacement(pairs, edges, rows) for pairs, edges, rows in chunks if len(rows)]
        moved = moved.index_copy(0, head.rows, torch.cat(parts))
        logits = logits.index_copy(0, head.rows, net.type_logits(descriptor.atoms[head.rows]))
    return {"displacement": moved[batch.rank], "type_logits": logits[batch.rank]}


DENOISE = HeadKind(build=DenoiseHead, evaluate=evaluate)
