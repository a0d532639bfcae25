"""DPA-2 in DeePMD-kit's files: names of its tensors, its options, and its tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lamdata.errors import DataError
from lamtrain.model.config import Dpa2Config
from lamtrain.model.dpa2 import Dpa2

from .nets import Tree, Weights, embedding_block_tree, env_mat_tree, layer_tree, precise, type_embedding_tree
from .places import LEAVES, name_by_place

# Of ours, before the index of a net's layer -> the reference's.
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
# Below `repformer.layers.<index>`.
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
# What a file meant before these options existed (deepmd/pt/model/descriptor/dpa2.py: deserialize).
OLD_DEFAULTS = {"use_sqrt_nnei": False, "g1_out_conv": False, "g1_out_mlp": False}


class Dpa2Files:
    """See `DescriptorFiles`."""

    words = ("dpa2",)
    blocks = {"repinit": "repinit", "three_body": "repinit_three_body", "repformer": "repformers"}
    padded = "repinit"
    tree_places = {
        "repinit_variable.embeddings": "repinit.filter_layers",
        "repinit_variable.embeddings_strip": "repinit.filter_layers_strip",
        "repinit_variable.@variables": "repinit",
        "repinit_three_body_variable.embeddings": "repinit_three_body.filter_layers",
        "repinit_three_body_variable.embeddings_strip": "repinit_three_body.filter_layers_strip",
        "repinit_three_body_variable.@variables": "repinit_three_body",
        "repformers_variable.g2_embd": "repformers.g2_embd",
        "repformers_variable.repformer_layers": "repformers.layers",
        "repformers_variable.@variables": "repformers",
        "type_embedding.embedding": "type_embedding.embedding.embedding_net",
        "g1_shape_tranform": "g1_shape_tranform",
        "tebd_transform": "tebd_transform",
    }
    defaults: Mapping[str, Any] = {}
    counts: Mapping[tuple[str, ...], int] = {("repinit", "nsel"): 120, ("repinit", "three_body_sel"): 48, ("repformer", "nsel"): 48}

    def name(self, ours: str, descriptor: nn.Module) -> str:
        """See `DescriptorFiles`."""
        if not ours.startswith("repformer.layers."):
            return name_by_place(ours, PLACES)
        assert isinstance(descriptor, Dpa2)
        return _layer_name(ours.removeprefix("repformer.layers."), descriptor)

    def values(self, section: Tree) -> Tree:
        """See `DescriptorFiles`."""
        return section

    def section(self, config: Any) -> Tree:
        """See `DescriptorFiles`."""
        assert isinstance(config, Dpa2Config)
        return config.model_dump(mode="json")

    def as_it_was_meant(self, section: Tree, tensors: Mapping[str, Tensor]) -> Tree:
        """See `DescriptorFiles`."""
        repformer = dict(section.get("repformer", {}))
        if "g1_out_mlp" in repformer or any(".g1_self_mlp." in name for name in tensors):
            return section
        return section | {"repformer": OLD_DEFAULTS | repformer}

    def section_of_tree(self, tree: Tree) -> Tree:
        """See `DescriptorFiles`."""
        repformer = tree["repformer_args"]
        return {"repinit": tree["repinit_args"], "repformer": repformer if tree.get("@version", 1) >= 3 else OLD_DEFAULTS | repformer}

    def tree(self, section: Tree, type_map: list[str], weights: Weights) -> Tree:
        """See `DescriptorFiles`."""
        return descriptor_tree(section, type_map, weights)


def _layer_name(ours: str, descriptor: Dpa2) -> str:
    index, _, inner = ours.partition(".")
    layer = f"repformers.layers.{index}"
    place, _, leaf = inner.rpartition(".")
    if place.endswith("_residual.scale"):
        residual = place.removesuffix(".scale")
        terms: list[str] = getattr(descriptor.repformer.layers[int(index)], residual).terms
        return f"{layer}.{residual}.{terms.index(leaf)}"
    if place not in LAYER_PLACES:
        raise DataError(f"parameter `descriptor.repformer.layers.{ours}` has no counterpart in DeePMD-kit")
    return f"{layer}.{LAYER_PLACES[place]}.{LEAVES[leaf]}"


DESCRIPTOR_FLAGS = (
    "concat_output_tebd", "smooth", "exclude_types", "env_protection", "trainable", "add_tebd_to_repinit_out", "use_econf_tebd",
    "use_tebd_bias",
)  # fmt: skip


def descriptor_tree(options: Tree, type_map: list[str], weights: Weights) -> Tree:
    """The `descriptor` node."""
    wide, narrow, precision = options["repinit"], options["repformer"], precise(options["precision"])
    tree: Tree = {
        "@class": "Descriptor",
        "type": "dpa2",
        "@version": 3,
        "ntypes": len(type_map),
        "type_map": type_map,
        "precision": precision,
    }
    tree |= {key: options[key] for key in DESCRIPTOR_FLAGS}
    tree |= {"repinit_args": wide, "repformer_args": narrow | {"ln_eps": narrow.get("ln_eps") or 1e-5}}
    embedding = weights.under("type_embedding.embedding.embedding_net")
    tree["type_embedding"] = type_embedding_tree(options, wide["tebd_dim"], type_map, embedding)
    shape = weights.under("g1_shape_tranform")
    tree["g1_shape_tranform"] = layer_tree(shape, precision) if weights.has("g1_shape_tranform") else {"@class": "Identity", "@version": 1}
    if options["add_tebd_to_repinit_out"]:
        tree["tebd_transform"] = layer_tree(weights.under("tebd_transform"), precision)
    shared: Tree = {"precision": precision, "ntypes": len(type_map)}
    repinit = embedding_block_tree(wide, wide["neuron"], weights.under("repinit"), **shared)
    tree["repinit_variable"] = repinit | {"env_mat": env_mat_tree(wide["rcut"], wide["rcut_smth"], options)}
    if wide["use_three_body"]:
        block = embedding_block_tree(wide, wide["three_body_neuron"], weights.under("repinit_three_body"), **shared)
        env_mat = env_mat_tree(wide["three_body_rcut"], wide["three_body_rcut_smth"], options)
        tree["repinit_three_body_variable"] = block | {"env_mat": env_mat}
    return tree | {"repformers_variable": repformers_tree(options, len(type_map), weights.under("repformers"))}


def repformers_tree(options: Tree, ntypes: int, weights: Weights) -> Tree:
    """Its layers, and the environment they begin with."""
    block, precision = options["repformer"], precise(options["precision"])
    layers = range(block["nlayers"])
    return {
        "g2_embd": layer_tree(weights.under("g2_embd"), precision),
        "repformer_layers": [repformer_layer_tree(options, ntypes, weights.under(f"layers.{i}"), last=i == layers[-1]) for i in layers],
        "env_mat": env_mat_tree(block["rcut"], block["rcut_smth"], options),
        "@variables": {"davg": weights.get("mean"), "dstd": weights.get("stddev")},
    }


LAYER_ARGS = (
    "rcut", "rcut_smth", "g1_dim", "g2_dim", "axis_neuron", "update_g1_has_conv", "update_g1_has_drrd", "update_g1_has_grrg",
    "update_g1_has_attn", "attn1_hidden", "attn1_nhead", "attn2_hidden", "attn2_nhead", "attn2_has_gate", "activation_function",
    "update_style", "trainable_ln", "use_sqrt_nnei", "g1_out_conv", "g1_out_mlp",
)  # fmt: skip


def repformer_layer_tree(options: Tree, ntypes: int, weights: Weights, *, last: bool) -> Tree:
    """One layer; the last does not update the pair channel, and says so in its own flags."""
    block, precision = options["repformer"], precise(options["precision"])
    ln_eps = block.get("ln_eps") or 1e-5
    tree = {"@class": "RepformerLayer", "@version": 2, "sel": [block["nsel"]], "ntypes": ntypes, "smooth": options["smooth"]}
    tree |= {key: block[key] for key in LAYER_ARGS} | {"precision": precision, "ln_eps": ln_eps, "update_chnnl_2": not last}
    tree |= {key: block[key] and not last for key in ("update_g2_has_g1g1", "update_g2_has_attn", "update_h2")}
    for name in ("linear1", "linear2", "proj_g1g2", "proj_g1g1g2", "g1_self_mlp"):
        if weights.has(name):
            tree[name] = layer_tree(weights.under(name), precision)
    tree |= attention_trees(block, weights, precision, smooth=options["smooth"], ln_eps=ln_eps)
    if block["update_style"] == "res_residual":
        tree["@variables"] = {name: weights.list(name) for name in ("g1_residual", "g2_residual", "h2_residual")}
    return tree


def attention_trees(block: Tree, weights: Weights, precision: str, *, smooth: bool, ln_eps: float) -> Tree:
    """Those of a layer's attentions that its weights show it to have."""
    local = {"input_dim": block["g1_dim"], "hidden_dim": block["attn1_hidden"], "head_num": block["attn1_nhead"]}
    pair = {"input_dim": block["g2_dim"], "head_num": block["attn2_nhead"]}
    shift = {"smooth": smooth, "attnw_shift": 20.0}
    known = {
        "loc_attn": ("LocalAtten", local | shift, ("mapq", "mapkv", "head_map")),
        "attn2g_map": ("Atten2Map", pair | {"hidden_dim": block["attn2_hidden"], "has_gate": block["attn2_has_gate"]} | shift, ("mapqk",)),
        "attn2_mh_apply": ("Atten2MultiHeadApply", pair, ("mapv", "head_map")),
        "attn2_ev_apply": ("Atten2EquiVarApply", pair, ("head_map",)),
    }
    trees: Tree = {}
    for name, (kind, args, maps) in known.items():
        if weights.has(name):
            inner = {key: layer_tree(weights.under(f"{name}.{key}"), precision) for key in maps}
            trees[name] = {"@class": kind, "@version": 1, "precision": precision} | args | inner
    if weights.has("attn2_lm"):
        variables = {"w": weights.get("attn2_lm.matrix"), "b": weights.get("attn2_lm.bias")}
        own = {"eps": ln_eps, "trainable": block["trainable_ln"], "precision": precision, "@variables": variables}
        trees["attn2_lm"] = {"@class": "LayerNorm", "@version": 1} | own
    return trees
