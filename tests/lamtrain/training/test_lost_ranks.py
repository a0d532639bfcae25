"""A rank is killed: torchrun starts all of them again, as many or fewer, and the run goes on from its last checkpoint by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lamtrain.checkpoint import load
from lamtrain.runlog import read_metrics
from tests.conftest import training
from tests.lamtrain.training.test_stopped_ranks import free_port

# Rank 1 of the first start is killed in the middle of step 4.
LOST = """
import os, signal
from lamtrain.training import step
real = step.train_step
def train_step(state, *args, **options):
    if state.step == 3 and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)
    return real(state, *args, **options)
step.train_step = train_step
from lamtrain.cli import main
main()
"""
CHANGES = ["--set", "steps=7", "--set", "precision=float64", "--set", "log_every=1", "--set", "validation.every=5", "--set", "checkpoint_every=2", "--set", "batch={frames: 8}"]  # fmt: skip


def torchrun(small: Path, out: Path, *launcher: str, script: str | None = None) -> subprocess.CompletedProcess[str]:
    program = ["-m", "lamtrain"]
    if script is not None:
        out.mkdir()
        (out / "train.py").write_text(script)
        program = [str(out / "train.py")]
    args = [sys.executable, "-m", "torch.distributed.run", "--standalone", *launcher, *program, *training(small, out), *CHANGES]
    return subprocess.run(args, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)


def test_a_run_that_lost_a_rank_is_started_again_and_ends_with_the_same_bits(small: Path, tmp_path: Path) -> None:
    lost = torchrun(small, tmp_path / "lost", "--nproc-per-node=2", "--max-restarts=1", script=LOST)
    assert lost.returncode == 0, lost.stderr
    assert "exitcode: -9" in lost.stderr
    whole = torchrun(small, tmp_path / "whole", "--nproc-per-node=2")
    assert whole.returncode == 0, whole.stderr
    folders = [tmp_path / name / "small" for name in ("lost", "whole")]
    assert (folders[0] / "metrics.csv").read_bytes() == (folders[1] / "metrics.csv").read_bytes()
    one, two = (load(folder / "last.pt") for folder in folders)
    assert (one.step, one.position) == (two.step, two.position) == (7, 56)
    assert all(torch.equal(one.model[name], two.model[name]) for name in two.model)


@pytest.mark.slow  # three launches, one of them of four ranks: most of a minute
def test_four_ranks_go_on_where_two_lost_one(small: Path, tmp_path: Path) -> None:
    """And give the curve of one process."""
    lost = torchrun(small, tmp_path / "lost", "--nproc-per-node=2", "--max-restarts=0", script=LOST)
    assert lost.returncode != 0 and load(tmp_path / "lost/small/last.pt").step == 2
    for out, ranks in (("lost", 4), ("whole", 1)):
        done = torchrun(small, tmp_path / out, f"--nproc-per-node={ranks}")
        assert done.returncode == 0, done.stderr
    rows = [read_metrics(tmp_path / name / "small/metrics.csv") for name in ("lost", "whole")]
    assert len(rows[0]) == len(rows[1]) == 7
    for one, other in zip(*rows):
        for name in one:
            assert (one[name] == "") == (other[name] == "")
            if one[name]:
                assert float(one[name]) == pytest.approx(float(other[name]), rel=1e-8), name


@pytest.mark.slow  # two launchers find each other, and one notices that the other is gone: a minute
def test_a_machine_that_is_gone_is_gone_on_without(small: Path, tmp_path: Path) -> None:
    """Two machines of one rank each, of which one is enough; the second is killed with all that runs on it."""
    script, out, port = tmp_path / "train.py", tmp_path / "run", free_port()
    script.write_text("import time\nfrom lamtrain.training import step\nreal = step.train_step\n"
                      "def slowly(*args, **options):\n    time.sleep(0.5)\n    return real(*args, **options)\n"
                      "step.train_step = slowly\nfrom lamtrain.cli import main\nmain()\n")  # fmt: skip
    launcher = [
        "--nnodes=1:2", "--nproc-per-node=1", "--max-restarts=3", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}", "--rdzv-id=1",
        "--rdzv-conf=last_call_timeout=5,keep_alive_interval=1,keep_alive_max_attempt=3",
    ]  # fmt: skip
    args = [sys.executable, "-m", "torch.distributed.run", *launcher, str(script), *training(small, out), *CHANGES, "--set", "steps=40"]
    machines = []
    for _ in range(2):
        machines.append(subprocess.Popen(args, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, start_new_session=True))
        time.sleep(2)
    last = out / "small/last.pt"
    deadline = time.monotonic() + 120
    while not last.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert last.exists() and load(last).step < 40
    switch_off(machines[1].pid)
    _, errors = machines[0].communicate(timeout=300)
    assert machines[0].returncode == 0, errors
    assert load(last).step == 40


def switch_off(launcher: int) -> None:
    """Kill a launcher and its workers, which have process groups of their own, before it can tell anyone."""
    os.kill(launcher, signal.SIGSTOP)
    workers = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    assert workers
    for pid in (*map(int, workers), launcher):
        os.kill(pid, signal.SIGKILL)
