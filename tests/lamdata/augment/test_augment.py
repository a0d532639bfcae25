"""What is put on frames as they are read is what the spec says, keeps atoms apart, and has the same bits whoever reads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats
from vesin import NeighborList

from lamdata.augment import AugmentSpec, augment
from lamdata.augment.clearance import close_pairs
from lamdata.errors import DataError
from lamdata.frame import Frame
from lamdata.frames import ATOM_FIELDS, FRAME_FIELDS, MASKED, Frames

PERIODS = [(True, True, True), (False, False, False), (True, True, False), (False, False, True)]


def shortest_distance(frame: Frame, *, own_images: bool = False) -> float:
    """Return the shortest distance of two atoms, up to 6 Å, all images looked at; of one atom and its images too where asked."""
    cell = np.zeros((3, 3)) if frame.cell is None else frame.cell
    i, j, d = NeighborList(cutoff=6.0, full_list=False, n_threads=1).compute(frame.positions, cell, frame.pbc, "ijd")
    return float(np.min(d[(i != j) | own_images], initial=6.0))


def structure(rng: np.random.Generator, *, atoms: int, spacing: float = 2.0, pbc=(True, True, True)) -> Frame:
    """Return a rattled piece of a lattice in a sheared cell, with made-up labels."""
    side = int(np.ceil(atoms ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    sites = rng.permutation(len(grid))[:atoms]
    shear = np.eye(3) + np.tril(rng.uniform(-0.5, 0.5, (3, 3)), -1)
    cell = side * spacing * shear * np.array(pbc)[:, None]
    positions = grid[sites] @ (spacing * shear) + rng.uniform(-0.2, 0.2, (atoms, 3)) * spacing
    labels = {"energy": rng.normal(), "forces": rng.normal(size=(atoms, 3)), "virial": _symmetric(rng)}
    numbers = rng.integers(1, 90, atoms).astype(np.uint8)
    return Frame(numbers=numbers, positions=positions, cell=cell if any(pbc) else None, pbc=pbc, charge=1, multiplicity=2, **labels)


def _symmetric(rng: np.random.Generator) -> np.ndarray:
    half = rng.normal(size=(3, 3))
    return half + half.T


def sample(
    count: int = 60, *, seed: int = 0, dtype=np.float64, known: bool = True, largest: int = 40, spacing: float = 2.0, pbc=None
) -> Frames:
    """Return frames of 1 to `largest` atoms, of all kinds of periods unless `pbc` says which; `shortest` is filled in if `known`."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, largest + 1, count)
    single = [structure(rng, atoms=int(n), spacing=spacing, pbc=pbc or PERIODS[i % 4]) for i, n in enumerate(sizes)]
    shortest = [shortest_distance(frame, own_images=True) for frame in single] if known else None
    frames = Frames.from_list(single, shortest=shortest)
    cast = {name: getattr(frames, name).astype(dtype) for name in ("positions", "cell", "forces", "virial")}
    return frames.with_(**cast, epoch=np.full(count, 3), index=np.arange(count) * 7, dataset=np.full(count, 2**63 + 5, np.uint64))


def same_bits(a: Frames, b: Frames) -> bool:
    return all(_same(getattr(a, name), getattr(b, name)) for name in ATOM_FIELDS + FRAME_FIELDS)


def _same(a, b) -> bool:
    return (a is None and b is None) or (a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())


EVERYTHING = AugmentSpec(
    noise={"scale": 0.6, "probability": 0.5, "min_distance": 1.0}, mask={"probability": 0.3}, rotate=True, supercell={"max_atoms": 60}
)


@given(seed=st.integers(0, 2**64 - 1), order=st.permutations(range(24)), size=st.integers(1, 24))
@settings(max_examples=25, deadline=None)
def test_the_bits_of_a_frame_do_not_depend_on_the_buffer(seed, order, size):
    frames = sample(24)
    whole = augment(frames, EVERYTHING, seed=seed)
    shuffled = frames.take(np.array(order))
    parts = [augment(shuffled.part(i, min(i + size, 24)), EVERYTHING, seed=seed) for i in range(0, 24, size)]
    assert same_bits(Frames.concatenate(parts), whole.take(np.array(order)))


def test_the_bits_do_not_depend_on_the_thread():
    frames = sample(80, dtype=np.float32)
    whole = augment(frames, EVERYTHING, seed=1)
    with ThreadPoolExecutor(4) as pool:
        parts = pool.map(lambda i: augment(frames.part(i, i + 5), EVERYTHING, seed=1), range(0, 80, 5))
    assert same_bits(Frames.concatenate(list(parts)), whole)


@pytest.mark.parametrize("what", ["seed", "dataset", "index", "epoch"])
def test_noise_changes_with_seed_dataset_index_and_epoch(what):
    frames = sample(20)
    spec = AugmentSpec(noise={"scale": 0.1, "probability": 1.0}, mask={"number": 3})
    other = frames if what == "seed" else frames.with_(**{what: getattr(frames, what) + np.array(1, getattr(frames, what).dtype)})
    a, b = augment(frames, spec, seed=1), augment(other, spec, seed=2 if what == "seed" else 1)
    assert not np.any(a.noise == b.noise)
    assert not np.array_equal(a.numbers, b.numbers)


def test_noise_and_mask_are_these_bits_on_every_machine():
    frames = Frames.from_list([Frame(numbers=np.full(8, 6, np.uint8), positions=np.zeros((8, 3)) + 9.0 * np.arange(8)[:, None])])
    out = augment(frames, AugmentSpec(noise={"scale": 1.0, "number": 2}, mask={"number": 3}), seed=20240101)
    assert np.flatnonzero(out.noised).tolist() == GOLDEN["noised"]
    assert np.flatnonzero(out.numbers == MASKED).tolist() == GOLDEN["masked"]
    assert [x.hex() for x in out.noise[out.noised].ravel()] == GOLDEN["noise"]


GOLDEN = {
    "noised": [0, 5],
    "masked": [0, 2, 7],
    "noise": [
        "-0x1.48f660ddaa0d7p-1", "0x1.1b953a4a502b9p-2", "-0x1.f4599a326c65ep-4",
        "-0x1.4793d72bece78p+1", "0x1.1d4ade8404001p+0", "0x1.f118cce289494p-1",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "law"),
    [("gaussian", stats.norm(0, 0.2)), ("uniform", stats.uniform(-0.2, 0.4)), ("truncated", stats.truncnorm(-2, 2, scale=0.2))],
)
def test_displacements_follow_their_law_in_angstrom(kind, law):
    frames = sample(400, spacing=9.0)
    out = augment(frames, AugmentSpec(noise={"kind": kind, "scale": 0.2, "probability": 1.0}), seed=4)
    assert stats.kstest(out.noise[out.noised].ravel(), law.cdf).pvalue > 1e-3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noise_is_what_was_added_and_labels_of_the_clean_frame_are_gone(dtype):
    frames = sample(dtype=dtype)
    out = augment(frames, AugmentSpec(noise={"scale": 0.1, "probability": 0.3}), seed=0)
    assert out.positions.dtype == out.noise.dtype == dtype
    assert np.abs(out.positions - out.noise - frames.positions).max() < 100 * np.finfo(dtype).eps
    assert np.array_equal(out.noised, out.noise.any(axis=1)) and np.array_equal(out.numbers, frames.numbers)
    for label in ("energy", "forces", "virial"):
        assert not getattr(out, label).any() and not getattr(out, f"has_{label}").any()


def test_the_frames_that_go_in_are_left_alone():
    frames, twin = sample(), sample()
    for array in ATOM_FIELDS + FRAME_FIELDS:
        if getattr(frames, array) is not None:
            getattr(frames, array).flags.writeable = False
    augment(frames, EVERYTHING, seed=0)
    assert same_bits(frames, twin)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("scale", "min_distance", "spacing"),
    [(0.3, 0.8, 2.0), (1.0, 1.5, 2.0), (0.5, 3.0, 2.0), (3.0, 1.0, 1.5), (0.4, 1.2, 0.7)],
)
def test_no_displaced_atom_comes_closer_than_it_may(dtype, known, scale, min_distance, spacing):
    frames = sample(60, dtype=dtype, known=known, spacing=spacing)
    out = augment(frames, AugmentSpec(noise={"scale": scale, "probability": 0.4, "min_distance": min_distance}), seed=8)
    for clean, noisy in zip(frames, out):
        allowed = min(min_distance, shortest_distance(clean, own_images=True), shortest_distance(clean))
        assert shortest_distance(noisy) >= allowed * (1 - 1e-6)
    assert out.noised.any()


def test_without_the_check_atoms_do_come_closer():
    frames = sample(60)
    out = augment(frames, AugmentSpec(noise={"scale": 1.0, "probability": 0.4, "min_distance": 0.0}), seed=8)
    assert sum(shortest_distance(noisy) < 0.8 * shortest_distance(clean) for clean, noisy in zip(frames, out)) > 20


def test_two_atoms_that_only_together_go_too_far_are_kept_apart():
    pair = Frame(numbers=np.ones(2, np.uint8), positions=np.array([[0.0, 0, 0], [2.0, 0, 0]]))
    frames = Frames.from_list([pair] * 2000, shortest=[2.0] * 2000)
    noise = {"kind": "uniform", "scale": 0.57, "number": 2}  # no step reaches 2 Å - 1 Å
    kept, free = (augment(frames, AugmentSpec(noise={**noise, "min_distance": d}), seed=0) for d in (1.0, 0.0))
    distance = np.linalg.norm(np.diff(np.stack([kept.positions, free.positions]).reshape(2, -1, 2, 3), axis=2), axis=-1)
    assert distance[0].min() >= 1.0 and distance[1].min() < 0.99


def test_crowded_atoms_are_drawn_again_and_seldom_given_up():
    frames = sample(200, largest=64, pbc=(True, True, True))
    free = augment(frames, AugmentSpec(noise={"scale": 0.5, "probability": 0.3, "min_distance": 0.0}), seed=8)
    kept = augment(frames, AugmentSpec(noise={"scale": 0.5, "probability": 0.3, "min_distance": 1.0}), seed=8)
    again = (free.noise != kept.noise).any(axis=1)[free.noised].mean()
    assert 0.02 < again < 0.5
    assert kept.noised.sum() > 0.999 * free.noised.sum()


def test_an_atom_that_finds_no_room_stays_clean():
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(3.0)] * 3), axis=-1).reshape(-1, 3) * 2.0
    frames = Frames.from_list(
        [Frame(numbers=rng.integers(1, 9, 27).astype(np.uint8), positions=grid, cell=6 * np.eye(3), pbc=(True,) * 3)] * 5
    )
    out = augment(frames, AugmentSpec(noise={"scale": 0.5, "probability": 0.1, "min_distance": 5.0}, same_atoms=True), seed=0)
    assert not out.noised.any() and not out.noise.any()
    assert (out.numbers == MASKED).sum() == 5 * 2  # chosen all the same


def test_images_of_an_atom_that_move_with_it_are_no_conflict():
    frame = Frame(numbers=np.array([29], np.uint8), positions=np.zeros((1, 3)), cell=2.5 * np.eye(3), pbc=(True,) * 3)
    out = augment(Frames.from_list([frame]), AugmentSpec(noise={"scale": 0.5, "number": 1, "min_distance": 5.0}), seed=0)
    assert out.noised.all()


def test_an_atom_keeps_clear_of_images_of_others_in_a_small_cell():
    pair = np.array([[0.0, 0, 0], [1.5, 1.5, 1.5]])
    frame = Frame(numbers=np.array([55, 17], np.uint8), positions=pair, cell=3.0 * np.eye(3), pbc=(True,) * 3)
    out = augment(Frames.from_list([frame] * 300), AugmentSpec(noise={"scale": 1.0, "number": 2, "min_distance": 2.0}), seed=0)
    assert min(shortest_distance(noisy) for noisy in out) >= 2.0 - 1e-9
    assert out.noised.mean() > 0.5


@given(seed=st.integers(0, 1000), cutoff=st.floats(0.3, 4.0))
@settings(max_examples=40, deadline=None)
def test_close_pairs_are_those_of_brute_force(seed, cutoff):
    frames = sample(4, seed=seed, largest=12)
    asked = np.flatnonzero(np.random.default_rng(seed).random(len(frames.numbers)) < 0.6)
    found = close_pairs(frames, frames.positions, asked, limit=np.full(4, cutoff))
    expected = set()
    for f, frame in enumerate(frames):
        start = frames.starts[f]
        images = _images(frame)
        for i in asked[(asked >= start) & (asked < frames.starts[f + 1])]:
            delta = frame.positions[:, None] + images - frame.positions[i - start]
            near = (np.sqrt((delta**2).sum(axis=2)) < cutoff).any(axis=1)
            expected |= {(int(i), int(start + j)) for j in np.flatnonzero(near) if start + j != i}
    assert set(zip(found.first.tolist(), found.second.tolist())) == expected


def _images(frame: Frame) -> np.ndarray:
    steps = [np.arange(-6, 7) if periodic else np.array([0]) for periodic in frame.pbc]
    return np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3) @ (np.zeros((3, 3)) if frame.cell is None else frame.cell)


@pytest.mark.parametrize("pbc", PERIODS)
def test_a_large_frame_keeps_clear_too(pbc):
    frame = structure(np.random.default_rng(1), atoms=2100, pbc=pbc)
    frames = Frames.from_list([frame], shortest=[shortest_distance(frame)])
    out = augment(frames, AugmentSpec(noise={"scale": 0.5, "probability": 0.15, "min_distance": 1.0}), seed=3)
    assert shortest_distance(next(iter(out))) >= min(1.0, shortest_distance(frame)) * (1 - 1e-6)
    assert out.noised.sum() == int(0.15 * 2100)


def test_masked_types_are_hidden_and_remembered():
    frames = sample()
    out = augment(frames, AugmentSpec(mask={"number": 2}), seed=0)
    hidden = out.numbers == MASKED
    assert np.array_equal(np.add.reduceat(hidden, frames.starts[:-1], dtype=int), np.minimum(2, frames.natoms))
    assert np.array_equal(out.clean_numbers, frames.numbers) and np.array_equal(out.numbers[~hidden], frames.numbers[~hidden])
    assert out.has_energy.all() and out.positions is frames.positions


def test_same_atoms_masks_the_displaced_ones_and_else_the_choices_are_independent():
    frames = sample(400)
    same = augment(frames, AugmentSpec(noise={"scale": 0.1, "probability": 0.15}, same_atoms=True), seed=0)
    assert np.array_equal(same.noised, same.numbers == MASKED)
    apart = augment(frames, AugmentSpec(noise={"scale": 0.1, "number": 8}, mask={"number": 8}), seed=0)
    both = np.array([np.sum(noised & hidden) for noised, hidden in _large(apart)])
    sizes = frames.natoms[frames.natoms > 16]
    assert abs(both.sum() - (64 / sizes).sum()) < 5 * np.sqrt((64 / sizes).sum())


def _large(frames: Frames):
    starts = frames.starts
    for f in np.flatnonzero(frames.natoms > 16):
        atoms = slice(starts[f], starts[f + 1])
        yield frames.noised[atoms], frames.numbers[atoms] == MASKED


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_labels_turn_with_the_frame(dtype):
    frames = sample(40, dtype=dtype, pbc=(True, True, True))
    out = augment(frames, AugmentSpec(rotate=True), seed=6)
    tolerance = 200 * np.finfo(dtype).eps
    for clean, turned in zip(frames, out):
        turn = np.linalg.solve(clean.cell, turned.cell).T
        assert np.allclose(turn @ turn.T, np.eye(3), atol=100 * tolerance) and np.linalg.det(turn) > 0
        assert np.allclose(turned.positions, clean.positions @ turn.T, atol=1000 * tolerance)
        assert np.allclose(turned.forces, clean.forces @ turn.T, atol=100 * tolerance)
        assert np.allclose(turned.virial, turn @ clean.virial @ turn.T, atol=100 * tolerance)
        assert turned.energy == clean.energy
    assert out.positions.dtype == out.cell.dtype == out.virial.dtype == dtype


def test_noise_that_is_there_turns_too():
    noisy = augment(sample(40), AugmentSpec(noise={"scale": 0.2, "probability": 0.5}), seed=6)
    clean = noisy.with_(positions=noisy.positions - noisy.noise, noise=None)
    turned, reference = (augment(frames, AugmentSpec(rotate=True), seed=6) for frames in (noisy, clean))
    assert np.allclose(turned.positions - turned.noise, reference.positions, atol=1e-12)


def test_rotations_are_even_over_all_directions():
    x = Frame(numbers=np.ones(2, np.uint8), positions=np.array([[1.0, 0, 0], [0, 1.0, 0]]))
    out = augment(Frames.from_list([x] * 20_000), AugmentSpec(rotate=True), seed=1).positions.reshape(-1, 2, 3)
    for component in out.reshape(-1, 6).T:  # of a unit vector: uniform in -1 .. 1
        assert stats.kstest(component, stats.uniform(-1, 2).cdf).pvalue > 1e-3


@pytest.mark.parametrize("pbc", PERIODS)
def test_a_supercell_is_the_same_crystal(pbc):
    from ase.geometry import get_distances

    frames = sample(40, pbc=pbc, largest=20)
    out = augment(frames, AugmentSpec(supercell={"max_atoms": 100}), seed=0)
    for clean, large in zip(frames, out):
        copies = len(large.numbers) // len(clean.numbers)
        assert len(large.numbers) <= 100 and (copies > 1 or not any(pbc) or len(clean.numbers) > 50)
        assert np.array_equal(large.numbers, np.tile(clean.numbers, copies))
        assert np.array_equal(large.forces, np.tile(clean.forces, (copies, 1)))
        assert large.energy == clean.energy * copies and np.array_equal(large.virial, clean.virial * copies)
        assert large.charge == copies and large.multiplicity == (2 if copies == 1 else None)
        if clean.cell is not None:
            assert np.isclose(np.linalg.norm(large.cell), np.linalg.norm(np.diag(_repeats(clean, large)) @ clean.cell))
            _, apart = get_distances(large.positions, np.tile(clean.positions, (copies, 1)), cell=clean.cell, pbc=pbc)
            assert np.diag(apart).max() < 1e-9
    shortest = [shortest_distance(large, own_images=True) for large in out]
    assert np.allclose(shortest, out.shortest, atol=1e-5)


def _repeats(clean: Frame, large: Frame) -> np.ndarray:
    lengths = np.linalg.norm(clean.cell, axis=1)
    return np.where(lengths > 0, np.linalg.norm(large.cell, axis=1) / np.where(lengths > 0, lengths, 1), 1).round()


@pytest.mark.parametrize(
    "spec",
    [
        {"noise": {"scale": 0.1}},
        {"noise": {"scale": 0.1, "probability": 0.1, "number": 3}},
        {"noise": {"scale": -1.0, "number": 3}},
        {"noise": {"scale": 0.1, "probability": 1.5}},
        {"noise": {"scale": 0.1, "number": 0}},
        {"noise": {"scale": 0.1, "number": 1, "min_distance": -1}},
        {"noise": {"scale": 0.1, "number": 1, "kind": "cauchy"}},
        {"noise": {"scale": 0.1, "nubmer": 1}},
        {"mask": {}},
        {"same_atoms": True},
        {"same_atoms": True, "mask": {"number": 1}},
        {"same_atoms": True, "noise": {"scale": 0.1, "number": 1}, "mask": {"number": 1}},
        {"supercell": {"max_atoms": 0}},
    ],
)
def test_an_impossible_spec_is_refused(spec):
    with pytest.raises(ValidationError):
        AugmentSpec.model_validate(spec)


def test_nothing_asked_for_is_nothing_done():
    frames = sample(5)
    assert augment(frames, AugmentSpec(), seed=0) is frames


def test_no_frames_are_no_frames():
    assert len(augment(sample(3).part(0, 0), EVERYTHING, seed=0)) == 0


def test_noise_is_not_put_on_twice():
    spec = AugmentSpec(noise={"scale": 0.1, "number": 1})
    with pytest.raises(DataError, match="noise already"):
        augment(augment(sample(3), spec, seed=0), spec, seed=0)


def test_a_cell_without_volume_is_named():
    flat = Frame(numbers=np.ones(2, np.uint8), positions=np.eye(3)[:2], cell=np.diag([4.0, 4.0, 0.0]), pbc=(True,) * 3)
    frames = sample(3, known=False)
    frames = Frames.concatenate([frames, Frames.from_list([flat])])
    with pytest.raises(DataError, match="no volume"):
        augment(frames, EVERYTHING.model_copy(update={"rotate": False, "supercell": None}), seed=0)
