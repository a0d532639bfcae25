"""Random numbers are the published ones, a function of their counter alone, and distributed as they should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtri

from lamdata.counter import Purpose, below, draw, frame_keys, normal, philox, uniform

WIDE = st.integers(0, 2**64 - 1)


@pytest.mark.parametrize(
    ("counter_and_key", "expected"),  # kat_vectors of the Random123 library, philox4x32 with 10 rounds
    [
        ("00000000 00000000 00000000 00000000 00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_published_words(counter_and_key, expected):
    words = np.array([int(word, 16) for word in counter_and_key.split()], np.uint32)[:, None]
    assert " ".join(f"{word:08x}" for word in philox(words[:4], words[4:])[:, 0]) == expected


def test_a_word_does_not_depend_on_its_neighbours_in_the_array():
    words = np.random.default_rng(0).integers(0, 2**32, (6, 40_000), dtype=np.uint32)
    together = philox(words[:4], words[4:])
    for part in (slice(0, 1), slice(16_383, 16_386), slice(39_999, None)):
        assert np.array_equal(philox(words[:4, part], words[4:, part]), together[:, part])


def _key(seed: int, dataset: int, index: int, epoch: int) -> tuple[int, ...]:
    arrays = {"dataset": np.array([dataset], np.uint64), "index": np.array([index], np.int64), "epoch": np.array([epoch], np.int64)}
    return tuple(frame_keys(seed, **arrays)[:, 0].tolist())


@given(seed=WIDE, dataset=WIDE, index=st.integers(0, 2**63 - 1), epoch=st.integers(0, 2**63 - 1))
@settings(max_examples=50, deadline=None)
def test_every_bit_of_what_names_a_frame_changes_its_key(seed, dataset, index, epoch):
    key = _key(seed, dataset, index, epoch)
    others = [_key(seed ^ 1 << bit, dataset, index, epoch) for bit in (0, 31, 32, 63)]
    others += [_key(seed, dataset ^ 1 << bit, index, epoch) for bit in (0, 31, 32, 63)]
    others += [_key(seed, dataset, index ^ 1 << bit, epoch) for bit in (0, 31, 32, 62)]
    others += [_key(seed, dataset, index, epoch ^ 1 << bit) for bit in (0, 31, 32, 62)]
    assert len({key, *others}) == len(others) + 1


def test_purposes_positions_and_attempts_draw_different_words():
    keys = np.tile(np.array([[1], [2], [3], [4]], np.uint32), 100)
    draws = [draw(keys, purpose=purpose, position=np.arange(100), attempt=attempt) for purpose in Purpose for attempt in range(3)]
    assert len(np.unique(np.stack(draws))) > 0.999 * 12 * 400


def _words(count: int) -> np.ndarray:
    keys = np.tile(np.array([[5], [6], [7], [8]], np.uint32), count // 4)
    return draw(keys, purpose=Purpose.DISPLACEMENT, position=np.arange(count // 4)).ravel()


def test_normals_are_normal():
    x = normal(_words(1 << 20))
    assert stats.kstest(x, "norm").pvalue > 1e-3
    assert abs(stats.kurtosis(x)) < 0.02
    assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 0.004


def test_normals_are_the_exact_quantiles_of_their_words_to_2e_6():
    words = np.concatenate([np.array([0, 1, 2**31 - 1, 2**31, 2**32 - 1], np.uint32), _words(100_000)])
    tail = ((words & 0x7FFFFFFF) + 0.5) * 2.0**-32
    assert np.abs(normal(words) - np.where(words >> 31, 1, -1) * ndtri(tail)).max() < 2e-6


def test_truncated_normals_end_at_the_cut():
    x = normal(_words(1 << 20), cut=2.0)
    assert np.abs(x).max() <= 2.0
    assert stats.kstest(x, stats.truncnorm(-2, 2).cdf).pvalue > 1e-3


def test_uniforms_are_uniform_and_bounded():
    assert np.abs(uniform(np.array([0, 2**32 - 1], np.uint32))).max() < 1
    assert stats.kstest(uniform(_words(1 << 20)), stats.uniform(-1, 2).cdf).pvalue > 1e-3


@given(bound=st.integers(1, 2**20))
@settings(max_examples=50, deadline=None)
def test_below_reaches_both_ends_and_no_further(bound):
    assert below(np.array([0, 2**32 - 1], np.uint32), np.array([bound, bound])).tolist() == [0, bound - 1]
