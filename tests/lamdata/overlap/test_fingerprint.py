"""Fingerprints: equal for one structure however it is written, and never further apart than twice what atoms moved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from lamdata.frame import Frame
from lamdata.frames import Frames
from lamdata.overlap.fingerprint import CUTOFF, fingerprints
from lamdata.overlap.points import Points, compact
from tests.lamdata.overlap.planted import CHANGES, disguise, frame_of, rattled

EXACT = tuple(change for change in CHANGES if change != "noise")


def some_frames(count: int, *, seed: int = 0) -> list[Frame]:
    """One frame of each of the first compounds, in three, two and no periodic directions."""
    frames = rattled(np.random.default_rng(seed))
    return [next(frames) for _ in range(count)]


def gaps(one: list[Frame], other: list[Frame]) -> list[float]:
    """Largest component by which the fingerprints of each pair differ, Å; infinite where keys differ."""
    a, b = fingerprints(Frames.from_list(one)), fingerprints(Frames.from_list(other))
    return [float(np.abs(x - y).max()) if k == q else np.inf for x, y, k, q in zip(a.vectors, b.vectors, a.keys, b.keys)]


@pytest.mark.parametrize("change", [*((change,) for change in EXACT), EXACT], ids="+".join)
def test_a_fingerprint_does_not_depend_on_how_a_structure_is_written(change: tuple[str, ...]) -> None:
    frames, rng = some_frames(20), np.random.default_rng(1)
    assert max(gaps(frames, [disguise(frame, *change, rng=rng) for frame in frames])) < 1e-5


def test_a_fingerprint_moves_by_at_most_twice_the_largest_displacement() -> None:
    frames, rng = some_frames(20), np.random.default_rng(2)
    for size in (1e-3, 0.3):
        moves = [rng.uniform(-size, size, frame.positions.shape) for frame in frames]
        moved = [replace(frame, positions=frame.positions + move) for frame, move in zip(frames, moves)]
        for gap, move in zip(gaps(frames, moved), moves):
            assert 0 < gap <= 2 * np.linalg.norm(move, axis=1).max() + 1e-6


def test_distances_are_those_of_a_plain_sum_over_images() -> None:
    frame = replace(some_frames(6)[5], cell=np.array([[5.65, 0, 0], [5.65, 5.65, 0], [0, 0.3, 5.65]]))
    steps = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3), axis=-1).reshape(-1, 3) @ frame.cell
    images = [(frame.positions[frame.numbers == z][:, None] + steps).reshape(-1, 3) for z in (31, 33)]
    expected = cdist(frame.positions[frame.numbers == 31], images[1])
    (vector,) = fingerprints(Frames.from_list([frame])).vectors
    nearest = vector.reshape(2, 2, 3, -1)[0, 1, :, 0]  # from gallium to arsenic: mean, least, largest of the first
    np.testing.assert_allclose(nearest, [expected.min(axis=1).mean(), expected.min(), expected.min(axis=1).max()], atol=1e-6)


def test_a_cell_is_made_compact_without_another_lattice() -> None:
    rng = np.random.default_rng(3)
    cells = rng.normal(size=(50, 3, 3)) * 4 + 3 * np.eye(3)
    skewed = np.array([[1, 5, -7], [0, 1, 4], [0, 0, 1]]) @ cells
    short = compact(skewed)
    steps = short @ np.linalg.inv(cells)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-7)
    np.testing.assert_allclose(np.abs(np.linalg.det(short)), np.abs(np.linalg.det(cells)))
    assert (np.linalg.norm(short, axis=2).max(axis=1) <= np.linalg.norm(skewed, axis=2).max(axis=1) + 1e-9).all()


def test_images_hold_every_atom_near_the_cell() -> None:
    frame = some_frames(9)[8]  # a slab
    points = Points.of_one(frame)
    _, near = points.images(CUTOFF)
    steps = np.stack(np.meshgrid(np.arange(-6, 7), np.arange(-6, 7), [0]), axis=-1).reshape(-1, 3) @ points.cell[0]
    every = (points.home[:, None] + steps).reshape(-1, 3)
    assert (cdist(points.home, near) < CUTOFF).sum() == (cdist(points.home, every) < CUTOFF).sum()


def test_keys_tell_apart_what_no_motion_could() -> None:
    from ase.build import bulk, molecule

    salt, water = frame_of(bulk("NaCl", "rocksalt", a=5.64)), frame_of(molecule("H2O"))
    boxed = replace(water, cell=9 * np.eye(3), pbc=(True, True, True))
    two = replace(water, numbers=np.tile(water.numbers, 2), positions=np.concatenate([water.positions, water.positions + 5]))
    frames = [salt, water, boxed, two, replace(water, charge=1), disguise(salt, "supercell", rng=np.random.default_rng(0))]
    keys = fingerprints(Frames.from_list(frames)).keys
    assert len(set(keys)) == 5
    assert keys[0] == keys[5]
