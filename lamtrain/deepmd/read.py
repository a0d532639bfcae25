"""A DeePMD-kit file -> LamModel."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lamdata.errors import ConfigError, DataError
from lamtrain.model.lam import LamModel

from .checkpoint import read_checkpoint
from .foreign import Branch, ForeignFile
from .frozen import read_frozen
from .names import DESCRIPTOR, FITTING, HIDDEN, load_branch
from .options import config_of, fill_old_defaults
from .serialized import read_serialized

READERS = {".pt": read_checkpoint, ".pth": read_frozen, ".dp": read_serialized, ".yaml": read_serialized, ".yml": read_serialized}

# The one tensor that the reference means to share between heads and does not: `share_params` in
# deepmd/pt/model/descriptor/dpa2.py leaves `tebd_transform` out at level 0.
FORGOTTEN = f"{DESCRIPTOR}.tebd_transform."


@dataclass(frozen=True, slots=True, kw_only=True)
class FileInfo:
    """What a file says besides its model."""

    path: Path
    branches: list[str]  # all that it holds
    aliases: dict[str, str]  # every name -> branch
    read: dict[str, str]  # branch that was read -> head of the model
    train_infos: dict[str, Any]  # {"lr", "step"} as training left them
    observed_elements: dict[str, list[str]]  # branch -> elements of its training data, where the file says so
    notes: list[str] = field(default_factory=list)  # what was decided on the way, for people


def read_file(path: str | Path) -> ForeignFile:
    """Read any file that DeePMD-kit writes, by its suffix."""
    path = Path(path)
    if path.suffix not in READERS:
        raise ConfigError(f"unknown suffix {path.suffix!r}", where=str(path), hint=f"DeePMD-kit's files end in {', '.join(READERS)}")
    return READERS[path.suffix](path)


def from_deepmd(path: str | Path, *, branch: str | None = None, tebd_of: str | None = None) -> tuple[LamModel, FileInfo]:
    """Read a model; of several branches all, each as a head of its name, or the one that `branch` (a name or an alias) means.

    The branches of a multi-task file share their descriptor, and a LamModel holds it once; branches with different descriptors
    are an error that says to read one. Where they differ only in `tebd_transform`, which DeePMD-kit forgets to share,
    `tebd_of` names the branch whose copy becomes the shared one; the others then change, and the info says so.

    >>> model, info = from_deepmd("model.pt", branch="H2O_H2O-PD")    # doctest: +SKIP
    """
    file = read_file(path)
    where = str(file.path)
    names = list(file.branches) if branch is None else [file.find(branch)]
    chosen = {name: file.branches[name] for name in names}
    notes: list[str] = []
    chosen = share_forgotten(chosen, tebd_of if tebd_of is None else file.find(tebd_of), notes, where=where)
    check_shared(chosen, where=where)
    heads = {name: "energy" if not file.multi_task else name for name in names}
    params = {heads[name]: fill_old_defaults(one.params, one.tensors) for name, one in chosen.items()}
    model = LamModel(config_of(params, where=where))
    with torch.no_grad():
        model.get_parameter(HIDDEN).zero_()  # the reference's row for no atom
    for name, one in chosen.items():
        load_branch(model, heads[name], one.tensors, where=where)
    if len(chosen) > 1 and share_fitting(chosen):
        notes.append("the branches share one fitting net; each head now has its own copy of it")
    return model, describe(file, heads, notes)


def share_forgotten(branches: dict[str, Branch], keep: str | None, notes: list[str], *, where: str) -> dict[str, Branch]:
    """Give all branches the `tebd_transform` of `keep`; without `keep`, copies that differ are an error with the choice."""
    first, *others = branches
    copies = {name: {key: t for key, t in one.tensors.items() if key.startswith(FORGOTTEN)} for name, one in branches.items()}
    if not copies[first] or all(same_tensors(copies[first], copies[other]) for other in others):
        return branches
    if keep is None:
        raise DataError(
            f"the branches {', '.join(branches)} share a descriptor but not its `tebd_transform` (DeePMD-kit forgets to share it)",
            where=where,
            hint=f"read one branch (branch={first!r}), or let all have the copy of one (tebd_of={first!r})",
        )
    if keep not in branches:
        raise ConfigError(f"tebd_of={keep!r} is not among the branches that are read: {', '.join(branches)}", where=where)
    notes.append(f"`tebd_transform` differed between branches; all have that of `{keep}`, so the energies of the others change")
    return {name: Branch(params=one.params, tensors=one.tensors | copies[keep]) for name, one in branches.items()}


def check_shared(branches: dict[str, Branch], *, where: str) -> None:
    """Raise unless all branches hold the same descriptor."""
    first, *others = branches
    for other in others:
        one, two = (below(branches[name], f"{DESCRIPTOR}.") for name in (first, other))
        if not same_tensors(one, two):
            hint = f"a model has one descriptor; read one branch: branch={first!r}"
            raise DataError(f"branches `{first}` and `{other}` have different descriptors", where=where, hint=hint)


def share_fitting(branches: dict[str, Branch]) -> bool:
    """Whether all branches have one fitting net."""
    nets = [below(one, f"{FITTING}.filter_layers.") for one in branches.values()]
    return all(same_tensors(nets[0], net) for net in nets[1:])


def below(branch: Branch, prefix: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in branch.tensors.items() if name.startswith(prefix)}


def same_tensors(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def describe(file: ForeignFile, heads: dict[str, str], notes: list[str]) -> FileInfo:
    """Collect what else the file says."""
    observed = {name: list((one.params.get("info") or {}).get("observed_type") or []) for name, one in file.branches.items()}
    return FileInfo(
        path=file.path,
        branches=list(file.branches),
        aliases=file.aliases,
        read=heads,
        train_infos=file.train_infos,
        observed_elements={name: elements for name, elements in observed.items() if elements},
        notes=notes,
    )
