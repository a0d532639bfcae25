"""What a DeePMD-kit file holds, whatever its format: branches, each with options and named tensors in the reference's words.

Names are those of the state dictionary of one branch, without `model.<branch>.` in front: `atomic_model.descriptor.repinit.mean`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lamdata.errors import DataError

DEFAULT = "Default"
"""The branch name that DeePMD-kit gives to the one model of a single-task file."""

# A NetworkCollection registers its nets twice; the second copy is the same tensors. The compression slots are empty until
# `dp compress` fills them, and a filled one stands for a table that replaces weights.
TWIN = "._networks."
COMPRESSION = (".compress_info.", ".compress_data.", ".type_embd_data")


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One model of a file."""

    params: dict[str, Any]  # the `model` section of its input.json, defaults written out by newer versions
    tensors: dict[str, torch.Tensor]  # each once, no empty ones

    @property
    def type_map(self) -> list[str]:
        """Element symbols in the order of the type index."""
        return list(self.params["type_map"])


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignFile:
    """All models of a file."""

    path: Path
    branches: dict[str, Branch]
    multi_task: bool = False
    train_infos: dict[str, Any] = field(default_factory=dict)  # {"lr", "step"} as training left them

    @property
    def aliases(self) -> dict[str, str]:
        """Every name that a branch answers to -> the branch."""
        named = {name: name for name in self.branches}
        for name, branch in self.branches.items():
            for alias in branch.params.get("model_branch_alias") or []:
                named.setdefault(alias, name)
        return named

    def find(self, name: str) -> str:
        """Return the branch that `name` means: a branch or an alias, by letters alone if no exact match, as DeePMD-kit has it."""
        aliases = self.aliases
        folded = {alias.lower(): branch for alias, branch in reversed(aliases.items())}
        branch = aliases.get(name) or folded.get(name.lower())
        if branch is None:
            raise DataError(f"no branch or alias `{name}`", where=str(self.path), hint=f"it has {', '.join(aliases)}")
        return branch


def clean_tensors(tensors: dict[str, torch.Tensor], *, where: str) -> dict[str, torch.Tensor]:
    """Drop twins and empty compression slots; refuse a compressed model, whose nets are gone into tables."""
    kept = {}
    for name, tensor in tensors.items():
        if TWIN in name or name.endswith(".type_mask"):  # the mask of excluded types follows from the options
            continue
        if any(part in name for part in COMPRESSION):
            if tensor.numel():
                hint = "read the checkpoint that `dp compress` started from"
                raise DataError(f"the model is compressed ({name})", where=where, hint=hint)
            continue
        kept[name] = tensor
    return kept
