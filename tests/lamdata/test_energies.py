"""Energies: what two triangles give against all compositions, one by one, as they were kept before."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamdata.elements import SYMBOLS
from lamdata.energies import Energies, fit_references, merge_energies, references_of_atoms
from lamdata.frames import Frames
from lamdata.statistics import Moments

EXACT = 1e-9  # eV


def frames_of(counts: np.ndarray, energies: np.ndarray, elements: list[int], *, has: np.ndarray | None = None) -> Frames:
    """Frames of so many atoms (F, Z) of these elements."""
    numbers = np.concatenate([np.repeat(elements, row) for row in counts]).astype(np.uint8)
    natoms = counts.sum(1).astype(np.int32)
    frames = Frames.from_arrays(numbers=numbers, positions=np.zeros((len(numbers), 3)), natoms=natoms, energy=np.asarray(energies, float))
    return frames if has is None else frames.with_(has_energy=has, energy=np.where(has, energies, 0.0))


def some_frames(count: int, elements: list[int], *, seed: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 6, (count, len(elements))) * (rng.random((count, len(elements))) < 4 / len(elements))
    counts[counts.sum(1) == 0, 0] = 1
    return counts, -scale * counts @ np.array(elements) ** 1.5 + 0.05 * counts.sum(1) * rng.normal(size=count)


def gathered(frames: Frames, *, at_once: int = 50, parts: int = 3) -> Energies:
    """In pieces, as an ingest does it."""
    pieces = [Energies() for _ in range(parts)]
    starts = range(0, len(frames), at_once)
    for i, start in enumerate(starts):
        pieces[i * parts // len(starts)].add(frames.part(start, min(start + at_once, len(frames))))
    return merge_energies(pieces)


def by_composition(counts: np.ndarray, energies: np.ndarray, *, rcond: float | None = None) -> tuple[np.ndarray, list[float]]:
    """Element energies and both spreads from a row for each composition, weighted by its frames: the fit of stores of version 2."""
    kinds, kind = np.unique(counts, axis=0, return_inverse=True)
    count = np.bincount(kind.ravel()).astype(float)
    mean = np.bincount(kind.ravel(), energies) / count
    root = np.sqrt(count)
    solution = np.linalg.lstsq(kinds * root[:, None], mean * root, rcond=rcond)[0]
    atoms = counts.sum(1)
    return solution, [float(np.std((energies - counts @ values) / atoms)) for values in (0 * solution, solution)]


@pytest.mark.parametrize("scale", [0.1, 30.0], ids=["pseudopotentials", "all electrons"])
@pytest.mark.parametrize("elements", [[1, 6, 8], list(range(1, 90))], ids=["three elements", "89 elements"])
def test_references_and_spreads_are_those_of_all_compositions(elements: list[int], scale: float) -> None:
    counts, energies = some_frames(3000, elements, seed=1, scale=scale)
    found = fit_references(gathered(frames_of(counts, energies, elements)))
    solution, spreads = by_composition(counts, energies)
    assert [*found.energies] == [SYMBOLS[z] for z in elements]
    assert np.abs(np.array([*found.energies.values()]) - solution).max() < EXACT
    assert found.std_before == pytest.approx(spreads[0], abs=EXACT) and found.std_after == pytest.approx(spreads[1], abs=EXACT)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(*[st.integers(0, 3)] * 4).filter(any), min_size=1, max_size=12),
    st.integers(1, 5),
    st.integers(0, 2**32 - 1),
)
def test_what_is_not_determined_is_decided_as_by_all_compositions(rows: list[tuple[int, ...]], at_once: int, seed: int) -> None:
    """Few compositions, the same again, in fixed proportions, elements that come late: of least norm, and the same rank."""
    counts, elements = np.array(rows), [1, 3, 8, 26]
    energies = np.random.default_rng(seed).normal(size=len(rows)) * 100
    found = gathered(frames_of(counts, energies, elements), at_once=at_once)
    present = [i for i in range(4) if counts[:, i].any()]
    solution, spreads = by_composition(counts[:, present], energies)
    references = fit_references(found)
    assert found.elements == [SYMBOLS[elements[i]] for i in present]
    assert np.abs(np.array([*references.energies.values()]) - solution).max() < EXACT
    assert [references.std_before, references.std_after] == pytest.approx(spreads, abs=EXACT)
    singular = np.linalg.svd(found.total[:, :-1], compute_uv=False)
    assert np.count_nonzero(singular > found.tolerance * singular[0]) == np.linalg.matrix_rank(counts)


@pytest.mark.parametrize("rcond", [1e-3, 0.05, 0.3])
def test_a_limit_of_singular_values_cuts_where_it_cut(rcond: float) -> None:
    counts, energies = some_frames(400, [1, 6, 8, 14], seed=2)
    counts[:, 3] = 0
    counts[0, 3] = 1  # once: its singular value is small
    counts[counts.sum(1) == 0, 0] = 1
    found = fit_references(gathered(frames_of(counts, energies, [1, 6, 8, 14])), rcond=rcond)
    solution, spreads = by_composition(counts, energies, rcond=rcond)
    assert np.abs(np.array([*found.energies.values()]) - solution).max() < EXACT and found.std_after == pytest.approx(spreads[1], abs=EXACT)


def test_the_spread_that_given_atoms_leave_is_that_of_the_frames() -> None:
    counts, energies = some_frames(200, [1, 8], seed=3)
    atoms, atoms_of = {"H": -0.4, "O": -20.0}, counts.sum(1)
    found = gathered(frames_of(counts, energies, [1, 8]))
    left = (energies - counts @ [-0.4, -20.0]) / atoms_of
    assert references_of_atoms(found, atoms).std_after == pytest.approx(np.std(left), abs=EXACT)
    assert found.left(atoms) == pytest.approx((np.sqrt(np.mean(left**2)), np.std(left)), abs=EXACT)


def test_a_missing_energy_is_missing_and_its_elements_are_known() -> None:
    counts, energies = np.array([[2, 1, 0], [1, 0, 0], [0, 0, 4]]), np.array([-10.0, -1.0, 0.0])
    found = gathered(frames_of(counts, energies, [1, 8, 26], has=np.array([True, True, False])), at_once=1)
    references = fit_references(found)
    assert references.energies == {"H": pytest.approx(-1.0), "O": pytest.approx(-8.0), "Fe": 0.0} and found.frames == 2
    nothing = gathered(frames_of(counts, energies, [1, 8, 26], has=np.zeros(3, bool)))
    assert fit_references(nothing) is None and references_of_atoms(nothing, {}) is None and nothing.elements == ["H", "O", "Fe"]


def test_compositions_of_an_older_store_give_the_same() -> None:
    counts, energies = some_frames(5000, [1, 6, 8, 14], seed=4)
    cells: dict[bytes, tuple[dict[str, int], Moments]] = {}
    for row, energy in zip(counts, energies):
        atoms = {symbol: int(n) for symbol, n in zip(("H", "C", "O", "Si"), row) if n}
        cells.setdefault(row.tobytes(), (atoms, Moments()))[1].add(np.array([energy]))
    one, two = Energies.of([*cells.values()]), gathered(frames_of(counts, energies, [1, 6, 8, 14]))
    assert one.frames == two.frames == 5000
    for each in (fit_references(one), fit_references(two)):
        assert [*each.energies.values(), each.std_after] == pytest.approx(
            [*fit_references(two).energies.values(), fit_references(two).std_after], abs=EXACT
        )
    assert Energies.of([], elements=["O", "H"]).elements == ["H", "O"]


def test_a_trip_through_json_changes_nothing_and_it_stays_small() -> None:
    counts, energies = some_frames(2000, list(range(1, 90)), seed=5)
    found = gathered(frames_of(counts, energies, list(range(1, 90))))
    text = json.dumps(found.to_json())
    assert json.dumps(Energies.from_json(json.loads(text)).to_json()) == text and len(text) < 100_000
    assert Energies.from_json(Energies().to_json()).frames == 0
    assert json.dumps(merge_energies([found]).to_json()) == text


@pytest.mark.parametrize(
    "change",
    [{"elements": ["O", "H"]}, {"elements": ["H", "Q"]}, {"frames": -1}, {"total": "AAAA"}, {"by_atom": "!"}, {"total": None}],
    ids=str,
)
def test_what_is_none_is_refused(change: dict) -> None:
    counts, energies = some_frames(9, [1, 8], seed=6)
    with pytest.raises((ValueError, TypeError)):
        Energies.from_json(gathered(frames_of(counts, energies, [1, 8])).to_json() | change)
