"""What heads are: modules, and one function a kind that evaluates all heads of the kind on their own atoms.

Kinds come with this package, or by the entry point `lamtrain.tasks`, whose objects have a `head` (see `lamtrain/tasks/__init__.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from torch import Tensor, nn

from .config import ModelConfig
from .descriptor import Descriptor
from .inputs import Batch, HeadRows

ENTRY_POINTS = "lamtrain.tasks"
BUILTIN = {"energy_force": "fitting:ENERGY", "denoise": "denoise:DENOISE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What heads may read of a batch."""

    config: ModelConfig
    batch: Batch
    types: Tensor  # (A,) by row
    descriptor: Descriptor
    vectors: list[Tensor]  # (N, W, 3) Å of each chunk


Evaluate = Callable[[Sequence[tuple[HeadRows, Any]], Features], dict[str, Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadKind:
    """One kind of head."""

    build: Callable[[ModelConfig, str], nn.Module]
    """(config, name of the head) -> its module."""
    evaluate: Evaluate
    """(rows and module of each head, features) -> outputs by name, in the caller's order of atoms; zeros where no head was asked."""
    has_forces: bool = False
    """An output is `energy` (F,), whose derivatives are forces and virial."""


@cache
def head_kind(name: str) -> HeadKind:
    """The kind called `name`; raises ValueError if there is none."""
    if name in BUILTIN:
        module, _, attribute = BUILTIN[name].partition(":")
        found = getattr(import_module(f".{module}", __package__), attribute)
    else:
        added = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
        if name not in added:
            raise ValueError(f"no kind of head called {name!r}; there are {', '.join([*BUILTIN, *added])}")
        found = added[name].load().head
    assert isinstance(found, HeadKind)
    return found
