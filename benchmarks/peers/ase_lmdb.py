"""ASE's LMDB database as fairchem reads it: one zlib-compressed JSON document a frame, made into `ase.Atoms` (package ase-db-backends)."""

from __future__ import annotations

import numpy as np

from . import BATCH
from .data import starts
from .record import tensors

SOME = 20_000  # frames written at most: it reads too slowly for more to matter


def write(data, folder: str) -> None:
    """With the database's own writer."""
    import ase.db
    import ase_db_backends  # noqa: F401  registers the backend
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    offsets = starts(data)
    with ase.db.connect(f"{folder}/data.aselmdb", type="aselmdb") as base:
        for i in range(min(SOME, len(data["natoms"]))):
            span = slice(offsets[i], offsets[i + 1])
            atoms = Atoms(data["numbers"][span], data["positions"][span], cell=data["cell"][i], pbc=True)
            stress = (data["virial"][i] / -atoms.get_volume()).ravel()[[0, 4, 8, 5, 2, 1]]
            atoms.calc = SinglePointCalculator(atoms, energy=data["energy"][i], forces=data["forces"][span], stress=stress)
            base.write(atoms)


def batches(folder: str, seed: int):
    """Rows in a random order."""
    import ase.db
    import ase_db_backends  # noqa: F401

    base = ase.db.connect(f"{folder}/data.aselmdb", type="aselmdb", readonly=True)
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(base)) + 1
        for k in range(0, len(order) - BATCH + 1, BATCH):
            rows = [base.get(int(i)) for i in order[k : k + BATCH]]
            yield tensors(
                numbers=np.concatenate([row.numbers for row in rows]),
                positions=np.concatenate([row.positions for row in rows]),
                forces=np.concatenate([row.forces for row in rows]),
                natoms=np.array([row.natoms for row in rows]),
                cell=np.stack([row.cell for row in rows]),
                virial=np.stack([row.stress * -row.volume for row in rows]),
                energy=np.array([row.energy for row in rows]),
            )
