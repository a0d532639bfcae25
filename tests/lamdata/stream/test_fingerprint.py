"""A stream that goes on elsewhere notices what changed, and says it by name."""

import json
from functools import partial

import numpy as np
import pytest

from lamdata.augment import AugmentSpec, MaskSpec, NoiseSpec, augment
from lamdata.errors import ConfigError
from lamdata.store import open_dataset
from lamdata.stream import Stream, StreamHead, differences
from tests.lamdata.stores import make_frames, write_store

NOISE = AugmentSpec(noise=NoiseSpec(scale=0.3, probability=0.5, min_distance=0), mask=MaskSpec(number=2))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    url = tmp_path_factory.mktemp("store")
    for i, count in enumerate((90, 64, 40)):
        write_store(url, make_frames(count, seed=i), name=f"d{i}")
    write_store(url, make_frames(90, seed=7), name="other")
    return url


def heads(store, **changes):
    """Three heads; `changes` by name of the head."""
    plain = {"a": {"dataset": "d0", "weight": 2.0}, "b": {"dataset": "d1", "augment": NOISE}, "c": {"dataset": "d2", "weight": 0.5}}
    given = {name: {**values, **changes.get(name, {})} for name, values in plain.items()}
    return [
        StreamHead(name=name, dataset=open_dataset(store, values.pop("dataset"), **values.pop("view", {})), **values)
        for name, values in given.items()
    ]


def stream(mixture, **options):
    return Stream(mixture, **{"seed": 3, "batch_frames": 8, "threads": 0, **options})


def changes_to(store, mixture, **options):
    saved = json.loads(json.dumps(stream(heads(store), position=40).state_dict()))
    with pytest.raises(ConfigError, match="this position belongs to another stream") as refused:
        stream(mixture, **options).load_state_dict(saved)
    return refused.value.message.removeprefix("this position belongs to another stream: ").split("; ")


def test_the_same_stream_goes_on_whatever_its_ranks_and_threads(store):
    saved = json.loads(json.dumps(stream(heads(store), position=40).state_dict()))
    for options in ({}, {"rank": 1, "world": 2}, {"threads": 2}):
        with stream(heads(store), **options) as again:
            again.load_state_dict(saved)
            assert again.position == 40


@pytest.mark.parametrize(
    "options, line",
    [
        ({"seed": 4}, "seed: 3 before, 4 now"),
        ({"batch_frames": 16}, "batch_frames: 8 before, 16 now"),
        ({"batch_atoms": 99}, "batch_atoms: none before, 99 now"),
        ({"buffer_blocks": 4}, "buffer_blocks: 8 before, 4 now"),
    ],
)
def test_what_changed_of_the_stream_is_named(store, options, line):
    assert changes_to(store, heads(store), **options) == [line]


@pytest.mark.parametrize(
    "head, change, line",
    [
        ("a", {"weight": 2.5}, "weight of head `a`: 2.0 before, 2.5 now"),
        ("b", {"run": 4}, "frames of a draw of head `b`: 1 before, 4 now"),
        ("c", {"view": {"natoms": (2, 99)}}, "filter of head `c`, natoms: none before, [2, 99] now"),
        ("b", {"augment": None}, "augment of head `b`, noise.kind: gaussian before, none now"),
        ("a", {"augment": NOISE}, "augment of head `a`, noise.scale: none before, 0.3 now"),
    ],
)
def test_what_changed_of_a_head_is_named(store, head, change, line):
    assert any(said.startswith(line) for said in changes_to(store, heads(store, **{head: change})))


@pytest.mark.parametrize(
    "part, change, line",
    [
        ("noise", {"scale": 0.35}, "noise.scale: 0.3 before, 0.35 now"),
        ("noise", {"kind": "uniform"}, "noise.kind: gaussian before, uniform now"),
        ("noise", {"min_distance": 0.4}, "noise.min_distance: 0.0 before, 0.4 now"),
        ("mask", {"number": 3}, "mask.number: 2 before, 3 now"),
    ],
)
def test_a_change_of_the_noise_is_named(store, part, change, line):
    spec = NOISE.model_copy(update={part: getattr(NOISE, part).model_copy(update=change)})
    assert changes_to(store, heads(store, b={"augment": spec})) == [f"augment of head `b`, {line}"]


def test_heads_in_another_order_gone_and_new_are_named(store):
    a, b, c = heads(store)
    assert changes_to(store, [b, a, c]) == ["order of the heads: a, b, c before, b, a, c now"]
    assert changes_to(store, [a, b]) == ["head `c` is gone"]
    renamed = StreamHead(name="d", dataset=c.dataset, weight=0.5)
    assert changes_to(store, [a, b, renamed]) == ["head `c` is gone", "head `d` is new"]


def test_other_frames_under_a_name_are_named(store):
    lines = changes_to(store, heads(store, a={"dataset": "other"}))
    assert lines[0] == "dataset of head `a`: d0 before, other now"
    assert len(lines) == 2 and lines[1].startswith("content of head `a`: ")


def test_weights_that_deal_the_same_slots_are_no_change(store):
    doubled = heads(store, a={"weight": 4.0}, b={"weight": 2.0}, c={"weight": 1.0})
    assert differences(stream(heads(store)).fingerprint(), stream(doubled).fingerprint()) == []


def test_all_that_changed_is_said_at_once(store):
    lines = changes_to(store, heads(store, a={"weight": 1.0}, b={"augment": None}), seed=9)
    assert lines[0].startswith("seed") and lines[-1].startswith("weight of head `a`") and any("augment of head `b`" in x for x in lines)


def test_a_function_is_known_by_its_name_and_the_arguments_of_a_partial(store):
    def said(scale):
        spec = NOISE.model_copy(update={"noise": NOISE.noise.model_copy(update={"scale": scale})})
        return stream(heads(store, b={"augment": partial(augment, spec=spec, seed=5)})).fingerprint()

    assert differences(said(0.2), said(0.2)) == []
    assert differences(said(0.2), said(0.25)) == ["augment of head `b`, spec.noise.scale: 0.2 before, 0.25 now"]
    json.dumps(said(0.2))


def test_a_spec_draws_the_noise_of_the_streams_seed(store):
    by_hand = partial(augment, spec=NOISE, seed=3)
    with stream(heads(store)) as ours, stream(heads(store, b={"augment": by_hand})) as theirs:
        for mine, other, _ in zip(ours, theirs, range(30)):
            np.testing.assert_array_equal(mine.positions, other.positions)
            np.testing.assert_array_equal(mine.numbers, other.numbers)
