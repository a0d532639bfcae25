"""DPA-2's descriptor: types and edges of all atoms -> a vector for each, and the pair channel of each edge.

    tebd = type embedding      D = [repinit, three-body]      g1 = W D (+ W' tebd)      g1 = repformer(g1)      [g1, tebd]

A rows, in chunks of N atoms with W edge slots, of which V can lie within the repformer's cutoff. No ghosts and no masks:
a neighbour is a row of the same frame, an empty slot lies beyond every cutoff, where the switch is exactly 0.
Equations: Zhang et al., npj Comput. Mater. 10, 293 (2024) and DeePMD-kit 3.2.0 (pt/model/descriptor/dpa2.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig
from .descriptor import Descriptor
from .dpa2_config import Dpa2Config
from .embedding import TypeEmbedding
from .environment import Geometry, type_pair_mask
from .gather import join
from .inputs import Chunk
from .kernels.choose import PLAIN, Kernels
from .layers import Dense
from .pairs import Pairs
from .repformer import Repformer
from .repinit import Repinit
from .three_body import ThreeBody
from .typed_embedding import Tables


class Dpa2(nn.Module):
    """Parameters: `type_embedding`, `repinit`, `three_body`, `shape_transform`, `tebd_transform`, `repformer`."""

    kernels: Kernels = PLAIN
    seen: Tensor | None

    def __init__(self, config: ModelConfig):
        super().__init__()
        block = config.descriptor
        assert isinstance(block, Dpa2Config)
        self.config = block
        self.type_embedding = TypeEmbedding(config)
        self.repinit = Repinit(block.repinit, config.ntypes, smooth=block.smooth)
        self.three_body = ThreeBody(block, config.ntypes) if block.repinit.use_three_body else None
        dim = self.repinit.dim_out + (self.three_body.dim_out if self.three_body is not None else 0)
        g1 = block.repformer.g1_dim
        self.shape_transform = Dense(dim, g1, bias=False, glorot=True) if dim != g1 else None
        self.tebd_transform = Dense(block.repinit.tebd_dim, g1, bias=False) if block.add_tebd_to_repinit_out else None
        self.repformer = Repformer(block, config.ntypes)
        self.register_buffer("seen", type_pair_mask(block.exclude_types, config.ntypes), persistent=False)
        self.requires_grad_(block.trainable)

    def forward(self, types: Tensor, lead_types: Tensor, chunks: Sequence[Chunk], vectors: Sequence[Tensor]) -> Descriptor:
        """`types`, `lead_types` (A,) by row; `vectors` (N, W, 3) Å for each chunk, given apart to be differentiated."""
        if self.kernels.descriptor is not None:
            whole: Descriptor = self.kernels.descriptor(self, types, lead_types, chunks, vectors)
            return whole
        tebd = self.type_embedding()
        tables = self.repinit.embedding.tables(tebd)
        pair_tables = None if self.three_body is None else self.three_body.embedding.tables(tebd)
        started = [
            self._start(chunk, edges, types, lead_types, tables=tables, pair_tables=pair_tables) for chunk, edges in zip(chunks, vectors)
        ]
        g1 = join([environment for environment, _ in started])
        if self.shape_transform is not None:
            g1 = self.shape_transform(g1)
        own = F.embedding(types, tebd)
        if self.tebd_transform is not None:
            g1 = g1 + self.tebd_transform(own)
        g1, pairs = self.repformer(g1, [pair for _, pair in started])
        return Descriptor(atoms=torch.cat([g1, own], -1) if self.config.concat_output_tebd else g1, chunks=pairs)

    def _start(
        self,
        chunk: Chunk,
        vectors: Tensor,
        all_types: Tensor,
        lead_types: Tensor,
        *,
        tables: Tables,
        pair_tables: Tables | None,
    ) -> tuple[Tensor, Pairs]:
        """Invariants of a chunk (N, .) from repinit and three-body, and its first pair channel."""
        rows = slice(chunk.start, chunk.stop)
        types, neighbor_types = all_types[rows], all_types[chunk.neighbors]
        seen = None if self.seen is None else self.seen[types.unsqueeze(1), neighbor_types]
        geometry = Geometry(vectors, env_protection=self.config.env_protection, seen=seen)
        invariants = [self.repinit(geometry, types, neighbor_types, lead_types[rows], tables)]
        if self.three_body is not None:
            width = chunk.widths["three_body"]
            near = geometry.leading(width)
            invariants.append(self.three_body(near, types, neighbor_types[:, :width], pair_tables))
        width = chunk.widths["repformer"]
        pairs = self.repformer.start(geometry.leading(width), types, chunk.neighbors[:, :width], chunk.start)
        return join(invariants, -1), pairs
