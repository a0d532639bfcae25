"""Terms of the loss by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from lamdata.frame import Frame
from lamdata.frames import Frames
from lamtrain.config import LossSpec
from lamtrain.data.batch import collate
from lamtrain.model.lam import Output
from lamtrain.tasks import task_kind
from tests.lamtrain.model_cases import model_config

ENERGIES, FORCES = (2.0, -1.0), ([[0.3, 0.0, 0.4], [0.0, 0.0, 0.0]], [[0.0, 0.005, 0.0]])  # off by so much: eV, eV/Å


@pytest.fixture
def terms() -> dict[str, torch.Tensor]:
    """Of a frame of two atoms, one of one atom, and the first without labels; what is predicted is zero."""
    frames = [
        Frame(numbers=np.full(len(f), 8, np.uint8), positions=3.0 * np.arange(3 * len(f)).reshape(-1, 3), energy=e, forces=np.array(f))
        for e, f in zip(ENERGIES, FORCES)
    ]
    batch = collate(Frames.from_list([*frames, replace(frames[0], energy=None, forces=None)]), model_config())
    output = Output(energy=torch.zeros(3, dtype=torch.float64), forces=torch.zeros(5, 3, dtype=torch.float64, requires_grad=True))
    found = task_kind("energy_force").losses(output, batch, huber=1.0)
    sum(found[name].sum() for name in ("force", "force_norm", "force_huber")).backward()
    assert torch.isfinite(output.forces.grad).all(), "also where the error is zero"
    return found


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("energy", (4.0 / 2, 1.0, 0.0)),
        ("energy_absolute", (2.0 / 2, 1.0, 0.0)),
        ("force", (0.25 / 6, 0.005**2 / 3, 0.0)),
        ("force_norm", (0.5 / 2, 0.005, 0.0)),
        ("force_huber", (0.01 * (0.3 - 0.005 + 0.4 - 0.005) / 6, 0.5 * 0.005**2 / 3, 0.0)),
    ],
)
def test_a_term_is_what_its_formula_says(terms: dict[str, torch.Tensor], term: str, expected: tuple[float, ...]) -> None:
    assert terms[term].tolist() == pytest.approx(expected, rel=1e-6)


def test_terms_that_follow_the_rate_are_named() -> None:
    assert LossSpec().follows_the_rate() == ["energy", "force"]
    assert LossSpec(energy=(1, 1), force=(0, 0), force_norm=(2, 1)).follows_the_rate() == ["force_norm"]
