"""Checkpoints of small models with random weights, which are as smooth as trained ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lamtrain.checkpoint import Checkpoint, save
from lamtrain.model.config import ModelConfig
from tests.lamtrain.model_cases import build_model, model_config

TWO = {"pbe": "energy_force", "hse": "energy_force", "clean": "denoise"}


def write_model(path: Path, *, heads: dict[str, str] | None = None, about: dict[str, dict[str, Any]] | None = None, **config: Any) -> Path:
    """A model of H, C and O as a checkpoint; `about` is added to what it says of its heads."""
    return save_model(path, model_config(heads=heads, **config), about=about)


def save_model(path: Path, config: ModelConfig, *, about: dict[str, dict[str, Any]] | None = None) -> Path:
    """A model of any shape as a checkpoint."""
    built = build_model(config)
    for number, head in enumerate(built.config.energy_heads):
        built.energy_head(head).bias.add_(0.25 * number)
    rows = {head: {"task": kind, "weight": 1.0, "theory": [], **(about or {}).get(head, {})} for head, kind in built.config.heads.items()}
    dumped = built.config.model_dump(mode="json")
    save(Checkpoint(model_config=dumped, model=built.state_dict(), heads=rows, lock={"mixture": None, "datasets": {}}), path)
    return path
