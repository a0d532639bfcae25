"""A process of the small catalog that has run once, and a way to have a copy of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lamtrain.stages.process.run import run_process
from lamtrain.stages.process.spec import read_process
from tests.conftest import write_catalog

PROCESS = """process: tiny
threads: 1
stages:
  data:
    kind: ingest
    cards: [bulk.yaml, cluster.yaml, crystals.yaml]
  same:
    kind: overlap
    store: ${data.store}
    dataset: bulk
  learn:
    kind: train
    config:
      mixture: mixture.yaml
      store: ${data.store}
      model: {size: tiny}
      steps: 4
      batch: {frames: 4}
      validation: {every: 2, frames: 5}
      checkpoint_every: 2
      log_every: 2
    device: cpu
  errors:
    kind: test
    model: ${learn.best}
    store: ${data.store}
    device: cpu
"""


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with process.yaml and all that it left; it is not to be written to."""
    folder = write_catalog(tmp_path_factory.mktemp("process"))
    (folder / "process.yaml").write_text(PROCESS)
    run_process(read_process(folder / "process.yaml"), quiet=True)
    return folder


@pytest.fixture
def copied(ran: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function that copies it, words of process.yaml replaced by others, and returns the path of process.yaml."""

    def copy(*changes: tuple[str, str]) -> Path:
        shutil.copytree(ran, tmp_path / "copy")
        path = tmp_path / "copy/process.yaml"
        text = path.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path.write_text(text)
        return path

    return copy
