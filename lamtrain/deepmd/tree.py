"""Branch -> the tree that DeePMD-kit's `deserialize` takes in every backend, and the `.dp` and `.yaml` files that hold it.

Each class of the reference has its own `@class`, `@version` and constructor arguments; the versions are those of 3.2.0.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .foreign import Branch

Tree = dict[str, Any]
VERSION = "3.2.0"  # of DeePMD-kit whose trees these are


def write_serialized(branch: Branch, path: Path) -> None:
    """Write a `.dp` (HDF5) or `.yaml` of one model."""
    distance = branch.tensors.get("min_nbor_dist")
    variables = {} if distance is None or distance < 0 else {"min_nbor_dist": float(distance)}
    whole = {
        "software": "lamtrain",
        "version": VERSION,
        "backend": "PyTorch",
        "pt_version": str(torch.__version__),
        "model_def_script": branch.params,
        "@variables": variables,
        "model": model_tree(branch),
    }
    write_hdf5(whole, path) if path.suffix == ".dp" else write_yaml(whole, path)


def write_hdf5(tree: Tree, path: Path) -> None:
    """Arrays become datasets `variable_0000`, ...; the tree with their names is the attribute `json`."""
    import h5py

    with h5py.File(path, "w") as file:
        store = lambda value: file.create_dataset(f"variable_{len(file):04d}", data=value).name  # noqa: E731
        file.attrs["json"] = json.dumps(replace_variables(tree, store), separators=(",", ":"))


def write_yaml(tree: Tree, path: Path) -> None:
    """Arrays become lists with their dtype. YAML 1.1, which is what the reference reads."""
    from ruamel.yaml import YAML

    def spell(value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        return {"@class": "np.ndarray", "@is_variable": True, "@version": 1, "dtype": value.dtype.name, "value": value.tolist()}

    yaml = YAML(typ="safe")
    yaml.version = (1, 1)  # 1.2 would write 1e-05, which is a string to a 1.1 reader
    yaml.default_flow_style = None
    with path.open("w") as stream:
        yaml.dump(replace_variables(tree, spell), stream)


def replace_variables(node: Any, store, *, inside: bool = False) -> Any:
    """Replace each value under `@variables` by `store(value)`."""
    if isinstance(node, dict):
        return {key: replace_variables(value, store, inside=inside or key == "@variables") for key, value in node.items()}
    if isinstance(node, list):
        return [replace_variables(value, store, inside=inside) for value in node]
    return store(node) if inside and node is not None else node


class Weights:
    """The tensors of a branch below a prefix, as arrays."""

    def __init__(self, tensors: dict[str, torch.Tensor], prefix: str):
        self.tensors, self.prefix = tensors, prefix

    def under(self, name: str) -> Weights:
        return Weights(self.tensors, f"{self.prefix}{name}.")

    def get(self, name: str) -> np.ndarray | None:
        tensor = self.tensors.get(self.prefix + name)
        return None if tensor is None else tensor.detach().cpu().numpy()

    def has(self, name: str) -> bool:
        return any(key.startswith(f"{self.prefix}{name}.") for key in self.tensors)

    def list(self, name: str) -> list[np.ndarray]:
        """`name.0`, `name.1`, ... as far as they go."""
        found: list[np.ndarray] = []
        while (array := self.get(f"{name}.{len(found)}")) is not None:
            found.append(array)
        return found


def model_tree(branch: Branch) -> Tree:
    """The `model` node."""
    params, weights = branch.params, Weights(branch.tensors, "atomic_model.")
    descriptor, fitting = params["descriptor"], params["fitting_net"]
    keys = ("atom_exclude_types", "pair_exclude_types")
    return {
        "@class": "Model",
        "@version": 2,
        "type": "standard",
        "type_map": branch.type_map,
        "rcond": fitting.get("rcond"),
        "preset_out_bias": params.get("preset_out_bias"),
        "@variables": {"out_bias": weights.get("out_bias"), "out_std": weights.get("out_std")},
        "descriptor": descriptor_tree(descriptor, branch.type_map, weights.under("descriptor")),
        "fitting": fitting_tree(fitting, branch.type_map, weights.under("fitting_net")),
    } | {key: params.get(key) or [] for key in keys}


DESCRIPTOR_FLAGS = (
    "concat_output_tebd", "smooth", "exclude_types", "env_protection", "trainable", "add_tebd_to_repinit_out", "use_econf_tebd",
    "use_tebd_bias",
)  # fmt: skip


def descriptor_tree(options: Tree, type_map: list[str], weights: Weights) -> Tree:
    wide, narrow, precision = options["repinit"], options["repformer"], precise(options["precision"])
    tree = {"@class": "Descriptor", "type": "dpa2", "@version": 3, "ntypes": len(type_map), "type_map": type_map, "precision": precision}
    tree |= {key: options[key] for key in DESCRIPTOR_FLAGS}
    tree |= {"repinit_args": wide, "repformer_args": narrow | {"ln_eps": narrow.get("ln_eps") or 1e-5}}
    tree["type_embedding"] = type_embedding_tree(options, type_map, weights.under("type_embedding.embedding.embedding_net"))
    shape = weights.under("g1_shape_tranform")
    tree["g1_shape_tranform"] = layer_tree(shape, precision) if weights.has("g1_shape_tranform") else {"@class": "Identity", "@version": 1}
    if options["add_tebd_to_repinit_out"]:
        tree["tebd_transform"] = layer_tree(weights.under("tebd_transform"), precision)
    tree["repinit_variable"] = embedding_block_tree(wide, options, weights.under("repinit"), rcut="rcut", ntypes=len(type_map))
    if wide["use_three_body"]:
        block = weights.under("repinit_three_body")
        tree["repinit_three_body_variable"] = embedding_block_tree(wide, options, block, rcut="three_body_rcut", ntypes=len(type_map))
    return tree | {"repformers_variable": repformers_tree(options, len(type_map), weights.under("repformers"))}


def type_embedding_tree(options: Tree, type_map: list[str], weights: Weights) -> Tree:
    precision, width = precise(options["precision"]), options["repinit"]["tebd_dim"]
    shared = {"neuron": [width], "resnet_dt": False, "precision": precision, "activation_function": "Linear"}
    bias, inputs = options["use_tebd_bias"], weights.get("layers.0.matrix").shape[0]
    net = {"@class": "EmbeddingNetwork", "@version": 2, "in_dim": inputs, "bias": bias} | shared
    net["layers"] = [layer_tree(weights.under("layers.0"), precision, activation="Linear", resnet=True)]
    own = {"use_econf_tebd": options["use_econf_tebd"], "use_tebd_bias": bias, "padding": True, "trainable": True}
    return {"@class": "TypeEmbedNet", "@version": 2, "ntypes": len(type_map), "type_map": type_map, "embedding": net} | shared | own


def embedding_block_tree(block: Tree, options: Tree, weights: Weights, *, rcut: str, ntypes: int) -> Tree:
    """Repinit or three-body: nets, environment and its statistics."""
    neuron = block["neuron" if rcut == "rcut" else "three_body_neuron"]
    net = {"neuron": neuron, "activation": block["activation_function"], "resnet_dt": block["resnet_dt"]}
    net["precision"] = precise(options["precision"])
    tree = {
        "embeddings": collection_tree(weights.under("filter_layers"), kind="embedding_network", ntypes=ntypes, **net),
        "env_mat": env_mat_tree(block[rcut], block[f"{rcut}_smth"], options),
        "@variables": {"davg": weights.get("mean"), "dstd": weights.get("stddev")},
    }
    if block["tebd_input_mode"] == "strip":
        tree["embeddings_strip"] = collection_tree(weights.under("filter_layers_strip"), kind="embedding_network", ntypes=ntypes, **net)
    return tree


def env_mat_tree(rcut: float, rcut_smth: float, options: Tree) -> Tree:
    return {"rcut": rcut, "rcut_smth": rcut_smth, "protection": options["env_protection"], "use_exp_switch": False}


def repformers_tree(options: Tree, ntypes: int, weights: Weights) -> Tree:
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


def fitting_tree(options: Tree, type_map: list[str], weights: Weights) -> Tree:
    net = {"neuron": options["neuron"], "activation": options["activation_function"], "resnet_dt": options["resnet_dt"]}
    net["precision"] = precise(options["precision"])
    nets = collection_tree(weights.under("filter_layers"), kind="fitting_network", ntypes=len(type_map), **net)
    width, cases = nets["networks"][0]["in_dim"], options["dim_case_embd"]
    variables = dict.fromkeys(("fparam_avg", "fparam_inv_std", "aparam_avg", "aparam_inv_std"))
    variables |= {"bias_atom_e": weights.get("bias_atom_e"), "case_embd": weights.get("case_embd")}
    return {
        "@class": "Fitting", "@version": 4, "type": "ener", "var_name": "energy", "ntypes": len(type_map), "dim_descrpt": width - cases,
        "neuron": options["neuron"], "resnet_dt": options["resnet_dt"], "activation_function": options["activation_function"],
        "precision": precise(options["precision"]), "dim_case_embd": cases, "numb_fparam": 0, "numb_aparam": 0, "default_fparam": None,
        "mixed_types": True, "nets": nets, "rcond": options.get("rcond"), "exclude_types": [], "@variables": variables,
        "type_map": type_map, "tot_ener_zero": False, "trainable": [True] * (len(options["neuron"]) + 1), "layer_name": None,
        "use_aparam_as_mask": False, "spin": None, "dim_out": 1, "atom_ener": [],
    }  # fmt: skip


def collection_tree(
    weights: Weights, *, kind: str, ntypes: int, neuron: list[int], activation: str, resnet_dt: bool, precision: str
) -> Tree:
    """The one net that all types share; a fitting net ends in a layer more, which is linear."""
    net, fitting = weights.under("networks.0"), kind == "fitting_network"
    count = len(neuron) + fitting
    layers = [layer_tree(net.under(f"layers.{i}"), precision, activation=activation, resnet=True) for i in range(count)]
    own: Tree = {"@class": "EmbeddingNetwork", "@version": 2, "bias": True}
    if fitting:
        own = {"@class": "FittingNetwork", "@version": 1, "out_dim": 1, "bias_out": True}
        layers[-1] |= {"activation_function": "none", "resnet": False}
    own |= {"in_dim": layers[0]["@variables"]["w"].shape[0], "neuron": neuron, "activation_function": activation, "resnet_dt": resnet_dt}
    network = own | {"precision": precision, "layers": layers}
    return {"@class": "NetworkCollection", "@version": 1, "ndim": 0, "ntypes": ntypes, "network_type": kind, "networks": [network]}


def layer_tree(weights: Weights, precision: str, *, activation: str = "none", resnet: bool = False) -> Tree:
    w, b, idt = (weights.get(name) for name in ("matrix", "bias", "idt"))
    args = {"bias": b is not None, "use_timestep": idt is not None, "activation_function": activation, "resnet": resnet}
    return {"@class": "Layer", "@version": 2, "precision": precision, "trainable": True, "@variables": {"w": w, "b": b, "idt": idt}} | args


def precise(word: str) -> str:
    """The dtype behind `default`, `single` and `double`."""
    return {"default": "float64", "double": "float64", "single": "float32"}.get(word, word)
