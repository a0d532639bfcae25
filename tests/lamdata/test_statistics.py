"""Statistics: what merges exactly."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lamdata.frame import Frame
from lamdata.frames import Frames
from lamdata.statistics import Moments, Statistics, merge


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


def test_parts_merge_to_the_whole() -> None:
    items = frames(200)
    whole, parts = gather(items), merge([gather(items[:70]), gather(items[70:71]), Statistics(), gather(items[71:])])
    assert parts.element_atoms == whole.element_atoms and parts.labels == whole.labels
    assert (parts.frames, parts.atoms, parts.smallest, parts.largest) == (whole.frames, whole.atoms, whole.smallest, whole.largest)
    assert parts.force.std == pytest.approx(whole.force.std, rel=1e-12)


def test_frames_counted_together_are_counted_as_alone() -> None:
    items = frames(40)
    items[3] = replace(items[3], energy=None, forces=None, virial=np.eye(3))
    whole, single = gather(items), merge(gather([item]) for item in items)
    for name in ("frames", "atoms", "smallest", "largest", "element_atoms", "element_frames", "labels"):
        assert getattr(whole, name) == getattr(single, name)
    assert whole.virial.to_json() == pytest.approx(single.virial.to_json())


def test_a_trip_through_json_changes_nothing() -> None:
    whole = gather(frames(50))
    assert Statistics.from_json(json.loads(json.dumps(whole.to_json()))).to_json() == whole.to_json()


def test_a_missing_energy_is_not_counted() -> None:
    frame = Frame(numbers=np.array([1], np.uint8), positions=np.zeros((1, 3)))
    assert gather([frame]).labels == {}


def test_moments_of_nothing() -> None:
    assert Moments.from_json(Moments().to_json()).std == 0.0
