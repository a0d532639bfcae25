"""No frames are frames too: every method takes them, and keeps their types."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamdata.augment import AugmentSpec, MaskSpec, NoiseSpec, SupercellSpec, augment
from lamdata.errors import DataError
from lamdata.frame import Frame
from lamdata.frames import FRAME_FIELDS, Frames, Parsed
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


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_parts_put_together_again_are_the_whole(data):
    frames = data.draw(st.sampled_from([make_frames(7, seed=3), noised(7)]))
    cuts = sorted(data.draw(st.lists(st.integers(0, 7), max_size=4)))
    parts = [frames.part(a, b) for a, b in zip([0, *cuts], [*cuts, 7])]
    assert_same(Frames.concatenate(parts), frames)


@settings(deadline=None, max_examples=25)
@given(st.permutations(range(7)), st.permutations(range(7)))
def test_taking_twice_is_taking_once(one, two):
    frames, one, two = noised(7), np.array(one), np.array(two)
    assert_same(frames.take(one).take(two), frames.take(one[two]))
    assert_same(frames.take(one).take(np.argsort(one)), frames)


@pytest.mark.parametrize("size", [1, 2, 3, 6])
@pytest.mark.parametrize("make", [make_frames, noised])
def test_equal_parts_are_those_of_part(make, size):
    frames = make(6)
    parts = list(frames.in_equal_parts(size))
    assert len(parts) == 6 // size
    for k, part in enumerate(parts):
        assert_same(part, frames.part(k * size, (k + 1) * size))


def test_frames_that_carry_noise_and_frames_that_do_not_are_joined_as_clean():
    plain, spoiled = make_frames(2, seed=8), noised(3)
    both = Frames.concatenate([plain, spoiled])
    assert not both.noise[: len(plain.numbers)].any() and not both.noised[: len(plain.numbers)].any()
    np.testing.assert_array_equal(both.clean_numbers[: len(plain.numbers)], plain.numbers)
    np.testing.assert_array_equal(both.noise[len(plain.numbers) :], spoiled.noise)


@pytest.mark.parametrize("label", ["energy", "forces", "virial"])
def test_a_label_that_is_taken_away_leaves_no_trace_of_its_numbers(label):
    frames = make_frames(5)
    bare = frames.without([label])
    assert not getattr(bare, label).any() and not getattr(bare, f"has_{label}").any()
    assert all(getattr(one, label) is None for one in bare) and getattr(frames, label).any()


def test_single_frames_and_back_are_the_same():
    frames = make_frames(6).with_(pbc=np.repeat([[True] * 3, [False] * 3], 3, 0))
    frames = frames.with_(has_forces=np.array([True, False] * 3), charge=np.array([0, 1, -2, 0, 0, 0], np.int16), weight=np.arange(6) / 3)
    again = Frames.from_list(list(frames))
    for name in (
        "numbers",
        "positions",
        "natoms",
        "cell",
        "pbc",
        "energy",
        "has_energy",
        "has_forces",
        "has_virial",
        "charge",
        "multiplicity",
        "weight",
    ):
        np.testing.assert_array_equal(getattr(again, name), getattr(frames, name), err_msg=name)
    labelled = np.repeat(frames.has_forces, frames.natoms)
    np.testing.assert_array_equal(again.forces[labelled], frames.forces[labelled])
    assert not again.forces[~labelled].any(), "what a frame lacks holds zeros, whatever stood there"


@pytest.mark.parametrize(("numbers", "kept"), [([1, 300], [1, 255]), ([1, -3], [1, 0]), ([1, 256], [1, 255])])
def test_numbers_that_are_no_element_do_not_wrap_round_to_one(numbers, kept):
    frame = Frame(numbers=np.array(numbers), positions=np.zeros((2, 3)))
    assert Frames.from_list([frame]).numbers.tolist() == kept


def test_frames_tell_what_they_are():
    text, page = repr(noised(4)), make_frames(4)._repr_html_()
    for word in ("frames 4", "hidden elements 4", "displaced atoms 8", "labels none", "float64"):
        assert word in text
    assert "<table" in page and "hidden" not in page and "energy" in page and "virial (of 4)" not in page


def parsed(count=4, **changes):
    values = {
        "frames": make_frames(count),
        "groups": ["g"] * count,
        "origins": [f"f#{i}" for i in range(count)],
        "unconverged": np.zeros(count, bool),
    }
    return Parsed(**values | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"groups": ["g"] * 3},
        {"origins": []},
        {"unconverged": np.zeros(5, bool)},
        {"splits": ["train"]},
        {"isolated": [True] * 3},
        {"left_out": [("forces: x",)] * 5},
        {"converged": [True]},
        {"frames": make_frames(4).with_(natoms=np.array([2, 2, 2, 2], np.int32))},
    ],
)
def test_words_that_are_not_those_of_the_frames_are_refused(changes):
    with pytest.raises(DataError, match="frames do not fit together"):
        parsed(**changes)


def test_words_go_with_their_frames():
    whole = parsed(splits=["train", "", "test", ""], isolated=[False, True, False, False], left_out=[(), ("forces: x",), (), ()])
    taken = whole.take(np.array([2, 1]))
    assert (taken.origins, taken.splits, taken.isolated, taken.left_out) == (
        ["f#2", "f#1"],
        ["test", ""],
        [False, True],
        [(), ("forces: x",)],
    )
    both = Parsed.concatenate([taken, parsed(2)])
    assert list(both.splits) == ["test", "", "", ""] and list(both.isolated) == [False, True, False, False] and len(both) == 4
    assert Parsed.concatenate([parsed(2), parsed(2)]).splits == ()
    assert [frame.split for frame in whole] == ["train", "", "test", ""] and [frame.isolated for frame in whole][1]
    again = Parsed.from_list(list(whole))
    assert (list(again.splits), list(again.isolated), list(again.left_out)) == (whole.splits, whole.isolated, whole.left_out)


def test_what_did_not_converge_stays_known():
    whole = parsed(unconverged=np.array([False, True, False, False]))
    assert [frame.converged for frame in whole] == [None, False, None, None]
    assert Parsed.from_list(list(whole)).unconverged.tolist() == [False, True, False, False]
    whole = parsed(unconverged=np.array([False, True, False, False]), converged=[True, False, False, True])
    assert [frame.converged for frame in whole] == [True, False, None, True]
    assert [frame.converged for frame in whole.take(np.array([3, 2]))] == [True, None]
    both = Parsed.concatenate([parsed(1), Parsed.from_list(list(whole))])
    assert [frame.converged for frame in both] == [None, True, False, None, True]


def assert_same(one, other):
    """Every array of both, and its type."""
    for name in (field.name for field in fields(Frames)):
        ours, theirs = getattr(one, name), getattr(other, name)
        assert (ours is None) == (theirs is None), name
        if ours is not None:
            assert ours.dtype == theirs.dtype, name
            np.testing.assert_array_equal(ours, theirs, err_msg=name)
