"""Ranks change who does what, not what is done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore

from lamtrain.runlog import read_metrics
from lamtrain.training.ranks import Ranks
from lamtrain.training.step import train_step
from tests.conftest import training
from tests.lamtrain.training.states import batch_of, frames_of, new_state

TRAIN = "from lamtrain.cli import main; import sys; sys.argv = ['lamtrain', *sys.argv[1:]]; main()"
APART = """
import torch.distributed as dist
from lamtrain.training.ranks import Ranks

def enter(self, plain=Ranks.__enter__):
    plain(self)
    self._hosts = dist.new_group(backend="gloo") if self.world > 1 else None
    return self

Ranks.__enter__ = enter
"""  # hosts talk beside their devices, as they do where those are GPUs
CHANGES = ["--set", "steps=4", "--set", "precision=float64", "--set", "log_every=1", "--set", "validation.every=4"]


def run(small: Path, out: Path, ranks: int, *changes: str, before: str = "") -> list[dict[str, str]]:
    script = out / "train.py"
    script.write_text(before + TRAIN)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    args = [
        sys.executable,
        *launcher,
        str(script),
        *training(small, out),
        *CHANGES,
        *(part for change in changes for part in ("--set", change)),
    ]
    done = subprocess.run(args, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return read_metrics(out / "small/metrics.csv")


@pytest.mark.parametrize(
    ("changes", "before"),
    [
        (("batch={frames: 4}",), ""),
        (("batch={atoms: 8}",), APART),  # one or two frames: a rank may have none
        (("batch={frames: 4}", "step={heads: one, draws: 2, clip: per_head}", "shares_every=1", "average={}"), ""),
        (("batch={frames: 3}", "step={heads: one}", "heads={bulk: {frames: 2}}", "shares_every=2"), APART),
    ],
)
def test_two_ranks_train_what_one_trains(small: Path, tmp_path: Path, changes: tuple[str, ...], before: str) -> None:
    rows = []
    for ranks in (1, 2):
        (tmp_path / str(ranks)).mkdir()
        rows.append(run(small, tmp_path / str(ranks), ranks, *changes, before=before))
    assert len(rows[0]) == len(rows[1]) == 4
    for one, two in zip(*rows):
        assert one.keys() == two.keys()
        for name in one:
            assert (one[name] == "") == (two[name] == "")
            if one[name]:
                assert float(two[name]) == pytest.approx(float(one[name]), rel=1e-8), name


@pytest.mark.slow(reason="four processes take a while; two are in every test")
@pytest.mark.parametrize("batch", ["{frames: 8}", "{atoms: 40}"])
def test_four_ranks_train_what_one_trains(small: Path, tmp_path: Path, batch: str) -> None:
    rows = []
    for ranks in (1, 4):
        (tmp_path / str(ranks)).mkdir()
        rows.append(run(small, tmp_path / str(ranks), ranks, f"batch={batch}", "validation.every=2"))
    for one, four in zip(*rows, strict=True):
        for name in one:
            assert one[name] == four[name] == "" or float(four[name]) == pytest.approx(float(one[name]), rel=1e-8), name


def test_a_step_is_one_message(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1,024 ranks, in a group whose messages arrive nowhere: gradients, loss, flags and the wish to stop go together."""
    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("WORLD_SIZE", "1024")
    sent: list[int] = []
    plain = dist.all_reduce
    monkeypatch.setattr(dist, "all_reduce", lambda tensor, *args, **more: (sent.append(tensor.numel()), plain(tensor, *args, **more)))
    monkeypatch.setattr(dist, "new_group", lambda **_: None)  # over which frames would be handed on
    dist.init_process_group("fake", rank=5, world_size=1024, store=FakeStore())
    try:
        state = new_state(small, tmp_path / "run")
        batch = batch_of(state, frames_of(state, 4))
        with Ranks("cpu") as ranks:
            taken = train_step(state, [batch], frames=4, ranks=ranks, stop=True)
    finally:
        dist.destroy_process_group()
    parameters = list(state.model.parameters())
    assert sent == [sum(p.numel() for p in parameters) + len(parameters) + 2]
    assert taken.stop and taken.finite
