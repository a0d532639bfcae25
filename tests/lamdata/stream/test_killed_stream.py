"""A reader killed at any step goes on with the same bits; a mixture's frequencies match its weights."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chisquare

from lamdata.augment import AugmentSpec, MaskSpec, NoiseSpec, augment
from lamdata.store import open_dataset
from lamdata.stream import Stream, StreamHead
from tests.lamdata.stores import make_frames, write_store
from tests.lamdata.stream.ranks import dealt

WEIGHTS = (1.0, 2.0, 0.5, 0.25, 1.25)
STEPS, KILLS = 400, 50

READER = """
import hashlib, json, os, sys
sys.path.insert(0, {root!r})
from tests.lamdata.stream.test_killed_stream import bits_of, five_heads
from lamdata.stream import Stream
store, file, until, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
lines = open(file).read().splitlines() if os.path.exists(file) else []
stream = Stream(five_heads(store), seed=9, batch_frames=24, threads=threads, buffer_blocks=4)
if lines:
    stream.load_state_dict(json.loads(lines[-1])["state"])
with open(file, "a") as out:
    for step, frames in enumerate(stream, start=len(lines)):
        seen = hashlib.sha256(bits_of(frames)).hexdigest()
        print(json.dumps({{"seen": seen, "state": stream.state_dict()}}), file=out, flush=True)
        if step + 1 == until:
            os.kill(os.getpid(), 9)
"""


def five_heads(store):
    """Heads over five datasets, turned, displaced and masked on read."""
    spec = AugmentSpec(rotate=True, noise=NoiseSpec(scale=0.2, probability=0.6, min_distance=0), mask=MaskSpec(probability=0.3))
    change = partial(augment, spec=spec, seed=5)
    return [StreamHead(name=f"h{i}", dataset=open_dataset(store, f"d{i}"), weight=w, augment=change) for i, w in enumerate(WEIGHTS)]


def bits_of(frames):
    """The bytes of everything that a trainer sees of a batch."""
    names = ("positions", "numbers", "forces", "noise", "noised", "clean_numbers", "cell", "index", "epoch", "head")
    return b"".join(getattr(frames, name).tobytes() for name in names)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    url = tmp_path_factory.mktemp("store")
    for i, count in enumerate((400, 150, 90, 333, 64)):
        write_store(url, make_frames(count, seed=i), name=f"d{i}")
    return url


def read_until(store, file, until, threads):
    code = READER.format(root=str(Path(__file__).parents[3]))
    subprocess.run([sys.executable, "-c", code, str(store), str(file), str(until), str(threads)])


def seen(file):
    return [json.loads(line)["seen"] for line in file.read_text().splitlines()]


@pytest.mark.parametrize("kills", [4, pytest.param(KILLS, marks=pytest.mark.slow)])  # each kill starts a Python: 50 take a minute
def test_a_stream_killed_at_random_steps_gives_the_same_bits(tmp_path, store, kills):
    read_until(store, tmp_path / "whole", STEPS, threads=2)
    stops = sorted(np.random.default_rng(1).choice(np.arange(1, STEPS), kills, replace=False).tolist())
    for k, until in enumerate([*stops, STEPS]):
        read_until(store, tmp_path / "killed", until, threads=(0, 1, 4)[k % 3])
    assert seen(tmp_path / "killed") == seen(tmp_path / "whole") and len(seen(tmp_path / "whole")) == STEPS


def test_observed_frequencies_of_five_datasets_match_their_weights(store):
    with Stream(five_heads(store), seed=2, batch_frames=64) as stream:
        heads = np.concatenate([frames.head for frames, _ in zip(stream, range(300))])
    expected = np.array(WEIGHTS) / sum(WEIGHTS) * len(heads)
    assert chisquare(np.bincount(heads, minlength=5), expected).pvalue > 0.01


@pytest.mark.parametrize("world", [2, 3, 8])
def test_ranks_share_one_batch_and_its_noise(store, world):
    whole = Stream(five_heads(store), seed=2, batch_frames=24)
    ranks = [Stream(five_heads(store), seed=2, batch_frames=24, rank=r, world=world) for r in range(world)]
    for batch, *parts, _ in zip(whole, *ranks, range(20)):
        for r, part in enumerate(parts):
            assert bits_of(part) == bits_of(dealt(batch, r, world))
    for stream in (whole, *ranks):
        stream.close()
