"""A distillation that takes seconds: what it needs, and what it decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ase.build import bulk
from ase.io import write

from lamtrain.checkpoint import load
from lamtrain.config import read_config
from lamtrain.training.trainer import train
from tests.conftest import MIXTURE, tree

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
SHORT = {"test: {store: small.zarr, dataset: bulk}\n": "", "force_ratio: 20": "force_ratio: null"}


def prepare(folder: Path, small: Path) -> None:
    """Write `teacher.pt`, whose head `bulk` has seen copper and aluminium, `start.extxyz` and `distil.yaml`; `small` is what `write_catalog` wrote."""
    (folder / "teacher").mkdir()
    (folder / "teacher/mixture.yaml").write_text("".join(MIXTURE.splitlines(keepends=True)[:3]))
    (folder / "teacher/bulk.yaml").write_text((small / "bulk.yaml").read_text())
    overrides = [f"mixture={folder / 'teacher/mixture.yaml'}", "steps=10", "learning_rate.start=0.01", "validation.every=5"]
    run = train(read_config(small / "train.yaml", overrides=overrides), out=folder / "teacher/run", device="cpu", quiet=True)
    (run / "last.pt").rename(folder / "teacher.pt")
    write(folder / "start.extxyz", [bulk("Cu", cubic=True), bulk("Al", cubic=True)])
    (folder / "distil.yaml").write_text(DISTIL)


def write_other(folder: Path, name: str, **changes: str) -> Path:
    """`distil.yaml` without DFT data, and with other words in it."""
    text = DISTIL
    for old, new in (SHORT | changes).items():
        assert old in text
        text = text.replace(old, new)
    (folder / name).write_text(text)
    return folder / name


def outcome(folder: Path) -> dict[str, Any]:
    """All that a distillation decides: trajectories, judgements, frames, and every tensor of its students."""
    found: dict[str, Any] = {
        str(path.relative_to(folder)): path.read_bytes() for name in ("*.npz", "round.json", "nve.json") for path in folder.rglob(name)
    }
    found |= {f"store/{name}": data for name, data in tree(folder / "store.zarr").items() if not name.startswith("commits")}
    students = {path: load(path) for path in [folder / "student.pt", *folder.glob("round-*/student/run/*.pt")]}
    return found | {f"{path.relative_to(folder)} {n}": v.numpy().tobytes() for path, one in students.items() for n, v in one.model.items()}
