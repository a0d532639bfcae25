"""Padding changes nothing but the order of sums, and makes shapes repeat."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lamdata.frames import Frames
from lamtrain.config import LossSpec
from lamtrain.data.batch import Batch, collate
from lamtrain.data.padding import size_above, width_above
from lamtrain.evaluation.metrics import Metrics
from lamtrain.model.inputs import tensors_of
from lamtrain.model.lam import LamModel, Output
from lamtrain.recipe import LearningRateSpec
from lamtrain.tasks import kinds_of
from lamtrain.tasks.denoise import DenoiseLoss
from lamtrain.tasks.energy_force import EnergyForceLoss
from lamtrain.training.loss import frame_losses, total_loss
from lamtrain.training.schedule import Schedule
from tests.lamtrain.model.test_grouped import HEADS, SIZES, frames_of
from tests.lamtrain.model_cases import build_model, model_config

ALL_TERMS = LossSpec(**dict.fromkeys((*EnergyForceLoss.model_fields, *DenoiseLoss.model_fields), (1.0, 1.0)))
PAIR = {"dft": "energy_force", "relaxed": "denoise"}


def mixed(heads: dict[str, str], sizes: list[tuple[int, int]] = SIZES) -> Frames:
    """Frames for few or many heads, one of them without a label, one of another weight, and one with a hidden atom."""
    frames = frames_of([(n, head * len(heads) // len(HEADS)) for n, head in sizes])
    some, numbers = np.arange(len(frames)) != 2, frames.numbers.copy()
    kinds = np.array(list(heads.values()))[frames.head]
    numbers[frames.starts[:-1][kinds == "denoise"]] = 0
    return frames.with_(
        has_energy=some,
        has_forces=some,
        has_virial=some,
        virial=np.random.default_rng(1).normal(size=(len(frames), 3, 3)),
        weight=np.where(some, 1.0, 0.5) if len(heads) > 2 else np.ones(len(frames)),
        numbers=numbers,
        clean_numbers=frames.numbers,
    )


def whole(model: LamModel, frames: Frames, *, padded: bool) -> tuple[Batch, Output, torch.Tensor, dict[str, dict[str, float]]]:
    """A batch, what the model says of it, the loss of all terms, with its gradient on the model, and the errors."""
    batch = collate(frames, model.config, chunk_atoms=20, padded=padded)
    model.zero_grad()
    output, kinds = model(batch, create_graph=True), list(kinds_of(model.config.heads).values())
    terms = frame_losses(kinds, output, batch)
    loss = total_loss(terms, ALL_TERMS, Schedule(LearningRateSpec(), 10), 0, frames=len(frames), kinds=kinds)
    loss.backward(inputs=list(model.parameters()))
    metrics = Metrics(model.config.heads)
    metrics.add(output, batch)
    return batch, output, loss.detach(), metrics.sums


@pytest.mark.parametrize(
    ("heads", "model"),
    [
        (HEADS, {}),
        (PAIR, {}),
        ({"dft": "energy_force"}, {}),
        ({"relaxed": "denoise"}, {}),
        (PAIR, {"repinit": {"set_davg_zero": False}}),
        (PAIR, {"smooth": False}),
        (PAIR, {"exclude_types": [(0, 1)]}),
    ],
    ids=["three of a kind", "one of a kind", "energies", "denoising", "centred", "sharp", "excluded"],
)
def test_no_number_of_a_batch_is_changed_by_more_than_the_order_of_sums(heads: dict[str, str], model: dict) -> None:
    net, frames = build_model(model_config(heads=heads, **model)), mixed(heads)
    plain, said, loss, errors = whole(net, frames, padded=False)
    expected = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    batch, padded, its_loss, its_errors = whole(net, frames, padded=True)
    assert batch.natoms_total - batch.padding == plain.natoms_total and batch.padding
    assert batch.truncated == plain.truncated
    for name in ("energy", "atomic_energy", "forces", "virial", "displacement", "type_logits"):
        ours, its = (None if (value := getattr(out, name)) is None else value.detach() for out in (padded, said))
        assert (ours is None) == (its is None)
        if its is not None:
            assert (ours[: len(its)] - its).abs().max() <= 1e-12 * max(1.0, float(its.abs().max())), name
    assert abs(float(its_loss) / float(loss) - 1.0) < 1e-12
    for name, p in net.named_parameters():
        assert (p.grad is not None) == (name in expected), name
        if p.grad is not None:
            assert (p.grad - expected[name]).abs().max() <= 1e-12 * max(1.0, float(expected[name].abs().max())), name
    for head, sums in errors.items():
        assert its_errors[head] == pytest.approx(sums, rel=1e-12)


def test_padding_has_no_label_and_no_weight() -> None:
    batch = collate(mixed(HEADS), model_config(heads=HEADS), padded=True)
    first = len(SIZES)
    assert batch.weight is not None and not batch.weight[first:].any() and batch.weight[:first].all()
    for name in ("has_energy", "has_forces", "has_virial"):
        assert not batch.labels[name][first:].any()
    atoms = batch.natoms_total - batch.padding
    for name in ("noised", "masked"):
        assert not batch.labels[name][atoms:].any()


def test_batches_alike_get_one_atom_a_kind_and_no_more() -> None:
    config = model_config(heads=PAIR)
    batch = collate(mixed(PAIR, [(16, 0), (16, 5), (16, 0), (16, 5)]), config, padded=True)
    assert (batch.nframes, batch.natoms_total, batch.padding) == (6, 66, 2)


def test_shapes_repeat_whatever_the_mix_of_heads_and_sizes() -> None:
    config, rng = model_config(heads=HEADS), np.random.default_rng(3)
    plain, padded = set(), set()
    for _ in range(20):
        frames = mixed(HEADS, [(int(n), k % 6) for k, n in enumerate(rng.integers(3, 12, size=24))])
        plain.add(collate(frames, config).shape)
        padded.add(collate(frames, config, padded=True).shape)
    assert len(plain) == 20 and len(padded) <= 12


def test_a_batch_takes_the_numbers_of_another_of_its_shape() -> None:
    config = model_config(heads=PAIR)
    one, two = (collate(mixed(PAIR, sizes), config, padded=True) for sizes in ([(9, 0), (9, 5)], [(9, 5), (9, 0)]))
    assert one.shape == two.shape
    copy = one.copy()
    copy.fill(two)
    assert all(torch.equal(a, b) for a, b in zip(tensors_of(copy), tensors_of(two)))
    assert not all(torch.equal(a, b) for a, b in zip(tensors_of(one), tensors_of(two)))


def test_sizes_are_few_and_waste_no_more_than_is_said() -> None:
    counts = range(1, 3000)
    for steps, most in ((4, 1 / 4), (2, 1 / 2)):
        sizes = [size_above(count, steps=steps) for count in counts]
        assert all(count <= size < count * (1 + most) for count, size in zip(counts, sizes))
        assert len(set(sizes)) <= steps * 13 and sizes == sorted(sizes)
    assert [width_above(count, 120) for count in (0, 1, 41, 112, 113, 120)] == [1, 1, 48, 120, 120, 120]
