"""The loss: terms of frames, their prefactors at a step, and the mean over the batch, whoever holds which part of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lamdata.errors import ConfigError
from lamtrain.config import LearningRateSpec, LossSpec
from lamtrain.tasks import task_kind
from lamtrain.training.loss import frame_losses, total_loss
from lamtrain.training.schedule import Schedule
from tests.lamtrain.tasks.batches import batch_of, labelled, off_by

KINDS = [task_kind("energy_force"), task_kind("denoise")]
SCHEDULE = Schedule(LearningRateSpec(start=1e-3, stop=1e-5, decay_steps=10), 100)


def total(terms: dict[str, torch.Tensor], spec: LossSpec, step: int = 0, frames: int = 2) -> float:
    return float(total_loss(terms, spec, SCHEDULE, step, frames=frames, kinds=KINDS))


def term(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_terms_are_weighed_and_divided_by_all_frames_of_the_batch() -> None:
    spec = LossSpec(energy=(2.0, 2.0), force=(3.0, 3.0))
    assert total({"energy": term(1.0, 5.0), "force": term(0.5, 0.5)}, spec) == 2.0 * 6.0 / 2 + 3.0 * 1.0 / 2
    assert total({"energy": term(1.0, 5.0)}, spec, frames=8) == 2.0 * 6.0 / 8


@pytest.mark.parametrize("step", [0, 35, 99])
def test_prefactors_go_from_start_to_limit(step: int) -> None:
    spec = LossSpec(force=(1000.0, 1.0))
    want = 1.0 + 999.0 * SCHEDULE.rate(step) / 1e-3
    assert total({"force": term(1.0)}, spec, step, frames=1) == pytest.approx(want, rel=1e-6)


def test_a_term_of_prefactor_zero_is_left_out_even_where_it_is_not_finite() -> None:
    spec = LossSpec(virial=(0.0, 0.0), energy=(1.0, 1.0))
    assert total({"virial": term(float("nan"), 1.0), "energy": term(1.0, 1.0)}, spec) == 1.0


def test_terms_of_both_kinds_of_heads_come_together() -> None:
    spec = LossSpec(energy=(1.0, 1.0), displacement=(2.0, 2.0), types=(4.0, 4.0))
    assert total({"energy": term(1.0, 0.0), "displacement": term(0.0, 1.0), "types": term(0.0, 1.0)}, spec) == (1 + 2 + 4) / 2


def test_a_term_that_nobody_has_prefactors_for_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no prefactors for 'dipole'"):
        total({"dipole": term(1.0)}, LossSpec())


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_the_loss_of_parts_adds_up_to_that_of_the_batch(cut: int) -> None:
    frames = labelled((3, 5, 2, 4), heads=(0, 2, 0, 2))
    spec = LossSpec(virial=(1.0, 1.0))

    def loss(part) -> float:
        terms = frame_losses(KINDS, off_by(part, energy=0.3, force=0.2, virial=0.1), batch_of(part))
        return total(terms, spec, frames=4)

    assert loss(frames.part(0, cut)) + loss(frames.part(cut, 4)) == pytest.approx(loss(frames), rel=1e-12)


def test_a_frame_of_weight_three_counts_as_three_copies_of_it() -> None:
    frames = labelled((3, 5, 2), heads=(0, 2, 0))
    weighted, copies = frames.with_(weight=np.array([3.0, 1.0, 0.0])), frames.take(np.array([0, 0, 0, 1]))
    spec = LossSpec(virial=(1.0, 1.0))

    def loss(part) -> float:
        return total(frame_losses(KINDS, off_by(part, energy=0.3, force=0.2, virial=0.1), batch_of(part)), spec, frames=4)

    assert loss(weighted) == pytest.approx(loss(copies), rel=1e-12)
    assert loss(frames.with_(weight=np.full(3, 2.0))) == 2.0 * loss(frames)
    assert batch_of(frames).weight is None


def test_frames_weigh_alike_whatever_their_size() -> None:
    """Two frames with the same error of every force component, of 1 and of 12 atoms."""
    frames = labelled((1, 12), heads=(0, 0))
    terms = frame_losses(KINDS, off_by(frames, force=0.5), batch_of(frames))
    assert terms["force"].tolist() == pytest.approx([0.25, 0.25])
