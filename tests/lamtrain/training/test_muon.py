"""Muon: the step of a matrix is an orthogonal one, that of PyTorch where it has one, and none where the step is to be left out."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from lamtrain.training.muon import MOMENTUM, Muon, orthogonal

SHAPES = ((8, 8), (5, 12), (12, 5), (5, 12))


def matrices() -> list[torch.nn.Parameter]:
    torch.manual_seed(3)
    return [torch.nn.Parameter(torch.randn(shape, dtype=torch.float64)) for shape in SHAPES]


def gradients(step: int) -> list[torch.Tensor]:
    torch.manual_seed(100 + step)
    return [torch.randn(shape, dtype=torch.float64) for shape in SHAPES]


def walk(optimizer: torch.optim.Optimizer, params: list[torch.nn.Parameter], steps: range) -> None:
    for step in steps:
        for p, grad in zip(params, gradients(step), strict=True):
            p.grad = grad.to(p.dtype)
        optimizer.step()


@pytest.mark.parametrize("shape", [(7, 7), (4, 30), (30, 4)])
def test_a_turned_matrix_has_singular_values_near_one_and_the_directions_that_it_had(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    some = torch.randn(3, *shape, dtype=torch.float64)
    u, s, vh = torch.linalg.svd(orthogonal(some), full_matrices=False)
    assert s.min() > 0.6 and s.max() < 1.25
    before = torch.linalg.svd(some, full_matrices=False)
    torch.testing.assert_close(
        orthogonal(some) @ before.Vh.mT, before.U * (before.U.mT @ orthogonal(some) @ before.Vh.mT).diagonal(dim1=1, dim2=2)[:, None]
    )


def test_a_step_moves_a_matrix_as_far_as_adamw_would_and_shrinks_it_by_the_decay() -> None:
    params = matrices()
    before = [p.detach().clone() for p in params]
    walk(Muon(params, lr=1e-2, weight_decay=0.1), params, range(1))
    for p, old, grad in zip(params, before, gradients(0), strict=True):
        nesterov = (1 - MOMENTUM) * grad + MOMENTUM * (1 - MOMENTUM) * grad
        moved = -0.2 * 1e-2 * math.sqrt(max(p.shape)) * orthogonal(nesterov[None])[0]
        torch.testing.assert_close(p.detach(), old * (1 - 1e-2 * 0.1) + moved, rtol=0, atol=1e-14)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon to compare with")
def test_it_is_that_of_pytorch_without_its_rounding() -> None:
    ours, theirs = matrices(), matrices()
    walk(Muon(ours, lr=1e-2, weight_decay=0.1), ours, range(3))
    walk(torch.optim.Muon(theirs, lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"), theirs, range(3))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0.05 * 3 * 0.2e-2 * math.sqrt(max(a.shape)))  # of how far it went


def test_a_step_that_is_left_out_leaves_all_as_it_was() -> None:
    params, twin = matrices(), matrices()
    one, other = Muon(params, lr=1e-2, weight_decay=0.1), Muon(twin, lr=1e-2, weight_decay=0.1)
    walk(one, params, range(2))
    walk(other, twin, range(2))
    one.found_inf = torch.ones(())
    for p in params:
        p.grad = torch.full_like(p, math.nan)
    one.step()
    one.found_inf = torch.zeros(())
    walk(one, params, range(2, 4))
    walk(other, twin, range(2, 4))
    assert all(torch.equal(a, b) for a, b in zip(params, twin, strict=True))


def test_it_goes_on_from_its_state() -> None:
    params, twin = matrices(), matrices()
    one, other = Muon(params, lr=1e-2, weight_decay=0.1), Muon(twin, lr=1e-2, weight_decay=0.1)
    walk(one, params, range(2))
    for p, value in zip(twin, params, strict=True):
        p.data.copy_(value)
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    walk(one, params, range(2, 4))
    walk(other, twin, range(2, 4))
    assert all(torch.equal(a, b) for a, b in zip(params, twin, strict=True))
