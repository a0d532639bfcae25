"""Flat `.npy` files through numpy.memmap: a dataset class that a user writes by hand."""

from __future__ import annotations

import numpy as np

from . import KEYS
from .data import starts
from .record import collate_samples, in_batches

NARROW = ("positions", "forces")


def write(data, folder: str) -> None:
    """One file an array; float32 atoms."""
    for name in KEYS:
        np.save(f"{folder}/{name}.npy", data[name].astype(np.float32) if name in NARROW else data[name])


class Frames:
    """A map-style dataset, as a PyTorch user writes it."""

    def __init__(self, folder: str):
        self.data = {name: np.load(f"{folder}/{name}.npy", mmap_mode="r") for name in KEYS}
        self.offsets = starts(self.data)

    def __len__(self) -> int:
        return len(self.data["natoms"])

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        atoms = slice(self.offsets[i], self.offsets[i + 1])
        sample = {name: self.data[name][atoms] for name in ("numbers", *NARROW)}
        return sample | {"cell": self.data["cell"][i], "virial": self.data["virial"][i], "energy": self.data["energy"][i : i + 1]}


def batches(folder: str, seed: int):
    """Frames in a random order."""
    frames, rng = Frames(folder), np.random.default_rng(seed)
    while True:
        yield from in_batches((frames[i] for i in rng.permutation(len(frames)).tolist()), collate_samples)
