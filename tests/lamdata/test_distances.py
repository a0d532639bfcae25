"""Shortest distances: what turning, shifting and repeating a structure cannot change, and cells where images decide."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from lamdata import distances
from lamdata.distances import CROWDED, MANY, heights, shortest_distance, shortest_distances
from lamdata.frame import Frame
from lamdata.frames import Frames
from lamdata.images import pairs_over_images

PERIODS = [(True, True, True), (True, True, False), (False, True, False), (False, False, False)]


def structure(seed: int, natoms: int, pbc: tuple[bool, bool, bool], *, skew: float = 0.3, length: float = 4.0) -> Frame:
    rng = np.random.default_rng(seed)
    cell = (np.eye(3) + skew * rng.normal(size=(3, 3))) * length
    positions = rng.random((natoms, 3)) @ cell
    return Frame(numbers=np.full(natoms, 6, np.uint8), positions=positions, cell=cell if any(pbc) else None, pbc=pbc)


def changed(frame: Frame, **arrays: np.ndarray | None) -> Frame:
    values = {"numbers": frame.numbers, "positions": frame.positions, "cell": frame.cell, "pbc": frame.pbc}
    return Frame(**values | arrays)


def flat(frame: Frame) -> bool:
    return frame.cell is not None and abs(np.linalg.det(frame.cell)) < 2.0


cases = st.tuples(st.integers(0, 10_000), st.integers(1, 9), st.sampled_from(PERIODS))


@settings(deadline=None, max_examples=40)
@given(cases, st.integers(0, 1000))
def test_turning_shifting_and_reordering_change_nothing(case: tuple, seed: int) -> None:
    frame = structure(*case)
    assume(not flat(frame))
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    order = rng.permutation(len(frame.numbers))
    moved = changed(
        frame, positions=((frame.positions + rng.normal(size=3) * 7) @ turn)[order], cell=None if frame.cell is None else frame.cell @ turn
    )
    assert shortest_distance(moved) == pytest.approx(shortest_distance(frame), rel=1e-9)


@settings(deadline=None, max_examples=40)
@given(cases, st.lists(st.integers(-3, 3), min_size=27, max_size=27))
def test_atoms_in_other_cells_are_the_same_atoms(case: tuple, steps: list[int]) -> None:
    frame = structure(*case)
    assume(frame.cell is not None and not flat(frame))
    shifts = np.array(steps).reshape(9, 3)[: len(frame.numbers)] * np.array(frame.pbc)
    assert shortest_distance(changed(frame, positions=frame.positions + shifts @ frame.cell)) == pytest.approx(
        shortest_distance(frame), rel=1e-9
    )


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.integers(1, 6), st.tuples(*[st.integers(1, 3)] * 3))
def test_a_repeated_crystal_is_the_same_crystal(seed: int, natoms: int, repeat: tuple[int, int, int]) -> None:
    frame = structure(seed, natoms, (True,) * 3)
    assume(not flat(frame))
    shifts = np.stack(np.meshgrid(*map(np.arange, repeat), indexing="ij"), -1).reshape(-1, 3) @ frame.cell
    positions = (frame.positions[:, None] + shifts).reshape(-1, 3)
    large = changed(frame, numbers=np.full(len(positions), 6, np.uint8), positions=positions, cell=frame.cell * np.array(repeat)[:, None])
    assert shortest_distance(large) == pytest.approx(shortest_distance(frame), rel=1e-9)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.tuples(*[st.integers(-2, 2)] * 3))
def test_another_cell_of_the_same_lattice_changes_nothing(seed: int, mixed: tuple[int, int, int]) -> None:
    frame = structure(seed, 4, (True,) * 3)
    assume(not flat(frame))
    unimodular = np.array([[1, mixed[0], mixed[1]], [0, 1, mixed[2]], [0, 0, 1]])
    assert shortest_distance(changed(frame, cell=unimodular @ frame.cell)) == pytest.approx(shortest_distance(frame), rel=1e-9)


@pytest.mark.parametrize("natoms", [95, MANY, MANY + 1])
@pytest.mark.parametrize("pbc", PERIODS)
def test_large_and_small_frames_are_measured_alike(natoms: int, pbc: tuple[bool, bool, bool]) -> None:
    """Two ways on either side of a number of atoms; brute force tells both."""
    frame = structure(natoms, natoms, pbc, length=1.5 * natoms ** (1 / 3))
    cell = np.zeros((3, 3)) if frame.cell is None else frame.cell
    reach = [(-1, 0, 1) if p else (0,) for p in pbc]
    least = np.inf
    home = frame.positions if frame.cell is None else frame.positions - np.floor(frame.positions @ np.linalg.inv(cell)) * pbc @ cell
    for shift in np.stack(np.meshgrid(*reach), -1).reshape(-1, 3) @ cell:
        d = np.linalg.norm(home[None] - home[:, None] + shift, axis=-1)
        least = min(least, d[d > 1e-9].min())
    assert shortest_distance(frame) == pytest.approx(least, rel=1e-9)


@pytest.mark.skipif(distances.compiled is None, reason="_distances.c could not be compiled at installation")
@pytest.mark.parametrize("pbc", [PERIODS[0], PERIODS[-1]])
@pytest.mark.parametrize("scale", [1.0, 1e15])  # so far out that fractions are rounded in the plain way
def test_distances_have_the_same_bits_where_nothing_is_compiled(
    pbc: tuple[bool, bool, bool], scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    ragged = [structure(n, n, pbc, length=2.0 * n ** (1 / 3)) for n in (*range(1, 40), 95, 96, 97, 200)]
    ragged.append(changed(ragged[5], positions=ragged[5].positions * scale))
    frames = Frames.from_list(ragged)
    found = shortest_distances(frames)
    monkeypatch.setattr(distances, "compiled", None)
    assert found.tobytes() == shortest_distances(frames).tobytes() and np.isfinite(found[1:]).all()


@pytest.mark.skipif(distances.compiled is None, reason="_distances.c could not be compiled at installation")
def test_arrays_that_do_not_fit_are_an_error() -> None:
    points, out = np.zeros((3, 3)), np.zeros(1)
    for natoms, cells in (([4], b""), ([-1], b""), ([2, 1], b""), ([3], np.zeros((2, 3, 3)))):
        with pytest.raises(ValueError, match="do not fit together"):
            distances.compiled.shortest(points, np.array(natoms, np.int64), cells, out)


@pytest.mark.parametrize(("length", "natoms"), [(0.5, 1), (3.0, 1), (CROWDED + 5, 1), (CROWDED * 4, 2), (500.0, 2)])
@pytest.mark.parametrize("pbc", PERIODS[1:3])
def test_neighbours_far_away_are_still_found(length: float, natoms: int, pbc: tuple[bool, bool, bool]) -> None:
    """In sparse and in narrow cells of one or two periods, an atom's own image may be the nearest."""
    positions = np.zeros((natoms, 3))
    positions[1:, 2] = 40.0
    frame = Frame(numbers=np.full(natoms, 6, np.uint8), positions=positions, cell=np.eye(3) * length, pbc=pbc)
    assert shortest_distance(frame) == pytest.approx(min([length, 40.0][:natoms]) if natoms == 2 else length)


def test_no_frames_have_no_distances() -> None:
    assert shortest_distances(Frames.empty()).shape == (0,)


def test_heights_are_distances_between_faces() -> None:
    cells = np.array([np.diag([2.0, 3.0, 4.0]), [[2.0, 0, 0], [5.0, 3.0, 0], [7.0, 8.0, 4.0]], np.zeros((3, 3))])
    volume, high, inverse = heights(cells)
    assert volume.tolist() == pytest.approx([24.0, 24.0, 0.0])
    np.testing.assert_allclose(high[0], [2.0, 3.0, 4.0])
    np.testing.assert_allclose(high[1], [1 / np.linalg.norm(column) for column in np.linalg.inv(cells[1]).T])
    np.testing.assert_allclose(inverse[1], np.linalg.inv(cells[1]), atol=1e-12)
    assert not (high[2] > 0).any()


@settings(deadline=None, max_examples=30)
@example(4325, (False, True, False), 3.0)  # where rounding once gave the open axes a period, and each pair twice
@given(st.integers(0, 10_000), st.sampled_from(PERIODS), st.floats(0.5, 6.0))
def test_pairs_over_images_are_those_of_brute_force(seed: int, pbc: tuple[bool, bool, bool], limit: float) -> None:
    frame = structure(seed, 5, pbc, skew=0.1)
    cell = np.zeros((3, 3)) if frame.cell is None else frame.cell * np.array(pbc)[:, None]
    asked = np.array([1, 3])
    first, second, distance = pairs_over_images(frame.positions, asked, cell=cell, limit=limit)
    shifts = np.stack(np.meshgrid(*[range(-4, 5) if p else (0,) for p in pbc]), -1).reshape(-1, 3) @ cell
    want = sorted(
        (i, j, d)
        for i in asked.tolist()
        for j in range(5)
        for d in np.linalg.norm(frame.positions[j] + shifts - frame.positions[i], axis=1).tolist()
        if j != i and d < limit
    )
    found = sorted(zip(first.tolist(), second.tolist(), distance.tolist()))
    assert [row[:2] for row in found] == [row[:2] for row in want]
    np.testing.assert_allclose([row[2] for row in found], [row[2] for row in want], atol=1e-9)
