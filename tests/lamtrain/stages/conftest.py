"""A model, and a dataset that it was not trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamtrain.config import read_config
from lamtrain.training.trainer import train
from tests.conftest import MIXTURE
from tests.lamtrain.evaluation.test_held_out import bring, write_metal

SPLIT = "{validation: 0.25, test: 0.3, seed: 9}"


@pytest.fixture(scope="session")
def away(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model.pt`, whose head `bulk` has seen copper and aluminium, and `metals.zarr`, other frames of copper (`mine`) and gold."""
    folder = tmp_path_factory.mktemp("away")
    rows = MIXTURE.splitlines(keepends=True)
    (small / "bulk-only.yaml").write_text("".join(["mixture: bulk-only\n", *rows[1:3]]))
    values = ["train=bulk-only", "mixture=bulk-only.yaml", "steps=3"]
    config = read_config(small / "train.yaml", overrides=values)
    config = config.model_copy(update={"mixture": str(small / "bulk-only.yaml")})
    train(config, out=folder / "run", device="cpu", quiet=True)
    (folder / "run/last.pt").rename(folder / "model.pt")
    bring(folder, "mine", write_metal(folder, "mine", "Cu", groups=10), split=SPLIT)
    bring(folder, "gold", write_metal(folder, "gold", "Au", groups=10), split=SPLIT)
    return folder
