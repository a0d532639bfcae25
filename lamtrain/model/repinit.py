"""Repinit: (environment, types) -> the starting vector of each atom.

    G_jm = net(R_j0, tebd_j, tebd_i)      M = R^T G / nsel  (4, m)      D = M^T M[:, :axis]  (m * axis)

R (W, 4) is the environment matrix of the centre. N atoms, W edge slots. Source: se_atten.py of DeePMD-kit, no attention layers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .dpa1_config import Dpa1Config
from .dpa2_config import RepinitConfig
from .environment import EnvironmentMatrix, Geometry
from .kernels.choose import PLAIN, Kernels
from .options import NeighborList
from .typed_embedding import Tables, TypedEmbedding


class Repinit(nn.Module):
    """The wide block. Parameters: `embedding`; buffers: `environment.mean`, `environment.std`."""

    kernels: Kernels = PLAIN

    def __init__(self, block: RepinitConfig | Dpa1Config, ntypes: int, *, smooth: bool):
        super().__init__()
        self.nsel, self.axis, self.smooth = block.nsel, block.axis_neuron, smooth
        self.dim_out = block.neuron[-1] * block.axis_neuron
        self.environment = EnvironmentMatrix(NeighborList(block.rcut, block.nsel, block.rcut_smth, block.set_davg_zero), ntypes)
        self.embedding = TypedEmbedding(
            block.neuron,
            tebd_dim=block.tebd_dim,
            mode=block.tebd_input_mode,
            one_sided=block.type_one_side,
            activation_function=block.activation_function,
            resnet_dt=block.resnet_dt,
        )

    def forward(self, geometry: Geometry, types: Tensor, neighbor_types: Tensor, lead_types: Tensor, tables: Tables) -> Tensor:
        """`types`, `lead_types` (N,), `neighbor_types` (N, W) -> (N, m * axis)."""
        env = self.environment(geometry, types)
        matrix = torch.cat([env.radial.unsqueeze(-1), env.direction], -1)
        centers = types.unsqueeze(1)
        fade = env.switch if self.smooth else None
        if self.kernels.moment is not None and self.embedding.fusable:
            rows, factors = self.embedding.rows(neighbor_types, centers, tables), tables.pairs
            faded = None if factors is None else fade
            moment = self.kernels.moment(matrix, rows, self.embedding.fused_weights(tables), factors, faded)
        else:
            moment = torch.bmm(matrix.transpose(1, 2), self.embedding(env.radial, neighbor_types, centers, tables, fade=fade))
        if self.environment.centered:
            moment = moment + self._padding(geometry, types, lead_types, tables)
        moment = moment * (1.0 / self.nsel)
        return torch.bmm(moment.transpose(1, 2), moment[:, :, : self.axis]).flatten(1)

    def _padding(self, geometry: Geometry, types: Tensor, lead_types: Tensor, tables: Tables) -> Tensor:
        """(N, 4, m) what the reference's padded slots add once the mean is subtracted from them as well.

        They are all alike: the environment (-mean / std, 0, 0, 0) and, as their index is clipped to 0, the type of the first
        atom of the frame. So one slot is computed and counted nsel - n times. Excluded neighbours are not padding.
        """
        padded = self.nsel - (geometry.r < self.environment.rcut).sum(1)
        row = (padded.unsqueeze(1) * self.padded_slot(types, lead_types, tables)).unsqueeze(1)
        return torch.cat([row, row.new_zeros(len(row), 3, row.shape[-1])], 1)

    def padded_slot(self, types: Tensor, lead_types: Tensor, tables: Tables) -> Tensor:
        """(N, m) what one of them adds to the first row of the moment, before it is divided."""
        shift = self.environment.shift(types).unsqueeze(1)
        fade = torch.zeros_like(shift) if self.smooth else None
        embedded: Tensor = self.embedding(shift, lead_types.unsqueeze(1), types.unsqueeze(1), tables, fade=fade)
        return (shift.unsqueeze(-1) * embedded).squeeze(1)
