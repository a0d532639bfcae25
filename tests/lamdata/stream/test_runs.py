"""Runs: a slot may be several frames of one head, and all that holds of slots still does."""

from dataclasses import replace

import numpy as np
import pytest

from lamdata.errors import ConfigError
from lamdata.store import open_dataset
from lamdata.stream import Stream, StreamHead
from tests.lamdata.stores import make_frames, write_store
from tests.lamdata.stream.ranks import dealt

RUNS = (3, 1, 7)


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    url = tmp_path_factory.mktemp("store")
    for i, count in enumerate((150, 90, 64)):
        write_store(url, make_frames(count, seed=i), name=f"d{i}")
    return [StreamHead(name=f"h{i}", dataset=open_dataset(url, f"d{i}"), weight=1.0 + i, run=RUNS[i]) for i in range(3)]


def taken(stream, batches):
    with stream:
        return [(stream.position, frames.head, frames.index, frames.positions.tobytes()) for frames, _ in zip(stream, range(batches))]


def same(one, two):
    return all(a[0] == b[0] and (a[1] == b[1]).all() and (a[2] == b[2]).all() and a[3] == b[3] for a, b in zip(one, two, strict=True))


def test_a_slot_is_the_next_frames_of_its_head(heads):
    """Each head gives its frames in the order in which it gives them one by one."""
    with Stream(heads, seed=2, batch_frames=4) as stream:
        batches = [(stream.slots(4 * k, 4 * k + 4), frames) for k, (frames, _) in enumerate(zip(stream, range(120)))]
    for slots, frames in batches:
        assert frames.head.tolist() == np.repeat(slots, np.array(RUNS)[slots]).tolist()
    for h, head in enumerate(heads):
        with Stream([replace(head, run=1)], seed=2, batch_frames=1) as alone:
            mine = np.concatenate([frames.index[frames.head == h] for _, frames in batches])
            assert len(mine) > len(head.dataset), "the second epoch too"
            assert mine.tolist() == [int(frames.index[0]) for frames, _ in zip(alone, range(len(mine)))]


def test_one_head_alone_crosses_its_buffers(heads):
    with Stream([heads[2]], seed=2, batch_frames=2) as runs, Stream([replace(heads[2], run=1)], seed=2, batch_frames=14) as frames:
        for a, b, _ in zip(runs, frames, range(30)):
            assert a.index.tolist() == b.index.tolist() and 7 * runs.position == frames.position


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_the_batch_frame_by_frame(heads, world):
    with Stream(heads, seed=2, batch_frames=4) as stream:
        whole = [(stream.position, frames) for frames, _ in zip(stream, range(40))]
    for rank in range(world):
        for mine, (position, batch) in zip(taken(Stream(heads, seed=2, batch_frames=4, rank=rank, world=world), 40), whole):
            expected = dealt(batch, rank, world)
            assert mine[0] == position and (mine[1] == expected.head).all() and (mine[2] == expected.index).all()


@pytest.mark.parametrize("threads", [0, 3])
def test_it_goes_on_at_any_position(heads, threads):
    whole = taken(Stream(heads, seed=2, batch_frames=3, threads=threads), 50)
    for k in (1, 17, 44):
        assert same(taken(Stream(heads, seed=2, batch_frames=3, position=whole[k - 1][0]), 6), whole[k : k + 6])


def test_effective_epochs_count_frames(heads):
    with Stream(heads, seed=2, batch_frames=4) as stream:
        expected = stream.effective_epochs(40)
        seen = np.concatenate([frames.head for frames, _ in zip(stream, range(40))])
    for h, head in enumerate(heads):
        assert expected[head.name] == pytest.approx((seen == h).sum() / len(head.dataset))


def test_runs_of_one_are_the_stream_that_was(heads):
    plain = [replace(head, run=1) for head in heads]
    assert "run" not in Stream(plain, seed=2, batch_frames=4, threads=0).fingerprint()["heads"][0]
    assert Stream(heads, seed=2, batch_frames=4, threads=0).fingerprint()["heads"][0]["run"] == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_atoms": 100}, "runs of several frames are counted, not weighed"),
        ({"batch_frames": 2, "world": 3}, "a batch of 2 frames cannot be shared by 3 ranks"),
    ],
)
def test_what_runs_cannot_do_is_refused(heads, options, said):
    with pytest.raises(ConfigError, match=said):
        next(iter(Stream(heads, seed=2, threads=0, **options)))
