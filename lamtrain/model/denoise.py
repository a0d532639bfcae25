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

from . import grouped
from .config import ModelConfig
from .heads import Features, HeadKind
from .inputs import HeadRows, Tiles
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
        factor = self.pair_out(F.gelu(self.pair_hidden(pairs.g2[rows]))).squeeze(-1)
        return weighted_mean(factor, pairs, vectors, rows)

    def type_logits(self, descriptor: Tensor) -> Tensor:
        """(n, d) -> (n, elements)."""
        return self.type_out(self.type_norm(F.gelu(self.type_hidden(descriptor))))


def weighted_mean(factor: Tensor, pairs: Pairs, vectors: Tensor, rows: Tensor) -> Tensor:
    """`factor` (n, V) of the edges of `rows` (n,) of a chunk -> (n, 3) Å, their mean under the switch."""
    weight = pairs.sums.weight[rows]
    moved = torch.bmm((factor * weight).unsqueeze(1), vectors[rows, : factor.shape[1]]).squeeze(1)
    return moved / (weight.sum(1, keepdim=True) + 1e-6)


def displacement_of_tiles(nets: Sequence[DenoiseHead], pairs: Pairs, vectors: Tensor, tiles: Tiles) -> Tensor:
    """(n, 3) Å, head after head: `DenoiseHead.displacement` of several."""
    g2 = grouped.lay(pairs.g2, tiles)  # (tiles, height, V, K)
    hidden = F.gelu(grouped.dense([net.pair_hidden for net in nets], g2.flatten(1, 2), tiles))
    factor = grouped.dense([net.pair_out for net in nets], hidden, tiles).view(g2.shape[:-1])
    return weighted_mean(grouped.take_up(factor, tiles), pairs, vectors, tiles.own_rows)


def logits_of_tiles(nets: Sequence[DenoiseHead], atoms: Tensor, tiles: Tiles) -> Tensor:
    """(n, elements), head after head: `DenoiseHead.type_logits` of several."""
    hidden = F.gelu(grouped.dense([net.type_hidden for net in nets], grouped.lay(atoms, tiles), tiles))
    normed = grouped.layer_norm([net.type_norm for net in nets], hidden, tiles)
    return grouped.take_up(grouped.dense([net.type_out for net in nets], normed, tiles), tiles)


def evaluate(heads: Sequence[tuple[HeadRows, DenoiseHead]], features: Features) -> dict[str, Tensor]:
    """The way back of each atom (A, 3) Å, and the logits of its element (A, elements)."""
    batch, atoms = features.batch, features.descriptor.atoms
    chunks, nets = list(zip(features.descriptor.chunks, features.vectors)), [net for _, net in heads]
    if (own := batch.tiles.get("denoise")) is not None:
        present = [(chunk.start, part, *pair) for chunk, part, pair in zip(batch.chunks, own.by_chunk, chunks) if part is not None]
        parts = [displacement_of_tiles(nets, pairs, vectors, part) for _, part, pairs, vectors in present]
        places, rows = [part.own_rows + start for start, part, _, _ in present], own.atoms.own_rows
        logits = logits_of_tiles(nets, atoms, own.atoms)
    else:
        ((head, net),) = heads
        parts = [net.displacement(*pair, rows) for pair, rows in zip(chunks, head.by_chunk) if len(rows)]
        places, rows, logits = [head.rows], head.rows, net.type_logits(atoms[head.rows])
    moved = atoms.new_zeros(batch.natoms_total, 3).index_copy(0, torch.cat(places), torch.cat(parts))
    logits = atoms.new_zeros(batch.natoms_total, logits.shape[1]).index_copy(0, rows, logits)
    return {"displacement": moved[batch.rank], "type_logits": logits[batch.rank]}


DENOISE = HeadKind(build=DenoiseHead, evaluate=evaluate)
