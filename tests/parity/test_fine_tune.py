"""A multi-task DPA-2 that DeePMD-kit trained, fine-tuned here, and tested there: `dp --pt test` of what we export gives our errors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from dp import run_all, run_dp, write_input, write_system
from make_inputs import ELEMENTS, multi_task
from test_model_files import errors_here

from lamdata import ingest, open_card
from lamdata.errors import ConfigError
from lamtrain.checkpoint import load
from lamtrain.config import TrainConfig
from lamtrain.deepmd import adopt_model
from lamtrain.deepmd.export_model import export_model
from lamtrain.evaluation.report import test_model as report_of
from lamtrain.training.trainer import train

pytestmark = pytest.mark.deepmd

CARD = """dataset: mine
title: 8 atoms of each element and a few more
license: null
theory: {code: null, functional: null}
checks: {max_force: null, net_force: null}
split: {validation: 0.2, test: 0.2}
sources:
  - {path: new, members: "**/set.*/coord.npy", format: deepmd/npy, group: frame}
"""
MIXTURE = "mixture: mine\nheads:\n  - {head: mine, dataset: mine, task: energy_force}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DeePMD-kit's checkpoint of heads water and metal, imported as parent.pt; and a store with frames of other energies."""
    folder = tmp_path_factory.mktemp("fine-tune")
    for seed, (head, natoms) in enumerate((("water", 12), ("metal", 20), ("new", 16))):
        write_system(folder / head, elements=ELEMENTS, natoms=natoms, frames=12, seed=seed, per_atom=-3.0 - seed)
    write_input(folder / "input.json", multi_task(), systems={head: folder / head for head in ("water", "metal")}, steps=10)
    run_dp("train", "input.json", "--skip-neighbor-stat", cwd=folder)
    adopt_model(folder / "model.pt", folder / "parent.pt")
    (folder / "mine.yaml").write_text(CARD)
    (folder / "mixture.yaml").write_text(MIXTURE)
    ingest(open_card(folder / "mine.yaml"), str(folder / "mine.zarr"), base=folder, quiet=True)
    return folder


def tuned(folder: Path, name: str, how: object, *, mixture: str = "mixture.yaml", **start: object) -> Path:
    values = {
        "train": name, "mixture": str(folder / mixture), "store": str(folder / "mine.zarr"), "steps": 6, "precision": "float64",
        "start": {"model": str(folder / "parent.pt"), "heads": {"mine": "metal"}, "train": how, **start}, "batch": {"frames": 2},
        "learning_rate": {"start": 1e-3, "stop": 1e-4}, "checkpoint_every": 6, "log_every": 6, "validation": {"every": 6, "frames": 4},
    }  # fmt: skip
    return train(TrainConfig.model_validate(values), out=folder / "runs" / name, device="cpu", quiet=True)


@pytest.mark.parametrize(("name", "how"), [("all", "all"), ("heads", "heads"), ("lora", {"lora": {"rank": 2}})])
def test_a_model_of_theirs_fine_tuned_here_is_tested_there_to_equal_numbers(folder: Path, name: str, how: object) -> None:
    run, parent = tuned(folder, name, how), load(folder / "parent.pt")
    row = load(run / "last.pt").heads["mine"]
    found = row["start"]["references"]
    assert (
        found["mode"] == "change"
        and row["start"]["from"] == "metal"
        and abs(found["residual_after_mev_per_atom"]) < found["residual_before_mev_per_atom"]
    )
    report = report_of(run / "last.pt", str(folder / "mine.zarr"), output=run, quiet=True)["heads"]["mine"]
    assert report["force_rmse_mev_per_angstrom"] != report["before"]["force_rmse_mev_per_angstrom"]
    moved = load(run / "last.pt").model
    same = all(np.array_equal(moved[key], value) for key, value in parent.model.items() if key.startswith("descriptor."))
    assert same == (name == "heads")
    deviations = export_model(run / "last.pt", str(folder / "mine.zarr"), folder / f"{name}.pt", head="mine", frames=4)
    assert max(one.largest for one in deviations) < 1e-9
    (log,) = run_all(["test", "-m", f"{name}.pt", "-s", "new", "-n", "100"], cwd=folder)
    theirs = [float(re.search(rf"{label}\s+RMSE\s*:\s*(\S+)", log)[1]) for label in ("Energy", "Force", "Virial")]
    assert errors_here(folder / f"{name}.pt", folder / "new", head=None) == pytest.approx(theirs, rel=1e-6)
    print(json.dumps({name: theirs}))


def test_more_heads_than_the_case_embedding_has_room_for_are_refused(folder: Path) -> None:
    (folder / "both.yaml").write_text(
        MIXTURE.replace("mixture: mine", "mixture: both") + "  - {head: two, dataset: mine, task: energy_force}\n"
    )
    with pytest.raises(ConfigError, match="one-hot vector of 2 heads, and there would be 3"):
        tuned(folder, "both", "all", mixture="both.yaml", heads={"mine": "metal", "two": "metal"})
