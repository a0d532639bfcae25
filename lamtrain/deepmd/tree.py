"""Branch -> the tree that DeePMD-kit's `deserialize` takes in every backend, and the `.dp` and `.yaml` files that hold it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .descriptors import files_of_word
from .foreign import Branch
from .nets import Tree, Weights, collection_tree, precise

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


def replace_variables(node: Any, store: Callable[[Any], Any], *, inside: bool = False) -> Any:
    """Replace each value under `@variables` by `store(value)`."""
    if isinstance(node, dict):
        return {key: replace_variables(value, store, inside=inside or key == "@variables") for key, value in node.items()}
    if isinstance(node, list):
        return [replace_variables(value, store, inside=inside) for value in node]
    return store(node) if inside and node is not None else node


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
        "descriptor": files_of_word(descriptor["type"]).tree(descriptor, branch.type_map, weights.under("descriptor")),
        "fitting": fitting_tree(fitting, branch.type_map, weights.under("fitting_net")),
    } | {key: params.get(key) or [] for key in keys}


def fitting_tree(options: Tree, type_map: list[str], weights: Weights) -> Tree:
    """The `fitting` node."""
    net: Tree = {"neuron": options["neuron"], "activation": options["activation_function"], "resnet_dt": options["resnet_dt"]}
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
