"""Feed: the weighted stream, collated into batches by threads that work ahead of the training step."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from lamdata import Stream
from lamdata.frames import Frames

from .batch import Batch, collate
from .mixture import TrainingData
from .model.config import ModelConfig

AHEAD = 4  # batches prepared while the model works


class Feed:
    """Iterates `(batch, position)`; `position` is where the stream stands after the batch."""

    def __init__(self, data: TrainingData, stream: Stream, config: ModelConfig, *, dtype: torch.dtype, threads: int = 1):
        self.data, self.stream, self.config, self.dtype = data, stream, config, dtype
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="collate")

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.stream.close()

    def __iter__(self) -> Iterator[tuple[Batch, int]]:
        ready: deque[tuple[Future[Batch], int]] = deque()
        frames = iter(self.stream)
        while True:
            while len(ready) < AHEAD:
                ready.append((self._pool.submit(self._collate, next(frames)), self.stream.position))
            future, position = ready.popleft()
            yield future.result(), position

    def _collate(self, frames: Frames) -> Batch:
        return collate(self.data.with_model_heads(frames), self.config, dtype=self.dtype)
