"""Blame: of a batch whose gradient is not finite, the frames that make it so, by head and origin; and nothing is changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lamtrain.training.blame import MOST_NAMED, find_culprits
from lamtrain.training.state import TrainState
from tests.lamtrain.training.states import frames_of, new_state, planted


@pytest.fixture(scope="module")
def state(small: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainState:
    return new_state(small, tmp_path_factory.mktemp("blame") / "run")


def row_of(frames, head: int) -> int:
    return int(np.flatnonzero(frames.head == head)[0])


def test_good_frames_are_not_blamed(state: TrainState) -> None:
    assert find_culprits(state, frames_of(state, 6)) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("forces", np.nan), ("forces", np.inf), ("energy", np.nan), ("virial", -np.inf), ("positions", np.nan), ("cell", np.inf)],
)
def test_a_number_that_is_not_finite_is_named_with_its_frame(state: TrainState, name: str, value: float) -> None:
    frames = frames_of(state, 12)
    row = row_of(frames, 0)  # bulk: it has every label
    with planted(frames, row, name, value) as bad:
        (line,) = find_culprits(state, bad)
    assert line.startswith("head bulk: dataset bulk, bulk-") and line.endswith(f": not finite: {name}")


def test_a_label_that_is_missing_is_not_looked_at(state: TrainState) -> None:
    frames = frames_of(state, 12)
    row = row_of(frames, 1)  # clusters are molecules: no virial
    with planted(frames, row, "virial", np.nan) as odd:
        assert find_culprits(state, odd) == []


def test_a_loss_that_overflows_is_named_although_every_number_is_finite(state: TrainState) -> None:
    frames = frames_of(state, 12)
    with planted(frames, row_of(frames, 0), "energy", 1e200) as bad:
        (line,) = find_culprits(state, bad)
    assert line.endswith("not finite: loss")


def test_weights_that_are_not_finite_blame_every_frame_that_they_touch(state: TrainState) -> None:
    parameter = state.model.energy_head("bulk").last.weight
    before = parameter.detach().clone()
    with torch.no_grad():
        parameter.fill_(torch.nan)
    try:
        frames = frames_of(state, 12)
        lines = find_culprits(state, frames)
    finally:
        with torch.no_grad():
            parameter.copy_(before)
    assert len(lines) == min(MOST_NAMED, int(np.count_nonzero(frames.head == 0))) and all("head bulk" in line for line in lines)


def test_only_so_many_are_named(state: TrainState) -> None:
    frames = frames_of(state, 4 * MOST_NAMED)
    bad = frames.with_(forces=np.full_like(frames.forces, np.nan), positions=np.full_like(frames.positions, np.nan))
    assert len(find_culprits(state, bad)) == MOST_NAMED


def test_looking_for_them_changes_no_weight_and_leaves_no_gradient(state: TrainState) -> None:
    frames = frames_of(state, 6)
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    with planted(frames, 0, "positions", np.nan) as bad:
        find_culprits(state, bad)
    assert all(torch.equal(before[name], value) for name, value in state.model.state_dict().items())
    assert all(p.grad is None for p in state.model.parameters()) and state.losses == []
    assert (state.step, state.position) == (0, 0)
