"""Several ranks are told to stop: all save and stop after one step, with 130, and the rerun by torchrun has the bits of a run left alone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

from lamtrain.checkpoint import load
from tests.conftest import training

# A scheduler's SIGTERM that reaches one of the ranks, in the middle of a step.
TOLD = """
import os, signal
from lamtrain.training import step
real = step.train_step
def train_step(state, *args, **options):
    if state.step == 2 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGTERM)
    return real(state, *args, **options)
step.train_step = train_step
from lamtrain.cli import main
main()
"""
CHANGES = ["--set", "steps=7", "--set", "log_every=1", "--set", "validation.every=5"]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def start_ranks(args: list[str], *, world: int) -> list[subprocess.CompletedProcess[str]]:
    """Run ranks without a launcher, as a scheduler starts them."""
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            args,
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    out = [process.communicate() for process in started]
    return [subprocess.CompletedProcess(args, process.returncode, *texts) for process, texts in zip(started, out)]


def torchrun(small: Path, out: Path) -> Path:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "lamtrain"]
    args = [sys.executable, *launcher, *training(small, out), *CHANGES]
    done = subprocess.run(args, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained: ") == 2
    return out / "small"


def test_two_ranks_told_to_stop_end_with_the_same_bits(small: Path, tmp_path: Path) -> None:
    script = tmp_path / "told.py"
    script.write_text(TOLD)
    ranks = start_ranks([sys.executable, str(script), *training(small, tmp_path / "told"), *CHANGES], world=2)
    assert [rank.returncode for rank in ranks] == [130, 130], ranks[0].stderr + ranks[1].stderr
    assert "error: stopped by SIGTERM after step 4; the same command goes on" in ranks[1].stderr
    assert not any("Traceback" in rank.stderr for rank in ranks)
    assert load(tmp_path / "told/small/last.pt").step == 4
    runs = [torchrun(small, tmp_path / name) for name in ("told", "whole")]
    assert (runs[0] / "metrics.csv").read_bytes() == (runs[1] / "metrics.csv").read_bytes()
    one, two = (load(folder / "last.pt") for folder in runs)
    assert (one.step, one.position) == (two.step, two.position) == (7, 28)
    assert all(torch.equal(one.model[name], two.model[name]) for name in two.model)
