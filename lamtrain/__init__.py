"""Train DPA-2 on many datasets at once: mixtures of energy and denoise heads, fine-tuning, distillation, DeePMD-kit's files."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

# Before torch starts its threads: those that wait sleep, and do not spin on a core that somebody else could use.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from .calculator import Calculator as Calculator
    from .prediction.model import Model as Model
    from .prediction.model import Prediction as Prediction
    from .prediction.model import load_model as load_model
    from .run import Run as Run
    from .run import open_run as open_run

_PUBLIC = {
    "load_model": "prediction.model",
    "Model": "prediction.model",
    "Prediction": "prediction.model",
    "Calculator": "calculator",
    "open_run": "run",
    "Run": "run",
}
__all__ = list(_PUBLIC)  # noqa: PLE0605


def __getattr__(name: str) -> object:
    """Import a public name, and torch with it, when it is first used."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'lamtrain' has no attribute {name!r}")
    from lamdata.errors import need

    need("torch", extra="train")
    return getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)
