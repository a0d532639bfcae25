"""Terms and errors of denoising: the length of what is left, and the two guesses that every denoise head stands beside."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lamtrain.config import LossSpec
from lamtrain.tasks.denoise import DENOISE, smooth_length


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_a_smooth_length_is_smooth_l1_of_the_length(beta):
    left = torch.linspace(0, 3, 61, dtype=torch.float64)[:, None] * torch.tensor([[0.6, 0.0, 0.8]], dtype=torch.float64)
    expected = torch.nn.functional.smooth_l1_loss(left.norm(dim=1), torch.zeros(61, dtype=torch.float64), beta=beta, reduction="none")
    torch.testing.assert_close(smooth_length(left.square().sum(1), beta), expected, rtol=0, atol=1e-12)


def test_its_derivative_is_zero_where_nothing_is_left():
    left = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    smooth_length(left.square().sum(1), 1.0).sum().backward()
    assert left.grad.tolist() == [[0.0, 0.0, 0.0]]


def test_a_length_turns_with_nothing_but_components_do():
    left = torch.tensor([[1.5, 0.0, 0.0]], dtype=torch.float64)
    turned = torch.tensor([[1.5 / 3**0.5] * 3], dtype=torch.float64)
    lengths = [smooth_length(x.square().sum(1), 1.0).item() for x in (left, turned)]
    components = [torch.nn.functional.smooth_l1_loss(x, torch.zeros_like(x)).item() for x in (left, turned)]
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-14) and abs(components[0] - components[1]) > 0.04


@pytest.mark.parametrize(("kind", "expected"), [("uniform", 1 / 6), ("gaussian", 0.424)])
def test_predicting_no_displacement_costs_what_the_trivial_predictor_costs(kind, expected):
    rng = np.random.default_rng(0)
    noise = rng.uniform(-1, 1, 400_000) if kind == "uniform" else rng.normal(size=400_000)
    loss = torch.nn.functional.smooth_l1_loss(torch.zeros(len(noise), dtype=torch.float64), torch.from_numpy(noise))
    assert loss.item() == pytest.approx(expected, abs=3e-3)


def test_the_vector_term_is_off_unless_asked_for():
    assert LossSpec().pair("displacement_vector", [DENOISE]) == (0.0, 0.0)
    assert LossSpec(displacement_vector=(2, 1)).pair("displacement_vector", [DENOISE]) == (2.0, 1.0)


def test_both_trivial_predictors_stand_beside_a_denoise_head():
    shown = [column.key for column in DENOISE.columns]
    for error, guess in DENOISE.relative:
        assert shown.index(guess) == shown.index(error) + 1
    assert {guess for _, guess in DENOISE.relative} == {"displacement_zero_rmse_angstrom", "type_frequency_entropy"}
