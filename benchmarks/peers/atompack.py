"""Atompack (https://github.com/LeMaterial/atompack), uncompressed: molecules of float32, many read by one call into flat arrays."""

from __future__ import annotations

import numpy as np

from . import BATCH
from .data import starts
from .record import tensors

AT_ONCE = 1000


def write(data, folder: str) -> None:
    """With its own writer, the virial in the slot of the stress."""
    from atompack import Database, Molecule

    offsets, database = starts(data), Database(f"{folder}/data.atp")
    for first in range(0, len(data["natoms"]), AT_ONCE):
        some = []
        for i in range(first, min(first + AT_ONCE, len(data["natoms"]))):
            atoms = slice(offsets[i], offsets[i + 1])
            positions, forces = (data[name][atoms].astype(np.float32) for name in ("positions", "forces"))
            labels = {"energy": float(data["energy"][i]), "stress": data["virial"][i], "cell": data["cell"][i], "pbc": (True, True, True)}
            some.append(Molecule.from_arrays(positions, data["numbers"][atoms], forces=forces, **labels))
        database.add_molecules(some)
    database.flush()


def batches(folder: str, seed: int):
    """Epoch after epoch, each in an order of its own."""
    from atompack import Database

    database, rng = Database.open(f"{folder}/data.atp"), np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(database))
        for k in range(0, len(order) - BATCH + 1, BATCH):
            yield taken(database, order[k : k + BATCH].tolist())


def taken(database, rows: list[int]):
    """Some molecules as one ragged batch."""
    flat = database.get_molecules_flat(rows)
    return tensors(
        numbers=flat["atomic_numbers"],
        positions=flat["positions"],
        forces=flat["forces"],
        natoms=np.asarray(flat["n_atoms"], np.int32),
        cell=flat["cell"],
        virial=flat["stress"],
        energy=flat["energy"],
    )
