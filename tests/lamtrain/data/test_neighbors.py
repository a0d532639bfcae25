"""Neighbour lists against a brute-force search over images."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lamtrain.data.neighbors import complete_cell, find_neighbors
from tests.lamtrain.model_cases import structure


def brute_force(positions, cell, pbc, cutoff):
    """(center, neighbor, vector) of all pairs with images within 4 cells, sorted."""
    reach = [range(-4, 5) if periodic else (0,) for periodic in pbc]
    found = []
    for shift in itertools.product(*reach):
        vectors = positions[None] - positions[:, None] + np.array(shift) @ cell
        distances = np.linalg.norm(vectors, axis=-1)
        for i, j in zip(*np.nonzero((distances < cutoff) & (distances > 1e-9))):
            found.append((i, j, *vectors[i, j]))
    return in_order(np.array(found))


def in_order(rows):
    """Rows sorted by all columns; neighbours at one distance have no order of their own."""
    return rows[np.lexsort(np.round(rows, 6).T[::-1])]


@pytest.mark.parametrize("pbc", list(itertools.product([True, False], repeat=3)))
def test_edges_are_those_of_a_search_over_images(pbc):
    frame = structure(5, length=4.5, seed=3)
    edges = find_neighbors(frame.positions, cell=frame.cell, pbc=np.array(pbc), cutoff=5.0)
    want = brute_force(frame.positions, frame.cell, pbc, 5.0)
    center = np.repeat(np.arange(5), edges.counts)
    assert edges.truncated == 0 and (np.diff(edges.distances)[np.diff(center) == 0] >= 0).all()
    got = in_order(np.column_stack([center, edges.neighbors, edges.vectors]))
    np.testing.assert_allclose(got, want, atol=1e-9)


def test_an_atom_sees_its_own_images():
    edges = find_neighbors(np.zeros((1, 3)), cell=np.eye(3) * 2.0, pbc=np.ones(3, bool), cutoff=2.5)
    assert edges.counts.tolist() == [6] and set(edges.neighbors) == {0}


def test_atoms_outside_the_cell_have_the_same_edges():
    frame = structure(8, seed=1)
    moved = frame.positions + np.arange(8)[:, None] % 3 * frame.cell[0] - 2 * frame.cell[2]
    a = find_neighbors(frame.positions, cell=frame.cell, pbc=np.ones(3, bool), cutoff=4.0)
    b = find_neighbors(moved, cell=frame.cell, pbc=np.ones(3, bool), cutoff=4.0)
    np.testing.assert_array_equal(a.neighbors, b.neighbors)
    np.testing.assert_allclose(a.vectors, b.vectors, atol=1e-12)


def test_a_truncated_list_keeps_the_nearest_and_says_how_many_atoms_lost_some():
    frame = structure(20, seed=2)
    whole = find_neighbors(frame.positions, cell=frame.cell, pbc=np.ones(3, bool), cutoff=4.0)
    most = int(np.median(whole.counts))
    cut = find_neighbors(frame.positions, cell=frame.cell, pbc=np.ones(3, bool), cutoff=4.0, most=most)
    assert cut.truncated == np.count_nonzero(whole.counts > most) > 0
    for atom in range(20):
        kept = cut.distances[cut.starts[atom] : cut.starts[atom + 1]]
        np.testing.assert_array_equal(kept, whole.distances[whole.starts[atom] : whole.starts[atom + 1]][:most])


@pytest.mark.parametrize("natoms", [1, 2])
def test_a_molecule_needs_no_cell(natoms):
    edges = find_neighbors(np.arange(3.0 * natoms).reshape(natoms, 3), cell=np.zeros((3, 3)), pbc=np.zeros(3, bool), cutoff=6.0)
    assert edges.counts.tolist() == [natoms - 1] * natoms


def test_a_slab_may_leave_the_open_row_of_its_cell_at_zero():
    cell = np.array([[3.0, 0, 0], [1.0, 3.0, 0], [0, 0, 0]])
    box = complete_cell(cell, np.array([True, True, False]))
    np.testing.assert_allclose(box[:2], cell[:2])
    assert abs(abs(np.linalg.det(box)) - 9.0) < 1e-12
