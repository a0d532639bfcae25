"""NVIDIA's nvalchemi-toolkit by its own performance guide: a Zarr group in shards, its loader fusing the reads of 16 batches."""

from __future__ import annotations

import numpy as np
import torch

from . import BATCH
from .data import starts

AT_ONCE = 5000
PREFETCH = 16  # batches, the start value of the guide


def write(data, folder: str) -> None:
    """With its own writer: float32, zstd-3, chunks of 10,000 rows in shards of 500,000."""
    from nvalchemi.data import AtomicData, Batch
    from nvalchemi.data.datapipes import AtomicDataZarrWriter
    from zarr.codecs import ZstdCodec

    layout = {"compressors": (ZstdCodec(level=3),), "chunk_size": 10_000, "shard_size": 500_000}
    writer, offsets = AtomicDataZarrWriter(f"{folder}/data.zarr", config=dict.fromkeys(("meta", "core"), layout)), starts(data)
    for first in range(0, len(data["natoms"]), AT_ONCE):
        some = []
        for i in range(first, min(first + AT_ONCE, len(data["natoms"]))):
            atoms = slice(offsets[i], offsets[i + 1])
            tensor = {name: torch.from_numpy(data[name][atoms].astype(np.float32)) for name in ("positions", "forces")}
            tensor |= {name: torch.from_numpy(data[name][i : i + 1].astype(np.float32)) for name in ("cell", "virial")}
            tensor |= {"energy": torch.tensor([[data["energy"][i]]], dtype=torch.float32), "pbc": torch.ones(1, 3, dtype=torch.bool)}
            some.append(AtomicData(atomic_numbers=torch.from_numpy(data["numbers"][atoms].astype(np.int64)), **tensor))
        batch = Batch.from_data_list(some)
        writer.append(batch) if first else writer.write(batch)


def loader(folder: str):
    """Its loader, shuffled."""
    from nvalchemi.data.datapipes import AtomicDataZarrReader, DataLoader, Dataset

    dataset = Dataset(AtomicDataZarrReader(f"{folder}/data.zarr"), device="cpu", num_workers=1, skip_validation=True)
    return DataLoader(dataset, batch_size=BATCH, shuffle=True, drop_last=True, prefetch_factor=PREFETCH)


def batches(folder: str, seed: int):
    """Epoch after epoch."""
    torch.manual_seed(seed)
    found = loader(folder)
    while True:
        for batch in found:
            yield {
                "numbers": batch.atomic_numbers,
                "positions": batch.positions,
                "forces": batch.forces,
                "natoms": batch.num_nodes_per_graph,
                "cell": batch.cell,
                "virial": batch.virial,
                "energy": batch.energy,
            }
