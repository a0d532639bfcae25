"""A batch that is too large ends in one line with a number of atoms that fits, and that number does fit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lamtrain.runlog import read_metrics
from lamtrain.training.memory import find_budget, is_out_of_memory
from tests.conftest import training

# The limit is on what the step adds to what the imports have mapped already.
TRAIN = """
import resource, sys
from pathlib import Path
import torch, lamtrain.training.trainer, lamdata.store
from lamtrain.cli import main
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 768 * 2**20,) * 2)
main()
"""


def train(small: Path, out: Path, *more: str) -> subprocess.CompletedProcess:
    sets = ["steps=1", "batch={atoms: 6000}", "precision=float64", "log_every=1", *more]
    args = [*training(small, out), *(part for s in sets for part in ("--set", s))]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    return subprocess.run([sys.executable, "-c", TRAIN, *args], env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_a_batch_that_does_not_fit_names_one_that_does(small: Path, tmp_path: Path) -> None:
    failed = train(small, tmp_path / "large")
    assert failed.returncode == 3, failed.stderr
    assert failed.stderr.count("\n") == 1 and "Traceback" not in failed.stderr
    atoms = int(re.search(r"set batch.at_once to (\d+), which fits", failed.stderr)[1])
    assert 0 < atoms < 6000
    done = train(small, tmp_path / "fitting", f"batch.at_once={atoms}")
    assert done.returncode == 0, done.stderr
    assert len(read_metrics(tmp_path / "fitting/small/metrics.csv")) == 1


def test_the_budget_is_the_first_half_that_fits() -> None:
    tried = []

    def attempt(atoms: int) -> None:
        tried.append(atoms)
        if atoms > 200:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")

    assert find_budget(attempt, failed=1000) == 125 and tried == [500, 250, 125]


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("shape mismatch")) and is_out_of_memory(MemoryError())
    with pytest.raises(RuntimeError, match="shape mismatch"):
        find_budget(lambda atoms: (_ for _ in ()).throw(RuntimeError("shape mismatch")), failed=8)
