"""The folder of a run in hand, while it trains and after, and what a notebook shows of it and of its model."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lamdata.errors import DataError
from lamtrain import load_model, open_run
from lamtrain.evaluation.report import test_model as measure
from tests.conftest import command, training
from tests.lamtrain.prediction_cases import TWO, write_model


@pytest.fixture(scope="module")
def folder(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    subprocess.run(command("lamtrain", *training(small, runs)), check=True, capture_output=True)
    return runs / "small"


def test_a_run_has_its_config_its_errors_and_its_models(folder: Path) -> None:
    run = open_run(folder)
    assert run.config["steps"] == 12 and run.heads == {"bulk": "energy_force", "cluster": "energy_force", "crystals": "denoise"}
    assert [row["step"] for row in run.metrics] == [3, 6, 9, 12] and all(row["loss"] for row in run.metrics)
    assert run.metrics[0]["bulk.validation.force_rmse_mev_per_angstrom"] is None  # it looks there every six steps
    assert run.model("last", device="cpu").checkpoint.step == 12 and set(run.lock["datasets"]) == {"bulk", "cluster", "crystals"}
    [latest] = [row for row in run.errors() if row[:2] == ("bulk", "force_rmse_mev_per_angstrom")]
    assert latest[2:] == (*(run.metrics[-1][f"bulk.{side}.force_rmse_mev_per_angstrom"] for side in ("train", "validation")), None)


def test_a_notebook_shows_its_state_and_then_the_numbers_of_the_test(folder: Path, small: Path) -> None:
    run = open_run(folder)
    assert "steps 12 of 12" in repr(run) and "bulk (energy_force)" in repr(run) and "tested no" in repr(run)
    errors = measure(folder / "last.pt", str(small / "small.zarr"), output=folder, quiet=True)["heads"]
    assert "tested yes" in repr(run) and f"<td>{errors['bulk']['force_rmse_mev_per_angstrom']:.4g}</td>" in run._repr_html_()
    (folder / "test.json").unlink()


def test_a_run_that_has_just_begun_has_no_errors(folder: Path, tmp_path: Path) -> None:
    for name in ("config.yaml", "catalog.lock"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    run = open_run(tmp_path)
    assert run.metrics == [] and run.errors() == [] and "steps 0 of 12" in repr(run) and "Errors" not in run._repr_html_()
    with pytest.raises(DataError, match="no such model"):
        run.model()


def test_another_folder_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder of a run; `lamtrain train` leaves one in runs/NAME"):
        open_run(tmp_path)


def test_a_notebook_shows_each_head_of_a_model(folder: Path, tmp_path: Path) -> None:
    shown = open_run(folder).model("last", device="cpu")._repr_html_()
    assert "<td>EMT, ASE EMT</td>" in shown and "<td>denoise</td>" in shown and "<td>answers</td>" in shown
    about = {"hse": {"stale": True, "datasets": ["<b>"]}}
    shown = load_model(write_model(tmp_path / "two.pt", heads=TWO, about=about), device="cpu")._repr_html_()
    assert "<td>stale</td>" in shown and "&lt;b&gt;" in shown and "<b>" not in shown and shown.count("<td>unknown</td>") >= 4
