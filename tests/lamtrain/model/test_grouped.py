"""Heads side by side in one batch: the numbers of each alone, by as many operators as one head takes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lamdata.frames import Frames
from lamtrain.config import LossSpec
from lamtrain.data.batch import collate
from lamtrain.model.config import ModelConfig
from lamtrain.model.lam import LamModel
from lamtrain.recipe import LearningRateSpec
from lamtrain.tasks import kinds_of
from lamtrain.training.loss import frame_losses, total_loss
from lamtrain.training.schedule import Schedule
from tests.lamtrain.model_cases import build_model, model_config, structure

HEADS = {f"dft{k}": "energy_force" for k in range(3)} | {f"relaxed{k}": "denoise" for k in range(3)}
SIZES = [(30, 0), (1, 1), (3, 2), (8, 0), (25, 3), (2, 4), (4, 5), (6, 3), (1, 0)]  # atoms and head: one head has nearly all rows


def frames_of(sizes: list[tuple[int, int]]) -> Frames:
    """Random structures with forces, and with noise where a head denoises."""
    frames = Frames.from_list([structure(n, seed=k) for k, (n, _) in enumerate(sizes)])
    rng = np.random.default_rng(0)
    return frames.with_(
        head=np.array([head for _, head in sizes], np.int32),
        energy=rng.normal(size=len(sizes)),
        forces=rng.normal(size=frames.positions.shape),
        has_energy=np.ones(len(sizes), bool),
        has_forces=np.ones(len(sizes), bool),
        noise=rng.normal(scale=0.1, size=frames.positions.shape),
        noised=np.ones(len(frames.numbers), bool),
    )


def add_gradients(model: LamModel, frames: Frames, *, of: int) -> torch.Tensor:
    """Those of the mean loss over `of` frames; the loss."""
    batch = collate(frames, model.config, dtype=next(model.parameters()).dtype, chunk_atoms=48)
    output, kinds = model(batch, virial=False, create_graph=True), list(kinds_of(model.config.heads).values())
    schedule = Schedule(LearningRateSpec(), 10)
    loss = total_loss(frame_losses(kinds, output, batch), LossSpec(), schedule, 0, frames=of, kinds=kinds)
    loss.backward(inputs=list(model.parameters()))
    return loss.detach()


@pytest.mark.parametrize("fitting", [{}, {"dim_case_embd": 3, "resnet_dt": True}])
def test_gradients_of_all_heads_at_once_are_those_of_each_alone(fitting: dict) -> None:
    config = model_config(heads=HEADS)
    config = config.model_copy(update={"fitting": config.fitting.model_copy(update=fitting)})
    model, frames = build_model(config), frames_of(SIZES)
    together = add_gradients(model, frames, of=len(frames))
    both = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    alone = sum(add_gradients(model, frames.take(np.flatnonzero(frames.head == h)), of=len(frames)) for h in range(len(HEADS)))
    assert float(together) == pytest.approx(float(alone), rel=1e-13)
    for name, p in model.named_parameters():
        torch.testing.assert_close(both[name], p.grad, rtol=1e-11, atol=1e-12, msg=name)


def test_a_head_without_frames_has_no_gradient() -> None:
    model = build_model(model_config(heads=HEADS))
    add_gradients(model, frames_of([(4, 0), (5, 2), (3, 3), (2, 5)]), of=4)
    without = {name.split(".")[1] for name, p in model.named_parameters() if p.grad is None}
    assert without == {"dft1", "relaxed1"}


class Operators(TorchDispatchMode):
    """Counts what is computed; views and what only looks at a tensor cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if not func.is_view and func.overloadpacket not in (torch.ops.aten.detach, torch.ops.aten.lift_fresh):
            self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


def operators_of_a_step(heads: dict[str, str], of_frames: list[int]) -> int:
    """Of the gradient, its limit and an optimizer's step, of a model of size medium."""
    model = LamModel(ModelConfig.medium(["H", "C", "O"], heads))
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    frames = frames_of([(2 + k % 2, head) for k, head in enumerate(of_frames)])
    for _ in range(2):  # the first makes the optimizer's state
        optimizer.zero_grad()
        with Operators() as seen:
            add_gradients(model, frames, of=len(frames))
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0, foreach=True)
            optimizer.step()
    return seen.counts.total()


def test_a_step_takes_hardly_more_operators_for_29_heads_than_for_one_of_each_kind() -> None:
    many = {f"dft{k}": "energy_force" for k in range(22)} | {f"relaxed{k}": "denoise" for k in range(7)}
    one = operators_of_a_step({"dft": "energy_force", "relaxed": "denoise"}, [0] * 22 + [1] * 7)
    assert 1000 < one <= operators_of_a_step(many, list(range(29))) < 1.1 * one
