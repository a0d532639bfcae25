"""Duplicates: every planted copy is found, and no distinct frame is taken for a copy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lamdata.frame import Frame
from lamdata.overlap.duplicates import NEAREST, Match, Sets, find_duplicates
from lamdata.overlap.superposition import Structure, superpose
from tests.lamdata.overlap.planted import CHANGES, decorated, disguise, distinct, frame_of, homometric, polymorphs, rattled, stacked


def found_copies(matches: list[Match], pairs: list[tuple[int, int]], rows: int) -> list[bool]:
    """Which pairs of rows ended in one set."""
    sets = Sets(rows)
    for match in matches:
        sets.join(match.first, match.second)
    return [sets.first(one) == sets.first(other) for one, other in pairs]


def plant(frames: list[Frame], copies: int, *, seed: int) -> tuple[list[Frame], list[tuple[int, int]]]:
    """Add disguised copies: each change alone, all at once, and any of them together, in turn; also which rows are one structure."""
    rng = np.random.default_rng(seed)
    planted, pairs = list(frames), []
    for i, row in enumerate(rng.choice(len(frames), copies, replace=False).tolist()):
        some = rng.choice(CHANGES, rng.integers(2, len(CHANGES)), replace=False)
        changes = [(CHANGES[i // 3 % len(CHANGES)],), CHANGES, tuple(some)][i % 3]
        pairs.append((row, len(planted)))
        planted.append(disguise(frames[row], *changes, rng=rng))
    return planted, pairs


def check_search(count: int, copies: int) -> None:
    """Search `count` distinct frames and disguised copies of some of them."""
    frames, pairs = plant(distinct(count), copies, seed=1)
    matches = find_duplicates(frames)
    assert all(found_copies(matches, pairs, len(frames)))
    original = {copy: row for row, copy in pairs}
    assert not [m for m in matches if original.get(m.first, m.first) != original.get(m.second, m.second)]


def test_every_planted_copy_is_found_and_no_distinct_frame_is_one() -> None:
    check_search(1000, 200)


@pytest.mark.slow
def test_the_same_among_ten_thousand_distinct_frames() -> None:
    check_search(10_000, 2000)


def test_a_crowd_of_copies_is_one_set() -> None:
    rng = np.random.default_rng(4)
    frame = next(rattled(rng))
    crowd = [disguise(frame, *CHANGES, rng=rng) for _ in range(5 * NEAREST)]
    assert len(find_duplicates(crowd)) == len(crowd) - 1


def test_copies_are_found_within_the_tolerance_and_not_beyond() -> None:
    rng = np.random.default_rng(5)
    frames = [next(decorated(rng)), *(frame for frame, _ in zip(rattled(rng), range(20)))]
    for frame in frames:
        copy = disguise(frame, "turned", "permuted", "wrapped", rng=rng)
        rattle = rng.normal(size=copy.positions.shape)
        near, far = (replace(copy, positions=copy.positions + size * rattle) for size in (0.01, 0.1))
        displacement = superpose(Structure(frame), Structure(near), tolerance=0.03)
        assert displacement is not None and 0.002 < displacement < 0.03
        assert superpose(Structure(frame), Structure(far), tolerance=0.03) is None


def test_structures_with_equal_distances_in_another_order_differ() -> None:
    one, other = homometric()
    assert find_duplicates([one, other]) == []
    assert len(find_duplicates([one, disguise(one, "mirrored", "turned", "permuted", rng=np.random.default_rng(0))])) == 1


def test_mirror_images_are_one_structure_but_one_mirrored_centre_of_two_is_not() -> None:
    centre = np.array([[0, 0, 0], [0.63, 0.63, 0.63], [-1, -1, 1], [-0.8, 0.8, -0.8], [1.1, -1.1, -1.1]])
    numbers = np.array([6, 1, 9, 17, 35], np.uint8)
    mirrored = centre * [1, 1, -1]

    def pair(one: np.ndarray, other: np.ndarray) -> Frame:
        return Frame(numbers=np.tile(numbers, 2), positions=np.concatenate([one, other + [9, 0, 0]]))

    assert len(find_duplicates([Frame(numbers=numbers, positions=centre), Frame(numbers=numbers, positions=mirrored)])) == 1
    assert find_duplicates([pair(centre, centre), pair(centre, mirrored)]) == []


def test_polytypes_are_told_apart_however_alike_their_shells() -> None:
    rng = np.random.default_rng(6)
    frames = [frame for frame, _ in zip(stacked(rng), range(12))]
    copies = [disguise(frame, "turned", "wrapped", "supercell", rng=rng) for frame in frames]
    assert sorted((match.first, match.second) for match in find_duplicates(frames + copies)) == [(i, i + 12) for i in range(12)]


def test_structure_matcher_agrees() -> None:
    matching = pytest.importorskip("pymatgen.analysis.structure_matcher")
    from pymatgen.core import Lattice
    from pymatgen.core import Structure as Crystal

    from lamdata.elements import SYMBOLS

    rng = np.random.default_rng(7)
    ideal = polymorphs()
    frames = [*ideal, *(disguise(frame, *(c for c in CHANGES if c != "noise"), rng=rng) for frame in ideal)]
    frames += [replace(frame, cell=frame.cell * 1.004, positions=frame.positions * 1.004) for frame in ideal[:3]]
    crystals = [Crystal(Lattice(f.cell), [SYMBOLS[z] for z in f.numbers], f.positions, coords_are_cartesian=True) for f in frames]
    oracle = matching.StructureMatcher(ltol=1e-3, stol=1e-3, angle_tol=0.05, scale=False, primitive_cell=True)
    pairs = [(i, j) for i in range(len(frames)) for j in range(i)]
    ours = found_copies(find_duplicates(frames), pairs, len(frames))
    assert ours == [oracle.fit(crystals[i], crystals[j]) for i, j in pairs]
    assert sum(ours) == len(ideal)


def test_atoms_alone_and_atoms_on_a_line() -> None:
    from ase.build import molecule

    rng = np.random.default_rng(8)
    for name in ("H", "N2", "CO2", "C2H2"):
        frame = frame_of(molecule(name))
        assert len(find_duplicates([frame, disguise(frame, "turned", "shifted", "permuted", rng=rng)])) == 1
    chain = Frame(
        numbers=np.array([6, 6], np.uint8),
        positions=np.array([[0, 0, 0], [1.3, 0, 0]]),
        cell=np.diag([2.9, 9, 9]),
        pbc=(True, False, False),
    )
    assert len(find_duplicates([chain, disguise(chain, "turned", "supercell", "shifted", rng=rng)])) == 1


def test_atoms_on_top_of_each_other_are_no_trouble() -> None:
    rng = np.random.default_rng(9)
    stacked_atoms = Frame(
        numbers=np.array([1, 1, 8, 8], np.uint8), positions=np.array([[0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1.2, 0]], float)
    )
    assert len(find_duplicates([stacked_atoms, disguise(stacked_atoms, "turned", "permuted", rng=rng)])) == 1
    heap = Frame(numbers=np.array([1, 1], np.uint8), positions=np.zeros((2, 3)))
    assert len(find_duplicates([heap, heap])) == 1
