"""Random numbers that are a function of what they are for: (seed, dataset, frame, epoch, purpose, position, attempt) -> 32-bit words.

Philox4x32-10 (Salmon, Moraes, Dror and Shaw, SC11, https://doi.org/10.1145/2063384.2063405), vectorised. There is no state, so
the order in which frames are read, and who reads them, cannot change a draw. Distributions use only integer arithmetic and
correctly rounded + - * sqrt, never a library's log or cos, so that every machine draws the same bits.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

U32 = NDArray[np.uint32]
F64 = NDArray[np.float64]

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (np.uint32(0x9E3779B9), np.uint32(0xBB67AE85))
_ROUNDS = 10
_BLOCK = 1 << 14  # counters at a time: the state of a block (about 0.7 MB) stays in the cache of a core

_STEPS = 8  # log2 of the knots in each octave of the table of normal quantiles: an error under 2e-6 sigma
_OCTAVES = 32  # tail probabilities from 2**-33 to 1/2


class Purpose(IntEnum):
    """What a number is drawn for. The values are part of the format of the noise: never renumber them."""

    MOVED_ATOMS = 0
    DISPLACEMENT = 1
    MASKED_ATOMS = 2
    ROTATION = 3


def philox(counter: ArrayLike, key: ArrayLike) -> U32:
    """Encrypt counters (4, N) under keys (2, N), all uint32, into (4, N) random words."""
    counter, key = np.array(counter, np.uint32), np.array(key, np.uint32)
    for start in range(0, counter.shape[1], _BLOCK):
        block = slice(start, start + _BLOCK)
        _encrypt(counter[:, block], key[:, block])
    return counter


def _encrypt(counter: U32, key: U32) -> None:
    """Do the ten rounds in place."""
    c0, c1, c2, c3 = (np.ascontiguousarray(row) for row in counter)
    k0, k1 = key
    product, high0, high1 = np.empty(len(c0), np.uint64), np.empty_like(c0), np.empty_like(c0)
    for _ in range(_ROUNDS):
        _multiply_high(c0, _MULTIPLIERS[0], product=product, out=high0)
        _multiply_high(c2, _MULTIPLIERS[1], product=product, out=high1)
        high1 ^= c1
        high1 ^= k0
        high0 ^= c3
        high0 ^= k1
        np.multiply(c2, np.uint32(_MULTIPLIERS[1]), out=c1)
        np.multiply(c0, np.uint32(_MULTIPLIERS[0]), out=c3)
        c0, high1, c2, high0 = high1, c0, high0, c2
        k0 += _WEYL[0]
        k1 += _WEYL[1]
    counter[0], counter[1], counter[2], counter[3] = c0, c1, c2, c3


def _multiply_high(words: U32, factor: int, *, product: NDArray[np.uint64], out: U32) -> None:
    np.multiply(words, np.uint64(factor), out=product)
    np.right_shift(product, np.uint64(32), out=product)
    out[:] = product


def frame_keys(seed: int, *, dataset: NDArray[np.uint64], index: NDArray[np.int64], epoch: NDArray[np.int64]) -> U32:
    """Return (4, F) words that name a frame in an epoch under a seed (its low 64 bits).

    Philox is a bijection of the counter, so for one seed two frames never share all four words.
    """
    frames = len(dataset)
    seed_words = np.array([[seed & 0xFFFFFFFF], [seed >> 32 & 0xFFFFFFFF]], np.uint32)
    named = philox(np.concatenate([_split(dataset), _split(index)]), np.broadcast_to(seed_words, (2, frames)))
    return philox(np.concatenate([_split(epoch), named[2:]]), named[:2])


def _split(wide: NDArray[np.integer]) -> U32:
    """(N,) 64-bit integers -> (2, N) low and high words."""
    bits = np.ascontiguousarray(wide).astype(np.uint64)
    return np.stack([bits.astype(np.uint32), (bits >> np.uint64(32)).astype(np.uint32)])


def draw(keys: U32, *, purpose: Purpose, position: NDArray[np.integer], attempt: int = 0) -> U32:
    """Return (4, N) random words for N positions (an atom, a rank, ...) below 2**32, each with its frame's key (4, N)."""
    counter = np.empty_like(keys)
    counter[0] = position
    counter[1] = purpose | attempt << 8
    counter[2:] = keys[2:]
    return philox(counter, keys[:2])


def below(words: U32, bound: NDArray[np.integer]) -> NDArray[np.int64]:
    """Map words onto 0 .. bound - 1; the bias is at most bound / 2**32 (Lemire 2019, without the rejection)."""
    return (words * np.asarray(bound, np.uint64) >> np.uint64(32)).astype(np.int64)


def uniform(words: U32) -> F64:
    """Map words onto the open interval (-1, 1)."""
    return words * np.float64(2.0**-31) + np.float64(2.0**-32 - 1.0)


def normal(words: U32, *, cut: float | None = None) -> F64:
    """Map words onto a standard normal, truncated at +-`cut` where one is given.

    The top bit is the sign; the others are a tail probability, looked up in a table that is even in the logarithm, so that
    the top bits of the float *are* the row. Magnitudes stay under 6.4.
    """
    lowest = 0.0 if cut is None else NormalDist().cdf(-cut)
    tail = (words & np.uint32(0x7FFFFFFF)) * np.float64((0.5 - lowest) * 2.0**-31)
    tail += lowest + (0.5 - lowest) * 2.0**-32
    size = _quantile(tail)
    if cut is not None:
        np.minimum(size, cut, out=size)
    return np.where(words >> np.uint32(31), -size, size)


def _quantile(tail: F64) -> F64:
    """Return x >= 0 with P(X > x) = tail, by linear interpolation; tail in [2**-33, 1/2)."""
    table, mantissa = _quantile_table(), 52 - _STEPS
    bits = tail.view(np.int64)
    fraction = (bits & ((1 << mantissa) - 1)) * 2.0**-mantissa
    row = (bits >> mantissa) - (1022 - _OCTAVES << _STEPS)
    low = table.take(row)
    row += 1
    fraction *= table.take(row) - low
    low += fraction
    return low


@cache
def _quantile_table() -> F64:
    """Quantiles at 2**_STEPS knots in each octave, rounded so that the last bit of a platform's log does not matter."""
    knots = [2.0 ** (octave - 1 - _OCTAVES) * (1 + step / 2**_STEPS) for octave in range(_OCTAVES) for step in range(2**_STEPS)]
    table: F64 = np.array([-NormalDist().inv_cdf(knot) for knot in knots] + [0.0])
    table *= 2.0**40
    np.round(table, out=table)
    table *= 2.0**-40  # exact, as the division is
    return table
