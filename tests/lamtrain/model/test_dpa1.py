"""DPA-1 without attention: its options, its symmetries, the derivatives of its energy, and how many parameters it has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from lamdata.frames import Frames
from lamtrain.data.batch import collate
from lamtrain.model.config import Dpa1Config, FittingConfig, ModelConfig
from lamtrain.model.environment import EnvironmentMatrix
from lamtrain.model.lam import LamModel
from lamtrain.model.statistics import environment_statistics
from tests.lamtrain.model_cases import ELEMENTS, evaluate, structure

MODES = ("concat", "strip")


def config_of(**options: Any) -> ModelConfig:
    """A small model whose environments are centred, unless the options say otherwise; seeds fixed."""
    small: dict[str, Any] = {
        "type": "dpa1", "rcut": 4.0, "rcut_smth": 1.5, "sel": 60, "neuron": [5, 10], "axis_neuron": 3, "tebd_dim": 3, "set_davg_zero": False,
        "smooth_type_embedding": True, "seed": 5,
    }  # fmt: skip
    return ModelConfig(elements=ELEMENTS, descriptor=Dpa1Config(**small | options), fitting=FittingConfig(neuron=[9, 9], seed=6))


def build(config: ModelConfig) -> LamModel:
    """With the statistics of a few structures."""
    model = LamModel(config).eval()
    frames = Frames.from_list([structure(8, seed=k) for k in range(3)])
    environment_statistics([collate(frames, config)], config).apply(model.descriptor, config)
    return model


def test_a_student_has_as_many_parameters_as_its_nets() -> None:
    """[1, 8, 16, 32] over distances, [16, 8, 16, 32] over pairs of types, two rows of 8, and [136, 64, 64, 1]."""
    model = LamModel(ModelConfig.student(["O", "H"]))
    distances, types = 16 + 8 * 16 + 16 + 16 * 32 + 32, 16 * 8 + 8 + 8 * 16 + 16 + 16 * 32 + 32
    fitting = 136 * 64 + 64 + (64 * 64 + 64 + 64) + 64 + 1
    hidden = 8  # the row of a hidden element
    assert sum(p.numel() for p in model.parameters()) == distances + types + 16 + fitting + hidden


@pytest.mark.parametrize("mode", MODES)
def test_forces_and_virial_are_derivatives_of_the_energy(mode: str) -> None:
    model, frame = build(config_of(tebd_input_mode=mode)), structure(7, seed=2)
    output = evaluate(model, frame)
    assert output.forces is not None and output.virial is not None
    direction, step = np.random.default_rng(1).normal(size=(7, 3)), 1e-4

    def energy(positions: np.ndarray, cell: np.ndarray | None) -> float:
        moved = evaluate(model, replace(frame, positions=positions, cell=cell))
        assert moved.energy is not None
        return float(moved.energy[0])

    slope = (energy(frame.positions + step * direction, frame.cell) - energy(frame.positions - step * direction, frame.cell)) / (2 * step)
    assert -(output.forces.numpy() * direction).sum() == pytest.approx(slope, rel=1e-6)
    strain = np.random.default_rng(2).normal(size=(3, 3))
    stretched = [np.eye(3) + sign * step * strain for sign in (1, -1)]
    assert frame.cell is not None
    up, down = (energy(frame.positions @ turn, frame.cell @ turn) for turn in stretched)
    assert -(output.virial[0].numpy() * strain).sum() == pytest.approx((up - down) / (2 * step), rel=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_energy_does_not_change_with_the_frame_or_the_order_of_atoms(mode: str) -> None:
    model, frame = build(config_of(tebd_input_mode=mode)), structure(6, seed=3)
    turn = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    order = np.array([0, 4, 1, 5, 3, 2])  # the first stays: as in the reference, what pads a list has its type
    assert frame.cell is not None
    turned = replace(frame, positions=frame.positions @ turn + 0.7, cell=frame.cell @ turn)
    turned = replace(turned, numbers=turned.numbers[order], positions=turned.positions[order])
    a, b = evaluate(model, frame), evaluate(model, turned)
    assert a.energy is not None and b.energy is not None and a.forces is not None and b.forces is not None
    assert float(a.energy[0]) == pytest.approx(float(b.energy[0]), rel=1e-12)
    assert np.allclose((a.forces.numpy() @ turn)[order], b.forces.numpy(), atol=1e-9)


def test_padding_counts_only_where_the_mean_is_not_zero() -> None:
    """More slots add terms of padding, and change the divisor: with the means at zero, the divisor alone."""
    frame = structure(4, periodic=(False,) * 3, length=4.0)
    for zero in (True, False):
        short, long = (build(config_of(set_davg_zero=zero, sel=sel, tebd_input_mode="strip")) for sel in (10, 20))
        long.load_state_dict(short.state_dict())
        vectors = []
        for model in (short, long):
            batch = collate(Frames.from_list([frame]), model.config)
            chunks = [chunk.vectors for chunk in batch.chunks]
            found = model.descriptor(batch.types[batch.order], batch.lead_types[batch.order], batch.chunks, chunks)
            vectors.append(found.atoms[:, :-3])  # without the type embedding
        same = torch.allclose(vectors[0], 4.0 * vectors[1], rtol=1e-10, atol=0)
        assert same == zero


def test_a_type_pair_that_is_excluded_sees_nothing() -> None:
    model = build(config_of(exclude_types=[(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]))
    output = evaluate(model, structure(6, seed=7))
    assert output.forces is not None and not output.forces.any()


def test_a_list_of_neighbours_by_type_counts_by_its_sum() -> None:
    descriptor = config_of(sel=[10, 20, 4]).descriptor
    assert isinstance(descriptor, Dpa1Config)
    assert descriptor.sel == descriptor.nsel == 34 and list(descriptor.lists) == ["se_atten"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attn_layer": 2}, "2 attention layers are not supported"),
        ({"rcut_smth": 4.5}, "must be below `rcut`"),
        ({"axis_neuron": 11}, "axis_neuron"),
        ({"sel": "auto"}, "sel"),
        ({"sel": []}, "sel"),
        ({"attn": 4}, "attn"),
    ],
)
def test_an_impossible_option_is_an_error_that_says_which(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        config_of(**options)


def test_a_denoise_head_is_refused_for_there_is_no_pair_channel() -> None:
    with pytest.raises(ValidationError, match="a denoise head needs a pair channel, and descriptor `dpa1` has none"):
        ModelConfig.student(["H"], {"clean": "denoise"})


def test_every_option_has_a_docstring() -> None:
    assert all(field.description for field in Dpa1Config.model_fields.values())


def test_its_block_reads_the_list_of_its_name() -> None:
    model = build(config_of())
    assert all(isinstance(getattr(model.descriptor, name).environment, EnvironmentMatrix) for name in model.config.descriptor.lists)
