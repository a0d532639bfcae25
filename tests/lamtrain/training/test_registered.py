"""A training whose store and first weights are named by their address in a registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamdata.registry import draft_dataset, publish, search
from lamtrain.checkpoint import load
from lamtrain.config import read_config
from lamtrain.evaluation.publication import draft_model
from lamtrain.training.trainer import train

MIXTURE = "mixture: one\nheads:\n  - {head: bulk, dataset: bulk, task: energy_force}\n"
TRAIN = "train: one\nmixture: one.yaml\nstore: registry://bulk@1.0.0\nsteps: 2\nbatch: {frames: 2}\nvalidation: {every: 2, frames: 2}\n"


def test_a_run_on_a_published_store_from_a_published_model(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = str(tmp_path / "registry")
    monkeypatch.setenv("LAM_REGISTRY", registry)
    monkeypatch.setenv("LAM_CACHE_DIR", str(tmp_path / "cache"))
    publish(draft_dataset(str(small / "small.zarr"), "bulk", version="1.0.0"), registry, quiet=True)
    (tmp_path / "one.yaml").write_text(MIXTURE)
    (tmp_path / "bulk.yaml").write_text((small / "bulk.yaml").read_text())

    def run(name: str, more: str) -> Path:
        (tmp_path / f"{name}.yaml").write_text(TRAIN + more)
        return train(read_config(tmp_path / f"{name}.yaml"), out=tmp_path / name, resume="auto", device="cpu", quiet=True) / "last.pt"

    parent = run("first", "model: {size: tiny}\n")
    publish(draft_model(parent, name="first", version="1.0.0", license="MIT"), registry, quiet=True)
    child = run("second", "start: {model: registry://first@1.0.0}\n")
    assert load(child).heads["bulk"]["start"]["model"] == "registry://first@1.0.0"
    publish(draft_model(child, name="second", version="1.0.0", license="MIT"), registry, quiet=True)
    (entry,) = search(registry, ["second"])
    assert entry.parents == ["registry://first@1.0.0"]
    assert entry.licenses == {"bulk": "CC0-1.0", "bulk (of first@1.0.0)": "CC0-1.0"}
    assert entry.data == {"bulk": search(registry, kind="dataset")[0].content}
