"""The sketch: rare in training is above 1, what lies elsewhere is far above, and what is saved is what was made."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from lamtrain.stages.cover.sketch import FEATURES, Sketch, build_sketch, distances, shape_of

WIDTH, SIZE = 12, 10  # of a descriptor; atoms of a frame


def atoms(frames: int, *, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Atoms of two elements in frames: elements apart, spread a hundred times as far along one direction as along another."""
    rng = np.random.default_rng(seed)
    numbers = np.tile(np.array([1] * 6 + [8] * 4, np.uint8), frames)
    spread = np.geomspace(1.0, 0.01, WIDTH)
    features = rng.normal(size=(len(numbers), WIDTH)) * spread + (numbers == 8)[:, None] * 3.0
    features[:, -1] += shift * 0.01  # along the direction that training took least
    return numbers, features.astype(np.float32), np.arange(0, len(numbers), SIZE)


@pytest.fixture(scope="module")
def sketch() -> Sketch:
    numbers, features, starts = atoms(300, seed=0)
    return build_sketch(numbers, features, starts, pairs=np.array([[1, 1], [1, 8]]), of=300)


def test_one_training_atom_and_frame_in_a_hundred_is_beyond(sketch: Sketch) -> None:
    numbers, features, starts = atoms(2000, seed=1)
    scores = sketch.scores(numbers, features)
    for z in (1, 8):
        assert 0.005 < np.mean(scores[numbers == z] > 1.0) < 0.02
    assert 0.003 < np.mean(sketch.frame_scores(scores, starts) > 1.0) < 0.025


def test_a_small_step_where_training_never_went_counts(sketch: Sketch) -> None:
    numbers, features, starts = atoms(50, seed=2, shift=40.0)
    assert np.all(sketch.frame_scores(sketch.scores(numbers, features), starts) > 2.0)


def test_the_score_is_mahalanobis_where_all_directions_are_kept() -> None:
    numbers, features, _ = atoms(200, seed=3)
    mine = features[numbers == 8]
    shape = shape_of(np.full(len(mine), 8, np.uint8), mine[:, :9])
    covariance = (len(mine) * np.cov(mine[:, :9].T, bias=True) + 9 * np.cov(mine[:, :9].T)) / (len(mine) + 9)
    covariance += np.eye(9) * 1e-4 * np.trace(np.cov(mine[:, :9].T)) / 9
    apart = mine[:, :9] - mine[:, :9].mean(0)
    want = np.sqrt(np.einsum("ad,de,ae->a", apart, np.linalg.inv(covariance), apart))
    np.testing.assert_allclose(distances(apart, shape.directions[0], shape.variances[0]), want, rtol=1e-3)


def test_a_few_atoms_of_an_element_are_judged_by_the_spread_of_all(sketch: Sketch) -> None:
    numbers, features, starts = atoms(100, seed=4)
    numbers[3] = 6
    rare = build_sketch(numbers, features, starts, pairs=np.empty((0, 2), np.int64), of=100)
    assert rare.elements == ["H", "C", "O"] and np.isfinite(rare.limits).all()
    same, far = rare.scores(np.full(2, 6, np.uint8), np.stack([features[3], features[3] + 10.0]))
    assert same < 1.0 < far


@pytest.mark.parametrize("frames", [1, 2])
def test_one_frame_makes_a_sketch(frames: int) -> None:
    numbers, features, starts = atoms(frames, seed=5)
    small = build_sketch(numbers, features, starts, pairs=np.empty((0, 2), np.int64), of=frames)
    assert np.isfinite(small.scores(numbers, features)).all() and np.isfinite(small.limit)


def test_a_single_crystal_makes_a_sketch_of_which_it_is_inside() -> None:
    numbers, features = np.full(4, 29, np.uint8), np.tile(np.linspace(-1, 1, WIDTH, dtype=np.float32), (4, 1))
    crystal = build_sketch(numbers, features, np.array([0]), pairs=np.array([[29, 29]]), of=1)
    inside, outside = (crystal.frame_scores(crystal.scores(numbers, some), np.array([0]))[0] for some in (features, features + 0.1))
    assert inside == 0.0 and 1.0 < outside < 1e9


def test_what_is_saved_is_what_was_made(sketch: Sketch) -> None:
    file = io.BytesIO()
    torch.save(sketch.to_data(), file)
    file.seek(0)
    back = Sketch.from_data(torch.load(file, weights_only=True))
    numbers, features, _ = atoms(20, seed=6)
    np.testing.assert_array_equal(back.scores(numbers, features), sketch.scores(numbers, features))
    np.testing.assert_array_equal(back.features(features), sketch.features(features))
    assert back.of == 300 and back.pairs.tolist() == [[1, 1], [1, 8]]


def test_its_size_is_bounded_by_elements(sketch: Sketch) -> None:
    numbers, features, starts = atoms(3000, seed=7)
    larger = build_sketch(numbers, features, starts, pairs=sketch.pairs, of=3000)
    sizes = [sum(value.numel() for value in one.to_data().values() if isinstance(value, torch.Tensor)) for one in (sketch, larger)]
    assert sizes[1] - sizes[0] <= 512 * FEATURES  # the points that are drawn
