"""DPA-1 without attention (`dpa1`, alias `se_atten`) in DeePMD-kit's files: names of its tensors, its options, and its tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lamtrain.model.config import Dpa1Config

from .nets import Tree, Weights, embedding_block_tree, env_mat_tree, precise, type_embedding_tree
from .places import name_by_place

PLACES = {
    "type_embedding": "type_embedding.embedding.embedding_net.layers.0",
    "se_atten.embedding.layers": "se_atten.filter_layers.networks.0.layers",
    "se_atten.embedding.type_layers": "se_atten.filter_layers_strip.networks.0.layers",
}
ALIASES = {"n_axis_neuron": "axis_neuron", "smooth_type_embdding": "smooth_type_embedding"}  # the second is spelt so there

# Options of the attention layers, with the reference's defaults: without a layer they say nothing.
ATTENTION = {
    "attn": 128, "attn_dotr": True, "attn_mask": False, "scaling_factor": 1.0, "normalize": True, "temperature": None,
    "trainable_ln": True, "ln_eps": None,
}  # fmt: skip
NEUTRAL: Mapping[str, tuple[Any, ...]] = {"lmax": (None, 1), "spin": (None,), "stripped_type_embedding": (None,)}


class Dpa1Files:
    """See `DescriptorFiles`."""

    words = ("dpa1", "se_atten")
    blocks = {"se_atten": "se_atten"}
    padded = "se_atten"
    tree_places = {
        "embeddings": "se_atten.filter_layers",
        "embeddings_strip": "se_atten.filter_layers_strip",
        "@variables": "se_atten",
        "type_embedding.embedding": "type_embedding.embedding.embedding_net",
    }
    defaults: Mapping[str, Any] = {"attn_layer": 2, "smooth_type_embedding": False, "sel": "auto"}
    counts: Mapping[tuple[str, ...], int] = {("sel",): 120}

    def name(self, ours: str, descriptor: nn.Module) -> str:
        """See `DescriptorFiles`."""
        return name_by_place(ours, PLACES)

    def values(self, section: Tree) -> Tree:
        """See `DescriptorFiles`."""
        named = {ALIASES.get(key, key): value for key, value in section.items() if key not in ATTENTION}
        values = {**self.defaults, **named, "type": "dpa1"}
        if (stripped := values.get("stripped_type_embedding")) is not None:  # wins over `tebd_input_mode` there
            values |= {"tebd_input_mode": "strip" if stripped else "concat", "stripped_type_embedding": None}
        return {key: value for key, value in values.items() if value not in NEUTRAL.get(key, ())}

    def section(self, config: Any) -> Tree:
        """See `DescriptorFiles`."""
        assert isinstance(config, Dpa1Config)
        said = {key: value for key, value in ATTENTION.items() if key != "temperature"}  # a number there, or not said
        return config.model_dump(mode="json", exclude={"table"}) | said  # a table is ours, and is not exported

    def as_it_was_meant(self, section: Tree, tensors: Mapping[str, Tensor]) -> Tree:
        """See `DescriptorFiles`."""
        return section

    def section_of_tree(self, tree: Tree) -> Tree:
        """See `DescriptorFiles`."""
        return {}

    def tree(self, section: Tree, type_map: list[str], weights: Weights) -> Tree:
        """See `DescriptorFiles`."""
        precision, ntypes = precise(section["precision"]), len(type_map)
        tree = section | ATTENTION | {"ln_eps": 1e-5, "precision": precision, "sel": [section["sel"]]}
        tree |= {"@class": "Descriptor", "@version": 2, "ntypes": ntypes, "type_map": type_map, "spin": None}
        tree.pop("seed", None)
        tree |= embedding_block_tree(section, section["neuron"], weights.under("se_atten"), precision=precision, ntypes=ntypes)
        tree["env_mat"] = env_mat_tree(section["rcut"], section["rcut_smth"], section)
        embedding = weights.under("type_embedding.embedding.embedding_net")
        tree["type_embedding"] = type_embedding_tree(section, section["tebd_dim"], type_map, embedding)
        return tree | {"attention_layers": attention_tree(section, precision)}


def attention_tree(section: Tree, precision: str) -> Tree:
    """No attention layer, in the reference's words."""
    size = {"layer_num": 0, "nnei": section["sel"], "embed_dim": section["neuron"][-1], "hidden_dim": ATTENTION["attn"]}
    kept = {key: ATTENTION[key] for key in ("scaling_factor", "normalize", "temperature", "trainable_ln")}
    named: Tree = {"dotr": ATTENTION["attn_dotr"], "do_mask": False, "ln_eps": 1e-5, "precision": precision, "attention_layers": []}
    return {"@class": "NeighborGatedAttention", "@version": 1} | size | kept | named
