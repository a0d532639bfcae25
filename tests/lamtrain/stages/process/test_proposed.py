"""`lamtrain init --process`: raw files and a model become a process that can be read, and run once its guesses are confirmed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from lamdata.errors import ConfigError, DataError
from lamtrain.stages.process import kinds
from lamtrain.stages.process.proposed import STAGES, write_process
from lamtrain.stages.process.run import run_process
from lamtrain.stages.process.spec import read_process
from tests.conftest import _write_raw, command
from tests.test_help import run_without_torch


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of raw files, which is the current one."""
    monkeypatch.chdir(tmp_path)
    for group in range(12):
        _write_raw(tmp_path / f"mine-{group}.xyz", "bulk", group, 4)
    return tmp_path


def confirm(card: Path) -> None:
    card.write_text(card.read_text().replace('?"', '"'))


def test_a_process_is_written_with_the_stages_that_there_are(mine: Path) -> None:
    done = run_without_torch(
        "lamtrain.cli", "init", "--process", "mine-*.xyz", "--from", "model.pt", "-o", "new/process.yaml", "--json", cwd=mine
    )
    assert done.returncode == 0, done.stderr
    written = json.loads(done.stdout)
    assert written["written"][-1] == "new/process.yaml" and any("a guess to be confirmed" in note for note in written["notes"])
    names = [stage.name for stage in read_process(mine / "new/process.yaml").stages]
    absent = [name for name in STAGES if any(note.startswith(f"no stage {name}:") for note in written["notes"])]
    assert names == [name for name in STAGES if name not in absent] and {"integrate", "recipe", "fine-tune", "test"} <= set(names)
    with pytest.raises(DataError, match=r"data/mine.yaml:\d+:\d+: .*a guess to be confirmed"):
        run_process(read_process("new/process.yaml"), until="integrate", quiet=True)


def test_a_stage_whose_command_is_not_there_is_named_with_those_that_need_it(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kinds.KINDS, "distil", kinds.Kind(command="lamtrain no-such"))
    written = write_process(mine / "process.yaml", ["mine-*.xyz"], model=Path("model.pt"), pool=None, steps=3)
    assert "no stage distil: this lamtrain has no `lamtrain no-such`" in written.notes and any(
        "no stage compress" in note for note in written.notes
    )


def test_files_of_two_kinds_are_two_processes(mine: Path) -> None:
    _write_raw(mine / "grown.xyz", "crystals", 1, 4)
    with pytest.raises(ConfigError, match="files are of 2 theories or kinds"):
        write_process(mine / "process.yaml", ["mine-*.xyz", "grown.xyz"], model=Path("model.pt"), pool=None, steps=3)


def test_integration_in_a_process_says_what_a_fine_tune_would_begin_with(mine: Path, ran: Path) -> None:
    model = ran / "runs/tiny/learn/out/run/best.pt"
    write_process(
        Path("process.yaml"), ["mine-*.xyz"], model=model, pool=(ran / "mixture.yaml", str(ran / "runs/tiny/data/out/store.zarr")), steps=3
    )
    confirm(mine / "data/mine.yaml")
    run_process(read_process("process.yaml"), until="integrate", quiet=True)
    found = json.loads((mine / "runs/mine/integrate/out/integrate.json").read_text())["datasets"]["mine"]
    assert found["begins"]["from"] == "bulk" and found["begins"]["why"].startswith("knows Al, Cu")
    assert found["overlap"]["in_pool"] == {"bulk": 16}  # the first frames of the pool's four files


@pytest.mark.slow
def test_the_whole_process_of_files_and_a_model(mine: Path, ran: Path) -> None:  # a process with torch for each stage
    model = ran / "runs/tiny/learn/out/run/best.pt"
    write_process(Path("process.yaml"), ["mine-*.xyz"], model=model, pool=None, steps=20)
    confirm(mine / "data/mine.yaml")
    done = subprocess.run(command("lamtrain", "run", "process.yaml", "--until", "test", "--json"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {one["state"] for one in json.loads(done.stdout)["stages"]} == {"ran"}
    assert "data:image/png" in (mine / "runs/mine/report.html").read_text()
