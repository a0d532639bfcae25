"""MosaicML Streaming (https://github.com/mosaicml/streaming): MDS shards, its own shuffle."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from .record import collate_samples, in_batches, samples

COLUMNS = {"numbers": "ndarray:uint8", "positions": "ndarray:float32", "forces": "ndarray:float32"}
COLUMNS |= dict.fromkeys(("cell", "virial", "energy"), "ndarray:float64")


def write(data, folder: str) -> None:
    """Uncompressed, its default shard size."""
    with _package().MDSWriter(out=folder, columns=COLUMNS) as writer:
        for frame in samples(data):
            writer.write(frame)


def batches(folder: str, seed: int):
    """Epoch after epoch."""
    package = _package()
    package.base.util.clean_stale_shared_memory()
    dataset = package.StreamingDataset(local=folder, shuffle=True, shuffle_seed=seed, batch_size=64)
    while True:
        yield from in_batches(dataset, collate_samples)


def _package():
    """The package `streaming`, not the script of this folder that has the same name."""
    here = str(Path(__file__).parents[1])
    kept, sys.path[:] = list(sys.path), [path for path in sys.path if path != here]
    try:
        return importlib.import_module("streaming")
    finally:
        sys.path[:] = kept
