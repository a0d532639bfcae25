"""What a step is: heads mixed or one at a time, gradients limited together or by head, and what each head gives to the descriptor."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from lamdata.errors import ConfigError
from lamdata.frames import Frames
from lamtrain.checkpoint import load
from lamtrain.config import TrainConfig, read_config
from lamtrain.data.batch import collate
from lamtrain.data.feed import split_by_head
from lamtrain.data.mixture import TrainingData, open_training_data
from lamtrain.runlog import read_metrics
from lamtrain.training.by_head import share_lines
from lamtrain.training.ranks import Ranks
from lamtrain.training.start import start_run
from lamtrain.training.state import TrainState
from lamtrain.training.step import add_gradients, train_step
from lamtrain.training.trainer import train

EXACT = ("precision=float64", "threads=1", "steps=4", "log_every=2", "validation={every: 4, frames: 1}", "checkpoint_every=2")


def config_of(small: Path, *changes: str) -> TrainConfig:
    return read_config(small / "train.yaml", overrides=[*EXACT, *changes])


def run(small: Path, out: Path, *changes: str) -> Path:
    return train(config_of(small, *changes), out=out, device="cpu", quiet=True)


@pytest.fixture(scope="module")
def data(small: Path) -> TrainingData:
    return open_training_data(small / "mixture.yaml", str(small / "small.zarr"))


def begun(small: Path, data: TrainingData, *changes: str) -> TrainState:
    """The state before the first step, with the last layers of energy heads off zero: these keep the gradient from the descriptor."""
    state = start_run(config_of(small, *changes), data, Path("none"), resume="never", stream={}, ranks=Ranks("cpu"), quiet=True)
    torch.manual_seed(4)
    for name, parameter in state.model.named_parameters():
        if name.endswith("last.weight"):
            torch.nn.init.normal_(parameter, std=0.3)
    return state


def first_batch(state: TrainState, count: int) -> tuple[Frames, dict[str, int]]:
    """The frames of the first `count` slots, and what they were drawn for."""
    with state.data.stream(seed=1, batch_frames=count, batch_atoms=None, runs=state.runs) as stream:
        frames = state.data.with_model_heads(next(iter(stream)))
        return frames, state.data.slots_of_heads(stream, 0, count)


def gradients(state: TrainState) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in state.model.named_parameters() if p.grad is not None}


def own_gradients(state: TrainState, frames: Frames) -> dict[str, dict[str, torch.Tensor]]:
    """Head -> the gradient of the mean over its frames, each from a batch of its own."""
    found = {}
    for head, name in enumerate(state.model.config.heads):
        mine = frames.take(np.flatnonzero(frames.head == head))
        if not len(mine):
            continue
        state.optimizer.zero_grad(set_to_none=True)
        add_gradients(state, collate(mine, state.model.config), frames=len(mine))
        found[name] = gradients(state)
    state.optimizer.zero_grad(set_to_none=True)
    return found


def norm(grads: dict[str, torch.Tensor], part: str = "") -> float:
    return math.sqrt(math.fsum(float(g.square().sum()) for name, g in grads.items() if name.startswith(part)))


def stepped(state: TrainState, frames: Frames, drawn: dict[str, int]) -> dict[str, torch.Tensor]:
    by_head = state.config.step.clip == "per_head"
    parts = split_by_head(frames, at_once=None) if by_head else [frames]
    batches = [collate(part, state.model.config) for part in parts]
    with Ranks("cpu") as ranks:
        train_step(state, batches, frames=len(frames), ranks=ranks, drawn=drawn, whole=frames if state.measures_shares else None)
    return gradients(state)


@pytest.mark.parametrize("limit", [1e-3, 2.0, 1e9])
def test_each_head_is_limited_by_itself_and_counts_by_its_frames(small: Path, data: TrainingData, limit: float) -> None:
    state = begun(small, data, "step={clip: per_head}", f"clip_norm={limit}", "shares_every=1")
    frames, drawn = first_batch(state, 12)
    assert set(drawn) == {"bulk", "cluster", "crystals"} and sum(drawn.values()) == 12
    own = own_gradients(state, frames)
    factors = {
        (head, side): drawn[head] / 12 * min(1.0, limit / (norm(grads, side) + 1e-6))
        for head, grads in own.items()
        for side in ("descriptor", "heads")
    }
    found = stepped(state, frames, drawn)
    for name, grad in found.items():
        side = name.partition(".")[0]
        expected = sum(factors[head, side] * grads[name] for head, grads in own.items() if name in grads)
        torch.testing.assert_close(grad, expected, rtol=1e-9, atol=1e-12 * min(limit, 1.0))
    for head, grads in own.items():
        assert state.shares[head] == pytest.approx(factors[head, "descriptor"] * norm(grads, "descriptor"), rel=1e-9)


def test_without_a_limit_heads_by_themselves_make_the_gradient_of_the_batch(small: Path, data: TrainingData) -> None:
    found = []
    for clip in ("sum", "per_head"):
        state = begun(small, data, f"step={{clip: {clip}}}", "clip_norm=null", "shares_every=1")
        found.append((stepped(state, *first_batch(state, 8)), state.shares, state.losses[0]))
    (a, shares_a, loss_a), (b, shares_b, loss_b) = found
    assert loss_b == pytest.approx(loss_a, rel=1e-12) and shares_b == pytest.approx(shares_a, rel=1e-9) and min(shares_a.values()) > 0
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-9, atol=1e-12)


def test_measuring_shares_changes_no_bit(small: Path, tmp_path: Path) -> None:
    plain, measured = run(small, tmp_path / "plain"), run(small, tmp_path / "measured", "shares_every=1")
    one, two = load(plain / "last.pt"), load(measured / "last.pt")
    assert all(torch.equal(one.model[name], two.model[name]) for name in one.model)
    rows = read_metrics(measured / "metrics.csv")
    shares = [[float(row[f"{head}.train.share"]) for head in ("bulk", "cluster", "crystals")] for row in rows]
    assert [sum(row) for row in shares] == pytest.approx([1.0, 1.0]) and shares[0] != shares[1]
    assert not any("share" in name for name in read_metrics(plain / "metrics.csv")[0])


def test_one_frame_for_each_draw_is_the_mixed_batch(small: Path, tmp_path: Path) -> None:
    """What ranks of DeePMD-kit do together, each with one frame of a head of its own, is a mixed batch."""
    mixed = run(small, tmp_path / "mixed")
    drawn = run(small, tmp_path / "drawn", "step={heads: one, draws: 4}")
    assert (mixed / "metrics.csv").read_bytes() == (drawn / "metrics.csv").read_bytes()


@pytest.mark.parametrize(
    ("draws", "own", "sizes"),
    [(1, {}, {"bulk": 4, "cluster": 4, "crystals": 4}), (2, {"bulk": 3}, {"bulk": 3, "cluster": 2, "crystals": 2})],
)
def test_a_draw_is_frames_of_one_head(small: Path, data: TrainingData, draws: int, own: dict[str, int], sizes: dict[str, int]) -> None:
    heads = ", ".join(f"{head}: {{frames: {count}}}" for head, count in own.items())
    config = config_of(small, f"step={{heads: one, draws: {draws}}}", f"heads={{{heads}}}")
    runs = config.runs(data.heads)
    assert runs == sizes
    seen: Counter[str] = Counter()
    with data.stream(seed=1, batch_frames=draws, batch_atoms=None, runs=runs) as stream:
        for step, frames in zip(range(40), stream):
            counts = Counter(np.array(list(data.heads))[data.with_model_heads(frames).head].tolist())
            drawn = data.slots_of_heads(stream, step * draws, (step + 1) * draws)
            assert counts == {head: count * sizes[head] for head, count in drawn.items()} and stream.position == (step + 1) * draws
            seen.update(drawn)
    assert seen["bulk"] > max(seen["cluster"], seen["crystals"]) and len(seen) == 3


def test_each_draw_counts_once_whatever_its_frames(small: Path, data: TrainingData) -> None:
    state = begun(small, data, "step={heads: one, draws: 4}", "heads={bulk: {frames: 3}}", "clip_norm=null")
    frames, drawn = first_batch(state, 4)
    assert len(frames) > 4
    own = own_gradients(begun(small, data), frames)
    with Ranks("cpu") as ranks:
        train_step(state, [collate(frames, state.model.config)], frames=4, ranks=ranks)
    for name, grad in gradients(state).items():
        expected = sum(drawn.get(head, 0) / 4 * grads[name] for head, grads in own.items() if name in grads)
        torch.testing.assert_close(grad, expected, rtol=1e-8, atol=1e-12)


def test_a_head_has_prefactors_of_its_own(small: Path, data: TrainingData) -> None:
    plain, own = begun(small, data), begun(small, data, "heads={cluster: {loss: {force: [0, 0], energy: [5, 5]}}}")
    twice = begun(small, data, "loss={energy: [5, 5], force: [0, 0]}")
    frames, _ = first_batch(plain, 12)
    a, b, c = (own_gradients(state, frames) for state in (plain, own, twice))
    for name in a["bulk"]:
        assert torch.equal(a["bulk"][name], b["bulk"][name])
    assert all(torch.allclose(b["cluster"][name], c["cluster"][name], rtol=1e-12) for name in c["cluster"])
    assert norm(a["cluster"]) > 5 * norm(b["cluster"])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("heads={bulk: {frames: 2}}",), "heads.bulk.frames goes with"),
        (("step={heads: one, draws: 3}",), r"needs batch.frames, a multiple of its draws \(3\), not batch.frames \(4\)"),
        (("step={heads: one}", "batch={atoms: 40}"), "needs batch.frames.*not batch.atoms"),
        (("step={draws: 2}",), "`draws` goes with `heads: one`"),
        (("heads={bulk: {loss: {force: [-1, 1]}}}",), "heads.bulk.loss: prefactor force is negative"),
    ],
)
def test_what_does_not_go_together_is_said(small: Path, changes: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config_of(small, *changes)


@pytest.mark.parametrize(
    ("heads", "said"),
    [
        ("{blk: {loss: {force: [1, 1]}}}", "no head 'blk'.*bulk"),
        ("{crystals: {loss: {force: [1, 1]}}}", "a head for denoise has no term 'force'"),
        ("{bulk: {loss: {frce: [1, 1]}}}", "no term 'frce'.*force"),
    ],
)
def test_heads_that_are_not_there_are_named(small: Path, data: TrainingData, heads: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config_of(small, f"heads={heads}").check_heads(data.heads)


def test_the_table_of_shares_has_the_loudest_first_and_no_head_without_weight() -> None:
    lines = share_lines({"a": 1.0, "b": 3.0}, {"a": 3.0, "b": 1.0, "c": 4.0, "d": 0.0})
    assert [line.split() for line in lines[1:]] == [
        ["b", "0.7500", "0.1250", "6"],
        ["a", "0.2500", "0.3750", "0.67"],
        ["c", "0.0000", "0.5000", "0"],
    ]
    assert share_lines({}, {"a": 1.0}) == []
