"""DeePMD-kit's serialised model (`.dp` is HDF5, `.yaml` the same tree as text) -> ForeignFile.

The tree is what `model.serialize()` gives in every backend: nested dictionaries with `@class`, `@version`, and the arrays under
`@variables` (deepmd/dpmodel/utils/serialization.py). `.dp` keeps the tree as JSON and the arrays as datasets that it names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lamdata.errors import DataError, SourceError

from .descriptors import WORDS, DescriptorFiles
from .foreign import DEFAULT, Branch, ForeignFile, clean_tensors
from .nets import Array, Tree

# Where a piece of the tree outside the descriptor lives in the state dictionary.
PLACES = {
    "@variables": "atomic_model",
    "fitting.nets": "atomic_model.fitting_net.filter_layers",
    "fitting.@variables": "atomic_model.fitting_net",
}
FITTING_KEYS = (
    "type", "neuron", "resnet_dt", "activation_function", "precision", "dim_case_embd", "rcond",
    "numb_fparam", "numb_aparam", "default_fparam", "use_aparam_as_mask",
)  # fmt: skip
LEAVES = {"w": "matrix", "b": "bias", "davg": "mean", "dstd": "stddev"}


def read_serialized(path: Path) -> ForeignFile:
    """Read a `.dp`, `.yaml` or `.yml`; the format holds a single model."""
    tree = read_hdf5(path) if path.suffix == ".dp" else read_yaml(path)
    try:
        model = tree["model"]
        files = WORDS[model["descriptor"]["type"]]
        if model.get("type", "standard") != "standard":
            raise KeyError(model["type"])
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in name_arrays(model, files)}
        params = params_of(model, tree.get("model_def_script") or {}, files)
    except (KeyError, TypeError, AttributeError, ValueError) as err:  # any other document
        raise DataError(f"not a serialised energy model of {' or '.join(WORDS)}", where=str(path)) from err
    branch = Branch(params=params, tensors=clean_tensors(tensors, where=str(path)))
    return ForeignFile(path=path, branches={DEFAULT: branch})


def read_hdf5(path: Path) -> Tree:
    """Return the tree of a `.dp`, arrays in place."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            tree: Tree = fill_arrays(json.loads(file.attrs["json"]), lambda name: file[name][()])
            return tree
    except (OSError, KeyError) as err:
        raise SourceError(f"not a serialised model ({err})", where=str(path)) from err


def read_yaml(path: Path) -> Tree:
    """Return the tree of a `.yaml`, arrays in place."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        tree = YAML(typ="safe").load(path)
    except OSError as err:
        raise SourceError(f"cannot be read: {err.strerror or err}", where=str(path)) from err
    except YAMLError as err:
        raise SourceError(f"not a serialised model ({' '.join(str(err).split())[:200]})", where=str(path)) from err
    filled: Tree = fill_arrays(tree if isinstance(tree, dict) else {}, lambda leaf: leaf)
    return filled


def fill_arrays(node: Any, load: Callable[[Any], Any], *, inside: bool = False) -> Any:
    """Replace each leaf under `@variables` by its array; `inside` is whether we are under one."""
    if isinstance(node, dict) and node.get("@is_variable"):
        return np.asarray(node["value"], node["dtype"])
    if isinstance(node, dict):
        return {key: fill_arrays(value, load, inside=inside or key == "@variables") for key, value in node.items()}
    if isinstance(node, list):
        return [fill_arrays(value, load, inside=inside) for value in node]
    return load(node) if inside and node is not None else node


def name_arrays(model: Tree, files: DescriptorFiles) -> Iterator[tuple[str, Array]]:
    """Yield each array of the tree with its state-dictionary name."""
    places = PLACES | {f"descriptor.{piece}": f"atomic_model.descriptor.{place}" for piece, place in files.tree_places.items()}
    for path, array in walk_arrays(model, ()):
        cut = next((cut for cut in range(len(path), 0, -1) if ".".join(path[:cut]) in places), 0)
        if not cut:  # nothing that we know: its own name says so when the model is filled
            yield ".".join(path), array
            continue
        *middle, leaf = path[cut:]
        yield ".".join([places[".".join(path[:cut])], *(part for part in middle if part != "@variables"), LEAVES.get(leaf, leaf)]), array


def walk_arrays(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Array]]:
    """Yield (keys from the root, array) of every array."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        if isinstance(value, np.ndarray):
            yield (*path, str(key)), value
        else:
            yield from walk_arrays(value, (*path, str(key)))


def params_of(model: Tree, script: Tree, files: DescriptorFiles) -> Tree:
    """Return the options of a tree as its `model` section; the tree wins over the script it was made from."""
    tree = model["descriptor"]
    own = {key: value for key, value in tree.items() if not isinstance(value, dict) and not key.startswith("@")}
    descriptor = own | files.section_of_tree(tree)
    descriptor.setdefault("use_tebd_bias", tree.get("@version", 1) < 2)
    for key in ("ntypes", "type_map"):
        descriptor.pop(key, None)
    fitting = {key: model["fitting"][key] for key in FITTING_KEYS if key in model["fitting"]}
    named = {key: model[key] for key in ("type_map", "atom_exclude_types", "pair_exclude_types", "preset_out_bias") if key in model}
    return script | named | {"type": "standard", "descriptor": descriptor, "fitting_net": fitting}
