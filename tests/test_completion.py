"""Completion of a line in a shell, by the protocol of bash, without torch: datasets, heads, addresses, stages and expressions; and silence where something is wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lamdata.registry import draft_dataset, publish

OFFERED = {
    "lamdata show small.zarr ": ["bulk", "bulk-small", "cluster", "crystals"],
    "lamdata show small.zarr bulk": ["bulk", "bulk-small"],
    "lamdata overlap small.zarr bulk ": ["bulk-small", "cluster", "crystals"],
    "lamdata export small.zarr cl": ["cluster"],
    "lamdata select small.zarr bulk --where 'natoms <= 8 and max_f": ["natoms <= 8 and max_force"],
    "lamdata select small.zarr bulk --where 'has(forc": ["has(forces"],
    "lamdata select small.zarr bulk --where 'n(B": ["n(B", "n(Ba", "n(Be", "n(Bh", "n(Bi", "n(Bk", "n(Br"],
    "lamdata select small.zarr bulk --where 'split == t": ["split == test", "split == train"],
    "lamdata fetch --registry shared b": ["bulk@1.0.0"],
    "lamdata rm small.zarr bulk-": ["bulk-small"],
    "lamtrain predict best.pt small.zarr --dataset cr": ["crystals"],
    "lamtrain test best.pt small.zarr --head o": ["one", "other"],
    "lamtrain test best.pt --head ": ["crystals", "one", "other"],
    "lamtrain test best.pt small.zarr --dataset cl": ["cluster"],
    "lamtrain transfer best.pt --to small.zarr bulk": ["bulk", "bulk-small"],
    "lamtrain contest score mine --model best.pt --head o": ["one", "other"],
    "lamtrain run process.yaml --until ": ["data", "learn", "tests"],
}
SILENT = [
    "lamdata show nowhere.zarr ",
    "lamdata show s3://bucket/store.zarr ",  # no network is asked
    "lamdata show process.yaml ",
    "lamdata fetch ",
    "lamdata fetch --registry nowhere ",
    "lamtrain test nowhere.pt small.zarr --head ",
    "lamtrain test process.yaml small.zarr --head ",
    "lamtrain test cut.pt small.zarr --head ",
    "lamtrain run best.pt --until ",
]
# Completes each line of a list, as a shell would by a process each; what is printed goes under the line.
CODE = """
import io, json, os, sys
from contextlib import redirect_stderr, redirect_stdout
sys.modules["torch"] = None
from lamdata.cli import app as lamdata
from lamtrain.cli import app as lamtrain
said = {}
for line in json.load(sys.stdin):
    before, _, quoted = line.partition("'")
    words = [*before.split(" ")[:-1], "'" + quoted] if quoted else line.split(" ")
    program = words[0]
    os.environ |= {f"_{program.upper()}_COMPLETE": "complete_bash", "COMP_WORDS": "\\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(out):
        try:
            globals()[program](prog_name=program, standalone_mode=False)
        except SystemExit as end:
            out.write(f"code {end.code}" if end.code else "")
    said[line] = out.getvalue()
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def place(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store and a view in it, a registry, a model of three heads, one that was cut, and a process."""
    import torch

    from lamdata.store import select
    from lamtrain.checkpoint import Checkpoint, save

    folder = tmp_path_factory.mktemp("line")
    store = str(shutil.copytree(small / "small.zarr", folder / "small.zarr"))
    select(store, "bulk", name="bulk-small", where="natoms <= 4")
    publish(draft_dataset(store, "bulk", version="1.0.0"), str(folder / "shared"), quiet=True)
    heads: dict[str, dict[str, object]] = {"one": {"task": "energy_force"}, "other": {"weight": 1.0}, "crystals": {"task": "denoise"}}
    weights = {"a.weight": torch.zeros(3, 2), "b": torch.ones(2, dtype=torch.float64), "n": torch.zeros((), dtype=torch.int64)}
    state = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 1e-3}]}
    save(Checkpoint(model_config={}, model=weights, heads=heads, lock={}, optimizer=state), folder / "best.pt")
    (folder / "cut.pt").write_bytes((folder / "best.pt").read_bytes()[:-40])
    (folder / "process.yaml").write_text(
        "process: p\nstages:\n  data: {kind: ingest}\n  learn: {kind: train}\n  tests: {kind: test}\n  $(no): {kind: test}\n"
    )
    return folder


@pytest.fixture(scope="module")
def said(place: Path) -> dict[str, str]:
    """Line -> what its completion printed."""
    environment = {name: value for name, value in os.environ.items() if name != "LAM_REGISTRY"}
    args = [sys.executable, "-c", CODE]
    done = subprocess.run(args, input=json.dumps([*OFFERED, *SILENT]), cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("line", OFFERED)
def test_a_line_is_completed_from_what_stands_on_it(said: dict[str, str], line: str) -> None:
    assert sorted(said[line].split("\n")[:-1]) == OFFERED[line]


@pytest.mark.parametrize("line", SILENT)
def test_where_something_is_wrong_nothing_is_said(said: dict[str, str], line: str) -> None:
    assert said[line].strip() == ""


def test_the_command_of_a_shell_answers_with_the_registry_of_the_environment(place: Path) -> None:
    asked = {"_LAMDATA_COMPLETE": "complete_bash", "COMP_WORDS": "lamdata fetch ", "COMP_CWORD": "2", "LAM_REGISTRY": str(place / "shared")}
    code = "import sys; sys.argv = ['lamdata']; from lamdata.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=place, env=os.environ | asked, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "bulk@1.0.0\n", "")
