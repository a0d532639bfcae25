"""Tensors of a LamModel <-> tensors of a DeePMD-kit branch.

Matrices are (in, out) in both. What differs: names; the residual vectors, which the reference numbers in the order of their
updates; the statistics, which it repeats for every neighbour slot; and our one more type, the hidden one, which it does not have.
The names of ours are listed in `lamtrain/model/names.py`, those of the reference come from its `state_dict()`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lamdata.errors import DataError
from lamtrain.model.config import ModelConfig
from lamtrain.model.environment import EnvironmentMatrix
from lamtrain.model.lam import LamModel

from .descriptors import files_of
from .places import LEAVES

DESCRIPTOR, FITTING = "atomic_model.descriptor", "atomic_model.fitting_net"
HIDDEN = "descriptor.type_embedding.masked"  # the row of our one more type


def reference_names(model: LamModel, head: str) -> dict[str, str]:
    """Return our name -> the reference's, for every parameter that `head` uses and the reference has."""
    names, files = {}, files_of(model.config.descriptor)
    for name, _ in model.named_parameters():
        if name.startswith(f"heads.{head}."):
            names[name] = _fitting_name(name.removeprefix(f"heads.{head}."), depth=len(model.config.fitting.neuron))
        elif name.startswith("descriptor.") and name != HIDDEN:
            names[name] = f"{DESCRIPTOR}.{files.name(name.removeprefix('descriptor.'), model.descriptor)}"
    return names


def _fitting_name(name: str, *, depth: int) -> str:
    """`layers.<index>.<leaf>`, or `last.<leaf>`, which is one more layer of the same net there."""
    *place, leaf = name.split(".")
    index = depth if place == ["last"] else place[1]
    return f"{FITTING}.filter_layers.networks.0.layers.{index}.{LEAVES[leaf]}"


def branch_tensors(model: LamModel, head: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the parameters of `head` under the reference's names; `tensors` are weights, or gradients, by our names."""
    return {theirs: tensors[ours].detach().cpu().contiguous() for ours, theirs in reference_names(model, head).items() if ours in tensors}


def branch_buffers(model: LamModel, head: str) -> dict[str, Tensor]:
    """Return what a branch holds besides parameters: statistics, reference energies, the head's place in the case embedding."""
    config, elements = model.config, len(model.config.elements)
    own = model.energy_head(head)
    buffers = {
        "min_nbor_dist": torch.tensor(-1.0, dtype=torch.float64),  # the reference's word for not known
        "atomic_model.out_bias": own.bias[:elements].detach().cpu().reshape(1, elements, 1).clone(),
        "atomic_model.out_std": torch.ones(1, elements, 1, dtype=torch.float64),  # not used for energies
        f"{FITTING}.bias_atom_e": torch.zeros(elements, 1, dtype=torch.float64),
    }
    if config.fitting.dim_case_embd:
        buffers[f"{FITTING}.case_embd"] = own.case.detach().cpu().clone()
    for ours, theirs, slots in _blocks(config):
        environment = environment_of(model, ours)
        for leaf, value in (("mean", environment.mean), ("stddev", environment.std)):
            rows = value[:elements].detach().cpu()
            buffers[f"{DESCRIPTOR}.{theirs}.{leaf}"] = rows.unsqueeze(1).expand(elements, slots, 4).contiguous()
    return buffers


def _blocks(config: ModelConfig) -> list[tuple[str, str, int]]:
    """(our block, the reference's, neighbour slots)."""
    theirs = files_of(config.descriptor).blocks
    return [(name, theirs[name], wanted.nsel) for name, wanted in config.descriptor.lists.items()]


def environment_of(model: LamModel, block: str) -> EnvironmentMatrix:
    """The environment matrix of a block of the descriptor."""
    found = getattr(model.descriptor, block).environment
    assert isinstance(found, EnvironmentMatrix)
    return found


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
    own, elements = model.energy_head(head), len(model.config.elements)
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
        environment = environment_of(model, ours)
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
