"""A small model with its sketches."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamtrain.config import read_config
from lamtrain.stages.cover.make import sketch_run
from lamtrain.training.trainer import train


@pytest.fixture(scope="package")
def run(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished training."""
    config = read_config(small / "train.yaml")
    out = train(config, out=tmp_path_factory.mktemp("run") / "small", device="cpu", quiet=True)
    sketch_run(out, config, device="cpu", quiet=True)
    return out
