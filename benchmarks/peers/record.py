"""One frame as a sample, a dict of arrays or one packed float32 record, for the formats that store samples; batches as tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch

from . import BATCH
from .data import starts

HEAD = 18 * 8 + 8  # cell, virial and energy in float64


def pack(data, i: int, offsets: np.ndarray) -> bytes:
    """Frame i: cell, virial, energy (float64), positions, forces (float32), numbers (uint8)."""
    a, b = offsets[i], offsets[i + 1]
    labels = np.concatenate([data["cell"][i].ravel(), data["virial"][i].ravel(), [data["energy"][i]]])
    atoms = [data[name][a:b].astype(np.float32).tobytes() for name in ("positions", "forces")]
    return b"".join([labels.tobytes(), *atoms, data["numbers"][a:b].tobytes()])


def pack_all(data) -> Iterator[bytes]:
    """Every frame in order."""
    offsets = starts(data)
    for i in range(len(data["natoms"])):
        yield pack(data, i, offsets)


def samples(data) -> Iterator[dict[str, np.ndarray]]:
    """Every frame as a dict of arrays, the way these formats' manuals have it."""
    offsets = starts(data)
    for i in range(len(data["natoms"])):
        atoms = slice(offsets[i], offsets[i + 1])
        yield {
            "numbers": data["numbers"][atoms],
            "positions": data["positions"][atoms].astype(np.float32),
            "forces": data["forces"][atoms].astype(np.float32),
            "cell": data["cell"][i],
            "virial": data["virial"][i],
            "energy": data["energy"][i : i + 1],
        }


def collate_samples(frames: list[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """Turn dicts into one ragged batch."""
    batch = {name: np.concatenate([frame[name] for frame in frames]) for name in ("numbers", "positions", "forces", "energy")}
    batch |= {name: np.stack([frame[name] for frame in frames]) for name in ("cell", "virial")}
    return tensors(**batch, natoms=np.array([len(frame["numbers"]) for frame in frames], np.int32))


def collate(records: list[bytes]) -> dict[str, torch.Tensor]:
    """Turn packed frames into one ragged batch."""
    natoms = [(len(record) - HEAD) // 25 for record in records]
    labels = np.stack([np.frombuffer(record, np.float64, 19) for record in records])
    positions = np.concatenate([np.frombuffer(r, np.float32, 3 * n, HEAD) for r, n in zip(records, natoms)])
    forces = np.concatenate([np.frombuffer(r, np.float32, 3 * n, HEAD + 12 * n) for r, n in zip(records, natoms)])
    numbers = np.concatenate([np.frombuffer(r, np.uint8, n, HEAD + 24 * n) for r, n in zip(records, natoms)])
    return tensors(
        numbers=numbers,
        positions=positions.reshape(-1, 3),
        forces=forces.reshape(-1, 3),
        natoms=np.array(natoms, np.int32),
        cell=labels[:, :9].reshape(-1, 3, 3),
        virial=labels[:, 9:18].reshape(-1, 3, 3),
        energy=labels[:, 18],
    )


def in_batches(frames: Iterable, collate: Callable[[list], dict[str, torch.Tensor]]) -> Iterator[dict[str, torch.Tensor]]:
    """Group single samples."""
    waiting = []
    for frame in frames:
        waiting.append(frame)
        if len(waiting) == BATCH:
            yield collate(waiting)
            waiting = []


def tensors(**arrays: np.ndarray) -> dict[str, torch.Tensor]:
    """NumPy to torch without a copy."""
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
