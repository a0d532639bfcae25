"""DPA-1's descriptor without attention: types and edges of all atoms -> a vector for each, by one block that is DPA-2's repinit.

    tebd = type embedding      D = se_atten      [D, tebd]

Source: dpa1.py and se_atten.py of DeePMD-kit 3.2.0 with `attn_layer: 0`; Zhang et al., npj Comput. Mater. 10, 94 (2024).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig
from .descriptor import Descriptor
from .dpa1_config import Dpa1Config
from .embedding import TypeEmbedding
from .environment import Geometry, type_pair_mask
from .gather import join
from .inputs import Chunk
from .repinit import Repinit


class Dpa1(nn.Module):
    """Parameters: `type_embedding`, `se_atten`."""

    seen: Tensor | None

    def __init__(self, config: ModelConfig):
        super().__init__()
        block = config.descriptor
        assert isinstance(block, Dpa1Config)
        self.config = block
        self.type_embedding = TypeEmbedding(config)
        self.se_atten = Repinit(block, config.ntypes, smooth=block.smooth_type_embedding)
        self.register_buffer("seen", type_pair_mask(block.exclude_types, config.ntypes), persistent=False)
        self.requires_grad_(block.trainable)

    def forward(self, types: Tensor, lead_types: Tensor, chunks: Sequence[Chunk], vectors: Sequence[Tensor]) -> Descriptor:
        """`types`, `lead_types` (A,) by row; `vectors` (N, W, 3) Å for each chunk, given apart to be differentiated."""
        tebd = self.type_embedding()
        tables = self.se_atten.embedding.tables(tebd)
        invariants = []
        for chunk, edges in zip(chunks, vectors):
            rows = slice(chunk.start, chunk.stop)
            own, neighbor_types = types[rows], types[chunk.neighbors]
            seen = None if self.seen is None else self.seen[own.unsqueeze(1), neighbor_types]
            geometry = Geometry(edges, env_protection=self.config.env_protection, seen=seen)
            invariants.append(self.se_atten(geometry, own, neighbor_types, lead_types[rows], tables))
        atoms = join(invariants)
        if self.config.concat_output_tebd:
            atoms = torch.cat([atoms, F.embedding(types, tebd)], -1)
        return Descriptor(atoms=atoms, chunks=[])
