"""After a step: checkpoints that are due and those before them, rows of metrics, the best model, and weights that must not be saved."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from lamdata.errors import LamError
from lamtrain.checkpoint import load
from lamtrain.runlog import MetricsFile, read_metrics
from lamtrain.training.observers import Checkpoints, Look, refuse_bad_weights
from lamtrain.training.ranks import Ranks
from lamtrain.training.state import TrainState
from lamtrain.training.step import train_step
from tests.lamtrain.training.states import batch_of, frames_of, new_state

EVERY = ("steps=10", "checkpoint_every=4", "checkpoint_keep=2", "log_every=3", "validation={every: 5, frames: 2}")


@pytest.fixture
def state(small: Path, tmp_path: Path) -> TrainState:
    return new_state(small, tmp_path / "run", *EVERY)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.pt"))


def test_checkpoints_come_when_they_are_due_and_at_the_end(state: TrainState, tmp_path: Path) -> None:
    keep, saved = Checkpoints(tmp_path, Ranks("cpu"), saved=0), []
    for state.step in range(1, 11):
        keep(state, {})
        keep.finish()
        saved.append(load(tmp_path / "last.pt").step if (tmp_path / "last.pt").exists() else 0)
    assert saved == [0, 0, 0, 4, 4, 4, 4, 8, 8, 10]
    assert names(tmp_path) == ["checkpoints/step-000000008.pt", "last.pt"]


@pytest.mark.parametrize("linked", [True, False])
def test_the_ones_before_are_kept_also_where_files_cannot_be_linked(
    state: TrainState, tmp_path: Path, linked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not linked:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    keep = Checkpoints(tmp_path, Ranks("cpu"), saved=0)
    for state.step in (4, 8):
        keep(state, {})
    keep.finish()
    assert [load(tmp_path / name).step for name in names(tmp_path)] == [4, 8]


def test_the_same_step_saved_twice_puts_nothing_aside(state: TrainState, tmp_path: Path) -> None:
    keep = Checkpoints(tmp_path, Ranks("cpu"), saved=0)
    state.step = 4
    keep.save(state)
    state.position = 99
    keep.save(state)
    keep.finish()
    assert names(tmp_path) == ["last.pt"] and load(tmp_path / "last.pt").position == 99


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_not_saved(state: TrainState, tmp_path: Path, value: float) -> None:
    keep = Checkpoints(tmp_path, Ranks("cpu"), saved=0)
    state.step = 4
    keep.save(state)
    name, parameter = next(iter(state.model.named_parameters()))
    with torch.no_grad():
        parameter.view(-1)[0] = value
    state.step = 8
    with pytest.raises(LamError, match=f"1 tensors of the model are not finite after step 8, {name} first; last.pt is the one before"):
        keep.save(state)
    keep.finish()
    assert load(tmp_path / "last.pt").step == 4 and names(tmp_path) == ["last.pt"]
    with pytest.raises(LamError):
        refuse_bad_weights(state)


def test_rows_come_when_they_are_due_with_errors_of_held_out_frames_where_those_are(state: TrainState, tmp_path: Path) -> None:
    look = Look(
        Checkpoints(tmp_path, Ranks("cpu"), saved=0), Ranks("cpu"), MetricsFile(tmp_path / "metrics.csv", state.data.heads, after=0)
    )
    frames = frames_of(state, 4)
    for step in range(10):
        state.step = step
        train_step(state, [batch_of(state, frames)], frames=4, ranks=Ranks("cpu"))
        state.step = step + 1
        look(state, {})
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [int(row["step"]) for row in rows] == [3, 5, 6, 9, 10]
    validated = {row["step"]: bool(row["bulk.validation.force_rmse_mev_per_angstrom"]) for row in rows}
    assert validated == {"3": False, "5": True, "6": False, "9": False, "10": True}
    assert all(row["loss"] and row["learning_rate"] for row in rows)


def test_a_row_is_of_the_steps_since_the_last_one(state: TrainState, tmp_path: Path) -> None:
    look = Look(Checkpoints(tmp_path, Ranks("cpu"), saved=0), Ranks("cpu"), None)
    frames = frames_of(state, 4)
    losses = []
    for step in range(6):
        state.step = step
        losses.append(train_step(state, [batch_of(state, frames)], frames=4, ranks=Ranks("cpu")).loss)
        state.step = step + 1
        row: dict[str, Any] = {}
        look(state, row)
        if row:
            assert row["loss"] == pytest.approx(sum(losses) / len(losses)) and row["learning_rate"] == state.schedule.rate(step)
            assert (state.losses, state.truncated, state.looked) == ([], [0, 0], step + 1)
            losses = []


def test_a_look_without_a_step_has_no_loss(state: TrainState, tmp_path: Path) -> None:
    state.step, row = 3, {}
    Look(Checkpoints(tmp_path, Ranks("cpu"), saved=0), Ranks("cpu"), None).look(state, row)
    assert row["loss"] is None and row["truncated"] is None


@pytest.mark.parametrize(
    ("scores", "best"), [([0.9, 0.5, 0.7], 2), ([0.9, 0.9], 1), ([math.nan, 0.9], 2), ([0.4, math.nan], 1), ([math.inf, math.inf], 2)]
)
def test_the_best_model_is_the_first_of_the_lowest_score(
    state: TrainState, tmp_path: Path, scores: list[float], best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter(scores)
    monkeypatch.setattr("lamtrain.training.observers.score", lambda table: next(left))
    look = Look(Checkpoints(tmp_path, Ranks("cpu"), saved=0), Ranks("cpu"), None)
    for number in range(1, len(scores) + 1):
        state.step = 5 * number
        look.look(state, {})
    look.checkpoints.finish()
    assert load(tmp_path / "best.pt").step == 5 * best
