"""What any interatomic model must obey, and that forces and virials are the energy's derivatives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.lamtrain.model_cases import build_model, evaluate, model_config, structure

HEADS = {"dft": "energy_force", "relaxed": "denoise"}
VARIANTS = {
    "concat": model_config(heads=HEADS),
    "strip, means, avg, h2": model_config(
        heads=HEADS,
        repinit={"tebd_input_mode": "strip", "set_davg_zero": False},
        repformer={"set_davg_zero": False, "update_style": "res_avg", "update_h2": True, "g1_out_conv": False},
        add_tebd_to_repinit_out=True,
    ),
    "excluded types, direct distance": model_config(
        heads=HEADS, repformer={"direct_dist": True, "g1_out_mlp": False}, exclude_types=[(0, 1)]
    ),
}


@pytest.fixture(params=VARIANTS, scope="module")
def model(request):
    return build_model(VARIANTS[request.param])


def rotation(seed: int) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def both_heads(model, frame):
    """Energy, forces and virial of one head and displacements and logits of the other."""
    energy, denoised = evaluate(model, frame), evaluate(model, _for_head(frame, 1))
    return energy.energy, energy.forces, energy.virial[0], denoised.displacement, denoised.type_logits


def _for_head(frame, head):
    from lamdata.frames import Frames

    return Frames.from_list([frame]).with_(head=np.array([head], np.int32))


def test_vectors_turn_with_the_frame_and_scalars_do_not(model):
    frame, turn = structure(10, seed=4), rotation(1)
    turned = replace(frame, positions=frame.positions @ turn.T, cell=frame.cell @ turn.T)
    energy, forces, virial, displacement, logits = both_heads(model, frame)
    energy_t, forces_t, virial_t, displacement_t, logits_t = both_heads(model, turned)
    r = torch.from_numpy(turn)
    torch.testing.assert_close(energy_t, energy, rtol=0, atol=1e-11)
    torch.testing.assert_close(forces_t, forces @ r.T, rtol=0, atol=1e-11)
    torch.testing.assert_close(virial_t, r @ virial @ r.T, rtol=0, atol=1e-11)
    torch.testing.assert_close(displacement_t, displacement @ r.T, rtol=0, atol=1e-11)
    torch.testing.assert_close(logits_t, logits, rtol=0, atol=1e-11)
    assert forces.abs().max() > 1e-3 and displacement.abs().max() > 1e-3


def test_a_shift_of_all_atoms_changes_nothing(model):
    frame = structure(10, seed=5)
    shifted = replace(frame, positions=frame.positions + [3.1, -7.0, 0.4])
    for a, b in zip(both_heads(model, frame), both_heads(model, shifted)):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


def test_the_order_of_atoms_does_not_matter(model):
    frame = structure(10, seed=6)
    order = np.random.default_rng(0).permutation(10)
    order = np.concatenate([[0], order[order != 0]])  # the reference gives the first atom's type to padding when means are on
    mixed = replace(frame, positions=frame.positions[order], numbers=frame.numbers[order])
    a, b = both_heads(model, frame), both_heads(model, mixed)
    for k in (1, 3, 4):
        torch.testing.assert_close(a[k][order], b[k], rtol=0, atol=1e-11)
    torch.testing.assert_close(a[0], b[0], rtol=0, atol=1e-11)


def test_twice_the_cell_has_twice_the_energy(model):
    frame = structure(8, seed=7)
    double = replace(
        frame,
        numbers=np.tile(frame.numbers, 2),
        positions=np.concatenate([frame.positions, frame.positions + frame.cell[1]]),
        cell=frame.cell * [[1.0], [2.0], [1.0]],
    )
    one, two = evaluate(model, frame), evaluate(model, double)
    torch.testing.assert_close(two.energy, 2 * one.energy, rtol=0, atol=1e-11)
    torch.testing.assert_close(two.forces, one.forces.repeat(2, 1), rtol=0, atol=1e-11)
    torch.testing.assert_close(two.virial, 2 * one.virial, rtol=0, atol=1e-10)


def test_forces_are_the_slope_of_the_energy(model):
    frame, h = structure(7, seed=8), 1e-5
    forces = evaluate(model, frame).forces
    for atom, axis in ((0, 0), (3, 1), (6, 2)):
        step = np.zeros_like(frame.positions)
        step[atom, axis] = h
        up, down = (evaluate(model, replace(frame, positions=frame.positions + s * step)).energy for s in (1, -1))
        assert abs(-(up - down) / (2 * h) - forces[atom, axis]) < 1e-8


def test_the_virial_is_the_slope_along_a_strain_and_positive_when_compressed(model):
    frame, h = structure(7, seed=9), 1e-5
    virial = evaluate(model, frame).virial[0]
    for a, b in ((0, 0), (1, 2), (2, 1)):
        strain = np.zeros((3, 3))
        strain[a, b] = h
        up, down = (
            evaluate(
                model, replace(frame, positions=frame.positions @ (np.eye(3) + s * strain), cell=frame.cell @ (np.eye(3) + s * strain))
            ).energy
            for s in (1, -1)
        )
        assert abs(-(up - down) / (2 * h) - virial[a, b]) < 1e-7
    torch.testing.assert_close(virial, virial.T, rtol=0, atol=1e-11)


def test_energy_and_forces_are_continuous_where_a_neighbour_enters(model):
    """An atom crosses repinit's, three-body's and the repformer's cutoffs; energy and forces must not jump."""
    frame = structure(2, periodic=(False,) * 3)
    for cutoff in (5.0, 3.5):
        at = [evaluate(model, replace(frame, positions=np.array([[0.0, 0, 0], [cutoff + s, 0, 0]]))) for s in (-1e-7, 1e-7)]
        assert abs(at[0].energy - at[1].energy) < 1e-10
        assert (at[0].forces - at[1].forces).abs().max() < 1e-9


def test_a_second_derivative_matches_the_change_of_forces(model):
    """What training on forces differentiates: d(forces . w)/d(parameter), against a finite difference."""
    from lamdata.frames import Frames
    from lamtrain.data.batch import collate

    batch = collate(Frames.from_list([structure(6, seed=10)]), model.config)
    weights = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    parameter = model.descriptor.repformer.layers[0].linear1.weight
    slope = torch.autograd.grad((model(batch, create_graph=True).forces * weights).sum(), parameter)[0]
    direction = torch.randn(parameter.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    values = []
    for h in (1e-5, -1e-5):
        with torch.no_grad():
            parameter.add_(h * direction)
            values.append((model(batch).forces * weights).sum())
            parameter.sub_(h * direction)
    assert abs((values[0] - values[1]) / 2e-5 - (slope * direction).sum()) < 1e-7
