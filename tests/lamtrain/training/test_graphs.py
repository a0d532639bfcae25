"""Steps that are recorded once for each shape of a batch and replayed on other batches: those that are done one by one, to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lamdata.errors import ConfigError
from lamtrain.config import read_config
from lamtrain.data.batch import Batch, collate
from lamtrain.training import graphs as module
from lamtrain.training.graphs import Graphs, graphs_of
from lamtrain.training.ranks import Ranks
from lamtrain.training.state import TrainState
from lamtrain.training.step import step_on_device, taken_in, train_step
from lamtrain.training.taken import Taken
from tests.lamtrain.training.states import NARROW, new_state
from tests.lamtrain.training.tape import TapeRecorder

STEPS = 14
CASES = {
    "all": ("learning_rate={kind: cosine, start: 1.0e-2, stop: 1.0e-4, warmup_steps: 3}", "loss={virial: [0, 1]}", "average={}"),
    "own": ("heads={bulk: {loss: {force: [10, 1]}}, cluster: {loss: {energy: [0, 2]}}}", "optimizer={kind: adamw}", "clip_norm=0.1"),
    "one": ("step={heads: one}", "batch={frames: 2}", "heads={bulk: {frames: 3}}"),
}


def batches(state: TrainState, *, padded: bool) -> list[tuple[Batch, int]]:
    """What the stream gives, and how many frames there are in each."""
    config, found = state.config, []
    options = {"batch_frames": config.step.draws if config.step.heads == "one" else config.batch.frames, "batch_atoms": None}
    with state.data.stream(seed=1, runs=config.runs(state.data.heads), **options) as stream:
        for frames, _ in zip(stream, range(STEPS)):
            frames = state.data.with_model_heads(frames)
            found.append((collate(frames, state.model.config, dtype=state.dtype, padded=padded), len(frames)))
    return found


def numbers(state: TrainState) -> dict[str, torch.Tensor]:
    """All that a step changes."""
    found = dict(state.model.state_dict())
    for k, parameter in enumerate(state.model.parameters()):
        found |= {f"{k}.{name}": value for name, value in state.optimizer.state.get(parameter, {}).items()}
    if state.average is not None:
        found |= {f"average.{name}": value for name, value in state.average.model().state_dict().items()}
    return found | {"errors": state.metrics.tensor(state.device), "losses": torch.tensor(state.losses), "cut": torch.tensor(state.truncated)}


def one_by_one(state: TrainState, steps: list[tuple[Batch, int]]) -> None:
    for batch, count in steps:
        rate, frames = (torch.tensor(float(value), dtype=torch.float64) for value in (state.schedule.rate(state.step), count))
        told, metrics = step_on_device(state, [batch], frames=frames, rate=rate)
        taken_in(state, [batch], Taken(told), metrics)
        state.step += 1


def replayed(state: TrainState, steps: list[tuple[Batch, int]]) -> TapeRecorder:
    graphs = Graphs(state, recorder := TapeRecorder())
    for batch, count in steps:
        graphs.step([batch], frames=count)
        state.step += 1
    return recorder


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_replays_on_other_batches_equal_the_steps_themselves(small: Path, tmp_path: Path, changes: tuple[str, ...]) -> None:
    eager, state, plain = (new_state(small, tmp_path / name, "kernels=plain", *changes) for name in ("eager", "graphs", "plain"))
    steps = batches(state, padded=True)
    one_by_one(eager, steps)
    recorder = replayed(state, steps)
    shapes = len({batch.shape for batch, _ in steps})
    assert recorder.done == shapes and recorder.replayed == STEPS - shapes >= 2
    expected, found = numbers(eager), numbers(state)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    for batch, count in batches(plain, padded=False):
        train_step(plain, [batch], frames=count, ranks=Ranks("cpu"))
        plain.step += 1
    for name, value in numbers(plain).items():  # of a rate in double precision, and batches as they are
        torch.testing.assert_close(found[name].double(), value.double(), rtol=1e-5, atol=1e-8, msg=name)


def test_records_that_make_room_are_made_again(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eager, state = (new_state(small, tmp_path / name, "kernels=plain", *CASES["one"]) for name in ("eager", "graphs"))
    monkeypatch.setattr(module, "MOST", 1)
    steps = batches(state, padded=True)
    one_by_one(eager, steps)
    recorder = replayed(state, steps)
    assert len(recorder.tapes) > len({batch.shape for batch, _ in steps[:-2]}) - 2 and recorder.replayed
    assert all(torch.equal(value, numbers(state)[name]) for name, value in numbers(eager).items())
