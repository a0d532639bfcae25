"""Three-body block: pairs of edges of a centre -> an invariant of the angles between them.

    e_jk = sum_xyz R_j R_k      D_m = sum_jk e_jk net(e_jk, tebd_j, tebd_k)_m / nsel^2

R (V, 3) are the direction columns of the environment matrix, so e carries the switch and the scale; it is not a cosine.
N atoms, V edge slots. Source: se_t_tebd.py of DeePMD-kit.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .dpa2_config import Dpa2Config
from .environment import EnvironmentMatrix, Geometry
from .kernels.choose import PLAIN, Kernels
from .typed_embedding import Tables, TypedEmbedding


class ThreeBody(nn.Module):
    """Parameters: `embedding`; buffers: `environment.mean`, `environment.std`."""

    kernels: Kernels = PLAIN

    def __init__(self, config: Dpa2Config, ntypes: int):
        super().__init__()
        block = config.repinit
        self.nsel, self.smooth, self.dim_out = block.three_body_sel, config.smooth, block.three_body_neuron[-1]
        self.environment = EnvironmentMatrix(config.lists["three_body"], ntypes)
        self.embedding = TypedEmbedding(
            block.three_body_neuron,
            tebd_dim=block.tebd_dim,
            mode=block.tebd_input_mode,
            one_sided=False,
            activation_function=block.activation_function,
            resnet_dt=block.resnet_dt,
        )

    def forward(self, geometry: Geometry, types: Tensor, neighbor_types: Tensor, tables: Tables) -> Tensor:
        """`types` (N,), `neighbor_types` (N, V) -> (N, m)."""
        env = self.environment(geometry, types)
        angle = torch.bmm(env.direction, env.direction.transpose(1, 2))
        if self.kernels.three_body is not None and self.embedding.fusable and tables.pairs is None:
            total: Tensor = self.kernels.three_body(angle, neighbor_types, len(tables.tebd), self.embedding.fused_weights(tables))
            return total * (1.0 / self.nsel**2)
        fade = env.switch.unsqueeze(2) * env.switch.unsqueeze(1) if self.smooth else None
        embedded = self.embedding(angle, neighbor_types.unsqueeze(2), neighbor_types.unsqueeze(1), tables, fade=fade)
        total = torch.bmm(angle.flatten(1).unsqueeze(1), embedded.flatten(1, 2)).squeeze(1)
        return total * (1.0 / self.nsel**2)
