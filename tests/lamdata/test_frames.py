"""No frames are frames too: every method takes them, and keeps their types."""

from dataclasses import fields

import numpy as np
import pytest

from lamdata.augment import AugmentSpec, MaskSpec, NoiseSpec, SupercellSpec, augment
from lamdata.frames import FRAME_FIELDS, Frames
from lamdata.overlap.fingerprint import fingerprints
from lamdata.statistics import Statistics
from lamdata.store.batching import cut_batches
from lamdata.store.gather import gather, reorder
from tests.lamdata.stores import make_frames

NONE = np.arange(0)


def noised(count=6):
    frames = make_frames(count)
    spec = AugmentSpec(noise=NoiseSpec(scale=0.1, number=2, min_distance=0), mask=MaskSpec(number=1))
    return augment(frames, spec, seed=1)


def assert_none(frames, like):
    """No frames and no atoms, in the types and trailing shapes of `like`."""
    assert len(frames) == 0 and frames.starts.tolist() == [0] and list(frames) == []
    for name in (field.name for field in fields(Frames)):
        ours, theirs = getattr(frames, name), getattr(like, name)
        assert (ours is None) == (theirs is None), name
        if ours is not None:
            assert ours.shape == (0, *theirs.shape[1:]) and ours.dtype == theirs.dtype, name


@pytest.mark.parametrize("make", [make_frames, noised])
@pytest.mark.parametrize(
    "way",
    [
        lambda frames: reorder(frames, NONE),
        lambda frames: gather([frames, frames], NONE),
        lambda frames: frames.take(NONE),
        lambda frames: frames.part(3, 3),
        lambda frames: frames.part(0, 0),
    ],
)
def test_taking_none_keeps_the_types(make, way):
    frames = make(6)
    assert_none(way(frames), frames)


@pytest.mark.parametrize("make", [make_frames, noised])
def test_none_can_be_treated_as_frames(make):
    frames, rng = make(6), np.random.default_rng(0)
    none = reorder(frames, NONE)
    assert_none(none.take(NONE), frames)
    assert_none(reorder(none, NONE), frames)
    assert_none(none.without(["energy", "forces"]), frames)
    assert_none(Frames.concatenate([none, none]), frames)
    assert list(cut_batches(none, batch_frames=4)) == list(cut_batches(none, batch_atoms=40)) == []
    order = rng.permutation(6)
    back = gather([none, frames, none], order)
    for name in (*FRAME_FIELDS, "numbers", "positions", "forces"):
        np.testing.assert_array_equal(getattr(back, name), getattr(frames.take(order), name))
    statistics = Statistics()
    statistics.add(none, shortest=none.shortest)
    assert statistics.frames == 0 and fingerprints(none).keys == []


def test_every_augmentation_takes_none():
    none = reorder(make_frames(3), NONE)
    spec = AugmentSpec(
        rotate=True, supercell=SupercellSpec(max_atoms=40), noise=NoiseSpec(scale=0.1, probability=0.4), mask=MaskSpec(probability=0.2)
    )
    assert len(augment(none, spec, seed=2)) == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_empty_frames_are_made_in_the_types_of_a_store(dtype):
    like = make_frames(2)
    like = like.with_(**{name: getattr(like, name).astype(dtype) for name in ("positions", "forces", "cell", "virial")})
    assert_none(Frames.empty(dtype), like)
    assert_none(Frames.from_list([]), make_frames(2))
    assert_none(Frames.concatenate([]), make_frames(2))
