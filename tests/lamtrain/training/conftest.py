"""A model that others start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamtrain.config import read_config
from lamtrain.training.trainer import train


@pytest.fixture(scope="session")
def parent(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps of heads bulk, cluster and crystals, float64."""
    config = read_config(small / "train.yaml", overrides=["steps=2", "checkpoint_every=2", "precision=float64"])
    return train(config, out=tmp_path_factory.mktemp("parent") / "run", device="cpu", quiet=True) / "last.pt"
