"""A DPA-1 and one of its heads, with nets or with tables -> the weights that a step in one call reads (cpp/step.h)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .dpa1 import Dpa1
from .dpa1_table import TabulatedDpa1
from .fitting import EnergyHead
from .kernels.fused.step import StepModel
from .kernels.native import padded
from .lam import LamModel
from .layers import SkipDense

TANH = "tanh"


def one_call(model: LamModel, head: str) -> StepModel | None:
    """None where the operator does not know the model: another descriptor or another activation than tanh, or none was compiled."""
    if model.kernels.step is None or not isinstance(model.descriptor, Dpa1 | TabulatedDpa1):
        return None
    if isinstance(model.descriptor, Dpa1) and not model.descriptor.se_atten.embedding.fusable:
        return None
    fitting = model.energy_head(head)
    if model.config.fitting.activation_function != TANH or (len(fitting.case) and _dense(fitting)[0].repeats):
        return None
    with torch.no_grad():
        arrays, sizes, numbers = _with_nets(model.descriptor) if isinstance(model.descriptor, Dpa1) else _with_table(model.descriptor)
        more = _fitting(fitting, model.config.descriptor.dim_out)
    return StepModel(
        dtype=fitting.last.weight.dtype,
        arrays=[*arrays, *more[0]],
        sizes=[*sizes, *more[1]],
        numbers=[*numbers, *more[2]],
    )


Parts = tuple[list[Tensor | None], list[int], list[float]]


def _with_table(descriptor: TabulatedDpa1) -> Parts:
    """The block, as the operator of compressed models has it."""
    block, tebd = descriptor.se_atten, descriptor.type_embedding() if descriptor.config.concat_output_tebd else None
    return block.arrays(descriptor.seen, tebd), block.sizes(tebd), block.numbers()


def _with_nets(descriptor: Dpa1) -> Parts:
    """The same without tables, and the weights of the embedding net."""
    block, config, tebd = descriptor.se_atten, descriptor.config, descriptor.type_embedding()
    tables, environment = block.embedding.tables(tebd), block.environment
    width, types = config.neuron[-1], len(tebd)
    rows = padded(width, tebd)
    factors = None if tables.pairs is None else F.pad(tables.pairs, (0, rows - width))
    padding = None
    if environment.centered:
        lead, own = torch.arange(types).repeat(types), torch.arange(types).repeat_interleave(types)
        padding = block.padded_slot(own, lead, tables)
    seen = None if descriptor.seen is None else descriptor.seen.to(tebd.dtype)
    behind = tebd if config.concat_output_tebd else None
    weights = block.embedding.fused_weights(tables)
    widths = [len(weights[1]), *(len(bias) for bias in weights[3::2])]
    sizes = [
        types,
        0,
        0,
        rows,
        width,
        block.axis,
        block.nsel,
        0 if factors is None else len(factors),
        0 if behind is None else behind.shape[1],
    ]
    ends = [int(config.type_one_side), int(block.smooth), len(weights[0]), len(widths), *widths]
    arrays = [environment.mean[:, 0], environment.std, seen, None, factors, padding, behind, *weights]
    return _contiguous(arrays), [*sizes, *ends], [environment.rcut_smth, environment.rcut, config.env_protection, 0.0, 1.0]


def _fitting(head: EnergyHead, width: int) -> Parts:
    """Weights in whole vectors; the name of the head, which is the same for all atoms, goes into the first bias."""
    layers = _dense(head)
    arrays: list[Tensor | None] = []
    widths = [width, *(len(layer.bias) for layer in layers)]
    for k, layer in enumerate(layers):
        weight, bias = layer.weight[: widths[k]], layer.bias.detach()
        if not k and len(head.case):
            bias = bias + head.case @ layer.weight[width:]
        arrays += [_whole(weight), _whole(weight.t()), _whole(bias), None if layer.dt is None else _whole(layer.dt)]
    arrays += [_whole(head.last.weight.squeeze(1)), head.bias]
    assert head.last.bias is not None
    return _contiguous(arrays), [len(layers), *widths], [float(head.last.bias)]


def _dense(head: EnergyHead) -> list[SkipDense]:
    return [layer for layer in head.layers if isinstance(layer, SkipDense)]


def _whole(weight: Tensor) -> Tensor:
    return F.pad(weight, (0, padded(weight.shape[-1], weight) - weight.shape[-1]))


def _contiguous(arrays: list[Tensor | None]) -> list[Tensor | None]:
    return [None if array is None else array.detach().contiguous() for array in arrays]
