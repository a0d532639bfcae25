"""Noise by the size of the structure, without a motion that no model can see; presets by name in a mixture."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from lamdata.augment import PRESETS, AugmentSpec, augment
from lamdata.catalog import Mixture, TaskSpec
from lamdata.frame import Frame
from lamdata.frames import MASKED, Frames

from .test_augment import sample


def spec(**noise) -> AugmentSpec:
    return AugmentSpec(noise={"scale": 0.1, "probability": 0.5, **noise})


def means(frames: Frames) -> np.ndarray:
    return np.add.reduceat(frames.noise.astype(np.float64), frames.starts[:-1]) / frames.natoms[:, None]


def two_atoms(distance: float, *, known: bool) -> Frames:
    frame = Frame(numbers=np.array([1, 1], np.uint8), positions=np.array([[0, 0, 0], [0, 0, distance]]), cell=None, pbc=(False,) * 3)
    return Frames.from_list([frame], shortest=[distance] if known else None)


def lone(pbc: bool) -> Frames:
    cell = 3.0 * np.eye(3) if pbc else None
    frame = Frame(numbers=np.array([26], np.uint8), positions=np.zeros((1, 3)), cell=cell, pbc=(pbc,) * 3)
    return Frames.from_list([frame], shortest=[3.0 if pbc else np.inf])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("known", [True, False])
def test_relative_noise_is_that_share_of_the_shortest_distance(dtype, known):
    frames = sample(300, dtype=dtype, known=known, spacing=9.0)
    out = augment(frames, spec(relative=True, scale=0.02, min_distance=0.0), seed=1)
    shortest = sample(300, spacing=9.0).shortest if not known else frames.shortest
    several = (frames.natoms > 1)[np.repeat(np.arange(len(frames)), frames.natoms)] & out.noised
    # beyond 6 Å the sample does not know its shortest distance, so that only small frames are compared
    near = np.repeat(shortest < 6.0, frames.natoms) & several
    ratio = out.noise[near] / np.repeat(shortest, frames.natoms)[near, None]
    assert stats.kstest(ratio.ravel() / 0.02, stats.norm.cdf).pvalue > 1e-3


@pytest.mark.parametrize("distance", [0.7, 2.8])
def test_relative_noise_grows_with_the_bond(distance):
    for known in (True, False):
        out = augment(two_atoms(distance, known=known), spec(relative=True, min_distance=0.0, probability=1.0), seed=3)
        one = augment(two_atoms(1.0, known=True), spec(relative=True, min_distance=0.0, probability=1.0), seed=3)
        assert out.noise == pytest.approx(distance * one.noise, rel=1e-6)


def test_a_lone_atom_has_no_shortest_distance_and_stays():
    out = augment(lone(pbc=False), spec(relative=True), seed=0)
    assert not out.noise.any() and not out.noised.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_centered_noise_moves_no_frame_as_a_whole(dtype):
    frames = sample(dtype=dtype)
    out = augment(frames, spec(centered=True), seed=2)
    eps = np.finfo(dtype).eps
    assert np.abs(means(out)).max() < 10 * eps
    assert np.abs(out.positions - out.noise - frames.positions).max() < 100 * eps
    assert np.abs(means(augment(frames, spec(), seed=2))).max() > 1e-2  # which plain noise does


def test_centered_noise_is_plain_noise_in_another_place():
    frames = sample()
    plain, out = augment(frames, spec(), seed=2), augment(frames, spec(centered=True), seed=2)
    apart = out.noise - plain.noise
    assert np.abs(apart + np.repeat(means(plain), frames.natoms, axis=0)).max() < 1e-12
    several = np.repeat(frames.natoms > 1, frames.natoms)
    assert np.array_equal(out.noised, plain.noised & several)


@pytest.mark.parametrize("pbc", [True, False])
def test_the_only_atom_of_a_frame_has_nothing_to_undo_once_noise_is_centered(pbc):
    assert augment(lone(pbc), spec(), seed=0).noised.all()
    out = augment(lone(pbc), spec(centered=True), seed=0)
    assert not out.noised.any() and not out.noise.any() and np.array_equal(out.positions, lone(pbc).positions)


def test_of_two_atoms_one_that_moves_is_both_by_half():
    frames = two_atoms(2.0, known=True)
    plain, out = (augment(frames, spec(centered=c, probability=None, number=1), seed=5) for c in (False, True))
    (moved,) = np.flatnonzero(plain.noised)
    assert out.noise[moved] == pytest.approx(plain.noise[moved] / 2) and out.noise[1 - moved] == pytest.approx(-plain.noise[moved] / 2)
    assert np.flatnonzero(out.noised).tolist() == [moved]


def test_old_specs_keep_their_bytes_and_bits():
    assert spec().model_dump(mode="json")["noise"].keys() == {"kind", "scale", "probability", "number", "min_distance"}
    assert spec(centered=True).model_dump(mode="json")["noise"]["centered"] is True


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_its_settings(name):
    task = TaskSpec(head="a", dataset="b", task="denoise", augment=name)
    assert task.augment == AugmentSpec.model_validate(PRESETS[name])
    assert TaskSpec.model_validate(task.model_dump(mode="json")) == task  # written out in a lock, read back


def test_the_preset_of_the_report_is_its_public_code():
    out = augment(sample(400, spacing=9.0), AugmentSpec.model_validate(PRESETS["openlam-2024"]), seed=4)
    assert stats.kstest(out.noise[out.noised].ravel(), stats.uniform(-1.0, 2.0).cdf).pvalue > 1e-3
    count = np.maximum(1, (0.15 * out.natoms).astype(int))
    hidden = out.numbers == MASKED
    for flags in (out.noised, hidden):
        assert np.array_equal(np.add.reduceat(flags.astype(int), out.starts[:-1]), count)
    assert not np.array_equal(out.noised, hidden)  # drawn independently


def test_our_preset_has_no_mean_motion_and_repeats_small_cells():
    out = augment(sample(200), AugmentSpec.model_validate(PRESETS["lam-2026"]), seed=4)
    assert np.abs(means(out)).max() < 1e-12
    assert (out.natoms[out.pbc.any(axis=1)] > 8).all()


@pytest.mark.parametrize(
    ("augment", "message"),
    [("openlam-2023", "did you mean 'openlam-2024'"), ("gaussian", "one of: lam-2026, openlam-2024"), (3, "AugmentSpec")],
)
def test_a_preset_that_does_not_exist_is_refused(augment, message):
    with pytest.raises(ValidationError, match=message):
        TaskSpec(head="a", dataset="b", task="denoise", augment=augment)


def test_a_preset_belongs_to_denoising():
    with pytest.raises(ValidationError, match="belong to task denoise"):
        TaskSpec(head="a", dataset="b", task="energy_force", augment="lam-2026")


def test_editors_offer_the_presets():
    schema = str(Mixture.model_json_schema())
    assert all(name in schema for name in PRESETS)
