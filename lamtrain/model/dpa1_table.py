"""DPA-1's descriptor with its embedding net as a table: what `lamtrain compress` makes of it. For inference; nothing of it is trained.

    G_j = net(R_j0)                  read from the table, one for all types        tebd_input_mode strip
    G_j = net(R_j0; t_j, t_i)        one table for each pair of types              tebd_input_mode concat
    strip: G_j (1 + fade_j P[t_j, t_i])      M = R^T G / nsel      D = M^T M[:, :axis]

P, the types' net, takes ntypes^2 values and is a table of its own, exact. See repinit.py, whose numbers these are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig
from .descriptor import Descriptor
from .dpa1 import Dpa1
from .dpa1_config import Dpa1Config, TableConfig
from .embedding import TypeEmbedding
from .environment import EnvironmentMatrix, Geometry, type_pair_mask
from .gather import join
from .inputs import Chunk
from .kernels.choose import PLAIN, Kernels
from .options import NeighborList
from .quintic import WHOLE, look_up, tabulate


class TabulatedDpa1(nn.Module):
    """Parameters: `type_embedding`; buffers: `se_atten`."""

    seen: Tensor | None

    def __init__(self, config: ModelConfig):
        super().__init__()
        block = config.descriptor
        assert isinstance(block, Dpa1Config)
        self.config = block
        self.type_embedding = TypeEmbedding(config)
        self.se_atten = TabulatedBlock(block, config.ntypes)
        self.register_buffer("seen", type_pair_mask(block.exclude_types, config.ntypes), persistent=False)
        self.requires_grad_(False)

    def forward(self, types: Tensor, lead_types: Tensor, chunks: Sequence[Chunk], vectors: Sequence[Tensor]) -> Descriptor:
        """`types`, `lead_types` (A,) by row; `vectors` (N, W, 3) Å for each chunk, given apart to be differentiated."""
        tebd = self.type_embedding() if self.config.concat_output_tebd else None
        parts = [self.se_atten(chunk, edges, types, lead_types, self.seen, tebd) for chunk, edges in zip(chunks, vectors)]
        return Descriptor(
            atoms=join([atoms for atoms, _ in parts]), chunks=[], outside=torch.stack([outside for _, outside in parts]).sum()
        )


class TabulatedBlock(nn.Module):
    """Repinit's numbers from tables. T types, K intervals, M the width m of the net in whole vectors.

    Buffers: `environment.mean`, `environment.std`; `nodes` (1, K + 1, 3, M) or of `concat` (T * T, K + 1, 3, M), row a + T b of a neighbour a of b,
    one-sided (T, K + 1, 3, M); `factors` of `strip`, (T * T, M) or (T, M); `padding` (T * T, m), what a padded slot adds to the moment's
    first row for a leading type a and a centre b, where means are subtracted.
    """

    kernels: Kernels = PLAIN
    nodes: Tensor
    factors: Tensor | None
    padding: Tensor | None

    def __init__(self, block: Dpa1Config, ntypes: int):
        super().__init__()
        assert block.table is not None
        self.table, self.ntypes, self.width, self.axis, self.nsel = block.table, ntypes, block.neuron[-1], block.axis_neuron, block.nsel
        self.smooth, self.one_sided, self.protection = block.smooth_type_embedding, block.type_one_side, block.env_protection
        self.environment = EnvironmentMatrix(NeighborList(block.rcut, block.nsel, block.rcut_smth, block.set_davg_zero), ntypes)
        pairs, rows = (ntypes if block.type_one_side else ntypes * ntypes), self.width + -self.width % WHOLE
        strip = block.tebd_input_mode == "strip"
        self.register_buffer("nodes", torch.zeros(1 if strip else pairs, self.table.intervals + 1, 3, rows))
        self.register_buffer("factors", torch.zeros(pairs, rows) if strip else None)
        self.register_buffer("padding", torch.zeros(ntypes * ntypes, self.width) if self.environment.centered else None)

    def forward(
        self, chunk: Chunk, vectors: Tensor, types: Tensor, lead_types: Tensor, seen: Tensor | None, tebd: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Invariants of the rows of a chunk, with the embedding of their types behind them if it is given, (N, m * axis + its width); and how many
        of its edges are shorter than the table reaches, () int64."""
        if self.kernels.tabulated is not None:
            indices = [chunk.neighbors, types, lead_types]
            sizes = [chunk.start, len(types), *self.sizes(tebd)]
            return self.kernels.tabulated(vectors, indices, self.arrays(seen, tebd), sizes, self.numbers())
        own, neighbor_types = types[chunk.start : chunk.stop], types[chunk.neighbors]
        pair_seen = None if seen is None else seen[own.unsqueeze(1), neighbor_types]
        geometry = Geometry(vectors, env_protection=self.protection, seen=pair_seen)
        env = self.environment(geometry, own)
        rows = neighbor_types if self.one_sided else neighbor_types + self.ntypes * own.unsqueeze(1)
        real = self.environment.real(geometry) > 0
        embedded = self._embed(env.radial[real], rows[real], env.switch[real])
        matrix = torch.cat([env.radial.unsqueeze(-1), env.direction], -1)
        spread = embedded.new_zeros(*real.shape, self.width)
        moment = torch.bmm(matrix.transpose(1, 2), spread.index_put((real,), embedded))
        if self.padding is not None:
            padded = self.nsel - (geometry.r < self.environment.rcut).sum(1)
            row = padded.unsqueeze(1) * F.embedding(lead_types[chunk.start : chunk.stop] + self.ntypes * own, self.padding)
            moment = moment + torch.cat([row.unsqueeze(1), row.new_zeros(len(row), 3, self.width)], 1)
        moment = moment * (1.0 / self.nsel)
        outside = (env.radial.detach() > self.end).sum()
        invariants = torch.bmm(moment.transpose(1, 2), moment[:, :, : self.axis]).flatten(1)
        return invariants if tebd is None else torch.cat([invariants, F.embedding(own, tebd)], -1), outside

    def arrays(self, seen: Tensor | None, tebd: Tensor | None) -> list[Tensor | None]:
        """In the order of cpp/tabulated.h."""
        visible = None if seen is None else seen.to(self.nodes.dtype)
        return [self.environment.mean[:, 0].contiguous(), self.environment.std, visible, self.nodes, self.factors, self.padding, tebd]

    def sizes(self, tebd: Tensor | None) -> list[int]:
        """In the order of cpp/tabulated.h."""
        count, _, _, rows = self.nodes.shape
        net = [self.ntypes, count, self.table.intervals, rows, self.width, self.axis, self.nsel]
        behind = [0 if self.factors is None else len(self.factors), 0 if tebd is None else tebd.shape[1]]
        return [*net, *behind, int(self.one_sided), int(self.smooth)]

    def numbers(self) -> list[float]:
        """In the order of cpp/tabulated.h."""
        return [self.environment.rcut_smth, self.environment.rcut, self.protection, self.table.start, self.table.step]

    @property
    def end(self) -> float:
        """Argument of the last node."""
        return self.table.start + self.table.step * self.table.intervals

    def _embed(self, x: Tensor, rows: Tensor, fade: Tensor) -> Tensor:
        """(E, m) of E edges."""
        table = rows if self.factors is None else torch.zeros_like(rows)
        plain = look_up(self.nodes, table, x, start=self.table.start, step=self.table.step)
        if self.factors is not None:
            factor = F.embedding(rows, self.factors)
            plain = plain + plain * (factor * fade.unsqueeze(-1) if self.smooth else factor)
        return plain[:, : self.width]


@torch.no_grad()
def tabulated(descriptor: Dpa1, table: TableConfig) -> dict[str, Tensor]:
    """Buffers of a `TabulatedBlock` for a descriptor in float64, by name."""
    block, ntypes = descriptor.se_atten, len(descriptor.type_embedding())
    net, tables = block.embedding, block.embedding.tables(descriptor.type_embedding())
    neighbor, centre = torch.arange(ntypes).repeat(ntypes), torch.arange(ntypes).repeat_interleave(ntypes)
    some = slice(0, ntypes if net.one_sided else None)  # one-sided rows have the neighbour's type alone

    def of_pairs(x: Tensor) -> Tensor:
        rows = neighbor[some].unsqueeze(1), centre[some].unsqueeze(1)
        a, b = (row.expand(-1, len(x)) for row in rows)
        embedded: Tensor = net(x.expand(len(a), -1), a, b, tables, fade=None)
        return embedded

    def of_distance(x: Tensor) -> Tensor:
        plain: Tensor = net.layers(x.unsqueeze(-1))
        return plain.unsqueeze(0)

    strip = tables.pairs is not None
    nodes = tabulate(of_distance if strip else of_pairs, start=table.start, step=table.step, intervals=table.intervals)
    found = {"nodes": nodes}
    if tables.pairs is not None:
        found["factors"] = F.pad(tables.pairs, (0, -tables.pairs.shape[-1] % WHOLE))
    if block.environment.centered:
        found["padding"] = block.padded_slot(centre, neighbor, tables)
    return found
