"""Atompack (https://github.com/LeMaterial/atompack): records without compression behind a map of the file, a batch by one call of `get_molecules_flat`."""

from __future__ import annotations

import numpy as np

from . import BATCH
from .data import starts

ADDED = 1000  # molecules of one call
FILE = "frames.atp"


def write(data, folder: str) -> None:
    """Numbers as float32, which halves what is read; the virial in the place of the stress."""
    import atompack

    database = atompack.Database(f"{folder}/{FILE}", compression="none", overwrite=True)
    begin, half = starts(data), {key: data[key].astype(np.float32) for key in ("positions", "forces", "cell", "virial")}
    for first in range(0, len(data["natoms"]), ADDED):
        made = []
        for i in range(first, min(first + ADDED, len(data["natoms"]))):
            rows = slice(begin[i], begin[i + 1])
            labels = {"forces": half["forces"][rows], "cell": half["cell"][i], "stress": half["virial"][i]}
            pbc, energy = (True, True, True), float(data["energy"][i])
            made.append(atompack.Molecule.from_arrays(half["positions"][rows], data["numbers"][rows], energy=energy, pbc=pbc, **labels))
        database.add_molecules(made)
    database.flush()


def batches(folder: str, seed: int):
    """A fresh permutation each epoch, in this process."""
    import atompack
    import torch

    database = atompack.Database.open(f"{folder}/{FILE}")
    keys = {"atomic_numbers": "numbers", "n_atoms": "natoms", "stress": "virial"}
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(database)).tolist()
        for first in range(0, len(order) - BATCH + 1, BATCH):
            found = database.get_molecules_flat(order[first : first + BATCH])
            yield {keys.get(name, name): torch.from_numpy(value) for name, value in found.items() if isinstance(value, np.ndarray)}
