"""DPA-2's descriptor by the kernels: the modules' own parameters and buffers, in operators that are few and large (see ../../dpa2.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from ...descriptor import Descriptor
from ...dpa2_config import Dpa2Config
from ...inputs import Chunk
from ...pairs import Pairs, Sums
from .edges import Edges
from .invariants import Invariants
from .layer import Layer
from .moment import Moment
from .neighbors import NeighborSums, ending
from .nodes import NodeUpdate
from .operators import Tensors, evaluate
from .pairs import PairUpdate
from .rise import Rise
from .three_body import ThreeBodySum

if TYPE_CHECKING:
    from ...config import ModelConfig

Dpa2: TypeAlias = Any  # the files of these modules import what chooses the kernels
RepformerLayer: TypeAlias = Any


def uncovered(model: ModelConfig) -> str | None:
    """The first option of a model that the kernels do not have, with its value; None where they have all."""
    if not isinstance(model.descriptor, Dpa2Config):
        return f"descriptor.type: {model.descriptor.type}"
    if model.fitting.activation_function != "tanh":
        return f"fitting.activation_function: {model.fitting.activation_function}"
    config = model.descriptor
    r, c = config.repinit, config.repformer
    wanted: list[tuple[str, Any, bool]] = [
        ("smooth", config.smooth, config.smooth),
        ("exclude_types", config.exclude_types, not config.exclude_types),
        *((f"repinit.{name}", getattr(r, name), getattr(r, name) == value) for name, value in REPINIT.items()),
        ("repinit.neuron", r.neuron, _doubles(r.neuron)),
        ("repinit.three_body_neuron", r.three_body_neuron, not r.use_three_body or _doubles(r.three_body_neuron)),
        *((f"repformer.{name}", getattr(c, name), getattr(c, name) == value) for name, value in REPFORMER.items()),
    ]
    return next((f"descriptor.{name}: {value}" for name, value, covered in wanted if not covered), None)


REPINIT: dict[str, Any] = {
    "tebd_input_mode": "concat", "set_davg_zero": True, "activation_function": "tanh", "resnet_dt": False, "type_one_side": False,
}  # fmt: skip
REPFORMER: dict[str, Any] = {
    "direct_dist": False, "update_g1_has_conv": True, "update_g1_has_drrd": True, "update_g1_has_grrg": True, "update_g1_has_attn": False,
    "update_g2_has_g1g1": False, "g1_out_conv": True, "g1_out_mlp": True, "update_h2": False, "activation_function": "tanh",
    "update_style": "res_residual", "set_davg_zero": True,
}  # fmt: skip


def _doubles(widths: list[int]) -> bool:
    return len(widths) == 3 and widths[1:] == [2 * widths[0], 4 * widths[0]]


def descriptor(
    model: Dpa2, types: Tensor, lead_types: Tensor, chunks: Sequence[Chunk], vectors: Sequence[Tensor], *, precision: str | None = None
) -> Descriptor:
    """As `Dpa2.forward`, of a config of which nothing is `uncovered`; products in one of `PRECISIONS`, or as torch's own are set."""
    precision = precision or ("tf32x3" if torch.get_float32_matmul_precision() == "highest" else "tf32")
    own = model.type_embedding()
    started = [_start(model, own, chunk, edges, types, precision) for chunk, edges in zip(chunks, vectors)]
    g1 = torch.cat([invariants for invariants, _ in started]) if len(started) > 1 else started[0][0]
    if model.shape_transform is not None:
        g1 = model.shape_transform(g1)
    tebd = F.embedding(types, own)
    if model.tebd_transform is not None:
        g1 = g1 + model.tebd_transform(tebd)
    g1, pairs = _layers(model, torch.tanh(g1), [pairs for _, pairs in started], len(types), precision)
    return Descriptor(atoms=torch.cat([g1, tebd], -1) if model.config.concat_output_tebd else g1, chunks=pairs)


def _net(embedding: Any, tebd: Tensor) -> Tensors:
    """The weights of a net as `Moment` takes them."""
    tables, (first, second, third) = embedding.tables(tebd), embedding.dense
    return [first.weight[0], tables.first, tables.second, second.weight, second.bias, third.weight, third.bias]


def _start(model: Dpa2, tebd: Tensor, chunk: Chunk, vectors: Tensor, types: Tensor, precision: str) -> tuple[Tensor, Pairs]:
    """Invariants of a chunk (N, .), and its first pair channel."""
    config, own, other = model.config, types[chunk.start : chunk.stop], types[chunk.neighbors]
    wide, three, narrow = model.repinit.environment, model.three_body, model.repformer.environment
    near, width = 0 if three is None else chunk.widths["three_body"], chunk.widths["repformer"]
    blocks = [wide, wide if three is None else three.environment, narrow]
    cutoffs = tuple((block.rcut_smth, block.rcut) for block in blocks)
    edges = Edges(lists=cutoffs, near=near, pairs=width, protection=config.env_protection)
    matrix, directions, radial, h2, switch = evaluate(edges, [vectors, own, *(block.std for block in blocks)])
    (moment,) = evaluate(Moment(precision=precision), [matrix, *_net(model.repinit.embedding, tebd), own, other])
    (invariants,) = evaluate(Invariants(axis=model.repinit.axis, scale=model.repinit.nsel**-2), [moment])
    parts = [invariants.flatten(1)]
    if three is not None:
        three_body = ThreeBodySum(scale=three.nsel**-2)
        parts += evaluate(three_body, [directions, *_net(three.embedding, tebd), other[:, :near]])
    embedding, block = model.repformer.g2_embedding, config.repformer
    assert embedding.bias is not None
    (g2,) = evaluate(Rise(), [radial, embedding.weight[0], embedding.bias])
    sums = Sums(weight=switch, scale=switch, symmetric=_turn(block.nsel, sqrt=block.use_sqrt_nnei), smooth=True, phantom=block.nsel - width)
    neighbors = chunk.neighbors[:, :width].contiguous()
    pairs = Pairs(g2=g2, h2=h2, h2_sum=h2, sums=sums, angles=None, neighbors=neighbors, start=chunk.start, stop=chunk.stop)
    return torch.cat(parts, 1) if len(parts) > 1 else parts[0], pairs


def _turn(nsel: int, *, sqrt: bool) -> float:
    return nsel**-0.5 if sqrt else 1.0 / nsel


def _layers(model: Dpa2, g1: Tensor, chunks: list[Pairs], atoms: int, precision: str) -> tuple[Tensor, list[Pairs]]:
    block = model.config.repformer
    layers: list[Any] = list(model.repformer.layers)
    turn = _turn(block.nsel, sqrt=block.use_sqrt_nnei)
    nodes = NodeUpdate(axis=block.axis_neuron, precision=precision)
    sums = tuple(NeighborSums(start=one.start, scale=1.0 / block.nsel, turn=turn, precision=precision) for one in chunks)
    attended = block.update_g2_has_attn and len(layers) > 1
    heads, eps = block.attn2_nhead if attended else 0, 1e-5 if block.ln_eps is None else block.ln_eps
    pairs = tuple(
        PairUpdate(
            heads=heads, gated=block.attn2_has_gate, phantom=one.sums.phantom, logit=block.attn2_hidden**-0.5, weight=3**-0.5, eps=eps,
            precision=precision,
        )
        for one in chunks
    )  # fmt: skip
    lists = [tensor for one in chunks for tensor in (one.neighbors, *ending(one.neighbors, atoms))]
    merged: list[Tensors] = _merged(layers[:-1]) if attended else [[] for _ in layers]
    g2 = [one.g2 for one in chunks]
    for k, layer in enumerate(layers):
        operator = Layer(nodes=nodes, sums=sums, pairs=() if layer.last else pairs)
        edges = [tensor for one, channel in zip(chunks, g2) for tensor in (channel, one.h2, one.sums.weight)]
        weights = [*_node_weights(layer), *([] if layer.last else _pair_weights(layer, merged[k]))]
        g1, *new = evaluate(operator, [g1, *edges, *weights, *lists])
        g2 = g2 if layer.last else new
    return g1, [replace(one, g2=channel) for one, channel in zip(chunks, g2)]


def _node_weights(layer: RepformerLayer) -> list[Any]:
    scale = layer.g1_residual.scale
    assert layer.self_mlp is not None and layer.conv is not None
    own, linear = layer.self_mlp, layer.linear1
    return [linear.weight, linear.bias, own.weight, own.bias, scale["self"], scale["conv"], scale["linear"], layer.conv.weight]


def _pair_weights(layer: RepformerLayer, merged: Tensors) -> list[Any]:
    assert layer.linear2 is not None and layer.g2_residual is not None
    own: list[Any] = [layer.linear2.weight, layer.linear2.bias, layer.g2_residual.scale["linear"]]
    if not merged:
        return own
    m, z, w, c = merged
    assert layer.pair_attention is not None
    return [m, z, layer.pair_attention.head_map.bias, *own, w, c]


def _merged(layers: list[Any]) -> list[Tensors]:
    """Of each layer the merged matrices of its attention (see `../../attention.py`), and the scaled weight and bias of its norm: all layers in one product."""
    first, some = layers[0].pair_weights, [layer.pair_attention for layer in layers]
    heads, count, dim = first.heads, len(layers), len(some[0].value.weight)
    both = torch.stack([layer.pair_weights.query_key.weight for layer in layers]).view(count, dim, first.hidden, 2 * heads)
    query, key = torch.split(both, heads, dim=3)
    m = torch.einsum("ladh,lbdh->lahb", query, key).flatten(2)
    value = torch.stack([one.value.weight for one in some]).view(count, dim, dim, heads)
    last = torch.stack([one.head_map.weight for one in some]).view(count, dim, heads, dim)
    z = torch.einsum("lcdh,ldho->lhco", value, last).flatten(1, 2)
    norms = torch.stack([tensor for one in some for tensor in (one.norm.weight, one.norm.bias)]).view(count, 2, dim)
    scaled = norms * torch.stack([layer.g2_residual.scale["attn"] for layer in layers]).unsqueeze(1)
    return [[a, b, *c.unbind()] for a, b, c in zip(m.unbind(), z.unbind(), scaled.unbind())]
