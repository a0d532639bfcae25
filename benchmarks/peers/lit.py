"""litdata (https://github.com/Lightning-AI/litdata): 64 MB chunks, its own shuffle, read in this process."""

from __future__ import annotations

from .record import collate, collate_samples, in_batches, pack_all, samples


def write(data, folder: str, *, packed: bool) -> None:
    """With litdata's writer, without its worker processes: dicts of arrays, or one packed record a frame."""
    from litdata.streaming.cache import Cache

    cache = Cache(input_dir=folder, chunk_bytes="64MB")
    for i, frame in enumerate(pack_all(data) if packed else samples(data)):
        cache[i] = frame
    cache.done()
    cache.merge()


def batches(folder: str, seed: int):
    """Epoch after epoch."""
    from litdata import StreamingDataset

    dataset = StreamingDataset(folder, shuffle=True, seed=seed, max_cache_size="100GB")
    join = collate_samples if isinstance(dataset[0], dict) else collate
    while True:
        yield from in_batches(dataset, join)
