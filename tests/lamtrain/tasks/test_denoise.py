"""Denoising: the loss over displaced and hidden atoms alone, errors beside guesses, and frames that carry neither."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lamdata.frames import MASKED, Frames
from lamdata.statistics import Statistics
from lamtrain.config import LossSpec
from lamtrain.evaluation.metrics import Metrics
from lamtrain.model.lam import Output
from lamtrain.tasks.denoise import DENOISE, FrequencyEntropy, smooth_length
from tests.lamtrain.tasks.batches import HEADS, batch_of, labelled

NATOMS = (3, 5, 2)


def spoiled(*, heads: tuple[int, ...] = (1, 1, 1), noise: bool = True, mask: bool = True) -> Frames:
    """Some atoms of each frame displaced by (0.3, 0, 0) Å, the first of each hidden."""
    frames = labelled(NATOMS, heads=heads)
    changes: dict[str, np.ndarray] = {}
    if noise:
        noised = np.zeros(10, bool)
        noised[[0, 1, 4, 8, 9]] = True
        changes |= {"noised": noised, "noise": noised[:, None] * np.array([0.3, 0.0, 0.0])}
    if mask:
        numbers = frames.numbers.copy()
        numbers[[0, 3, 8]] = MASKED
        changes |= {"clean_numbers": frames.numbers, "numbers": numbers}
    return frames.with_(**changes)


def said(*, displacement: float | None = 0.0, logits: float | None = 0.0) -> Output:
    """One displacement for all atoms, and logits that favour the first element by so much."""
    likely = None if logits is None else torch.zeros(10, 3, dtype=torch.float64)
    if likely is not None:
        likely[:, 0] = logits
    return Output(displacement=None if displacement is None else torch.full((10, 3), displacement, dtype=torch.float64), type_logits=likely)


def terms(frames: Frames, output: Output, huber: float = 1.0) -> dict[str, list[float]]:
    return {name: term.tolist() for name, term in DENOISE.losses(output, batch_of(frames), huber=huber).items()}


def test_displacements_count_on_displaced_atoms_alone() -> None:
    found = terms(spoiled(), said(displacement=0.0))
    assert found["displacement"] == pytest.approx([0.5 * 0.3**2 / 3] * 3)  # smooth L1 below its turn: half the square, mean of 3 components


@pytest.mark.parametrize(("huber", "one"), [(1.0, 0.5 * 0.09), (0.1, 0.3 - 0.05), (0.3, 0.5 * 0.09 / 0.3)])
def test_the_loss_of_a_displacement_turns_from_square_to_straight(huber: float, one: float) -> None:
    assert terms(spoiled(), said(), huber=huber)["displacement"] == pytest.approx([one / 3] * 3)


def test_the_target_leads_back_to_the_clean_position() -> None:
    frames = spoiled()
    batch = batch_of(frames)
    np.testing.assert_array_equal(batch.labels["displacement"], -frames.noise)
    perfect = Output(displacement=torch.from_numpy(-frames.noise))
    assert terms(frames, perfect)["displacement"] == [0.0] * 3


def test_types_count_on_hidden_atoms_alone() -> None:
    frames = spoiled()
    assert terms(frames, said())["types"] == pytest.approx([math.log(3)] * 3)  # knowing nothing of three elements
    sure = terms(frames, said(logits=50.0))["types"]
    hidden = frames.clean_numbers[[0, 3, 8]]
    assert sure == pytest.approx([0.0 if z == 1 else 50.0 for z in hidden.tolist()], abs=1e-6)


def test_frames_without_noise_or_masks_add_nothing() -> None:
    bare = terms(spoiled(noise=False, mask=False), said(displacement=1.0, logits=3.0))
    assert bare == {"displacement": [0.0] * 3, "displacement_vector": [0.0] * 3, "types": [0.0] * 3}
    table = table_of(spoiled(noise=False, mask=False), said(displacement=1.0, logits=3.0))
    assert table["relaxed"] == {}


def test_frames_of_energy_heads_are_not_denoised() -> None:
    frames = spoiled(heads=(0, 1, 2)).with_(clean_numbers=None, numbers=labelled(NATOMS).numbers)
    found = terms(frames, said())
    assert [value > 0 for value in found["displacement"]] == [False, True, False]


def table_of(frames: Frames, output: Output) -> dict[str, dict[str, float]]:
    metrics = Metrics(HEADS)
    metrics.add(output, batch_of(frames))
    return metrics.table()


def test_errors_stand_beside_those_of_predicting_none() -> None:
    row = table_of(spoiled(), said(displacement=-0.1))["relaxed"]
    assert row["displacement_rmse_angstrom"] == pytest.approx(math.sqrt((0.2**2 + 2 * 0.1**2) / 3))
    assert row["displacement_zero_rmse_angstrom"] == pytest.approx(0.3 / math.sqrt(3))
    assert row["type_cross_entropy"] == pytest.approx(math.log(3))


def test_accuracy_is_the_share_of_hidden_atoms_whose_likeliest_element_is_right() -> None:
    frames = spoiled()
    row = table_of(frames, said(logits=1.0))["relaxed"]
    assert row["type_accuracy"] == pytest.approx(np.mean(frames.clean_numbers[[0, 3, 8]] == 1))


def test_noise_alone_and_masks_alone_give_their_own_errors_alone() -> None:
    lengths = {"displacement_rmse_angstrom", "displacement_zero_rmse_angstrom"}
    assert set(table_of(spoiled(mask=False), said())["relaxed"]) == lengths
    assert set(table_of(spoiled(noise=False), said())["relaxed"]) == {"type_cross_entropy", "type_accuracy"}
    assert set(table_of(spoiled(), said(logits=None))["relaxed"]) == lengths
    assert terms(spoiled(), said(displacement=None)).keys() == {"types"}


def test_points_to_draw_are_the_displaced_atoms() -> None:
    points = DENOISE.parity(spoiled(), said(displacement=0.1), np.zeros(256))["displacement (Å)"]
    assert points.shape == (15, 2) and set(points[:, 0].round(6)) == {-0.3, 0.0} and (points[:, 1] == 0.1).all()
    for frames, output in ((spoiled(noise=False), said()), (spoiled(), said(displacement=None))):
        assert DENOISE.parity(frames, output, np.zeros(256)) == {}


def seen(**atoms: int) -> Statistics:
    statistics = Statistics()
    statistics.element_atoms |= atoms
    return statistics


def test_guessing_by_frequency_costs_the_entropy_of_the_hidden_elements() -> None:
    guess = FrequencyEntropy(seen(H=6, C=3, O=1))
    frames = spoiled()
    guess.add(frames)
    share = {1: 0.6, 6: 0.3, 8: 0.1}
    want = -np.mean([math.log(share[z]) for z in frames.clean_numbers[[0, 3, 8]].tolist()])
    assert guess.table() == {"type_frequency_entropy": pytest.approx(want)}


def test_an_element_never_seen_costs_much_and_not_infinitely_much() -> None:
    guess = FrequencyEntropy(seen(He=5))
    guess.add(spoiled())
    assert guess.table()["type_frequency_entropy"] == pytest.approx(-math.log(1e-12))


@pytest.mark.parametrize("frames", [spoiled(mask=False), Frames.empty()], ids=["nothing hidden", "no frames"])
def test_a_guess_about_nothing_is_absent(frames: Frames) -> None:
    guess = DENOISE.spread(np.zeros(256), seen(H=1))
    guess.add(frames)
    assert guess.table() == {}


def test_a_guess_without_training_frames_is_absent() -> None:
    guess = FrequencyEntropy(Statistics())
    guess.add(spoiled())
    assert guess.frequency is None and guess.table() == {}


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
