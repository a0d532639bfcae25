"""Statistics: what merges exactly, and reference energies against a direct least-squares fit."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lamdata.frame import Frame
from lamdata.frames import Frames
from lamdata.statistics import Moments, Statistics, fit_references, merge


def frames(count: int, seed: int = 0) -> list[Frame]:
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        numbers = rng.choice([1, 6, 8], rng.integers(1, 9)).astype(np.uint8)
        energy = float(-13.6 * (numbers == 1).sum() - 1000 * (numbers == 6).sum() - 2000 * (numbers == 8).sum() + rng.normal())
        out.append(
            Frame(numbers=numbers, positions=rng.normal(size=(len(numbers), 3)), energy=energy, forces=rng.normal(size=(len(numbers), 3)))
        )
    return out


def gather(items: list[Frame]) -> Statistics:
    out = Statistics()
    out.add(Frames.from_list(items), shortest=np.ones(len(items)))
    return out


def test_references_equal_a_direct_least_squares_fit() -> None:
    items = frames(300)
    counts = np.array([[(f.numbers == z).sum() for z in (1, 6, 8)] for f in items], float)
    energies = np.array([f.energy for f in items])
    direct = np.linalg.lstsq(counts, energies, rcond=None)[0]
    references = fit_references(gather(items))
    assert references is not None
    assert np.allclose([references.energies[s] for s in "HCO"], direct, rtol=1e-9)
    atoms = counts.sum(axis=1)
    assert references.std_after == pytest.approx(np.std((energies - counts @ direct) / atoms), rel=1e-6)
    assert references.std_before == pytest.approx(np.std(energies / atoms), rel=1e-9)


def test_parts_merge_to_the_whole() -> None:
    items = frames(200)
    whole, parts = gather(items), merge([gather(items[:70]), gather(items[70:71]), Statistics(), gather(items[71:])])
    assert parts.element_atoms == whole.element_atoms and parts.labels == whole.labels
    assert (parts.frames, parts.atoms, parts.smallest, parts.largest) == (whole.frames, whole.atoms, whole.smallest, whole.largest)
    assert parts.force.std == pytest.approx(whole.force.std, rel=1e-12)
    assert fit_references(parts).energies == pytest.approx(fit_references(whole).energies, rel=1e-9)


def test_frames_counted_together_are_counted_as_alone() -> None:
    items = frames(40)
    items[3] = replace(items[3], energy=None, forces=None, virial=np.eye(3))
    whole, single = gather(items), merge(gather([item]) for item in items)
    for name in ("frames", "atoms", "smallest", "largest", "element_atoms", "element_frames", "labels"):
        assert getattr(whole, name) == getattr(single, name)
    assert whole.energies.keys() == single.energies.keys()
    for formula, moments in whole.energies.items():
        assert moments.to_json() == pytest.approx(single.energies[formula].to_json(), rel=1e-9, abs=1e-9)
    assert whole.virial.to_json() == pytest.approx(single.virial.to_json())


def test_a_trip_through_json_changes_nothing() -> None:
    whole = gather(frames(50))
    assert Statistics.from_json(json.loads(json.dumps(whole.to_json()))).to_json() == whole.to_json()


def test_a_missing_energy_is_missing_and_not_zero() -> None:
    frame = Frame(numbers=np.array([1], np.uint8), positions=np.zeros((1, 3)))
    assert fit_references(gather([frame])) is None
    assert gather([frame]).labels == {}


def test_moments_of_nothing() -> None:
    assert Moments.from_json(Moments().to_json()).std == 0.0
