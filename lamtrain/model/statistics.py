"""Sample batches -> mean and spread of the environment matrix by centre type, for the buffers of each block.

Sums are kept, so that statistics of batches, workers and heads can be added before they are divided.
As in the reference (env_mat_stat.py), padded slots count as zeros: the spread depends on nsel, and must.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .config import ModelConfig
from .environment import EnvironmentMatrix, Geometry, type_pair_mask
from .inputs import Batch, Chunk

ABSENT_STD = 0.1  # spread of a type that was not seen
SMALLEST_STD = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentStatistics:
    """Sums for the block of each neighbour list of the descriptor, T types, columns (radial, angular)."""

    number: dict[str, Tensor]  # (T, 2) float64, how many values, padding included
    total: dict[str, Tensor]  # (T, 2) 1/Å
    square: dict[str, Tensor]  # (T, 2) 1/Å^2

    def __add__(self, other: EnvironmentStatistics) -> EnvironmentStatistics:
        return EnvironmentStatistics(
            number={block: n + other.number[block] for block, n in self.number.items()},
            total={block: x + other.total[block] for block, x in self.total.items()},
            square={block: x + other.square[block] for block, x in self.square.items()},
        )

    def mean(self, block: str) -> Tensor:
        """(T, 4): the radial mean, and zeros for the angular columns, whose true mean is that of a direction."""
        total, number = self._with_hidden(self.total[block]), self._with_hidden(self.number[block])
        radial = (total / torch.where(number > 0, number, 1.0))[:, :1]
        return torch.cat([radial, radial.new_zeros(len(radial), 3)], 1)

    def std(self, block: str) -> Tensor:
        """(T, 4): radial, and the pooled angular spread three times."""
        number = self._with_hidden(self.number[block])
        safe = torch.where(number > 0, number, 1.0)
        mean, square = self._with_hidden(self.total[block]) / safe, self._with_hidden(self.square[block]) / safe
        std = (square - mean * mean).clamp_min(0).sqrt().clamp_min(SMALLEST_STD)
        std = torch.where(number > 0, std, ABSENT_STD)
        return torch.cat([std[:, :1], std[:, 1:].expand(-1, 3)], 1)

    def _with_hidden(self, sums: Tensor) -> Tensor:
        """The hidden type, the last row, takes the pool of all elements: whatever is hidden is one of them."""
        return torch.cat([sums[:-1], sums.sum(0, keepdim=True)])

    def apply(self, descriptor: nn.Module, config: ModelConfig) -> None:
        """Write the buffers of every block; means only where `set_davg_zero` is off."""
        for name, (environment, _) in _blocks(config).items():
            buffers = getattr(descriptor, name).environment
            buffers.std.copy_(self.std(name))
            buffers.mean.copy_(self.mean(name)) if environment.centered else buffers.mean.zero_()


def environment_statistics(batches: Iterable[Batch], config: ModelConfig) -> EnvironmentStatistics:
    """Sum over the atoms of `batches`, which were collated for `config`."""
    blocks = _blocks(config)
    sums = {key: {block: torch.zeros(config.ntypes, 2, dtype=torch.float64) for block in blocks} for key in _KEYS}
    stats = EnvironmentStatistics(**sums)
    seen = type_pair_mask(config.descriptor.exclude_types, config.ntypes)
    for batch in batches:
        types = batch.types[batch.order].cpu()
        for chunk in batch.chunks:
            stats = stats + _of_chunk(chunk.to("cpu"), types, seen, config, blocks)
    return stats


_KEYS = ("number", "total", "square")


def _blocks(config: ModelConfig) -> dict[str, tuple[EnvironmentMatrix, int]]:
    """An environment matrix with statistics 0 and 1, and nsel, for each block."""
    return {name: (EnvironmentMatrix(wanted, config.ntypes).double(), wanted.nsel) for name, wanted in config.descriptor.lists.items()}


@torch.no_grad()
def _of_chunk(
    chunk: Chunk, types: Tensor, seen: Tensor | None, config: ModelConfig, blocks: Mapping[str, tuple[EnvironmentMatrix, int]]
) -> EnvironmentStatistics:
    own, others = types[chunk.start : chunk.stop], types[chunk.neighbors]
    visible = None if seen is None else seen[own.unsqueeze(1), others].double()
    geometry = Geometry(chunk.vectors.double(), env_protection=config.descriptor.env_protection, seen=visible)
    number, total, square = {}, {}, {}
    for name, (matrix, nsel) in blocks.items():
        env = matrix(geometry.leading(chunk.widths[name]), own)
        zeros = torch.zeros(config.ntypes, 2, dtype=torch.float64)
        columns = [env.radial.unsqueeze(-1), env.direction]
        number[name] = zeros.index_add(0, own, torch.tensor([[nsel, 3.0 * nsel]], dtype=torch.float64).expand(len(own), 2))
        total[name] = zeros.index_add(0, own, torch.stack([x.sum((1, 2)) for x in columns], 1))
        square[name] = zeros.index_add(0, own, torch.stack([(x * x).sum((1, 2)) for x in columns], 1))
    return EnvironmentStatistics(number=number, total=total, square=square)
