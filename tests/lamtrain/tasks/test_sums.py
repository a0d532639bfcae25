"""Sums of a batch: means over chosen atoms, and what is made of totals and counts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamtrain.tasks.sums import flags, mean, mean_of_atoms, pairs, root_mean_square


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.tuples(st.floats(-1e3, 1e3), st.booleans()), min_size=1, max_size=6), min_size=1, max_size=5))
def test_the_mean_is_over_the_chosen_atoms_of_each_frame(frames: list[list[tuple[float, bool]]]) -> None:
    batch = SimpleNamespace(frame=torch.tensor([f for f, atoms in enumerate(frames) for _ in atoms]), nframes=len(frames))
    values = torch.tensor([value for atoms in frames for value, _ in atoms])
    chosen = torch.tensor([choice for atoms in frames for _, choice in atoms])
    found = mean_of_atoms(values, chosen, batch)
    assert found.dtype == torch.float64
    for one, atoms in zip(found.tolist(), frames):
        own = [np.float32(value) for value, choice in atoms if choice]
        assert one == pytest.approx(float(np.mean(own, dtype=np.float64)) if own else 0.0, rel=1e-6, abs=1e-6)


def test_what_has_no_count_has_no_error() -> None:
    assert root_mean_square({}, energy=("e", 1000.0)) == mean({}, right="accuracy") == {}
    assert root_mean_square({"energy": 0.0, "energy_count": 0}, energy=("e", 1000.0)) == {}
    assert root_mean_square({"energy": 8.0, "energy_count": 2}, energy=("e", 1000.0), force=("f", 1.0)) == {"e": 2000.0}
    assert mean({"right": 3.0, "right_count": 4, "types": 1.0}, right="accuracy", types="entropy") == {"accuracy": 0.75}


def test_an_error_of_zero_is_an_error() -> None:
    assert root_mean_square({"energy": 0.0, "energy_count": 5}, energy=("e", 1000.0)) == {"e": 0.0}
    assert mean({"right": 0.0, "right_count": 5}, right="accuracy") == {"accuracy": 0.0}


def test_a_mask_is_copied() -> None:
    mask = np.array([True, False])
    tensor = flags(mask)
    mask[0] = False
    assert tensor.tolist() == [True, False] and tensor.dtype == torch.bool


def test_pairs_are_components_of_chosen_atoms() -> None:
    label, predicted = np.arange(9.0).reshape(3, 3), torch.arange(9.0, dtype=torch.float64).reshape(3, 3) + 10
    found = pairs(label, predicted.requires_grad_(True), np.array([True, False, True]))
    assert found.tolist() == [[x, x + 10] for x in (0, 1, 2, 6, 7, 8)]
    assert pairs(label, predicted, np.zeros(3, bool)).shape == (0, 2)
