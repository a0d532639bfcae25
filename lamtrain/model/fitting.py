"""Energy head: descriptor -> atomic energy, a dense net plus the element's reference energy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import grouped
from .config import ModelConfig
from .heads import Features, HeadKind
from .inputs import HeadRows, Tiles
from .kernels.choose import PLAIN, Kernels
from .layers import Dense, mlp


class EnergyHead(nn.Module):
    """Parameters: `layers`, `last`; buffers: `bias` (ntypes,) float64 eV, `case` (dim_case_embd,) one-hot of the head.

    `bias` holds the fitted reference energies. It stays float64 whatever the parameters are, since total energies of a few
    10,000 eV would lose their meV in float32.
    """

    kernels: Kernels = PLAIN
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


def evaluate_tiles(nets: Sequence[EnergyHead], features: Features, tiles: Tiles) -> Tensor:
    """(n,) float64 eV, head after head: `EnergyHead.forward` of several."""
    x = grouped.lay(features.descriptor.atoms, tiles)
    if len(nets[0].case):
        x = torch.cat([x, grouped.stacked([net.case for net in nets], tiles).unsqueeze(1).expand(-1, x.shape[1], -1)], -1)
    energy = grouped.dense([net.last for net in nets], grouped.mlp([net.layers for net in nets], x, tiles), tiles).squeeze(-1)
    bias = grouped.stacked([net.bias for net in nets], tiles).gather(1, grouped.lay(features.types, tiles))
    return grouped.take_up(energy.double() + bias, tiles)


def evaluate(heads: Sequence[tuple[HeadRows, EnergyHead]], features: Features) -> dict[str, Tensor]:
    """Atomic energies (A,) and their sums (F,), float64 eV."""
    batch, types = features.batch, features.types
    own = batch.tiles.get("energy_force")
    if (kernel := heads[0][1].kernels.energies) is not None:
        rows, values = kernel(heads, features, None if own is None else own.atoms)
    elif own is not None:
        rows, values = own.atoms.own_rows, evaluate_tiles([net for _, net in heads], features, own.atoms)
    else:
        ((head, net),) = heads
        atoms, rows = features.descriptor.atoms, head.rows
        values = net(atoms, types) if len(rows) == len(types) else net(atoms[rows], types[rows])  # all of them: nothing to pick out
    atomic = torch.zeros(batch.natoms_total, dtype=torch.float64, device=types.device).index_copy(0, rows, values)[batch.rank]
    return {"atomic_energy": atomic, "energy": atomic.new_zeros(batch.nframes).index_add(0, batch.frame, atomic)}


ENERGY = HeadKind(build=EnergyHead, evaluate=evaluate, has_forces=True)
