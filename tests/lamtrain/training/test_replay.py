"""Old heads: measured before and after, trained along by their weight, stale where they were not, and then without a voice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lamdata.errors import ConfigError, DataError
from lamtrain import load_model
from lamtrain.checkpoint import load
from lamtrain.config import TrainConfig
from lamtrain.data.mixture import open_training_data
from lamtrain.deepmd.export_model import export_model
from lamtrain.evaluation.evaluate import evaluate_head
from lamtrain.evaluation.report import table_of
from lamtrain.evaluation.report import test_model as report_of
from lamtrain.runlog import read_metrics
from lamtrain.training.trainer import train

from .test_adapt import mixture as naive_mixture

ENERGY, FORCE = "energy_rmse_mev_per_atom", "force_rmse_mev_per_angstrom"


def go(small: Path, folder: Path, parent: Path, weight: float | None, *, steps: int = 3, **more: object) -> Path:
    """A fine-tune on `cluster`, with the old head `bulk` at a weight; without it for None."""
    folder.mkdir(exist_ok=True)
    path = naive_mixture(small, folder)
    if weight is not None:
        path.write_text(path.read_text() + f"  - {{head: bulk, dataset: bulk, task: energy_force, weight: {weight}}}\n")
    values = {
        "train": "mine", "mixture": str(path), "store": str(small / "small.zarr"), "steps": steps, "precision": "float64",
        "start": {"model": str(parent), "heads": {"mine": "cluster"}}, "checkpoint_every": steps, "log_every": 1,
        "learning_rate": {"start": 5e-3, "stop": 1e-3}, "validation": {"every": steps, "frames": 5}, **more,
    }  # fmt: skip
    return train(TrainConfig.model_validate(values), out=folder / "run", device="cpu", quiet=True)


@pytest.fixture(scope="module")
def naive(small: Path, parent: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return go(small, tmp_path_factory.mktemp("naive"), parent, None)


@pytest.fixture(scope="module")
def unreplayed(small: Path, parent: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return go(small, tmp_path_factory.mktemp("zero"), parent, 0)


def test_a_replay_of_weight_zero_is_a_naive_fine_tune_to_the_bit(naive: Path, unreplayed: Path) -> None:
    one, other = load(naive / "last.pt"), load(unreplayed / "last.pt")
    assert one.position == other.position and set(one.model) == set(other.model)
    assert all(torch.equal(one.model[name], other.model[name]) for name in one.model)


def test_before_is_the_parent_and_stands_in_the_log_and_in_the_report(small: Path, parent: Path, unreplayed: Path) -> None:
    data = open_training_data(small / "mixture.yaml", str(small / "small.zarr"))
    expected = evaluate_head(load(parent).build().use_kernels("auto"), data, "bulk", split="test")
    report = report_of(unreplayed / "last.pt", str(small / "small.zarr"), output=unreplayed, quiet=True)
    row = report["heads"]["bulk"]
    assert row["before"][ENERGY] == pytest.approx(expected[ENERGY], rel=1e-9) and row["before"][FORCE] == pytest.approx(
        expected[FORCE], rel=1e-9
    )
    assert row["stale"] and row[FORCE] != row["before"][FORCE] and "stale" not in report["heads"]["mine"]
    assert json.loads((unreplayed / "test.json").read_text()) == report
    titles, rows = table_of(report)
    assert "before: force RMSE meV/Å" in titles and [row[0] for row in rows] == ["mine", "bulk (stale)", "weighted mean"]
    first = read_metrics(unreplayed / "metrics.csv")[0]
    held = evaluate_head(load(parent).build().use_kernels("auto"), data, "bulk", frames=5)
    assert first["step"] == "0" and float(first[f"bulk.validation.{FORCE}"]) == pytest.approx(held[FORCE], rel=1e-9)


def test_the_log_says_what_was_lost(small: Path, parent: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = go(small, tmp_path, parent, 0) / "config.yaml"
    assert values.exists() and not capsys.readouterr().err, "quiet"
    from lamtrain.config import read_config

    train(read_config(values), out=tmp_path / "again", device="cpu")
    said = capsys.readouterr().err
    assert "start: head bulk: references (keep)" in said and "stale from the first step on: bulk, crystals" in said
    assert "head bulk (stale): energy rmse mev per atom" in said and "head mine: energy" in said


def test_a_stale_head_gives_no_number(small: Path, unreplayed: Path, naive: Path, tmp_path: Path) -> None:
    from ase.build import bulk

    for run in (unreplayed, naive):
        model = load_model(run / "last.pt")
        with pytest.raises(DataError, match="'bulk' is stale"):
            model.predict(bulk("Cu"), head="bulk")
        assert len(model.predict(bulk("Cu"), head="mine")) == 1
        for head in (None, "bulk"):
            with pytest.raises(DataError, match="the descriptor moved after bulk was last trained.*--head, one of: mine"):
                export_model(run / "last.pt", str(small / "small.zarr"), tmp_path / "x.pt", head=head, frames=2)
    assert not (tmp_path / "x.pt").exists()
    assert export_model(naive / "last.pt", str(small / "small.zarr"), tmp_path / "x.pt", head="mine", frames=2)


def test_a_stale_head_is_no_start(small: Path, parent: Path, unreplayed: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="head 'bulk' of .* is stale"):
        go(small, tmp_path, parent, 1.0, start={"model": str(unreplayed / "last.pt"), "heads": {"mine": "mine"}})


def test_an_old_head_keeps_its_references_and_forgets_less_the_more_it_weighs(small: Path, parent: Path, tmp_path: Path) -> None:
    errors = {}
    for weight in (0.0, 1.0, 8.0):
        run = go(small, tmp_path / f"{weight:g}", parent, weight, steps=40)
        row = load(run / "last.pt").heads["bulk"]
        assert row["start"]["references"]["mode"] == "keep" and row["stale"] == (weight == 0)
        assert row["references"]["energies"] == load(parent).heads["bulk"]["references"]["energies"]
        errors[weight] = float(read_metrics(run / "metrics.csv")[-1][f"bulk.validation.{FORCE}"])
    assert errors[8.0] < errors[1.0] < errors[0.0], errors


def test_what_is_only_measured_may_not_change_on_the_way(small: Path, parent: Path, tmp_path: Path) -> None:
    run = go(small, tmp_path, parent, 0)
    with pytest.raises(ConfigError, match="other heads of weight 0"):
        go(small, tmp_path, parent, None, steps=3)
    assert run.exists()


def test_a_new_model_is_not_measured_untrained(small: Path, tmp_path: Path) -> None:
    path = naive_mixture(small, tmp_path)
    path.write_text(path.read_text() + "  - {head: bulk, dataset: bulk, task: energy_force, weight: 0}\n")
    values = {"train": "x", "mixture": str(path), "store": str(small / "small.zarr"), "steps": 1, "model": {"size": "tiny"}}
    with pytest.raises(ConfigError, match="'bulk' has weight 0"):
        train(TrainConfig.model_validate(values), out=tmp_path / "run", device="cpu", quiet=True)


def test_a_mixture_that_draws_nothing_is_refused(small: Path, tmp_path: Path) -> None:
    path = naive_mixture(small, tmp_path)
    path.write_text(path.read_text().replace("task: energy_force}", "task: energy_force, weight: 0}"))
    with pytest.raises(Exception, match="all weights are 0"):
        open_training_data(path, str(small / "small.zarr"))


def test_an_old_head_may_stand_in_another_store(small: Path, parent: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(small / "small.zarr", tmp_path / "old.zarr")
    path = naive_mixture(small, tmp_path)
    path.write_text(path.read_text() + "  - {head: bulk, dataset: bulk, task: energy_force, weight: 0.5, store: old.zarr}\n")
    values = {
        "train": "mine", "mixture": str(path), "store": str(small / "small.zarr"), "steps": 2, "precision": "float64",
        "start": {"model": str(parent), "heads": {"mine": "cluster"}},
    }  # fmt: skip
    run = train(TrainConfig.model_validate(values), out=tmp_path / "run", device="cpu", quiet=True)
    assert load(run / "last.pt").heads["bulk"]["start"]["references"]["mode"] == "keep"
    assert "before" in report_of(run / "last.pt", str(small / "small.zarr"), output=run, quiet=True)["heads"]["bulk"]
