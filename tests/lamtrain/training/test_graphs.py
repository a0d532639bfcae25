"""Steps that are recorded once for each shape of a batch and replayed on other batches: those that are done one by one, to the bit."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from lamdata.errors import ConfigError
from lamtrain.checkpoint import load
from lamtrain.config import read_config
from lamtrain.data.batch import Batch
from lamtrain.runlog import read_metrics
from lamtrain.training import graphs as module
from lamtrain.training import step, trainer
from lamtrain.training.graphs import Graphs, graphs_of
from lamtrain.training.optimizer import set_rate
from lamtrain.training.ranks import Ranks
from lamtrain.training.state import TrainState
from lamtrain.training.step import step_on_device, taken_in, train_step
from lamtrain.training.taken import Taken
from tests.lamtrain.training.states import NARROW, batch_of, new_state
from tests.lamtrain.training.tape import TapeRecorder

STEPS = 16  # of which some have the shape of an earlier one, whatever a processor makes of the data
CASES = {
    "all": ("learning_rate={kind: cosine, start: 1.0e-2, stop: 1.0e-4, warmup_steps: 3}", "loss={virial: [0, 1]}", "average={}"),
    "own": ("heads={bulk: {loss: {force: [10, 1]}}, cluster: {loss: {energy: [0, 2]}}}", "optimizer={kind: muon}", "clip_norm=0.1"),
    "one": ("step={heads: one}", "batch={frames: 2}", "heads={bulk: {frames: 3}}"),
}
RATE = "learning_rate={start: 1.0e-2, stop: 1.0e-4, decay_steps: 1}"


def batches(state: TrainState, *, padded: bool) -> list[tuple[Batch, int]]:
    """What the stream gives, and how many frames there are in each."""
    config, found = state.config, []
    options = {"batch_frames": config.step.draws if config.step.heads == "one" else config.batch.frames, "batch_atoms": None}
    with state.data.stream(seed=1, runs=config.runs(state.data.heads), **options) as stream:
        for frames, _ in zip(stream, range(STEPS)):
            frames = state.data.with_model_heads(frames)
            found.append((batch_of(state, frames, padded=padded), len(frames)))
    return found


def numbers(state: TrainState) -> dict[str, torch.Tensor]:
    """All that a step changes."""
    found = dict(state.model.state_dict())
    for k, parameter in enumerate(state.model.parameters()):
        found |= {f"{k}.{name}": value for name, value in state.optimizer.state.get(parameter, {}).items()}
    if state.average is not None:
        found |= {f"average.{name}": value for name, value in state.average.model().state_dict().items()}
    return found | {
        "errors": state.metrics.tensor(state.device),
        "losses": torch.tensor(state.losses),
        "cut": torch.tensor(state.truncated),
    }


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


def test_a_number_of_the_host_that_a_record_keeps_is_found(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eager, state = (new_state(small, tmp_path / name, "kernels=plain", RATE) for name in ("eager", "graphs"))
    steps = [batches(state, padded=True)[0]] * 4
    one_by_one(eager, steps)
    monkeypatch.setattr(
        step, "rate_on_device", lambda optimizer, rate: nullcontext(set_rate(optimizer, float(state.schedule.rate(state.step))))
    )
    replayed(state, steps)
    assert not torch.equal(*(one.model.state_dict()["descriptor.type_embedding.weight"] for one in (eager, state)))


def test_records_that_make_room_are_made_again(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eager, state = (new_state(small, tmp_path / name, "kernels=plain", *CASES["one"]) for name in ("eager", "graphs"))
    monkeypatch.setattr(module, "MOST", 1)
    one, *others = batches(state, padded=True)
    steps = [one, next(step for step in others if step[0].shape != one[0].shape)] * 3
    one_by_one(eager, steps)
    recorder = replayed(state, steps)
    assert recorder.done == 2 and len(recorder.tapes) == recorder.replayed == 4
    assert all(torch.equal(value, numbers(state)[name]) for name, value in numbers(eager).items())


class Killed(Exception):
    pass


class KillsAfter:
    def __init__(self, step: int):
        self.step = step

    def due(self, state: TrainState) -> bool:
        return state.step == self.step

    def __call__(self, state: TrainState, row: dict[str, Any]) -> None:
        if self.due(state):
            raise Killed


def test_a_run_with_graphs_is_the_run_without_and_goes_on_with_the_same_bits(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = read_config(
        small / "train.yaml", overrides=[*NARROW, "kernels=plain", "steps=6", "threads=1", "checkpoint_every=3", "validation.every=6"]
    )

    def run(name: str, **options: Any) -> Path:
        return trainer.train(config, out=tmp_path / name, device="cpu", quiet=True, **options)

    plain, recorders = run("plain"), []

    def of(state: TrainState, ranks: Ranks) -> Graphs:
        recorders.append(TapeRecorder())
        return Graphs(state, recorders[-1])

    monkeypatch.setattr(trainer, "graphs_of", of)
    whole = run("whole")
    with pytest.raises(Killed):
        run("killed", observers=[KillsAfter(4)])
    killed = run("killed")
    models = {name: load(out / "last.pt").model for name, out in (("plain", plain), ("whole", whole), ("killed", killed))}
    assert recorders[0].replayed and all(torch.equal(value, models["killed"][name]) for name, value in models["whole"].items())
    for name, value in models["plain"].items():
        torch.testing.assert_close(models["whole"][name], value, rtol=1e-5, atol=1e-8)
    for row, expected in zip(read_metrics(whole / "metrics.csv"), read_metrics(plain / "metrics.csv"), strict=True):
        assert row.keys() == expected.keys()
        assert [float(row[key] or 0) for key in row] == pytest.approx([float(expected[key] or 0) for key in row], rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (("step={clip: per_head}",), "step.clip: per_head"),
        (("skip_nonfinite=1",), "skip_nonfinite"),
        (("shares_every=5",), "shares_every"),
        (("optimizer={kind: schedule_free}",), "optimizer.kind: schedule_free"),
    ],
)
def test_what_cannot_be_recorded_is_refused_by_name(small: Path, changes: tuple[str, ...], named: str) -> None:
    with pytest.raises(ConfigError, match=f"the host does not look into, as it must for {named}"):
        read_config(small / "train.yaml", overrides=["graphs=true", *changes])


def test_graphs_are_refused_where_there_is_no_gpu_and_before_anything_is_written(small: Path, tmp_path: Path) -> None:
    config = read_config(small / "train.yaml", overrides=[*NARROW, "graphs=true"])
    with pytest.raises(ConfigError, match="graphs are recorded on a CUDA device, and this is cpu"):
        trainer.train(config, out=tmp_path / "run", device="cpu", quiet=True)
    assert not (tmp_path / "run").exists()


def test_several_ranks_and_heads_of_others_are_refused(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = new_state(small, tmp_path / "run", "graphs=true")
    ranks = Ranks("cpu")
    ranks.device = torch.device("cuda")
    monkeypatch.setattr(ranks, "world", 2)
    with pytest.raises(ConfigError, match="a step of 2 ranks cannot be recorded"):
        graphs_of(state, ranks)
    monkeypatch.setattr(ranks, "world", 1)
    monkeypatch.setitem(state.metrics.kinds, "dipole", next(iter(state.metrics.kinds.values())))
    with pytest.raises(ConfigError, match="a head for dipole, which is not of this package"):
        graphs_of(state, ranks)
    assert graphs_of(new_state(small, tmp_path / "other"), ranks) is None
