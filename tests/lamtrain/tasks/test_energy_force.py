"""Energies, forces and virials: the loss by hand, labels that some frames lack, errors by head, spreads and points to draw."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamdata.frames import Frames
from lamdata.statistics import Statistics
from lamtrain.evaluation.metrics import Metrics
from lamtrain.model.lam import Output
from lamtrain.tasks.energy_force import ENERGY_FORCE, LabelSpread
from tests.lamtrain.tasks.batches import HEADS, batch_of, labelled, off_by

LABELS = ("energy", "forces", "virial")
NONE = np.zeros(256)


def losses(frames: Frames, output: Output) -> dict[str, list[float]]:
    return {name: term.tolist() for name, term in ENERGY_FORCE.losses(output, batch_of(frames), huber=1.0).items()}


def test_each_term_is_the_mean_over_components_and_weighs_atoms_as_the_paper_does() -> None:
    frames = labelled((3, 5, 2))
    found = losses(frames, off_by(frames, energy=0.6, force=0.2, virial=0.3))
    assert found["energy"] == pytest.approx([0.36 / n for n in (3, 5, 2)], rel=1e-6)
    assert found["force"] == pytest.approx([0.04] * 3)
    assert found["virial"] == pytest.approx([0.09 / n for n in (3, 5, 2)], rel=1e-6)


@pytest.mark.parametrize("missing", LABELS)
@pytest.mark.parametrize("row", [0, 1, 2])
def test_a_frame_without_a_label_adds_nothing_to_its_term_and_leaves_the_others(missing: str, row: int) -> None:
    frames = labelled()
    flags = getattr(frames, f"has_{missing}").copy()
    flags[row] = False
    whole = losses(frames, off_by(frames, energy=1.0, force=1.0, virial=1.0))
    found = losses(frames.with_(**{f"has_{missing}": flags}), off_by(frames, energy=1.0, force=1.0, virial=1.0))
    own = {"energy": {"energy", "energy_absolute"}, "forces": {"force", "force_norm", "force_huber"}, "virial": {"virial"}}[missing]
    assert own < set(whole)
    for term, values in whole.items():
        assert found[term] == [0.0 if i == row and term in own else value for i, value in enumerate(values)], term


@pytest.mark.parametrize("missing", LABELS)
def test_what_the_model_says_of_a_label_that_is_missing_has_no_gradient(missing: str) -> None:
    frames = labelled()
    frames = frames.with_(**{f"has_{missing}": np.array([True, False, True])})
    output = off_by(frames, energy=0.5, force=0.5, virial=0.5)
    said = {"energy": output.energy, "forces": output.forces, "virial": output.virial}
    for tensor in said.values():
        tensor.requires_grad_(True)
    sum(term.sum() for term in ENERGY_FORCE.losses(output, batch_of(frames), huber=1.0).values()).backward()
    own = said[missing].grad
    second = own[3:8] if missing == "forces" else own[1:2]
    assert (second == 0).all() and own.abs().sum() > 0
    assert all((tensor.grad != 0).all() for name, tensor in said.items() if name != missing)


def test_frames_of_other_kinds_have_no_labels_here() -> None:
    frames = labelled(heads=(0, 1, 2))  # the second is for a denoise head
    batch = batch_of(frames)
    for name in LABELS:
        assert batch.labels[f"has_{name}"].tolist() == [True, False, True]
    assert losses(frames, off_by(frames, energy=1.0))["energy"][1] == 0.0


def test_an_output_that_was_not_asked_for_has_no_term() -> None:
    frames = labelled()
    output = off_by(frames)
    assert set(losses(frames, Output(energy=output.energy))) == {"energy", "energy_absolute"}
    assert losses(frames, Output()) == {} and list(ENERGY_FORCE.errors(Output(), batch_of(frames))) == []
    assert ENERGY_FORCE.parity(frames, Output(), NONE) == {}


@settings(deadline=None, max_examples=20)
@given(st.permutations(range(4)), st.lists(st.booleans(), min_size=12, max_size=12))
def test_terms_go_with_their_frames_whatever_the_order(order: list[int], flags: list[bool]) -> None:
    frames = labelled((3, 5, 2, 4), heads=(0, 2, 0, 2))
    frames = frames.with_(**{f"has_{name}": np.array(flags[4 * i : 4 * i + 4]) for i, name in enumerate(LABELS)})
    output = off_by(frames, energy=0.1, force=0.2, virial=0.3)
    before = losses(frames, output)
    moved = frames.take(np.array(order))
    after = losses(moved, off_by(moved, energy=0.1, force=0.2, virial=0.3))
    for name, values in before.items():
        assert after[name] == pytest.approx([values[i] for i in order], rel=1e-12)


def errors_of(frames: Frames, output: Output) -> dict[str, dict[str, float]]:
    metrics = Metrics(HEADS)
    metrics.add(output, batch_of(frames))
    return metrics.table()


def test_errors_are_root_mean_squares_by_head_in_thousandths() -> None:
    frames = labelled((4, 5, 2), heads=(0, 2, 0))
    table = errors_of(frames, off_by(frames, energy=0.02, force=0.003, virial=0.1))
    dft = math.sqrt(((0.02 / 4) ** 2 + (0.02 / 2) ** 2) / 2)
    assert table["dft"]["energy_rmse_mev_per_atom"] == pytest.approx(1000 * dft)
    assert table["mp2"]["energy_rmse_mev_per_atom"] == pytest.approx(1000 * 0.02 / 5)
    assert [table[head]["force_rmse_mev_per_angstrom"] for head in ("dft", "mp2")] == pytest.approx([3.0, 3.0])
    assert table["mp2"]["virial_rmse_mev_per_atom"] == pytest.approx(1000 * 0.1 / 5)
    assert table["relaxed"] == {}


def test_an_error_without_a_label_is_absent_and_never_zero() -> None:
    frames = labelled(heads=(0, 2, 0)).without(["virial"])
    frames = frames.with_(has_energy=np.array([False, True, False]))
    table = errors_of(frames, off_by(frames, energy=0.1, force=0.1))
    assert set(table["dft"]) == {"force_rmse_mev_per_angstrom"}
    assert set(table["mp2"]) == {"force_rmse_mev_per_angstrom", "energy_rmse_mev_per_atom"}


def test_a_label_that_is_missing_may_hold_any_number() -> None:
    """Errors are chosen, not multiplied by the flag: what stands where there is no label never comes through."""
    frames = labelled()
    frames = frames.with_(energy=np.array([np.nan, 0.0, np.inf]), has_energy=np.array([False, True, False]))
    table = errors_of(frames, off_by(labelled(), energy=0.0))
    assert "energy_rmse_mev_per_atom" not in table["dft"] and math.isfinite(table["mp2"]["energy_rmse_mev_per_atom"])


def test_the_spread_is_that_of_energies_above_the_references_and_of_forces() -> None:
    frames = labelled((3, 5, 2))
    references = NONE.copy()
    references[[1, 6, 8]] = (-1.0, -2.0, -3.0)
    base = np.add.reduceat(references[frames.numbers], frames.starts[:-1])
    frames = frames.with_(energy=base + frames.natoms * np.array([0.1, 0.3, 0.5]))
    spread = LabelSpread(references)
    for part in (frames.part(0, 1), frames.part(1, 3), Frames.empty()):
        spread.add(part)
    table = spread.table()
    assert table["energy_std_mev_per_atom"] == pytest.approx(1000 * np.std([0.1, 0.3, 0.5]))
    assert table["force_std_mev_per_angstrom"] == pytest.approx(1000 * np.sqrt((frames.forces**2).mean()))


def test_a_spread_of_nothing_is_absent() -> None:
    spread = ENERGY_FORCE.spread(NONE, Statistics())
    spread.add(labelled().without(LABELS))
    assert spread.table() == {}


def test_points_to_draw_are_those_with_labels() -> None:
    frames = labelled((3, 5, 2)).with_(has_energy=np.array([True, False, True]), has_forces=np.array([False, True, True]))
    output = off_by(frames, energy=1.0, force=0.5)
    references = NONE.copy()
    references[1] = 7.0
    points = ENERGY_FORCE.parity(frames, output, references)
    assert points["energy (eV/atom)"].shape == (2, 2) and points["force (eV/Å)"].shape == (3 * 7, 2)
    np.testing.assert_allclose(points["energy (eV/atom)"] @ [-1, 1], [1 / 3, 1 / 2])
    np.testing.assert_allclose(points["force (eV/Å)"] @ [-1, 1], 0.5)
    shift = 7.0 * np.array([np.count_nonzero(frames.numbers[:3] == 1), np.count_nonzero(frames.numbers[8:] == 1)]) / [3, 2]
    np.testing.assert_allclose(points["energy (eV/atom)"][:, 0], (frames.energy / frames.natoms)[[0, 2]] - shift)


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_errors_add_up_over_batches_and_go_on_from_what_was_kept(parts: int) -> None:
    frames = labelled((3, 5, 2, 4, 1, 6), heads=(0, 2, 0, 2, 0, 0))
    output = off_by(frames, energy=0.3, force=0.2, virial=0.1)
    whole, starts = errors_of(frames, output), frames.starts
    metrics = Metrics(HEADS)
    for first in range(0, 6, 6 // parts):
        last = first + 6 // parts
        atoms = slice(starts[first], starts[last])
        part = Output(energy=output.energy[first:last], forces=output.forces[atoms], virial=output.virial[first:last])
        again = Metrics(HEADS)
        again.restore(metrics.sums)
        again.add(part, batch_of(frames.part(first, last)))
        metrics = again
    for head, row in whole.items():
        assert metrics.table()[head] == pytest.approx(row, rel=1e-12)


def test_accumulators_merge_and_an_empty_one_changes_nothing() -> None:
    frames = labelled()
    one, two = Metrics(HEADS), Metrics(HEADS)
    one.add(off_by(frames, energy=0.3), batch_of(frames))
    before = one.table()
    one.merge(Metrics(HEADS))
    assert one.table() == before
    two.merge(one)
    assert two.table() == before and two.sums == one.sums
    assert Metrics(HEADS).table() == {head: {} for head in HEADS} and torch.equal(
        Metrics(HEADS).tensor(torch.device("cpu")), torch.zeros(7, 2, 3, dtype=torch.float64)
    )
