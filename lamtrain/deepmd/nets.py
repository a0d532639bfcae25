"""Tensors of a branch -> the trees of nets, embeddings and environments, of which every descriptor's and fitting's tree is made.

Each class of the reference has its own `@class`, `@version` and constructor arguments; the versions are those of 3.2.0.
"""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray

Tree = dict[str, Any]
Array = NDArray[Any]


class Weights:
    """The tensors of a branch below a prefix, as arrays."""

    def __init__(self, tensors: dict[str, torch.Tensor], prefix: str):
        self.tensors, self.prefix = tensors, prefix

    def under(self, name: str) -> Weights:
        """Those below a name."""
        return Weights(self.tensors, f"{self.prefix}{name}.")

    def get(self, name: str) -> Array | None:
        tensor = self.tensors.get(self.prefix + name)
        return None if tensor is None else tensor.detach().cpu().numpy()

    def width(self, name: str) -> int:
        """Rows of a matrix: how many inputs a layer has."""
        return len(self.tensors[self.prefix + name])

    def has(self, name: str) -> bool:
        """Whether there is any below a name."""
        return any(key.startswith(f"{self.prefix}{name}.") for key in self.tensors)

    def list(self, name: str) -> list[Array]:
        """`name.0`, `name.1`, ... as far as they go."""
        found: list[Array] = []
        while (array := self.get(f"{name}.{len(found)}")) is not None:
            found.append(array)
        return found


def type_embedding_tree(options: Tree, width: int, type_map: list[str], weights: Weights) -> Tree:
    """The net of the type embedding, `width` wide; `options` are those of the descriptor."""
    precision = precise(options["precision"])
    shared = {"neuron": [width], "resnet_dt": False, "precision": precision, "activation_function": "Linear"}
    bias = options["use_tebd_bias"]
    net = {"@class": "EmbeddingNetwork", "@version": 2, "in_dim": weights.width("layers.0.matrix"), "bias": bias} | shared
    net["layers"] = [layer_tree(weights.under("layers.0"), precision, activation="Linear", resnet=True)]
    own = {"use_econf_tebd": options["use_econf_tebd"], "use_tebd_bias": bias, "padding": True, "trainable": True}
    return {"@class": "TypeEmbedNet", "@version": 2, "ntypes": len(type_map), "type_map": type_map, "embedding": net} | shared | own


def embedding_block_tree(block: Tree, neuron: list[int], weights: Weights, *, precision: str, ntypes: int) -> Tree:
    """A block of environment and embedding: its nets, and the statistics of its environment; `block` are its options."""
    net: Tree = {"neuron": neuron, "activation": block["activation_function"], "resnet_dt": block["resnet_dt"], "precision": precision}
    tree: Tree = {"embeddings": collection_tree(weights.under("filter_layers"), kind="embedding_network", ntypes=ntypes, **net)}
    if block["tebd_input_mode"] == "strip":
        tree["embeddings_strip"] = collection_tree(weights.under("filter_layers_strip"), kind="embedding_network", ntypes=ntypes, **net)
    return tree | {"@variables": {"davg": weights.get("mean"), "dstd": weights.get("stddev")}}


def env_mat_tree(rcut: float, rcut_smth: float, options: Tree) -> Tree:
    """The environment matrix of a block; `options` are those of the descriptor."""
    return {"rcut": rcut, "rcut_smth": rcut_smth, "protection": options["env_protection"], "use_exp_switch": False}


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
    own |= {"in_dim": net.width("layers.0.matrix"), "neuron": neuron, "activation_function": activation, "resnet_dt": resnet_dt}
    network = own | {"precision": precision, "layers": layers}
    return {"@class": "NetworkCollection", "@version": 1, "ndim": 0, "ntypes": ntypes, "network_type": kind, "networks": [network]}


def layer_tree(weights: Weights, precision: str, *, activation: str = "none", resnet: bool = False) -> Tree:
    """One dense layer."""
    w, b, idt = (weights.get(name) for name in ("matrix", "bias", "idt"))
    args = {"bias": b is not None, "use_timestep": idt is not None, "activation_function": activation, "resnet": resnet}
    return {"@class": "Layer", "@version": 2, "precision": precision, "trainable": True, "@variables": {"w": w, "b": b, "idt": idt}} | args


def precise(word: str) -> str:
    """The dtype behind `default`, `single` and `double`."""
    return {"default": "float64", "double": "float64", "single": "float32"}.get(word, word)
