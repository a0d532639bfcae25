"""One step: the same whatever parts a batch is done in, clipped, and not taken where a number is not finite."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lamdata.store import cut_batches
from lamtrain.training.memory import OutOfMemory
from lamtrain.training.ranks import Ranks
from lamtrain.training.state import TrainState
from lamtrain.training.step import add_gradients, step_in_memory, train_step
from tests.lamtrain.training.states import batch_of, frames_of, new_state, planted


@pytest.fixture
def state(small: Path, tmp_path: Path) -> TrainState:
    return new_state(small, tmp_path / "run", "clip_norm=null")


def gradients(state: TrainState) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in state.model.named_parameters() if p.grad is not None}


def weights(state: TrainState) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in state.model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("atoms", [1, 9, 20, 1000])
def test_the_gradient_of_a_batch_is_the_sum_over_its_parts_whatever_they_are(state: TrainState, atoms: int) -> None:
    frames = frames_of(state, 8)
    add_gradients(state, batch_of(state, frames), frames=8)
    whole = gradients(state)
    state.optimizer.zero_grad(set_to_none=True)
    parts = list(cut_batches(frames, batch_atoms=atoms))
    assert (len(parts) > 1) == (atoms < 1000)
    losses = [add_gradients(state, batch_of(state, part), frames=8) for part in parts]
    assert len(losses) == len(parts) and all(torch.isfinite(loss) for loss in losses)
    for name, value in gradients(state).items():
        torch.testing.assert_close(value, whole[name], rtol=1e-9, atol=1e-12, msg=name)


def test_the_order_of_frames_in_a_batch_does_not_matter(state: TrainState) -> None:
    frames = frames_of(state, 6)
    one = add_gradients(state, batch_of(state, frames), frames=6)
    before = gradients(state)
    state.optimizer.zero_grad(set_to_none=True)
    other = add_gradients(state, batch_of(state, frames.take(np.array([4, 2, 5, 0, 3, 1]))), frames=6)
    assert float(one) == pytest.approx(float(other), rel=1e-12)
    for name, value in gradients(state).items():
        torch.testing.assert_close(value, before[name], rtol=1e-9, atol=1e-12, msg=name)


def test_a_frame_without_labels_has_a_share_of_the_mean_and_no_gradient(state: TrainState) -> None:
    frames = frames_of(state, 8)
    row = int(np.flatnonzero(frames.head == 0)[0])
    bare = frames.part(row, row + 1).without(["energy", "forces", "virial"])
    loss = add_gradients(state, batch_of(state, bare), frames=1)
    assert float(loss) == 0.0 and all((grad == 0).all() for grad in gradients(state).values())


@pytest.mark.parametrize("limit", ["0.01", "1.0e+6", "null"])
def test_a_gradient_is_clipped_to_the_norm_of_the_config(small: Path, tmp_path: Path, limit: str) -> None:
    state = new_state(small, tmp_path / "run", f"clip_norm={limit}")
    frames = frames_of(state, 4)
    taken = train_step(state, [batch_of(state, frames)], frames=4, ranks=Ranks("cpu"))
    norm = math.sqrt(sum(float(grad.square().sum()) for grad in gradients(state).values()))
    assert taken.finite and 0.01 < taken.norm < 1e6
    assert norm == pytest.approx(0.01 if limit == "0.01" else taken.norm, rel=1e-4)


def test_a_step_moves_weights_and_counts_errors_and_cut_lists(state: TrainState) -> None:
    frames, before = frames_of(state, 4), weights(state)
    taken = train_step(state, [batch_of(state, part) for part in (frames.part(0, 1), frames.part(1, 4))], frames=4, ranks=Ranks("cpu"))
    assert not same(before, weights(state)) and state.losses == [taken.loss]
    assert state.truncated[1] == len(frames.numbers)
    trained = {list(state.data.heads)[head] for head in set(frames.head.tolist())}
    assert {head for head, row in state.metrics.table().items() if row} == trained


@pytest.mark.parametrize(("name", "value"), [("forces", np.nan), ("energy", np.inf), ("energy", 1e200)])
def test_a_step_that_is_not_finite_changes_nothing(state: TrainState, name: str, value: float) -> None:
    frames, before = frames_of(state, 8), weights(state)
    row = int(np.flatnonzero(frames.head == 0)[0])
    with planted(frames, row, name, value) as bad:
        taken = train_step(state, [batch_of(state, bad)], frames=8, ranks=Ranks("cpu"))
    assert not taken.finite and same(before, weights(state))
    assert state.losses == [] and state.truncated == [0, 0] and not any(state.metrics.table().values())
    assert not state.optimizer.state_dict()["state"]


def test_a_rate_of_the_schedule_reaches_every_group(small: Path, tmp_path: Path) -> None:
    state = new_state(small, tmp_path / "run", "learning_rate={start: 1.0e-3, stop: 1.0e-5, decay_steps: 1}")
    frames = frames_of(state, 2)
    for step in range(3):
        state.step = step
        train_step(state, [batch_of(state, frames)], frames=2, ranks=Ranks("cpu"))
        assert {group["lr"] for group in state.optimizer.param_groups} == {state.schedule.rate(step)}


def test_a_batch_that_does_not_fit_names_how_many_atoms_do(state: TrainState, monkeypatch: pytest.MonkeyPatch) -> None:
    import lamtrain.training.step as module

    frames, before, real = frames_of(state, 8), weights(state), module.add_gradients
    smallest = int(frames.natoms[0])

    def limited(state, batch, **options):
        if batch.natoms_total > max(smallest, len(frames.numbers) // 3):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
        return real(state, batch, **options)

    monkeypatch.setattr(module, "add_gradients", limited)
    with pytest.raises(OutOfMemory, match=f"{len(frames.numbers)} atoms at once do not fit; set batch.at_once to ") as caught:
        step_in_memory(state, [batch_of(state, frames)], frames, count=8, ranks=Ranks("cpu"), stop=False)
    budget = int(str(caught.value).split("at_once to ")[1].split(",")[0])
    parts = list(cut_batches(frames, batch_atoms=budget))
    assert step_in_memory(state, [batch_of(state, p) for p in parts], frames, count=8, ranks=Ranks("cpu"), stop=False).finite
    assert not same(before, weights(state))


def test_a_machine_where_not_one_frame_fits_is_told_so(state: TrainState, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("lamtrain.training.step.add_gradients", never)
    frames = frames_of(state, 2)
    with pytest.raises(OutOfMemory, match="not even one frame fits; take a smaller model") as caught:
        step_in_memory(state, [batch_of(state, frames)], frames, count=2, ranks=Ranks("cpu"), stop=False)
    assert caught.value.exit_code == 3


def test_other_errors_of_a_step_come_through(state: TrainState, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr("lamtrain.training.step.add_gradients", broken)
    frames = frames_of(state, 2)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        step_in_memory(state, [batch_of(state, frames)], frames, count=2, ranks=Ranks("cpu"), stop=False)


def test_a_rank_without_frames_takes_part(state: TrainState) -> None:
    taken = train_step(state, [], frames=4, ranks=Ranks("cpu"), stop=True)
    assert (taken.loss, taken.norm, taken.stop, taken.finite) == (0.0, 0.0, True, True)
