"""Repformer: starting vectors of atoms -> descriptors, by layers that pass messages along the edges.

N atoms of a chunk, A of all chunks, V edge slots. Source: repformers.py of DeePMD-kit.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .activations import activation
from .dpa2_config import Dpa2Config
from .environment import Environment, EnvironmentMatrix, Geometry
from .layers import Dense
from .pairs import Angles, Pairs, Sums, weighted_h2
from .repformer_layer import RepformerLayer


class Repformer(nn.Module):
    """Parameters: `g2_embedding`, `layers`; buffers: `environment.mean`, `environment.std`."""

    def __init__(self, config: Dpa2Config, ntypes: int):
        super().__init__()
        self.config, self.smooth = config.repformer, config.smooth
        block = config.repformer
        self.environment = EnvironmentMatrix(config.lists["repformer"], ntypes)
        self.act = activation(block.activation_function)
        self.g2_embedding = Dense(1, block.g2_dim)
        self.layers = nn.ModuleList(RepformerLayer(block, last=k == block.nlayers - 1) for k in range(block.nlayers))

    def start(self, geometry: Geometry, types: Tensor, neighbors: Tensor, first: int) -> Pairs:
        """The pair channel of a chunk before the first layer; its rows begin at `first`."""
        env = self.environment(geometry, types)
        sums = self._sums(env, geometry)
        radial, h2 = self._pair_input(env, geometry)
        assert self.g2_embedding.bias is not None
        g2 = self.act(torch.addcmul(self.g2_embedding.bias, radial.unsqueeze(-1), self.g2_embedding.weight[0]))
        return Pairs(
            g2=g2,
            h2=h2,
            h2_sum=weighted_h2(h2, sums),
            sums=sums,
            angles=self._angles(h2, sums),
            neighbors=neighbors,
            start=first,
            stop=first + len(types),
        )

    def forward(self, g1: Tensor, chunks: list[Pairs]) -> tuple[Tensor, list[Pairs]]:
        """`g1` (A, ng1) -> (A, ng1), with the chunks after the last layer."""
        g1 = self.act(g1)
        for layer in self.layers:
            g1, chunks = layer(g1, chunks)
        return g1, chunks

    def _sums(self, env: Environment, geometry: Geometry) -> Sums:
        if self.smooth:
            return Sums.smoothed(env.switch, nsel=self.config.nsel, sqrt_nnei=self.config.use_sqrt_nnei)
        return Sums.counted(self.environment.real(geometry), sqrt_nnei=self.config.use_sqrt_nnei)

    def _pair_input(self, env: Environment, geometry: Geometry) -> tuple[Tensor, Tensor]:
        """(N, V) scalar and (N, V, 3) vector that the pair channel starts from."""
        if not self.config.direct_dist:
            return env.radial, env.direction
        return geometry.r / self.config.rcut, geometry.vectors / self.config.rcut

    def _angles(self, h2: Tensor, sums: Sums) -> Angles | None:
        if self.layers[0].pair_weights is None:
            return None
        return Angles(h2, sums, hidden=self.config.attn2_hidden, gated=self.config.attn2_has_gate)
