"""The stream gives the same frames at the same slots, whoever asks, however often it was interrupted."""

from dataclasses import fields

import numpy as np
import pytest

from lamdata.augment import AugmentSpec, MaskSpec, NoiseSpec
from lamdata.errors import ConfigError
from lamdata.frames import Frames
from lamdata.store import open_dataset
from lamdata.stream import Stream, StreamHead
from tests.lamdata.stores import make_frames, write_store
from tests.lamdata.stream.ranks import dealt


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    url = tmp_path_factory.mktemp("store")
    for i, count in enumerate((400, 150, 90, 333, 64)):
        write_store(url, make_frames(count, seed=i, decimals=None if i == 1 else 6), name=f"d{i}")
    return url


def heads_of(store, count=5, augment=None):
    weights = (1.0, 2.0, 0.5, 0.25, 1.25)
    return [StreamHead(name=f"h{i}", dataset=open_dataset(store, f"d{i}"), weight=weights[i], augment=augment) for i in range(count)]


def taken(stream, batches):
    """Everything that identifies `batches` batches, with positions."""
    out = []
    with stream:
        for frames, _ in zip(stream, range(batches)):
            out.append((stream.position, frames.head.tolist(), frames.index.tolist(), frames.epoch.tolist(), frames.positions.tobytes()))
    return out


def test_an_epoch_of_one_head_holds_every_frame_once(store):
    head = heads_of(store, 1)
    with Stream(head, seed=1, batch_frames=50, buffer_blocks=4) as stream:
        batches = [frames for frames, _ in zip(stream, range(16))]
    for epoch in (0, 1):
        seen = np.concatenate([frames.index[frames.epoch == epoch] for frames in batches])
        assert sorted(seen) == list(range(400))
    first, second = (np.concatenate([b.index for b in batches[k : k + 8]]) for k in (0, 8))
    assert (first != second).mean() > 0.9


def test_frames_are_those_of_the_store(store):
    dataset = open_dataset(store, "d0")
    with Stream([StreamHead(name="h", dataset=dataset)], seed=1, batch_frames=64) as stream:
        frames = next(iter(stream))
    for frame, index in zip(frames, frames.index):
        np.testing.assert_array_equal(frame.positions, dataset[int(index)].positions)
        np.testing.assert_array_equal(frame.forces, dataset[int(index)].forces)
        assert frame.energy == dataset[int(index)].energy


@pytest.mark.parametrize("size", [{"batch_frames": 24}, {"batch_atoms": 300}])
@pytest.mark.parametrize("threads", [1, 4])
def test_threads_change_nothing(store, size, threads):
    plain = taken(Stream(heads_of(store), seed=3, threads=0, buffer_blocks=4, **size), 60)
    assert taken(Stream(heads_of(store), seed=3, threads=threads, buffer_blocks=4, **size), 60) == plain


@pytest.mark.parametrize("size", [{"batch_frames": 24}, {"batch_atoms": 300}])
@pytest.mark.parametrize("world", [2, 3, 8])
def test_ranks_share_the_same_global_batches(store, size, world):
    with Stream(heads_of(store), seed=3, **size) as stream:
        whole = [frames for frames, _ in zip(stream, range(40))]
    for rank in range(world):
        with Stream(heads_of(store), seed=3, rank=rank, world=world, **size) as stream:
            for frames, batch in zip(stream, whole):
                mine = dealt(batch, rank, world)
                assert (frames.index == mine.index).all() and (frames.head == mine.head).all()
                assert frames.positions.tobytes() == mine.positions.tobytes()


@pytest.mark.parametrize("size", [{"batch_frames": 24}, {"batch_atoms": 300}])
def test_a_stream_resumes_at_any_position(store, size):
    whole = taken(Stream(heads_of(store), seed=3, buffer_blocks=4, **size), 80)
    for k in np.random.default_rng(0).integers(1, 60, 5):
        state = {"position": whole[k - 1][0]}
        stream = Stream(heads_of(store), seed=3, buffer_blocks=4, **size)
        stream.load_state_dict(stream.state_dict() | state)
        assert taken(stream, 10) == whole[k : k + 10]


def test_the_position_of_another_mixture_is_refused(store):
    state = Stream(heads_of(store), seed=3, batch_frames=8, threads=0).state_dict()
    with pytest.raises(ConfigError, match="head `h4` is gone"):
        Stream(heads_of(store, 4), seed=3, batch_frames=8, threads=0).load_state_dict(state)


def test_effective_epochs_are_known_beforehand(store):
    with Stream(heads_of(store), seed=5, batch_frames=32) as stream:
        expected = stream.effective_epochs(50)
        seen = np.concatenate([frames.head for frames, _ in zip(stream, range(50))])
    for h, head in enumerate(stream.heads):
        assert expected[head.name] == pytest.approx((seen == h).sum() / len(head.dataset))


def test_augmentation_sees_where_a_frame_comes_from_and_no_more(store):
    def shift(frames):
        """As noise would: a function of the frame's index and epoch."""
        by_frame = (frames.index + 1000 * frames.epoch + frames.dataset % np.uint64(97)).astype(np.float64)
        return frames.with_(positions=frames.positions + np.repeat(by_frame, frames.natoms)[:, None])

    plain = taken(Stream(heads_of(store, augment=shift), seed=3, batch_frames=24, threads=0), 40)
    assert taken(Stream(heads_of(store, augment=shift), seed=3, batch_frames=24, threads=3), 40) == plain


@pytest.mark.parametrize("world", [2, 8])
def test_a_rank_that_gets_no_frame_of_a_batch_gets_none_of_the_right_types(store, world):
    """Batches of one to a few frames, noise and masks on: fewer frames than ranks."""
    spec = AugmentSpec(noise=NoiseSpec(scale=0.1, probability=0.5, min_distance=0), mask=MaskSpec(number=1))
    options = {"seed": 3, "batch_atoms": 21, "buffer_blocks": 4}
    with Stream(heads_of(store, augment=spec), **options) as stream:
        whole = [(frames, stream.position) for frames, _ in zip(stream, range(60))]
    assert min(len(frames) for frames, _ in whole) == 1
    for rank in range(world):
        empty = 0
        with Stream(heads_of(store, augment=spec), rank=rank, world=world, **options) as stream:
            for mine, (batch, position) in zip(stream, whole):
                expected = dealt(batch, rank, world)
                for field in fields(Frames):
                    ours, theirs = getattr(mine, field.name), getattr(expected, field.name)
                    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape, field.name
                    np.testing.assert_array_equal(ours, theirs)
                assert stream.position == position
                empty += not len(mine)
        assert empty > 0 or rank == 0


def test_a_batch_of_frames_that_ranks_cannot_share_is_refused(store):
    with (
        pytest.raises(ConfigError, match="a batch of 4 frames cannot be shared by 8 ranks"),
        Stream(heads_of(store), seed=3, batch_frames=4, world=8) as stream,
    ):
        next(iter(stream))


@pytest.mark.parametrize("size", [{"batch_frames": 24}, {"batch_atoms": 300}, {"batch_frames": 900}])
@pytest.mark.parametrize(("heads", "world"), [(5, 1), (1, 1), (5, 3)])
def test_how_much_is_put_together_at_once_changes_nothing(store, size, heads, world, monkeypatch):
    count = 2 if size.get("batch_frames", 0) > 100 else 30

    def batches():
        with Stream(heads_of(store, heads), seed=3, rank=world - 1, world=world, buffer_blocks=4, **size) as stream:
            stream.position = 24 * 7
            return [(stream.position, b.head.tolist(), b.index.tolist(), b.positions.tobytes()) for _, b in zip(range(count), stream)]

    found = batches()
    for shortest, window in ((1, 4096), (100, 100), (4096, 4096), (7, 50)):
        monkeypatch.setattr("lamdata.stream.mixed.SHORTEST", shortest)
        monkeypatch.setattr("lamdata.stream.mixed.WINDOW", window)
        assert batches() == found


def test_a_stream_of_a_few_batches_does_little_for_nothing(store):
    made = []

    def counted(frames):
        made.append(len(frames))
        return frames

    with Stream(heads_of(store, augment=counted), seed=3, batch_frames=8) as stream:
        for _ in zip(stream, range(4)):
            pass
    assert 32 <= sum(made) < 1000


def test_windows_grow_to_their_full_length(store):
    made = []

    def counted(frames):
        made.append(len(frames))
        return frames

    heads = [StreamHead(name="h", dataset=open_dataset(store, "d0"), augment=counted), heads_of(store, 2)[1]]
    with Stream(heads, seed=3, batch_frames=512, threads=0) as stream:
        for _ in zip(range(40), stream):
            pass
    assert stream.position == 40 * 512 and 40 * 512 / 3 * 0.9 < sum(made) < 40 * 512 / 3 + 4096


@pytest.mark.parametrize(("rank", "world"), [(0, 0), (-1, 2), (2, 2), (5, 3)])
def test_a_rank_that_is_none_is_refused(store, rank, world):
    with pytest.raises(ConfigError, match=f"rank {rank} of {world}"):
        Stream(heads_of(store), seed=1, batch_frames=8, rank=rank, world=world)


def test_a_stream_without_a_size_or_without_frames_is_refused(store):
    with pytest.raises(ConfigError, match="a stream needs a batch size; give batch_frames or batch_atoms"):
        Stream(heads_of(store), seed=1)
    none = open_dataset(store, "d0").select(natoms=(1, 1))  # the smallest frame has two
    assert len(none) == 0
    with pytest.raises(ConfigError, match="head `h` has no frames to draw"):
        Stream([StreamHead(name="h", dataset=none)], seed=1, batch_frames=8)


def test_both_sizes_together_hold_both(store):
    with Stream(heads_of(store), seed=3, batch_frames=10, batch_atoms=60) as stream:
        batches = [frames for _, frames in zip(range(60), stream)]
    assert max(map(len, batches)) <= 10 and all(len(b.numbers) <= 60 or len(b) == 1 for b in batches)


def test_a_frame_larger_than_a_batch_is_a_batch(store):
    with Stream(heads_of(store), seed=3, batch_atoms=1) as stream:
        batches = [frames for _, frames in zip(range(50), stream)]
    assert {len(b) for b in batches} == {1} and stream.position == 50


def test_a_failure_of_an_augmentation_comes_to_the_reader_of_the_stream(store):
    def broken(frames):
        raise ZeroDivisionError("no noise")

    for threads in (0, 2):
        stream = Stream(heads_of(store, augment=broken), seed=3, batch_frames=8, threads=threads)
        with stream, pytest.raises(ZeroDivisionError, match="no noise"):
            next(iter(stream))
