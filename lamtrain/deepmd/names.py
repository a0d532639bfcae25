"""Tensors of a LamModel <-> tensors of a DeePMD-kit branch.

Matrices are (in, out) in both. What differs: names; the residual vectors, which the reference numbers in the order of their
updates; the statistics, which it repeats for every neighbour slot; and our one more type, the hidden one, which it does not have.
The names of ours are listed in `lamtrain/model/names.py`, those of the reference come from its `state_dict()`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lamdata.errors import DataError
from lamtrain.model.config import ModelConfig
from lamtrain.model.lam import LamModel

DESCRIPTOR, FITTING = "atomic_model.descriptor", "atomic_model.fitting_net"
BLOCKS = {"repinit": "repinit", "three_body": "repinit_three_body", "repformer": "repformers"}
LEAVES = {"weight": "matrix", "bias": "bias", "dt": "idt"}

# Below `descriptor`, before the index of a net's layer.
PLACES = {
    "type_embedding": "type_embedding.embedding.embedding_net.layers.0",
    "repinit.embedding.layers": "repinit.filter_layers.networks.0.layers",
    "repinit.embedding.type_layers": "repinit.filter_layers_strip.networks.0.layers",
    "three_body.embedding.layers": "repinit_three_body.filter_layers.networks.0.layers",
    "three_body.embedding.type_layers": "repinit_three_body.filter_layers_strip.networks.0.layers",
    "shape_transform": "g1_shape_tranform",  # spelt so there
    "tebd_transform": "tebd_transform",
    "repformer.g2_embedding": "repformers.g2_embd",
}
# Below `descriptor.repformer.layers.<index>`.
LAYER_PLACES = {
    "linear1": "linear1",
    "linear2": "linear2",
    "self_mlp": "g1_self_mlp",
    "conv": "proj_g1g2",
    "g1g1": "proj_g1g1g2",
    "local_attention.query": "loc_attn.mapq",
    "local_attention.key_value": "loc_attn.mapkv",
    "local_attention.head_map": "loc_attn.head_map",
    "pair_weights.query_key": "attn2g_map.mapqk",
    "pair_attention.value": "attn2_mh_apply.mapv",
    "pair_attention.head_map": "attn2_mh_apply.head_map",
    "pair_attention.norm": "attn2_lm",
    "vector_attention.head_map": "attn2_ev_apply.head_map",
}


def reference_names(model: LamModel, head: str) -> dict[str, str]:
    """Return our name -> the reference's, for every parameter that `head` uses and the reference has."""
    names = {}
    for name, _ in model.named_parameters():
        if name.startswith("descriptor.repformer.layers."):
            names[name] = _layer_name(name, model)
        elif name.startswith(f"heads.{head}."):
            names[name] = _fitting_name(name.removeprefix(f"heads.{head}."), depth=len(model.config.fitting.neuron))
        elif name.startswith("descriptor.") and name != "descriptor.type_embedding.masked":
            names[name] = _descriptor_name(name.removeprefix("descriptor."))
    return names


def _descriptor_name(name: str) -> str:
    place = next((place for place in PLACES if name.startswith(f"{place}.")), None)
    if place is None:
        raise DataError(f"parameter `descriptor.{name}` has no counterpart in DeePMD-kit")
    *index, leaf = name.removeprefix(f"{place}.").split(".")
    return ".".join([DESCRIPTOR, PLACES[place], *index, LEAVES[leaf]])


def _layer_name(name: str, model: LamModel) -> str:
    index, _, inner = name.removeprefix("descriptor.repformer.layers.").partition(".")
    layer = f"{DESCRIPTOR}.repformers.layers.{index}"
    place, _, leaf = inner.rpartition(".")
    if place.endswith("_residual.scale"):
        residual = place.removesuffix(".scale")
        terms = getattr(model.descriptor.repformer.layers[int(index)], residual).terms
        return f"{layer}.{residual}.{terms.index(leaf)}"
    if place not in LAYER_PLACES:
        raise DataError(f"parameter `{name}` has no counterpart in DeePMD-kit")
    return f"{layer}.{LAYER_PLACES[place]}.{LEAVES[leaf]}"


def _fitting_name(name: str, *, depth: int) -> str:
    """`layers.<index>.<leaf>`, or `last.<leaf>`, which is one more layer of the same net there."""
    *place, leaf = name.split(".")
    index = depth if place == ["last"] else place[1]
    return f"{FITTING}.filter_layers.networks.0.layers.{index}.{LEAVES[leaf]}"


def branch_tensors(model: LamModel, head: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the parameters of `head` under the reference's names; `tensors` are weights, or gradients, by our names."""
    return {theirs: tensors[ours].detach().cpu().contiguous() for ours, theirs in reference_names(model, head).items() if ours in tensors}


def branch_buffers(model: LamModel, head: str) -> dict[str, Tensor]:
    """Return what a branch holds besides parameters: statistics, reference energies, the head's place in the case embedding."""
    config, elements = model.config, len(model.config.elements)
    own = model.heads[head]
    buffers = {
        "min_nbor_dist": torch.tensor(-1.0, dtype=torch.float64),  # the reference's word for not known
        "atomic_model.out_bias": own.bias[:elements].detach().cpu().reshape(1, elements, 1).clone(),
        "atomic_model.out_std": torch.ones(1, elements, 1, dtype=torch.float64),  # not used for energies
        f"{FITTING}.bias_atom_e": torch.zeros(elements, 1, dtype=torch.float64),
    }
    if config.fitting.dim_case_embd:
        buffers[f"{FITTING}.case_embd"] = own.case.detach().cpu().clone()
    for ours, theirs, slots in _blocks(config):
        environment = getattr(model.descriptor, ours).environment
        for leaf, value in (("mean", environment.mean), ("stddev", environment.std)):
            rows = value[:elements].detach().cpu()
            buffers[f"{DESCRIPTOR}.{theirs}.{leaf}"] = rows.unsqueeze(1).expand(elements, slots, 4).contiguous()
    return buffers


def _blocks(config: ModelConfig) -> list[tuple[str, str, int]]:
    """(our block, the reference's, neighbour slots)."""
    wide, narrow = config.descriptor.repinit, config.descriptor.repformer
    slots = {"repinit": wide.nsel, "three_body": wide.three_body_sel, "repformer": narrow.nsel}
    used = [block for block in BLOCKS if block != "three_body" or wide.use_three_body]
    return [(block, BLOCKS[block], slots[block]) for block in used]


def load_branch(model: LamModel, head: str, tensors: dict[str, Tensor], *, where: str) -> None:
    """Fill the descriptor and `head` of `model` from a branch; every tensor of it must be used, none may be missing."""
    left = dict(tensors)
    missing = []
    with torch.no_grad():
        parameters = dict(model.named_parameters())
        for ours, theirs in reference_names(model, head).items():
            value = left.pop(theirs, None)
            if value is None:
                missing.append(theirs)
            elif value.shape != parameters[ours].shape:
                raise DataError(f"`{theirs}` has shape {tuple(value.shape)}, expected {tuple(parameters[ours].shape)}", where=where)
            else:
                parameters[ours].copy_(value)
        _load_buffers(model, head, left, missing, where=where)
    if missing or left:
        found = [f"missing {', '.join(missing)}"] * bool(missing) + [f"not understood: {', '.join(left)}"] * bool(left)
        raise DataError("; ".join(found), where=where)


def _load_buffers(model: LamModel, head: str, left: dict[str, Tensor], missing: list[str], *, where: str) -> None:
    own, elements = model.heads[head], len(model.config.elements)
    for name in ("min_nbor_dist", "atomic_model.out_std"):
        left.pop(name, None)
    # Version 2 kept the reference energies in the fitting, version 3 keeps them outside; the energy has both.
    energies = torch.zeros(elements, dtype=torch.float64)
    for name in ("atomic_model.out_bias", f"{FITTING}.bias_atom_e"):
        if name in left:
            energies += left.pop(name).double().reshape(-1)
    own.bias[:elements] = energies
    own.bias[elements:] = 0.0
    if model.config.fitting.dim_case_embd:
        own.case.copy_(left.pop(f"{FITTING}.case_embd"))
    for ours, theirs, _ in _blocks(model.config):
        environment = getattr(model.descriptor, ours).environment
        for leaf, buffer in (("mean", environment.mean), ("stddev", environment.std)):
            name = f"{DESCRIPTOR}.{theirs}.{leaf}"
            if name in left:
                _load_statistics(buffer, left.pop(name), name, where=where)
            else:
                missing.append(name)


def _load_statistics(buffer: Tensor, value: Tensor, name: str, *, where: str) -> None:
    """(elements, slots, 4) -> (elements + 1, 4). The hidden type, which has no data, gets the average of the elements."""
    if not torch.equal(value, value[:, :1].expand_as(value)):
        raise DataError(f"`{name}` differs between neighbour slots; statistics that the reference computes do not", where=where)
    rows = value[:, 0].to(buffer.dtype)
    buffer[:-1], buffer[-1] = rows, rows.mean(0)
