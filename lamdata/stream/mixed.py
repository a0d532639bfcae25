"""Stream: heads with weights -> an endless, shuffled sequence of batches whose position is one integer.

Work is done ahead in threads: a task decodes one buffer of a head, in the order of the shuffle; another puts one window of slots together,
which is a view of a buffer where one head fills it. Which thread or rank does what never changes what is done: every array is a function
of (seed, slot).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..augment import AugmentSpec, augment
from ..errors import ConfigError
from ..frames import Frames
from ..notebook import listed, sentence
from ..store import Dataset
from ..store.batching import cut_points
from ..store.gather import gather, reorder
from .fingerprint import Augment, differences, of_head
from .order import HeadOrder, MixtureOrder

P = ParamSpec("P")
T = TypeVar("T")

WINDOW = 4096  # slots that one task puts together, about
SHORTEST = (
    64  # of the first; each is as long as all before it, so that the first batch comes soon and a short stream does little for nothing
)
AHEAD = 2  # windows of so many prepared beyond those in the hands of the threads
ASKED = 20  # windows of so many whose bytes are asked for beyond these, where bytes come from afar


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamHead:
    """A dataset in a mixture."""

    name: str
    dataset: Dataset
    weight: float = 1.0
    augment: Augment | None = None
    """A spec, whose noise has the stream's seed; or a pure function of the frames, their index and their epoch.

    A stream that goes on from a saved position notices a change of a spec, of a function only another name or another argument of a
    `functools.partial`.
    """
    run: int = 1
    """Frames that a slot takes, the next of the head's order."""


class _Held:
    """A buffer on its way: asked for, perhaps far ahead, then decoded."""

    def __init__(self, asked: Future[Callable[[], Frames]]):
        self.asked = asked
        self.decoded: Future[Frames] | None = None


@dataclass(frozen=True, slots=True)
class _Piece:
    """Frames of one buffer that go into one window."""

    head: int
    epoch: int
    buffer: _Held
    rows: slice | NDArray[np.int64]  # of the buffer
    places: NDArray[np.int64]  # of the window, ascending

    def frames(self) -> Frames:
        """A view where the frames lie one after the other."""
        assert self.buffer.decoded is not None, "windows are submitted with their buffers"
        whole = self.buffer.decoded.result()
        if isinstance(self.rows, slice):
            return whole.part(self.rows.start, self.rows.stop)
        found = reorder(whole, self.rows)
        found.epoch = np.full(len(found), self.epoch)  # a whole head is decoded once for all epochs
        return found


class Stream:
    """Iterates `Frames`, one batch at a time, for ever; `Frames.head` is the index of the head in `heads`.

    A slot is one frame, or the `run` of its head. A global batch is `batch_frames` slots, or as many as fit into `batch_atoms` (atoms after
    augmentation; only for runs of one). Rank r of `world`
    gets every world-th frame of each, from the r-th on, so that batches are the same whatever the number of ranks. For that
    each rank decodes the whole stream (10 to 20 ns of a core an atom, under 1% of it at 10,000 frames/s and 40 atoms a frame) and
    gathers its own frames; with `batch_atoms` it gathers all of them, since the borders of batches depend on them.

    A buffer of a head takes 9 MB in float32, 17 MB in float64 (40 atoms a frame): give fewer `buffer_blocks` where there are many heads.
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
        self._runs = np.array([head.run for head in heads], np.int64)
        if batch_atoms is not None and (self._runs > 1).any():
            raise ConfigError("runs of several frames are counted, not weighed", hint="give batch_frames alone")
        self.heads, self.seed, self.position = tuple(heads), seed, position
        self.batch_frames, self.batch_atoms = batch_frames, batch_atoms
        self._rank, self._world = rank, world
        self._mixture = MixtureOrder([head.weight for head in heads], seed=seed)
        self._orders = [HeadOrder(head.dataset.block_counts, seed=seed, head=head.name, buffer_blocks=buffer_blocks) for head in heads]
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="stream") if threads else None
        distant = any(head.dataset.distant for head in heads)
        self._asking = ThreadPoolExecutor(ASKED, thread_name_prefix="ask") if threads and distant else None
        self._buffers: list[tuple[tuple[int, int], _Held] | None] = [None] * len(heads)  # epoch and number, the one asked for last
        self._buffer_blocks = buffer_blocks

    def __iter__(self) -> Iterator[Frames]:
        """Batches from `position` on; `position` is then the number of slots consumed with the batch last yielded."""
        if self.batch_atoms is not None:
            return self._by_atoms()
        return self._by_frames() if (self._runs == 1).all() else self._by_runs()

    def slots(self, first: int, last: int) -> NDArray[np.int32]:
        """(last - first,) the head of each slot, over all ranks."""
        return self._mixture.heads(first, last)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        shares = [f"{head.name} {share:.3g}%" for head, share in zip(self.heads, (100 * self._mixture.shares).tolist())]
        sizes = [f"{size:,} {unit}" for size, unit in ((self.batch_frames, "frames"), (self.batch_atoms, "atoms")) if size is not None]
        rank = f"{self._rank} of {self._world}" if self._world > 1 else None
        facts = {"heads": listed(shares), "batch": ", ".join(sizes), "position": f"{self.position:,}", "seed": self.seed, "rank": rank}
        return sentence("Stream", facts)

    def close(self) -> None:
        """Stop the threads and call off what was asked for."""
        self._buffers = [None] * len(self.heads)
        for pool in (self._asking, self._pool):
            if pool is not None:
                pool.shutdown(wait=True, cancel_futures=True)

    def state_dict(self) -> dict[str, Any]:
        """The position, and what it is a position of, as plain JSON."""
        return {"position": self.position, "stream": self.fingerprint()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved position; refuse that of another stream, and say what changed."""
        changes = differences(state["stream"], self.fingerprint())
        if changes:
            raise ConfigError(
                f"this position belongs to another stream: {'; '.join(changes)}", hint="resume with the config it was saved with"
            )
        self.position = int(state["position"])

    def fingerprint(self) -> dict[str, Any]:
        """What decides which frames come in which batch, as plain JSON; ranks and threads are free to change.

        `differences` of two says what changed.
        """
        return {
            "seed": self.seed,
            "batch_frames": self.batch_frames,
            "batch_atoms": self.batch_atoms,
            "buffer_blocks": self._buffer_blocks,
            "heads": [of_head(head.name, head.dataset, weight=head.weight, augment=head.augment, run=head.run) for head in self.heads],
        }

    def effective_epochs(self, steps: int) -> dict[str, float]:
        """How often each head's frames will have been seen after `steps` batches; by the mean frame for batches of atoms."""
        slots = steps * self._batch_size if self.batch_atoms is None else round(steps * self.batch_atoms / self._mean_atoms())
        counts = (self._mixture.counts(slots) * self._runs).tolist()
        return {head.name: count / order.frames for head, order, count in zip(self.heads, self._orders, counts)}

    def _mean_atoms(self) -> float:
        means = [float(head.dataset.natoms.mean()) for head in self.heads]
        return float(np.dot(means, self._mixture.shares))

    @property
    def _batch_size(self) -> int:
        """Frames of a batch, where that is what counts."""
        assert self.batch_frames is not None, "a stream has one of the two sizes"
        return self.batch_frames

    def _by_frames(self) -> Iterator[Frames]:
        """Windows of whole batches, so that each batch is a view; only the rank's own frames are gathered."""
        size = self._batch_size
        mine = len(range(self._rank, size, self._world))
        for slots, frames in self._windows(size, mine_of=size):
            for k, batch in enumerate(frames.in_equal_parts(mine), start=1):
                self.position = slots.start + k * size
                yield batch

    def _by_runs(self) -> Iterator[Frames]:
        """As `_by_frames`, where batches differ in their number of frames."""
        size = self._batch_size
        for slots, frames in self._windows(size, mine_of=size):
            sizes = np.add.reduceat(self._runs[self.slots(slots.start, slots.stop)], np.arange(0, len(slots), size))
            ends = np.cumsum(-((self._rank - sizes) // self._world))  # of each size the r-th, (r + world)-th ... are mine
            for k, (begin, end) in enumerate(zip([0, *ends[:-1].tolist()], ends.tolist()), start=1):
                self.position = slots.start + k * size
                yield frames.part(begin, end)

    def _by_atoms(self) -> Iterator[Frames]:
        """Windows of any length; what is left behind the last full batch goes in front of the next window."""
        rest: Frames | None = None
        begin = self.position
        for _, window in self._windows(1, mine_of=None):
            held, starts, at = 0 if rest is None else len(rest), window.starts.tolist(), 0
            natoms = window.natoms if rest is None else np.concatenate([rest.natoms, window.natoms])
            for stop in cut_points(natoms, batch_frames=self.batch_frames, batch_atoms=self.batch_atoms)[:-1]:
                batch = _joined(rest, window, at - held, stop - held, starts)
                begin += stop - at
                self.position, at = begin, stop
                yield batch if self._world == 1 else reorder(batch, np.arange(self._rank, len(batch), self._world))
            rest = _joined(rest, window, at - held, len(window), starts)

    def _windows(self, step: int, *, mine_of: int | None) -> Iterator[tuple[range, Frames]]:
        """Yield (slots, frames) of consecutive windows of whole steps, several prepared ahead."""
        fewest = None if mine_of is None else mine_of * int(self._runs.min())
        if self._world > 1 and fewest is not None and fewest < self._world:
            raise ConfigError(f"a batch of {fewest} frames cannot be shared by {self._world} ranks")
        at_once = self._threads + AHEAD if self._threads else 1
        asked = WINDOW * ASKED if self._asking else 1
        planned: deque[tuple[range, list[_Piece]]] = deque()
        waiting: deque[tuple[range, Future[Frames]]] = deque()
        begin = first = self.position
        counts = self._mixture.counts(begin)
        while True:
            while not waiting or waiting[-1][0].stop - waiting[0][0].start < at_once * _grown(waiting[0][0].start - begin):
                while not planned or first - planned[0][0].start < asked:
                    slots = range(first, first + max(1, self._unbroken(first, _grown(first - begin)) // step) * step)
                    heads = self._mixture.heads(slots.start, slots.stop)
                    planned.append((slots, self._plan_window(heads, counts, mine_of)))
                    counts = counts + np.bincount(heads, minlength=len(self.heads))
                    first = slots.stop
                slots, pieces = planned.popleft()
                waiting.append((slots, self._submit_window(pieces)))
            slots, window = waiting.popleft()
            yield slots, window.result()

    def _unbroken(self, first: int, mixed: int) -> int:
        """Slots from `first` on to put together at a time: `mixed`; or where one head fills them, what is left of a buffer, of which they are a view."""
        if len(self.heads) > 1:
            return mixed // int(self._runs.max())
        order = self._orders[0]
        run = int(self._runs[0])
        epoch, number, start = order.locate(first * run)
        return (order.epoch(epoch).frames(number) - start) // run

    def _plan_window(self, heads: NDArray[np.int32], counts: NDArray[np.int64], mine_of: int | None) -> list[_Piece]:
        """Decide which frames go where, and ask for the buffers that hold them."""
        runs = self._runs[heads]
        frame_heads, starts = np.repeat(heads, runs), np.cumsum(runs) - runs
        places = np.arange(len(frame_heads))
        mine = np.ones(len(frame_heads), bool)
        if mine_of is not None and self._world > 1:
            begin = np.repeat(starts[::mine_of], np.add.reduceat(runs, np.arange(0, len(runs), mine_of)))  # of the batch of each frame
            mine = (places - begin) % self._world == self._rank
            places = np.cumsum(mine) - 1
        pieces = []
        for h in range(len(self.heads)):
            chosen = np.flatnonzero(frame_heads == h) if len(self.heads) > 1 else slice(None)
            pieces += self._pieces(h, int(counts[h] * self._runs[h]), mine[chosen], places[chosen])
        return pieces

    def _submit_window(self, pieces: Sequence[_Piece]) -> Future[Frames]:
        """Start decoding the buffers of a window that are not decoded yet, then its gathering; a pool runs them in this order."""
        for piece in pieces:
            if piece.buffer.decoded is None:
                piece.buffer.decoded = self._submit(lambda asked: asked.result()(), piece.buffer.asked)
        return self._submit(self._gather, pieces)

    def _pieces(self, h: int, position: int, mine: NDArray[np.bool_], places: NDArray[np.int64]) -> list[_Piece]:
        """The stretches of buffers that hold a head's next frames, of which `mine` are wanted, in `places` of the window."""
        pieces, done, order = [], 0, self._orders[h]
        while done < len(mine):
            epoch, number, start = order.locate(position + done)
            stop = min(order.epoch(epoch).frames(number), start + len(mine) - done)
            stretch = slice(done, done + stop - start)
            wanted, target = mine[stretch], places[stretch]
            if wanted.any():
                rows: slice | NDArray[np.int64] = slice(start, stop)
                if not wanted.all():
                    rows, target = start + np.flatnonzero(wanted), target[wanted]
                if order.whole:
                    rows = order.shuffled(epoch, number)[rows]
                pieces.append(_Piece(h, epoch, self._buffer(h, epoch, number), rows, target))
            done = stretch.stop
        return pieces

    def _buffer(self, h: int, epoch: int, number: int) -> _Held:
        """A buffer, as it was asked for or asked for now; windows ask in order, so the last one of a head is enough.

        Where one buffer holds all frames it is decoded once, in store order; elsewhere in the order of the shuffle.
        """
        order, last = self._orders[h], self._buffers[h]
        key = (0, 0) if order.whole else (epoch, number)
        if last is None or last[0] != key:
            blocks, shuffled = order.epoch(epoch).buffers[number], None if order.whole else order.shuffled(epoch, number)
            begin = partial(self.heads[h].dataset.begin_load, blocks, shuffled, head=h, epoch=epoch)
            asked = self._asking.submit(begin) if self._asking else _done(begin)
            self._buffers[h] = last = key, _Held(asked)
        return last[1]

    def _gather(self, pieces: Sequence[_Piece]) -> Frames:
        """Augment the frames of a window and put them into the order of the slots."""
        parts = []
        for piece in pieces:
            parts.append(self._augmented(piece.frames(), self.heads[piece.head].augment))
        return parts[0] if len(parts) == 1 else gather(parts, np.argsort(np.concatenate([piece.places for piece in pieces])))

    def _augmented(self, frames: Frames, how: Augment | None) -> Frames:
        if how is None:
            return frames
        return augment(frames, how, seed=self.seed) if isinstance(how, AugmentSpec) else how(frames)

    def _submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return self._pool.submit(work, *args, **kwargs) if self._pool else _done(work, *args, **kwargs)


def _grown(slots: int) -> int:
    """The length of a window behind so many slots."""
    return min(max(slots, SHORTEST), WINDOW)


def _joined(rest: Frames | None, window: Frames, first: int, last: int, starts: list[int]) -> Frames:
    """Frames `first:last` of the window, a view; behind all of `rest` where `first` is negative."""
    inside = window.cut(max(first, 0), last, starts[max(first, 0)], starts[last])
    return inside if first >= 0 or rest is None else Frames.concatenate([rest, inside])


def _done(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """The result of a call made here and now, in the form of one made elsewhere."""
    future: Future[T] = Future()
    try:
        future.set_result(work(*args, **kwargs))
    except BaseException as err:
        future.set_exception(err)
    return future
