"""Stream: heads with weights -> an endless, shuffled sequence of batches whose position is one integer.

Work is done ahead in threads: a task decodes one buffer of a head, in the order of the shuffle; another puts one window of slots together,
which is a view of a buffer where one head fills it. Which thread or rank does what never changes what is done: every array is a function
of (seed, slot).
"""

from __future__ import annotations

import sys
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
from ..store.gather import gather
from .exchange import Exchange
from .fingerprint import Augment, differences, of_head
from .order import HeadOrder, MixtureOrder
from .share import Dealt, Share
from .turns import Turns, done
from .window import Held, Piece, Window

P = ParamSpec("P")
T = TypeVar("T")

WINDOW = 4096  # slots that one task puts together, about
SHORTEST = (
    64  # of the first; each is as long as all before it, so that the first batch comes soon and a short stream does little for nothing
)
AHEAD = 2  # windows of so many prepared beyond those in the hands of the threads
GOODBYE = 10.0  # seconds that a rank waits for others when it stops
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


class Stream:
    """Iterates `Frames`, one batch at a time, for ever; `Frames.head` is the index of the head in `heads`.

    A slot is one frame, or the `run` of its head. A global batch is `batch_frames` slots, or as many as fit into `batch_atoms` (atoms after
    augmentation; only for runs of one). Batches are the same whatever the number of ranks: `world` ranks share each, dealt by atoms (see
    `deal`), in the order of the batch. With an `exchange` each rank reads and decodes its own blocks, 1 of `world` of all bytes, and is sent
    the rest of its frames; without, each decodes the whole stream (10 to 20 ns of a core an atom).

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
        exchange: Exchange | None = None,
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
        self._rank, self._world, self._exchange = rank, world, exchange if world > 1 else None
        self._mixture = MixtureOrder([head.weight for head in heads], seed=seed)
        self._orders = [HeadOrder(head.dataset.block_counts, seed=seed, head=head.name, buffer_blocks=buffer_blocks) for head in heads]
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="stream") if threads else None
        self._turns = Turns("share") if threads and world > 1 else None
        distant = any(head.dataset.distant for head in heads)
        self._near = not distant and exchange is None  # bytes may be read twice
        self._asking = ThreadPoolExecutor(ASKED, thread_name_prefix="ask") if threads and distant else None
        self._buffers: list[tuple[tuple[int, int], Held] | None] = [None] * len(heads)  # epoch and number, the one asked for last
        self._buffer_blocks = buffer_blocks

    def __iter__(self) -> Iterator[Frames]:
        """Batches from `position` on; `position` is then the number of slots consumed with the batch last yielded."""
        if self._world > 1:
            return self._shared()
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
        """Stop the threads and call off what was asked for; what other ranks wait for is done first."""
        if self._turns is not None and not self._turns.close(within=GOODBYE):
            print(f"note: another rank did not take its frames within {GOODBYE:g} s; going on without", file=sys.stderr)
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
        """Windows of whole batches, so that each batch is a view."""
        size = self._batch_size
        for window, frames in self._windows(size, self._put_together):
            for k, batch in enumerate(frames.in_equal_parts(size), start=1):
                self.position = window.slots.start + k * size
                yield batch

    def _by_runs(self) -> Iterator[Frames]:
        """As `_by_frames`, where batches differ in their number of frames."""
        size = self._batch_size
        for window, frames in self._windows(size, self._put_together):
            ends = window.ends or []
            for k, (begin, end) in enumerate(zip([0, *ends], ends), start=1):
                self.position = window.slots.start + k * size
                yield frames.part(begin, end)

    def _by_atoms(self) -> Iterator[Frames]:
        """Windows of any length; what is left behind the last full batch goes in front of the next window."""
        rest: Frames | None = None
        begin = self.position
        for _, frames in self._windows(1, self._put_together):
            held, starts, at = 0 if rest is None else len(rest), frames.starts.tolist(), 0
            natoms = frames.natoms if rest is None else np.concatenate([rest.natoms, frames.natoms])
            for stop in cut_points(natoms, batch_frames=self.batch_frames, batch_atoms=self.batch_atoms)[:-1]:
                batch = _joined(rest, frames, at - held, stop - held, starts)
                begin += stop - at
                self.position, at = begin, stop
                yield batch
            rest = _joined(rest, frames, at - held, len(frames), starts)

    def _shared(self) -> Iterator[Frames]:
        """This rank's frames of each batch."""
        size, begin = None if self.batch_atoms is not None else self._batch_size, self.position
        if size is not None and (fewest := size * int(self._runs.min())) < self._world:
            raise ConfigError(f"a batch of {fewest} frames cannot be shared by {self._world} ranks")
        sizes = {"batch_frames": self.batch_frames, "batch_atoms": self.batch_atoms}
        share = Share(rank=self._rank, world=self._world, exchange=self._exchange, **sizes)

        def put_together(window: Window) -> Future[Dealt]:
            whole = self._put_together(window)
            in_turn = done if self._turns is None else self._turns.submit
            return in_turn(lambda: share.take(whole.result(), window.owner, window.ends))

        for _, dealt in self._windows(size or 1, put_together):
            for first, stop, length in zip([0, *dealt.ends], dealt.ends, dealt.lengths):
                begin += size or length
                self.position = begin
                yield dealt.frames.part(first, stop)

    def _windows(self, step: int, submit: Callable[[Window], Future[T]]) -> Iterator[tuple[Window, T]]:
        """Yield consecutive windows of whole steps, and what `submit` makes of each; several are prepared ahead."""
        at_once = self._threads + AHEAD if self._threads else 1
        asked = WINDOW * ASKED if self._asking else 1
        planned: deque[Window] = deque()
        waiting: deque[tuple[Window, Future[T]]] = deque()
        begin = first = self.position
        counts = self._mixture.counts(begin)
        while True:
            while not waiting or waiting[-1][0].slots.stop - (next_slot := waiting[0][0].slots.start) < at_once * _grown(next_slot - begin):
                while not planned or first - planned[0].slots.start < asked:
                    at_first, mixed = first == begin and self._near, _grown(first - begin)
                    slots = range(first, first + max(1, (mixed if at_first else self._unbroken(first, mixed)) // step) * step)
                    heads = self._mixture.heads(slots.start, slots.stop)
                    planned.append(self._plan_window(slots, heads, counts, step, at_first=at_first))
                    counts = counts + np.bincount(heads, minlength=len(self.heads))
                    first = slots.stop
                window = planned.popleft()
                waiting.append((window, submit(window)))
            window, made = waiting.popleft()
            yield window, made.result()

    def _unbroken(self, first: int, mixed: int) -> int:
        """Slots from `first` on to put together at a time: `mixed`; or where one head fills them, what is left of a buffer, of which they are a view."""
        if len(self.heads) > 1:
            return mixed // int(self._runs.max())
        order = self._orders[0]
        run = int(self._runs[0])
        epoch, number, start = order.locate(first * run)
        return (order.epoch(epoch).frames(number) - start) // run

    def _plan_window(self, slots: range, heads: NDArray[np.int32], counts: NDArray[np.int64], step: int, *, at_first: bool) -> Window:
        """Decide which frames go where and who decodes them, and ask for the buffers of those that are decoded here.

        The frames of the first window alone are decoded for it, so that it comes in a tenth of the time; the next has their buffers whole.
        """
        runs = self._runs[heads]
        frame_heads = np.repeat(heads, runs)
        owner = np.full(len(frame_heads), self._rank, np.int32)
        pieces = []
        for h in range(len(self.heads)):
            places = np.flatnonzero(frame_heads == h) if len(self.heads) > 1 else np.arange(len(frame_heads))
            pieces += self._pieces(h, int(counts[h] * self._runs[h]), places, owner, at_first=at_first)
        ends = np.cumsum(np.add.reduceat(runs, np.arange(0, len(runs), step))).tolist() if self.batch_atoms is None else None
        return Window(slots, pieces, owner, ends)

    def _put_together(self, window: Window) -> Future[Frames]:
        """Start decoding the buffers of a window that are not decoded yet, then its gathering; a pool runs them in this order."""
        for piece in window.pieces:
            if piece.buffer.decoded is None:
                piece.buffer.decoded = self._submit(lambda asked: asked.result()(), piece.buffer.asked)
        return self._submit(self._gather, window.pieces)

    def _pieces(self, h: int, position: int, places: NDArray[np.int64], owner: NDArray[np.int32], *, at_first: bool) -> list[Piece]:
        """The stretches of buffers that hold a head's next frames, in `places` of the window; `owner` learns who decodes them."""
        pieces, at, order = [], 0, self._orders[h]
        while at < len(places):
            epoch, number, start = order.locate(position + at)
            stop = min(order.epoch(epoch).frames(number), start + len(places) - at)
            target = places[at : at + stop - start]
            held: Held | None = None
            rows: slice | NDArray[np.int64] = slice(start, stop)
            if self._exchange is not None:
                rows, target = self._own(order, epoch, number, start, stop, target, owner)
            elif order.whole:
                rows = order.shuffled(epoch, number)[rows]
            elif at_first:
                held, rows = self._some(h, epoch, number, slice(start, stop)), slice(0, stop - start)
            if len(target):
                pieces.append(Piece(h, epoch, held or self._buffer(h, epoch, number), rows, target))
            at += stop - start
        return pieces

    def _own(
        self, order: HeadOrder, epoch: int, number: int, start: int, stop: int, places: NDArray[np.int64], owner: NDArray[np.int32]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and places of those frames of a stretch of a buffer that this rank decodes."""
        owners, shuffled = order.owners(0 if order.whole else epoch, number, self._world), order.shuffled(epoch, number)
        owner[places] = who = owners.frame[shuffled[start:stop]]
        mine = who == self._rank
        if order.whole:
            return owners.row[shuffled[start:stop][mine]], places[mine]
        first = int(np.count_nonzero(owners.frame[shuffled[:start]] == self._rank))
        return first + np.arange(np.count_nonzero(mine)), places[mine]

    def _some(self, h: int, epoch: int, number: int, rows: slice) -> Held:
        """Frames of a buffer, decoded without the others."""
        order = self._orders[h]
        blocks, wanted = order.epoch(epoch).buffers[number], order.shuffled(epoch, number)[rows]
        return Held(done(partial(self.heads[h].dataset.begin_load, blocks, wanted, head=h, epoch=epoch)))

    def _buffer(self, h: int, epoch: int, number: int) -> Held:
        """A buffer, as it was asked for or asked for now; windows ask in order, so the last one of a head is enough.

        Where one buffer holds all frames it is decoded once, in store order; elsewhere in the order of the shuffle.
        """
        order, last = self._orders[h], self._buffers[h]
        key = (0, 0) if order.whole else (epoch, number)
        if last is None or last[0] != key:
            blocks, shuffled = order.epoch(epoch).buffers[number], None if order.whole else order.shuffled(epoch, number)
            if self._exchange is not None:
                owners = order.owners(*key, self._world)
                blocks = tuple(block for block, who in zip(blocks, owners.block.tolist()) if who == self._rank)
                shuffled = None if shuffled is None else owners.row[shuffled[owners.frame[shuffled] == self._rank]]
            begin = partial(self.heads[h].dataset.begin_load, blocks, shuffled, head=h, epoch=epoch)
            asked = self._asking.submit(begin) if self._asking else done(begin)
            self._buffers[h] = last = key, Held(asked)
        return last[1]

    def _gather(self, pieces: Sequence[Piece]) -> Frames:
        """Augment the frames of a window and put them into the order of the slots."""
        parts = []
        if not pieces:
            return Frames.empty(np.float64 if any(head.dataset.lossless for head in self.heads) else np.float32)
        for piece in pieces:
            parts.append(self._augmented(piece.frames(), self.heads[piece.head].augment))
        return parts[0] if len(parts) == 1 else gather(parts, np.argsort(np.concatenate([piece.places for piece in pieces])))

    def _augmented(self, frames: Frames, how: Augment | None) -> Frames:
        if how is None:
            return frames
        return augment(frames, how, seed=self.seed) if isinstance(how, AugmentSpec) else how(frames)

    def _submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        return self._pool.submit(work, *args, **kwargs) if self._pool else done(work, *args, **kwargs)


def _grown(slots: int) -> int:
    """The length of a window behind so many slots."""
    return min(max(slots, SHORTEST), WINDOW)


def _joined(rest: Frames | None, window: Frames, first: int, last: int, starts: list[int]) -> Frames:
    """Frames `first:last` of the window, a view; behind all of `rest` where `first` is negative."""
    inside = window.cut(max(first, 0), last, starts[max(first, 0)], starts[last])
    return inside if first >= 0 or rest is None else Frames.concatenate([rest, inside])
