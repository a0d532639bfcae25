"""Feed: the weighted stream, collated into batches by threads that work ahead of the training step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch

from lamdata import Stream
from lamdata.frames import Frames
from lamdata.store.batching import cut_batches

from ..model.config import ModelConfig
from .batch import Batch, collate
from .mixture import TrainingData

CPU = torch.device("cpu")
AHEAD = 4  # batches prepared while the model works


In = TypeVar("In")
Out = TypeVar("Out")


def do_ahead(work: Callable[[In], Out], items: Iterable[In], *, ahead: int = 2) -> Iterator[Out]:
    """`work` of each item in turn, done in a thread for up to `ahead` items beyond the one that is waited for."""
    ready: deque[Future[Out]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        for item in items:
            ready.append(pool.submit(work, item))
            if len(ready) > ahead:
                yield ready.popleft().result()
        while ready:
            yield ready.popleft().result()


def split(frames: Frames, *, at_once: int | None) -> Iterable[Frames]:
    """Parts of at most `at_once` atoms."""
    return [frames] if at_once is None else cut_batches(frames, batch_atoms=at_once)


def split_by_head(frames: Frames, *, at_once: int | None) -> Iterator[Frames]:
    """Parts of one head each, in the order of heads, of at most `at_once` atoms."""
    for head in np.unique(frames.head):
        yield from split(frames.take(np.flatnonzero(frames.head == head)), at_once=at_once)


class Feed:
    """Iterates `(parts, frames, position)`: a batch in parts of at most `at_once` atoms, what it was made of, where the stream then stands.

    With `by_head` each part is of one head; `padded` brings parts to few shapes. Parts are on `device`: to a GPU they are copied ahead, beside the steps. The order is the
    stream's, whatever the number of `threads`.
    """

    def __init__(
        self,
        data: TrainingData,
        stream: Stream,
        config: ModelConfig,
        *,
        dtype: torch.dtype,
        chunk_atoms: int,
        at_once: int | None = None,
        by_head: bool = False,
        padded: bool = False,
        device: torch.device = CPU,
        threads: int = 1,
    ):
        self.data, self.stream, self.config, self.dtype = data, stream, config, dtype
        self.chunk_atoms, self.at_once, self.by_head, self.padded = chunk_atoms, at_once, by_head, padded
        self.device = device
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="collate")

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.stream.close()

    def __iter__(self) -> Iterator[tuple[list[Batch], Frames, int]]:
        ready: deque[tuple[Future[tuple[list[Batch], torch.cuda.Event | None]], Frames, int]] = deque()
        stream = iter(self.stream)
        while True:
            while len(ready) < AHEAD:
                frames = self.data.with_model_heads(next(stream))
                ready.append((self._pool.submit(self._collate, frames), frames, self.stream.position))
            future, frames, position = ready.popleft()
            parts, copied = future.result()
            if copied is not None:
                self._arrive(parts, copied)
            yield parts, frames, position

    def _collate(self, frames: Frames) -> tuple[list[Batch], torch.cuda.Event | None]:
        if not len(frames):  # a batch of fewer frames than ranks
            return [], None
        parts = split_by_head(frames, at_once=self.at_once) if self.by_head else split(frames, at_once=self.at_once)
        batches = [collate(part, self.config, dtype=self.dtype, chunk_atoms=self.chunk_atoms, padded=self.padded) for part in parts]
        if self._copies is None:
            return [batch.to(self.device) for batch in batches], None
        with torch.cuda.stream(self._copies):
            batches = [batch.to(self.device, non_blocking=True) for batch in batches]
            return batches, self._copies.record_event()

    def _arrive(self, parts: list[Batch], copied: torch.cuda.Event) -> None:
        """Let the steps' stream wait for a copy, and the allocator know that it uses the memory."""
        steps = torch.cuda.current_stream(self.device)
        steps.wait_event(copied)
        for part in parts:
            part.used_by(steps)
