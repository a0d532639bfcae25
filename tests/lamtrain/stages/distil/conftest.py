"""A teacher that was trained for a moment, and a distillation that takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase.build import bulk
from ase.io import write

from lamtrain.config import read_config
from lamtrain.training.trainer import train
from tests.conftest import MIXTURE

DISTIL = """distil: metals
teacher: teacher.pt
structures: [start.extxyz]
temperatures: [300, 600]
explore: {trajectories: 3, steps: 6, every: 2, timestep: 2.0}
keep:
  deviation: difference
  low: 0.01
  high: 5.0
student:
  model: {size: student, descriptor: {type: dpa1, sel: 40, neuron: [4, 8], axis_neuron: 2}, fitting: {neuron: [8]}}
  steps: 4
  further: 2
  batch: {frames: 2}
iterations: 1
test: {store: small.zarr, dataset: bulk}
accept: {force_ratio: 20, force_rmse: 2000, drift: 1.0, rdf: 2, faster: 0.01, steps: 10, atoms: 8}
threads: 1
"""


@pytest.fixture(scope="session")
def metals(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `teacher.pt`, whose head `bulk` has seen copper and aluminium, `start.extxyz`, `small.zarr` and `distil.yaml`."""
    folder = tmp_path_factory.mktemp("metals")
    (folder / "mixture.yaml").write_text("".join(MIXTURE.splitlines(keepends=True)[:3]))
    (folder / "bulk.yaml").write_text((small / "bulk.yaml").read_text())
    overrides = [f"mixture={folder / 'mixture.yaml'}", "steps=10", "learning_rate.start=0.01", "validation.every=5"]
    run = train(read_config(small / "train.yaml", overrides=overrides), out=folder / "run", device="cpu", quiet=True)
    (run / "last.pt").rename(folder / "teacher.pt")
    write(folder / "start.extxyz", [bulk("Cu", cubic=True), bulk("Al", cubic=True)])
    (folder / "small.zarr").symlink_to(small / "small.zarr")
    (folder / "distil.yaml").write_text(DISTIL)
    return folder
