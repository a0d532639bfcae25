"""Ranks change who does what, not what is done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lamtrain.runlog import read_metrics
from tests.conftest import training

TRAIN = "from lamtrain.cli import main; import sys; sys.argv = ['lamtrain', *sys.argv[1:]]; main()"
CHANGES = ["--set", "steps=4", "--set", "precision=float64", "--set", "log_every=1", "--set", "validation.every=4"]


def run(small: Path, out: Path, ranks: int, *changes: str) -> list[dict[str, str]]:
    script = out / "train.py"
    script.write_text(TRAIN)
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
    "changes",
    [
        ("batch={frames: 4}",),
        ("batch={atoms: 8}",),  # one or two frames: a rank may have none
        ("batch={frames: 4}", "step={heads: one, draws: 2, clip: per_head}", "shares_every=1", "average={}"),
        ("batch={frames: 3}", "step={heads: one}", "heads={bulk: {frames: 2}}", "shares_every=2"),
    ],
)
def test_two_ranks_train_what_one_trains(small: Path, tmp_path: Path, changes: tuple[str, ...]) -> None:
    rows = []
    for ranks in (1, 2):
        (tmp_path / str(ranks)).mkdir()
        rows.append(run(small, tmp_path / str(ranks), ranks, *changes))
    assert len(rows[0]) == len(rows[1]) == 4
    for one, two in zip(*rows):
        assert one.keys() == two.keys()
        for name in one:
            assert (one[name] == "") == (two[name] == "")
            if one[name]:
                assert float(two[name]) == pytest.approx(float(one[name]), rel=1e-8), name
