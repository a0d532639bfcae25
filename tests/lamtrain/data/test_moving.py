"""Neighbour lists and batches under what changes nothing: shifts, turns, other cells, other orders, and a list that is kept while atoms move."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamdata.frame import Frame
from lamdata.frames import Frames
from lamtrain.data.batch import collate
from lamtrain.data.neighbors import Edges, SkinList, cut_neighbors, find_neighbors
from tests.lamtrain.model_cases import model_config, structure

PERIODS = [(True, True, True), (True, True, False), (False, False, True), (False, False, False)]
CONFIG = model_config(heads={"dft": "energy_force", "relaxed": "denoise"})


def edges_of(frame: Frame, cutoff: float, most: int | None = None) -> Edges:
    cell = np.zeros((3, 3)) if frame.cell is None else frame.cell
    return find_neighbors(frame.positions, cell=cell, pbc=np.array(frame.pbc), cutoff=cutoff, most=most)


def rows(edges: Edges) -> np.ndarray:
    """(E, 5) centre, neighbour and vector, sorted."""
    center = np.repeat(np.arange(len(edges.counts)), edges.counts)
    table = np.column_stack([center, edges.neighbors, edges.vectors])
    return table[np.lexsort(np.round(table, 6).T[::-1])]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 9), st.sampled_from(PERIODS), st.floats(1.0, 6.0))
def test_each_pair_is_seen_from_both_ends(seed: int, natoms: int, pbc: tuple, cutoff: float) -> None:
    edges = edges_of(structure(natoms, seed=seed, periodic=pbc), cutoff)
    there = rows(edges)
    center = np.repeat(np.arange(natoms), edges.counts)
    back = Edges(starts=edges.starts, neighbors=edges.neighbors, vectors=edges.vectors, distances=edges.distances, truncated=0)
    table = np.column_stack([back.neighbors, center, -back.vectors])
    np.testing.assert_allclose(table[np.lexsort(np.round(table, 6).T[::-1])], there, atol=1e-9)
    assert (edges.distances <= cutoff).all() and np.allclose(np.linalg.norm(edges.vectors, axis=1), edges.distances)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from(PERIODS), st.lists(st.integers(-2, 2), min_size=18, max_size=18))
def test_other_images_of_the_atoms_have_the_same_edges(seed: int, pbc: tuple, steps: list[int]) -> None:
    frame = structure(6, seed=seed, periodic=pbc)
    if frame.cell is None:
        return
    moved = frame.positions + (np.array(steps).reshape(6, 3) * np.array(pbc)) @ frame.cell
    again = find_neighbors(moved, cell=frame.cell, pbc=np.array(pbc), cutoff=4.0)
    np.testing.assert_allclose(rows(again), rows(edges_of(frame, 4.0)), atol=1e-8)


@pytest.mark.parametrize("length", [0.8, 1.5, 3.0])
@pytest.mark.parametrize("pbc", PERIODS[:3])
def test_cells_far_smaller_than_the_cutoff_and_skewed_ones_have_all_their_images(length: float, pbc: tuple) -> None:
    cell = np.array([[length, 0, 0], [3 * length, length, 0], [-2 * length, 0.3, length]])
    edges = find_neighbors(np.zeros((1, 3)), cell=cell, pbc=np.array(pbc), cutoff=4.0)
    reach = [range(-40, 41) if p else (0,) for p in pbc]
    shifts = np.stack(np.meshgrid(*reach), -1).reshape(-1, 3) @ cell
    distances = np.linalg.norm(shifts, axis=1)
    want = np.sort(distances[(distances < 4.0) & (distances > 1e-9)])
    np.testing.assert_allclose(np.sort(edges.distances), want, atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.floats(1.5, 5.0), st.integers(1, 40))
def test_a_longer_list_cut_down_is_the_shorter_one(seed: int, cutoff: float, most: int) -> None:
    frame = structure(8, seed=seed)
    found, want = cut_neighbors(edges_of(frame, 5.5), cutoff=cutoff, most=most), edges_of(frame, cutoff, most)
    for name in ("starts", "neighbors", "vectors", "distances"):
        np.testing.assert_allclose(getattr(found, name), getattr(want, name), atol=1e-12, err_msg=name)
    assert found.truncated == want.truncated


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.sampled_from(PERIODS), st.floats(0.0, 1.5), st.floats(0.01, 0.6), st.booleans())
def test_a_list_with_a_skin_gives_what_a_new_search_gives_however_atoms_and_cell_move(
    seed: int, pbc: tuple, skin: float, step: float, breathing: bool
) -> None:
    rng = np.random.default_rng(seed)
    frame = structure(7, seed=seed, periodic=pbc)
    positions, cell = frame.positions.copy(), np.zeros((3, 3)) if frame.cell is None else frame.cell.copy()
    kept = SkinList(cutoff=3.5, most=25, skin=skin)
    for _ in range(6):
        want = find_neighbors(positions, cell=cell, pbc=np.array(pbc), cutoff=3.5, most=25)
        found = kept.edges(positions, cell=cell, pbc=np.array(pbc))
        np.testing.assert_array_equal(found.counts, want.counts)
        np.testing.assert_allclose(found.distances, want.distances, atol=1e-9)
        assert found.truncated == want.truncated
        positions = positions + rng.normal(scale=step, size=positions.shape)
        if breathing and all(pbc):
            strain = np.eye(3) + rng.normal(scale=0.02, size=(3, 3))
            positions, cell = positions @ strain, cell @ strain
    assert 1 <= kept.searches <= 6


def test_a_list_is_searched_anew_for_other_atoms_or_other_periods() -> None:
    frame, kept = structure(6, seed=1), SkinList(cutoff=3.0, skin=1.0)
    for pbc in ((True,) * 3, (True,) * 3, (True, True, False)):
        kept.edges(frame.positions, cell=frame.cell, pbc=np.array(pbc))
    kept.edges(frame.positions[:4], cell=frame.cell, pbc=np.array((True, True, False)))
    assert kept.searches == 3


def atoms_of(frames: Frames) -> dict[int, tuple]:
    """What a batch says of each atom of the caller, whatever the order of rows."""
    batch = collate(frames, CONFIG, chunk_atoms=5)
    found: dict[int, tuple] = {}
    for chunk in batch.chunks:
        for row in range(chunk.start, chunk.stop):
            atom = int(batch.order[row])
            vectors, neighbors = chunk.vectors[row - chunk.start], batch.order[chunk.neighbors[row - chunk.start]]
            near = vectors.norm(dim=1) < 5.0
            table = sorted(zip(neighbors[near].tolist(), (tuple(np.round(v, 6)) for v in vectors[near].tolist())))
            found[atom] = (int(batch.types[atom]), int(batch.frame[atom]), table)
    return found


@settings(deadline=None, max_examples=15)
@given(st.permutations(range(4)), st.lists(st.integers(0, 1), min_size=4, max_size=4))
def test_a_batch_says_the_same_of_each_atom_whatever_the_order_of_frames_and_heads(order: list[int], heads: list[int]) -> None:
    sizes, periods = (1, 5, 8, 3), (False, True, True, False)
    frames = Frames.from_list([structure(n, seed=n, periodic=(p,) * 3) for n, p in zip(sizes, periods)])
    frames = frames.with_(head=np.array(heads, np.int32))
    before, after = atoms_of(frames), atoms_of(frames.take(np.array(order)))
    starts, moved = frames.starts, np.concatenate([[0], np.cumsum(np.array(sizes)[order])])
    for place, f in enumerate(order):
        for i in range(sizes[f]):
            kind, frame, table = before[int(starts[f]) + i]
            other_kind, other_frame, other = after[int(moved[place]) + i]
            assert (kind, frame) == (other_kind, f) and other_frame == place
            shift = int(moved[place]) - int(starts[f])
            assert [(n + shift, v) for n, v in table] == other


def test_frames_of_one_head_alone_and_one_atom_alone_are_batches() -> None:
    lone = Frames.from_list([structure(1, periodic=(False,) * 3)])
    for head in (0, 1):
        batch = collate(lone.with_(head=np.array([head], np.int32)), CONFIG)
        assert batch.natoms.tolist() == [1] and [h.name for h in batch.heads] == [list(CONFIG.heads)[head]]
        assert batch.chunks[0].vectors.shape == (1, 1, 3) and torch.equal(batch.chunks[0].neighbors, torch.tensor([[0]]))
        assert batch.chunks[0].with_forces == (head == 0) and set(batch.truncated.values()) == {0}
