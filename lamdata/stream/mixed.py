"""Stream: heads with weights -> an endless, shuffled sequence of batches whose position is one integer.

Work is done ahead in threads: a task decodes one buffer of a head, another gathers one window of slots. Which thread or rank does what
never changes what is done: every array is a function of (seed, slot).
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..frames import Frames
from ..store import Dataset
from ..store.batching import cut_points
from ..store.gather import reorder
from ..store.loaded import Buffer, Pick, gather, in_places
from .order import HeadOrder, MixtureOrder

WINDOW = 4096  # slots gathered by one task, about
AHEAD = 2  # windows prepared beyond those in the hands of the threads
ASKED = 20  # windows beyond these whose bytes are asked for, where bytes come from afar


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamHead:
    """A dataset in a mixture."""

    name: str
    dataset: Dataset
    weight: float = 1.0
    augment: Callable[[Frames], Frames] | None = None  # a pure function of the frames, their index and their epoch


class _Held:
    """A buffer on its way: asked for, perhaps far ahead, then decoded."""

    def __init__(self, asked: Future[Callable[[], Buffer]]):
        self.asked = asked
        self.decoded: Future[Buffer] | None = None


@dataclass(frozen=True, slots=True)
class _Piece:
    """Frames of one buffer that go into one window."""

    head: int
    epoch: int
    buffer: _Held
    frames: NDArray[np.int64]  # of the buffer
    places: NDArray[np.int64]  # of the window, ascending


class Stream:
    """Iterates `Frames`, one batch at a time, for ever; `Frames.head` is the index of the head in `heads`.

    A global batch is `batch_frames` slots, or as many as fit into `batch_atoms` (atoms after augmentation). Rank r of `world`
    gets every world-th frame of each, from the r-th on, so that batches are the same whatever the number of ranks. For that
    each rank decodes the whole stream (25 to 50 ns of a core an atom, 1 to 2% of it at 10,000 frames/s and 40 atoms a frame) and
    gathers its own frames; with `batch_atoms` it gathers all of them, since the borders of batches depend on them.

    A buffer of a head takes about 10 MB, and two a head are held: give fewer `buffer_blocks` where there are many heads.
    """

    def __init__(
        self,
        heads: Sequence[StreamHead],
        *,
        seed: int,
        batch_frames: int | None = None,
        batch_atoms: int | None = None,
        position: int = 0,
        rank: int = 0,
        world: int = 1,
        threads: int = 2,
        buffer_blocks: int = 8,
    ):
        if batch_frames is None and batch_atoms is None:
            raise ConfigError("a stream needs a batch size", hint="give batch_frames or batch_atoms")
        if not 0 <= rank < world:
            raise ConfigError(f"rank {rank} of {world}")
        self.heads, self.seed, self.position = tuple(heads), seed, position
        self.batch_frames, self.batch_atoms = batch_frames, batch_atoms
        self._rank, self._world = rank, world
        self._mixture = MixtureOrder([head.weight for head in heads], seed=seed)
        self._orders = [HeadOrder(head.dataset.block_counts, seed=seed, head=head.name, buffer_blocks=buffer_blocks) for head in heads]
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="stream") if threads else None
        distant = any(head.dataset.distant for head in heads)
        self._asking = ThreadPoolExecutor(ASKED, thread_name_prefix="ask") if threads and distant else None
        self._buffers: list[OrderedDict[tuple[int, ...], _Held]] = [OrderedDict() for _ in heads]
        self._buffer_blocks = buffer_blocks

    def __iter__(self) -> Iterator[Frames]:
        """Batches from `position` on; `position` is then the number of slots consumed with the batch last yielded."""
        return self._by_frames() if self.batch_atoms is None else self._by_atoms()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Stop the threads and call off what was asked for."""
        for held in self._buffers:
            held.clear()
        for pool in (self._asking, self._pool):
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)

    def state_dict(self) -> dict[str, object]:
        """The position, and what it is a position of."""
        return {"position": self.position, "seed": self.seed, "order": self._fingerprint()}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on from a saved position; refuse the position of another mixture."""
        if state["order"] != self._fingerprint():
            raise ConfigError(
                "this position belongs to another seed, mixture or set of frames", hint="resume with the config it was saved with"
            )
        self.position = int(state["position"])

    def effective_epochs(self, steps: int) -> dict[str, float]:
        """How often each head's frames will have been seen after `steps` batches; by the mean frame for batches of atoms."""
        if self.batch_atoms is None:
            slots = steps * self.batch_frames
        else:
            slots = round(steps * self.batch_atoms / self._mean_atoms())
        return {
            head.name: count / order.frames for head, order, count in zip(self.heads, self._orders, self._mixture.counts(slots).tolist())
        }

    def _mean_atoms(self) -> float:
        means = [float(head.dataset.natoms.mean()) for head in self.heads]
        return float(np.dot(means, self._mixture.shares))

    def _fingerprint(self) -> str:
        """Equal for streams that give the same frames at the same slots; batch size and ranks are free to change."""
        heads = [
            [head.name, share, head.dataset.content_hash, order.frames]
            for head, share, order in zip(self.heads, self._mixture.shares.tolist(), self._orders)
        ]
        return hashlib.sha256(json.dumps([self.seed, self._buffer_blocks, heads]).encode()).hexdigest()

    def _by_frames(self) -> Iterator[Frames]:
        """Windows of whole batches, so that each batch is a view; only the rank's own frames are gathered."""
        size = self.batch_frames
        mine = len(range(self._rank, size, self._world))
        for first, frames in self._windows(max(1, WINDOW // size) * size, mine_of=size):
            for k, batch in enumerate(frames.in_equal_parts(mine), start=1):
                self.position = first + k * size
                yield batch

    def _by_atoms(self) -> Iterator[Frames]:
        """Windows of any length; what is left behind the last full batch goes in front of the next window."""
        rest: Frames | None = None
        begin = self.position
        for _, window in self._windows(WINDOW, mine_of=None):
            held, starts, at = 0 if rest is None else len(rest), window.starts.tolist(), 0
            natoms = window.natoms if rest is None else np.concatenate([rest.natoms, window.natoms])
            for stop in cut_points(natoms, batch_frames=self.batch_frames, batch_atoms=self.batch_atoms)[:-1]:
                batch = _joined(rest, window, at - held, stop - held, starts)
                begin += stop - at
                self.position, at = begin, stop
                yield batch if self._world == 1 else reorder(batch, np.arange(self._rank, len(batch), self._world))
            rest = _joined(rest, window, at - held, len(window), starts)

    def _windows(self, length: int, *, mine_of: int | None) -> Iterator[tuple[int, Frames]]:
        """Yield (first slot, gathered frames) of consecutive windows, several prepared ahead."""
        if self._world > 1 and mine_of is not None and mine_of < self._world:
            raise ConfigError(f"a batch of {mine_of} frames cannot be shared by {self._world} ranks")
        ahead = self._threads + AHEAD if self._threads else 1
        asked = ASKED if self._asking else 1
        planned: deque[tuple[int, list[_Piece]]] = deque()
        waiting: deque[tuple[int, Future[Frames]]] = deque()
        counts, first = self._mixture.counts(self.position), self.position
        while True:
            while len(waiting) < ahead:
                while len(planned) < asked:
                    heads = self._mixture.heads(first, first + length)
                    planned.append((first, self._plan_window(heads, counts, mine_of)))
                    counts = counts + np.bincount(heads, minlength=len(self.heads))
                    first += length
                start, pieces = planned.popleft()
                waiting.append((start, self._submit_window(pieces)))
            start, window = waiting.popleft()
            yield start, window.result()

    def _plan_window(self, heads: NDArray[np.int32], counts: NDArray[np.int64], mine_of: int | None) -> list[_Piece]:
        """Decide which frames go where, and ask for the buffers that hold them."""
        mine = np.ones(len(heads), bool)
        if mine_of is not None and self._world > 1:
            mine = np.arange(len(heads)) % mine_of % self._world == self._rank
        places = np.cumsum(mine) - 1
        pieces = []
        for h in range(len(self.heads)):
            slots = np.flatnonzero(heads == h) if len(self.heads) > 1 else slice(None)
            pieces += self._pieces(h, int(counts[h]), mine[slots], places[slots])
        return pieces

    def _submit_window(self, pieces: Sequence[_Piece]) -> Future[Frames]:
        """Start decoding the buffers of a window that are not decoded yet, then its gathering; a pool runs them in this order."""
        for piece in pieces:
            if piece.buffer.decoded is None:
                piece.buffer.decoded = self._submit(lambda asked: asked.result()(), piece.buffer.asked)
        return self._submit(self._gather, pieces)

    def _pieces(self, h: int, position: int, mine: NDArray[np.bool_], places: NDArray[np.int64]) -> list[_Piece]:
        """The stretches of buffers that hold a head's next frames, of which `mine` are wanted, in `places` of the window."""
        pieces, done = [], 0
        while done < len(mine):
            epoch, number, start = self._orders[h].locate(position + done)
            shuffled = self._orders[h].shuffled(epoch, number)[start : start + len(mine) - done]
            stretch = slice(done, done + len(shuffled))
            wanted = mine[stretch]
            if wanted.any():
                buffer = self._buffer(h, self._orders[h].epoch(epoch).buffers[number])
                chosen = slice(None) if wanted.all() else wanted
                pieces.append(_Piece(h, epoch, buffer, shuffled[chosen], places[stretch][chosen]))
            done = stretch.stop
        return pieces

    def _buffer(self, h: int, blocks: tuple[int, ...]) -> _Held:
        """A buffer among those at hand, or now asked for; windows ask in order, so two a head are enough."""
        held = self._buffers[h]
        if blocks not in held:
            begin = self.heads[h].dataset.begin_load
            held[blocks] = _Held(self._asking.submit(begin, blocks) if self._asking else _done(begin, blocks))
            while len(held) > 2:
                held.popitem(last=False)
        return held[blocks]

    def _gather(self, pieces: Sequence[_Piece]) -> Frames:
        """Copy the frames of a window out of their buffers, augment them, and put them into the order of the slots."""
        picks = [self._picks(piece) for piece in pieces]
        if all(head.augment is None for head in self.heads):
            return gather([pick for some in picks for pick in some])
        parts = []
        for piece, mine in zip(pieces, picks):
            augment, frames = self.heads[piece.head].augment, gather(mine)
            parts.append(frames if augment is None else augment(frames))
        places = np.concatenate([piece.places for piece in pieces])
        return in_places(Frames.concatenate(parts) if len(parts) > 1 else parts[0], places)

    def _picks(self, piece: _Piece) -> list[Pick]:
        key = self.heads[piece.head].dataset.key
        return piece.buffer.decoded.result().picks(piece.frames, piece.places, dataset=key, epoch=piece.epoch, head=piece.head)

    def _submit(self, work: Callable, *args) -> Future:
        return self._pool.submit(work, *args) if self._pool else _done(work, *args)


def _joined(rest: Frames | None, window: Frames, first: int, last: int, starts: list[int]) -> Frames:
    """Frames `first:last` of the window, a view; behind all of `rest` where `first` is negative."""
    inside = window.cut(max(first, 0), last, starts[max(first, 0)], starts[last])
    return inside if first >= 0 else Frames.concatenate([rest, inside])


def _done(work: Callable, *args) -> Future:
    """The result of a call made here and now, in the form of one made elsewhere."""
    future: Future = Future()
    try:
        future.set_result(work(*args))
    except BaseException as err:
        future.set_exception(err)
    return future
