"""Energy head: descriptor -> atomic energy, a dense net plus the element's reference energy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig
from .heads import Features, HeadKind
from .inputs import HeadRows
from .layers import Dense, mlp


class EnergyHead(nn.Module):
    """Parameters: `layers`, `last`; buffers: `bias` (ntypes,) float64 eV, `case` (dim_case_embd,) one-hot of the head.

    `bias` holds the fitted reference energies. It stays float64 whatever the parameters are, since total energies of a few
    10,000 eV would lose their meV in float32.
    """

    bias: Tensor
    case: Tensor

    def __init__(self, config: ModelConfig, name: str):
        super().__init__()
        fitting = config.fitting
        dim = config.descriptor.dim_out + fitting.dim_case_embd
        self.layers = mlp(dim, fitting.neuron, activation_function=fitting.activation_function, resnet_dt=fitting.resnet_dt)
        self.last = Dense(fitting.neuron[-1], 1)
        self.register_buffer("bias", torch.zeros(config.ntypes, dtype=torch.float64))
        case = torch.zeros(fitting.dim_case_embd)
        if fitting.dim_case_embd:
            case[config.energy_heads.index(name)] = 1.0
        self.register_buffer("case", case)
        self.requires_grad_(fitting.trainable)

    def forward(self, descriptor: Tensor, types: Tensor) -> Tensor:
        """`descriptor` (n, d), `types` (n,) -> (n,) float64 eV."""
        if len(self.case):
            descriptor = torch.cat([descriptor, self.case.expand(len(descriptor), -1)], -1)
        energy = self.last(self.layers(descriptor)).squeeze(-1)
        return energy.double() + F.embedding(types, self.bias.unsqueeze(1)).squeeze(1)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        bias = self.bias
        convert: Callable[..., Any] = super()._apply
        convert(fn, recurse)
        if self.bias.dtype != torch.float64:  # moved to another device, not converted
            self.bias = bias.to(self.bias.device)
        return self


def evaluate(heads: Sequence[tuple[HeadRows, EnergyHead]], features: Features) -> dict[str, Tensor]:
    """Atomic energies (A,) and their sums (F,), float64 eV."""
    batch, types = features.batch, features.types
    atomic = torch.zeros(batch.natoms_total, dtype=torch.float64, device=types.device)
    for head, net in heads:
        atomic = atomic.index_copy(0, head.rows, net(features.descriptor.atoms[head.rows], types[head.rows]))
    atomic = atomic[batch.rank]
    return {"atomic_energy": atomic, "energy": atomic.new_zeros(batch.nframes).index_add(0, batch.frame, atomic)}


ENERGY = HeadKind(build=EnergyHead, evaluate=evaluate, has_forces=True)
