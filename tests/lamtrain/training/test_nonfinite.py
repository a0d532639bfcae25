"""A number that is not finite stops a run before it reaches the weights, and names the frame."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lamdata.errors import LamError
from lamtrain.checkpoint import load
from lamtrain.config import read_config
from lamtrain.training import step as step_module
from lamtrain.training.trainer import train
from tests.conftest import training

# The frames of a stream as a damaged source would give them: one force of the n-th frame of dataset `bulk` is NaN.
PLANT = """
import numpy as np
from lamtrain.data.mixture import TrainingData
real = TrainingData.with_model_heads
def planted(self, frames):
    frames = real(self, frames)
    forces = frames.forces.copy()
    for f in np.flatnonzero((frames.head == 0) & (frames.index == {row})):
        forces[frames.starts[f]] = np.nan
    return frames.with_(forces=forces)
if {on}:
    TrainingData.with_model_heads = planted
from lamtrain.cli import main
main()
"""
EXACT = ["--set", "precision=float64", "--set", "checkpoint_every=1", "--set", "steps=6"]


def run(small: Path, out: Path, *, ranks: int, plant: int | None) -> subprocess.CompletedProcess[str]:
    script = out / "train.py"
    script.write_text(PLANT.format(row=plant, on=plant is not None))
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    args = [sys.executable, *launcher, str(script), *training(small, out), *EXACT]
    return subprocess.run(args, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)


def row_that_comes_late(small: Path) -> tuple[int, str]:
    """A training frame of `bulk` that no batch of the first two steps has, and some later one has; and its origin."""
    from lamtrain.data.mixture import open_training_data

    data = open_training_data(small / "mixture.yaml", str(small / "small.zarr"))
    with data.stream(seed=1, batch_frames=4, batch_atoms=None, position=0, rank=0, world=1) as stream:
        batches = [frames for frames, _ in zip(stream, range(6))]
    seen = [set(frames.index[frames.head == 0].tolist()) for frames in batches]
    late = sorted((seen[2] | seen[3] | seen[4]) - seen[0] - seen[1])[0]
    frames = next(frames for frames in batches if late in frames.index[frames.head == 0])
    f = next(f for f in range(len(frames)) if frames.head[f] == 0 and frames.index[f] == late)
    return late, data.origin(frames, f)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_nan_in_a_frame_stops_every_rank_before_its_step_and_names_it(small: Path, tmp_path: Path, ranks: int) -> None:
    row, origin = row_that_comes_late(small)
    assert origin.startswith("dataset bulk, bulk-")
    failed = run(small, tmp_path, ranks=ranks, plant=row)
    assert failed.returncode == 1, failed.stderr
    assert f"head bulk: {origin}: not finite: forces" in failed.stderr and "lamtrain" not in failed.stdout
    checkpoint = load(tmp_path / "small/last.pt")
    assert 2 <= checkpoint.step < 6
    assert all(torch.isfinite(value).all() for value in checkpoint.model.values() if value.is_floating_point())
    mended = run(small, tmp_path, ranks=ranks, plant=None)
    assert mended.returncode == 0, mended.stderr
    assert load(tmp_path / "small/last.pt").step == 6


def small_run(small: Path, out: Path, *changes: str) -> Path:
    config = read_config(small / "train.yaml", overrides=["steps=6", "checkpoint_every=1", "log_every=1", *changes])
    return train(config, out=out, device="cpu", quiet=True)


@pytest.fixture
def one_bad_gradient(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One gradient of the third batch is NaN, though its loss is finite."""
    real, calls = step_module.add_gradients, []

    def add(state, batch, **options):
        loss = real(state, batch, **options)
        if "metrics" in options:
            calls.append(state.step)
            if len(calls) == 3:
                next(p for p in state.model.parameters() if p.grad is not None).grad.view(-1)[0] = float("nan")
        return loss

    monkeypatch.setattr(step_module, "add_gradients", add)
    return calls


def test_a_bad_gradient_leaves_weights_and_checkpoints_alone(small: Path, tmp_path: Path, one_bad_gradient: list[int]) -> None:
    with pytest.raises(LamError, match="gradient of step 3 is not finite.*no frame of the batch makes it so by itself"):
        small_run(small, tmp_path / "run")
    checkpoint = load(tmp_path / "run/last.pt")
    assert checkpoint.step == 2 and all(torch.isfinite(v).all() for v in checkpoint.model.values() if v.is_floating_point())


def test_a_batch_may_be_passed_over_where_the_config_says_so(small: Path, tmp_path: Path, one_bad_gradient: list[int]) -> None:
    checkpoint = load(small_run(small, tmp_path / "run", "skip_nonfinite=1") / "last.pt")
    assert (checkpoint.step, checkpoint.skipped, checkpoint.position) == (6, 1, 28)
