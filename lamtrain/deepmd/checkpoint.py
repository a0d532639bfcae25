"""DeePMD-kit's `.pt` checkpoint <-> ForeignFile.

`torch.save({"model": {"_extra_state": {...}, "model.<branch>.<name>": tensor, ...}, "optimizer": ...})`, where `_extra_state` holds
`model_params` (the input's `model` section; for several branches under `model_dict`) and `train_infos`
(deepmd/pt/train/wrapper.py, training.py: `_collect_checkpoint_states`).
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from lamdata.errors import DataError, SourceError

from .foreign import DEFAULT, Branch, ForeignFile, clean_tensors

COLLECTION = ".filter_layers"  # prefix of every NetworkCollection, also of `.filter_layers_strip`


def read_checkpoint(path: Path) -> ForeignFile:
    """Read a `.pt` file as data: nothing in it is executed."""
    try:
        whole = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as err:
        raise SourceError(f"cannot be read: {err.strerror or err}", where=str(path)) from err
    except (pickle.UnpicklingError, RuntimeError, EOFError) as err:
        raise DataError("not a checkpoint of plain tensors", where=str(path), hint="a TorchScript file is named .pth") from err
    state = whole.get("model", whole) if isinstance(whole, dict) else {}
    extra = state.get("_extra_state")
    if not isinstance(extra, dict) or "model_params" not in extra:
        raise DataError("no `model_params`: not a DeePMD-kit checkpoint of version 3", where=str(path))
    return split_branches(path, state, extra)


def split_branches(path: Path, state: dict[str, Any], extra: dict[str, Any]) -> ForeignFile:
    """Sort the flat state dictionary by branch."""
    params = extra["model_params"]
    multi_task = "model_dict" in params
    each = params["model_dict"] if multi_task else {DEFAULT: params}
    branches = {}
    for name, own in each.items():
        prefix = f"model.{name}."
        tensors = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
        branches[name] = Branch(params=own, tensors=clean_tensors(tensors, where=str(path)))
    return ForeignFile(path=path, branches=branches, multi_task=multi_task, train_infos=dict(extra.get("train_infos") or {}))


def write_checkpoint(file: ForeignFile, path: Path) -> None:
    """Write a `.pt` that `dp --pt` freezes, tests, fine-tunes from and goes on from (without optimizer state)."""
    params: dict[str, Any] = {name: branch.params for name, branch in file.branches.items()}
    params = {"model_dict": params} if file.multi_task else params[DEFAULT]
    state: dict[str, Any] = {"_extra_state": {"model_params": params, "train_infos": {"lr": 0.0, "step": 0} | file.train_infos}}
    for name, branch in file.branches.items():
        state |= {f"model.{name}.{key}": value for key, value in with_twins(branch.tensors).items()}
    # `--init-model` and `--restart` look the key up; None tells them that there is no state to go on from.
    torch.save({"model": state, "optimizer": None}, path)


def with_twins(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Add what `load_state_dict(strict=True)` wants there: the second copy of every net, the empty compression slots."""
    full = dict(tensors)
    for key, value in tensors.items():
        if f"{COLLECTION}.networks." in key or f"{COLLECTION}_strip.networks." in key:
            full[key.replace(".networks.", "._networks.", 1)] = value
    for block in (key.removesuffix(".mean") for key in tensors if key.endswith(".mean")):
        matrix = tensors.get(f"{block}{COLLECTION}.networks.0.layers.0.matrix")
        if matrix is not None:  # a block with an embedding net, of which `dp compress` makes a table
            full |= {f"{block}.{slot}": matrix.new_empty(0) for slot in ("type_embd_data", "compress_info.0", "compress_data.0")}
    return full
