"""Flat HDF5 datasets, contiguous, read frame by frame."""

from __future__ import annotations

import numpy as np

from . import BATCH, KEYS
from .data import starts
from .memmap import NARROW
from .record import tensors


def write(data, folder: str) -> None:
    """One dataset an array; float32 atoms."""
    import h5py

    with h5py.File(f"{folder}/data.h5", "w") as file:
        for name in KEYS:
            file[name] = data[name].astype(np.float32) if name in NARROW else data[name]


def batches(folder: str, seed: int):
    """Frames in a random order; frame arrays are held in memory."""
    import h5py

    file = h5py.File(f"{folder}/data.h5")
    held = {name: file[name][:] for name in ("natoms", "cell", "virial", "energy")}
    offsets, rng = starts(held), np.random.default_rng(seed)
    atoms = {name: file[name] for name in ("numbers", *NARROW)}
    while True:
        order = rng.permutation(len(held["natoms"]))
        for k in range(0, len(order) - BATCH + 1, BATCH):
            rows = np.sort(order[k : k + BATCH])
            spans = [slice(a, b) for a, b in zip(offsets[rows].tolist(), offsets[rows + 1].tolist())]
            read = {name: np.concatenate([array[span] for span in spans]) for name, array in atoms.items()}
            yield tensors(**read, **{name: values[rows] for name, values in held.items()})
