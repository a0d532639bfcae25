"""One batch of unlike frames gives what each frame gives alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lamdata.frames import MASKED, Frames
from tests.lamtrain.model_cases import build_model, evaluate, model_config, structure

HEADS = {"dft": "energy_force", "relaxed": "denoise", "molecules": "energy_force"}
MODEL = build_model(model_config(heads=HEADS))
PARTS = [
    (structure(1, periodic=(False,) * 3), 0),
    (structure(30, seed=1), 2),
    (structure(9, seed=2, periodic=(False,) * 3), 1),
    (structure(13, seed=3, periodic=(True, True, False)), 0),
    (structure(2, length=3.0, seed=4), 1),
    (structure(1, length=2.5), 2),
]
FRAMES = Frames.from_list([frame for frame, _ in PARTS]).with_(head=np.array([head for _, head in PARTS], np.int32))


@pytest.mark.parametrize("chunk_atoms", [1, 7, 1000])
def test_a_mixed_batch_equals_one_frame_at_a_time(chunk_atoms):
    mixed = evaluate(MODEL, FRAMES, chunk_atoms=chunk_atoms)
    start = 0
    for f, (frame, head) in enumerate(PARTS):
        alone = evaluate(MODEL, FRAMES.part(f, f + 1))
        atoms, start = slice(start, start + len(frame.numbers)), start + len(frame.numbers)
        if HEADS[list(HEADS)[head]] == "energy_force":
            torch.testing.assert_close(mixed.energy[f : f + 1], alone.energy, rtol=0, atol=1e-12)
            torch.testing.assert_close(mixed.forces[atoms], alone.forces, rtol=0, atol=1e-12)
            torch.testing.assert_close(mixed.virial[f : f + 1], alone.virial, rtol=0, atol=1e-12)
            assert alone.displacement is None and alone.type_logits is None
        else:
            torch.testing.assert_close(mixed.displacement[atoms], alone.displacement, rtol=0, atol=1e-12)
            torch.testing.assert_close(mixed.type_logits[atoms], alone.type_logits, rtol=0, atol=1e-12)
            assert alone.energy is None and alone.forces is None


def test_a_batch_of_1_to_500_atoms_equals_one_frame_at_a_time():
    sizes = [(1, False), (500, True), (1, True), (37, False), (2, True), (150, True), (5, False), (90, False)]
    heads = np.array([0, 2, 2, 0, 1, 0, 1, 2], np.int32)
    frames = Frames.from_list([structure(n, seed=n, periodic=(periodic,) * 3) for n, periodic in sizes]).with_(head=heads)
    mixed, starts = evaluate(MODEL, frames), frames.starts
    for f, (natoms, _) in enumerate(sizes):
        alone, atoms = evaluate(MODEL, frames.part(f, f + 1)), slice(starts[f], starts[f + 1])
        pairs = [(mixed.displacement, alone.displacement), (mixed.type_logits, alone.type_logits)]
        if heads[f] != 1:
            pairs = [(mixed.atomic_energy, alone.atomic_energy), (mixed.forces, alone.forces)]
            torch.testing.assert_close(mixed.virial[f] / natoms, alone.virial[0] / natoms, rtol=0, atol=1e-12)
            torch.testing.assert_close(mixed.energy[f] / natoms, alone.energy[0] / natoms, rtol=0, atol=1e-12)
        for together, apart in pairs:
            torch.testing.assert_close(together[atoms], apart, rtol=0, atol=1e-12)


def test_an_atom_alone_in_the_void_has_an_energy_and_no_force():
    lone = evaluate(MODEL, FRAMES.part(0, 1))
    assert lone.energy.isfinite().all() and (lone.forces == 0).all() and (lone.virial == 0).all()


def test_a_frame_of_the_other_kind_of_head_holds_zeros():
    mixed = evaluate(MODEL, FRAMES)
    others = torch.tensor([False, False, True, False, True, False])
    assert (mixed.energy[others] == 0).all() and (mixed.virial[others] == 0).all() and (mixed.energy[~others] != 0).all()


def test_heads_do_not_share_their_nets():
    frame = Frames.from_list([structure(8, seed=5)])
    energies = [evaluate(MODEL, frame.with_(head=np.array([k], np.int32))).energy for k in (0, 2)]
    MODEL.heads["molecules"].bias.add_(1.0)
    moved = [evaluate(MODEL, frame.with_(head=np.array([k], np.int32))).energy for k in (0, 2)]
    MODEL.heads["molecules"].bias.sub_(1.0)
    assert moved[0] == energies[0] and abs(moved[1] - energies[1] - 8.0) < 1e-12


def test_a_hidden_type_is_a_type_of_its_own():
    frame = Frames.from_list([structure(8, seed=6)]).with_(head=np.array([1], np.int32))
    numbers = frame.numbers.copy()
    numbers[0] = MASKED
    hidden = frame.with_(numbers=numbers, clean_numbers=frame.numbers)
    assert (evaluate(MODEL, hidden).type_logits - evaluate(MODEL, frame).type_logits)[0].abs().max() > 1e-4


def test_a_list_that_was_cut_is_used_as_it_is():
    """Only the nearest count: what lies beyond the last kept neighbour may be anything."""
    tight = build_model(model_config(repinit={"nsel": 8, "three_body_sel": 4}, repformer={"nsel": 4}))
    frame = structure(20, seed=7)
    assert evaluate(tight, frame).energy.isfinite().all()
    same = [evaluate(tight, frame, chunk_atoms=n).forces for n in (3, 100)]
    torch.testing.assert_close(*same, rtol=0, atol=1e-12)


def test_nothing_keeps_a_graph_under_no_grad():
    assert not evaluate(MODEL, FRAMES).forces.requires_grad and not evaluate(MODEL, FRAMES).energy.requires_grad


def test_single_precision_agrees_to_its_own_accuracy_and_keeps_reference_energies_double():
    double = build_model(model_config())
    single = build_model(model_config()).float()
    assert single.heads["energy"].bias.dtype == torch.float64
    frame = structure(12, seed=8)
    a, b = evaluate(double, frame), evaluate(single, frame, dtype=torch.float32)
    assert abs(a.energy - b.energy) < 1e-4 and (a.forces - b.forces).abs().max() < 1e-4


def test_first_weights_follow_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    a, b = (build_model(model_config()).state_dict() for _ in range(2))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert torch.equal(torch.rand(1), expected)
