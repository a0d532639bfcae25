"""LamModel -> a DeePMD-kit file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from lamdata.errors import ConfigError
from lamtrain.model.lam import LamModel

from .checkpoint import write_checkpoint
from .foreign import DEFAULT, Branch, ForeignFile
from .names import branch_buffers, branch_tensors
from .options import params_of
from .tree import write_serialized

FORMATS = {"pt": ".pt", "dp": ".dp", "yaml": ".yaml"}
Format = Literal["pt", "dp", "yaml"]


def to_deepmd(model: LamModel, path: str | Path, *, head: str | None = None, format: Format | None = None) -> Path:
    """Write `model` for DeePMD-kit; `export` does the same and compares the file with the model first.

    `head` writes that energy head as a single-task model; without it all energy heads are written, as a multi-task checkpoint
    if there are several. Denoise heads have no counterpart and stay behind. The format follows the suffix: `.pt` is a
    checkpoint (for `dp --pt freeze`, `test`, `train --finetune` and ASE), `.dp` and `.yaml` are serialised single models.
    """
    path = Path(path)
    suffix = FORMATS[format] if format else path.suffix
    if suffix not in FORMATS.values():
        raise ConfigError(f"cannot write {suffix!r}", where=str(path), hint="use .pt, .dp or .yaml; a .pth comes from `dp --pt freeze`")
    heads = chosen_heads(model, head, where=str(path))
    if suffix != ".pt" and len(heads) > 1:
        raise ConfigError(f"a {suffix} file holds one model", where=str(path), hint=f"choose a head: {', '.join(heads)}")
    file = foreign_file(model, heads, path=path)
    if suffix == ".pt":
        write_checkpoint(file, path)
    else:
        write_serialized(file.branches[DEFAULT], path)
    return path


def chosen_heads(model: LamModel, head: str | None, *, where: str) -> list[str]:
    """Return the energy heads to write."""
    energy = [name for name, kind in model.config.heads.items() if kind == "energy_force"]
    if head is not None and head not in energy:
        raise ConfigError(f"no energy head `{head}`", where=where, hint=f"the model has {', '.join(energy) or 'none'}")
    if not energy:
        raise ConfigError("the model has no energy head, and DeePMD-kit has no denoise head", where=where)
    return energy if head is None else [head]


def foreign_file(model: LamModel, heads: list[str], *, path: Path) -> ForeignFile:
    """Return what the file will hold; the shared descriptor stands in every branch, as the reference stores it."""
    names = {heads[0]: DEFAULT} if len(heads) == 1 else {head: head for head in heads}
    weights = dict(model.named_parameters())
    branches = {
        name: Branch(params=params_of(model.config), tensors=branch_tensors(model, head, weights) | branch_buffers(model, head))
        for head, name in names.items()
    }
    return ForeignFile(path=path, branches=branches, multi_task=len(heads) > 1)
