"""The order of a stream: pure functions from a seed and integers to which frame comes when.

A head goes through its dataset in epochs. In each, runs of neighbouring blocks are shuffled, a buffer takes a few runs, and the
frames of a buffer are shuffled. A mixture deals slots to heads by systematic sampling, cycle by cycle: over any cycle a head's
count is within one of its share, and its expectation is the share exactly. The position of a stream is one integer, the slot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError

I64 = NDArray[np.int64]
CYCLE = 1024  # slots dealt at a time; a power of two, so that shares of it are exact
PAGE = 4096  # cycles whose phases are drawn together
SPAN_BLOCKS = 4  # neighbouring blocks that are read by one request


def random_words(count: int, *key: int | str) -> NDArray[np.uint64]:
    """Return `count` words that are a function of `key` alone. Philox's raw output never changes with NumPy's version."""
    digest = hashlib.sha256("\0".join(map(str, key)).encode()).digest()
    return np.random.Philox(key=int.from_bytes(digest[:16], "little")).random_raw(count)


def random_fractions(count: int, *key: int | str) -> NDArray[np.float64]:
    """Return `count` numbers in [0, 1) that are a function of `key` alone."""
    return (random_words(count, *key) >> np.uint64(11)) * np.float64(2.0**-53)


def permutation(count: int, *key: int | str) -> I64:
    """Return a random order of `range(count)`, a function of `key` alone: positions sorted by random high bits."""
    low = np.uint64((1 << max(1, count).bit_length()) - 1)
    words = random_words(count, *key)
    words &= ~low
    words |= np.arange(count, dtype=np.uint64)
    words.sort()
    words &= low
    return words.view(np.int64)


def balanced_order(natoms: NDArray[np.integer], split: NDArray[np.integer], *key: int | str, block_frames: int = 1024) -> I64:
    """Return the order in which to store frames: split after split, each shuffled, all its blocks about equally full of atoms.

    Row j of the n that a block gives to a split takes a frame at random from around the quantile j / n of sizes. So blocks need no
    padding to speak of, each is a fair sample of the dataset, frames of one trajectory lie far apart, and a reader of one split
    reads none of the others.
    """
    parts, first = [], 0
    for value in np.unique(split):
        frames = np.flatnonzero(split == value)
        frames = frames[permutation(len(frames), "ties", int(value), *key)]
        frames = frames[np.argsort(natoms[frames], kind="stable")]
        blocks = (first + np.arange(len(frames))) // block_frames - first // block_frames  # of each row
        rows = np.bincount(blocks)
        inside = np.arange(len(frames)) - (np.cumsum(rows) - rows)[blocks]
        jitter = random_fractions(len(frames), "quantiles", int(value), *key)
        dealt = np.empty_like(frames)
        dealt[np.argsort((inside + jitter) / rows[blocks], kind="stable")] = frames
        parts.append(dealt[np.lexsort((permutation(len(frames), "inside", int(value), *key), blocks))])
        first += len(frames)
    return np.concatenate(parts)


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass through a dataset. K = buffers."""

    buffers: tuple[tuple[int, ...], ...]  # (K,) the blocks of each
    starts: I64  # (K + 1,) position in the epoch of the buffer's first frame

    def frames(self, buffer: int) -> int:
        """How many frames a buffer has."""
        return int(self.starts[buffer + 1] - self.starts[buffer])


@dataclass(frozen=True, slots=True)
class Owners:
    """Which of several readers decodes which frames of a buffer. F = its frames, in the order of its blocks."""

    block: I64  # the reader of each of its blocks
    frame: NDArray[np.int32]  # (F,) the reader of each frame
    row: I64  # (F,) place of each frame among those of its reader


class HeadOrder:
    """The endless order of one head: position p -> epoch, buffer, place in it."""

    def __init__(self, block_counts: I64, *, seed: int, head: str, buffer_blocks: int):
        self._counts, self._seed, self._head, self._size = block_counts, seed, head, buffer_blocks
        self.frames = int(block_counts.sum())
        self.whole = len(block_counts) <= buffer_blocks  # one buffer holds all frames
        if self.frames == 0:
            raise ConfigError(f"head `{head}` has no frames to draw")
        self.epoch = lru_cache(maxsize=2)(self._epoch)
        self.shuffled = lru_cache(maxsize=4)(self._shuffled)
        self.owners = lru_cache(maxsize=4)(self._owners)

    def _epoch(self, epoch: int) -> Epoch:
        """The buffers of an epoch. Borders of the runs move from epoch to epoch, so that neighbours part."""
        blocks, key = len(self._counts), (self._seed, self._head, epoch)
        if self.whole:
            return Epoch((tuple(range(blocks)),), np.array([0, self.frames]))
        span = min(SPAN_BLOCKS, self._size)
        first = int(random_words(1, "borders", *key)[0] % np.uint64(span))
        borders = sorted({0, *range(first, blocks, span), blocks})
        spans = [range(a, b) for a, b in zip(borders, borders[1:])]
        order, each = permutation(len(spans), "spans", *key).tolist(), self._size // span
        buffers = tuple(tuple(b for s in order[k : k + each] for b in spans[s]) for k in range(0, len(order), each))
        counts = [int(self._counts[list(buffer)].sum()) for buffer in buffers]
        return Epoch(buffers, np.cumsum([0, *counts]))

    def locate(self, position: int) -> tuple[int, int, int]:
        """Epoch, buffer, and how many frames of the buffer come before `position`."""
        epoch, rest = divmod(position, self.frames)
        starts = self.epoch(epoch).starts
        buffer = int(np.searchsorted(starts, rest, side="right")) - 1
        return epoch, buffer, rest - int(starts[buffer])

    def _owners(self, epoch: int, buffer: int, readers: int) -> Owners:
        """Who decodes what: blocks are dealt one by one in the order of the epoch, those of each head from another reader on."""
        found = self.epoch(epoch)
        before = sum(map(len, found.buffers[:buffer])) + int(random_words(1, "owners", self._seed, self._head)[0] % np.uint64(readers))
        block = (before + np.arange(len(found.buffers[buffer]))) % readers
        frame = np.repeat(block, self._counts[list(found.buffers[buffer])]).astype(np.int32)
        order = np.argsort(frame, kind="stable")
        row = np.empty(len(frame), np.int64)
        row[order] = np.arange(len(frame)) - np.searchsorted(frame[order], frame[order])
        return Owners(block, frame, row)

    def _shuffled(self, epoch: int, buffer: int) -> I64:
        """The order of the frames inside a buffer."""
        return permutation(self.epoch(epoch).frames(buffer), "frames", self._seed, self._head, epoch, buffer)


class MixtureOrder:
    """Which head a slot is for. H = heads, c = cycle."""

    def __init__(self, weights: Sequence[float], *, seed: int):
        shares = np.asarray(weights, np.float64)
        if not (len(shares) and np.isfinite(shares).all() and (shares > 0).all()):
            raise ConfigError(f"weights must be positive numbers, got {list(weights)}")
        self._seed = seed
        self.shares = shares / shares.sum()  # (H,)
        self._edges = np.cumsum(self.shares)[:-1] * CYCLE  # (H - 1,)
        self._page = lru_cache(maxsize=2)(self._phases)

    def _borders(self, phases: NDArray[np.float64]) -> I64:
        """(c, H + 1) where each head's points start among the CYCLE points j + phase of a cycle."""
        inner = np.clip(np.ceil(self._edges - phases[:, None]), 0, CYCLE).astype(np.int64)
        borders = np.zeros((len(phases), len(self.shares) + 1), np.int64)
        borders[:, 1:-1], borders[:, -1] = inner, CYCLE
        return borders

    def _phases(self, page: int) -> NDArray[np.float64]:
        """(PAGE,) the random phase in [0, 1) of each cycle of a page."""
        return random_fractions(PAGE, "phases", self._seed, page)

    def cycle(self, c: int) -> NDArray[np.int32]:
        """(CYCLE,) the head of each slot of cycle c."""
        page, row = divmod(c, PAGE)
        borders = self._borders(self._page(page)[row : row + 1])[0]
        dealt = np.repeat(np.arange(len(self.shares), dtype=np.int32), np.diff(borders))
        return dealt[permutation(CYCLE, "cycle", self._seed, c)]

    def counts(self, slots: int) -> I64:
        """(H,) how many of the first `slots` slots each head gets: its position in its own order."""
        cycles, rest = divmod(slots, CYCLE)
        totals = np.zeros(len(self.shares), np.int64)
        for page in range(-(-cycles // PAGE)):
            totals += np.diff(self._borders(self._page(page)[: cycles - page * PAGE]), axis=1).sum(axis=0)
        return totals + (np.bincount(self.cycle(cycles)[:rest], minlength=len(totals)) if rest else 0)

    def heads(self, first: int, last: int) -> NDArray[np.int32]:
        """(last - first,) the heads of slots `first:last`."""
        if len(self.shares) == 1:
            return np.zeros(last - first, np.int32)
        cycles = range(first // CYCLE, -(-last // CYCLE))
        return np.concatenate([self.cycle(c) for c in cycles])[first - cycles[0] * CYCLE :][: last - first]
