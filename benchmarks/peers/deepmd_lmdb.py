"""DeePMD-kit's LMDB layout: one msgpack document a frame, float64, atom types as int64 (deepmd/dpmodel/utils/lmdb_data.py)."""

from __future__ import annotations

import numpy as np

from . import BATCH
from .data import starts
from .record import tensors

FIELDS = {"atom_types": "numbers", "coords": "positions", "forces": "forces", "cells": "cell", "virials": "virial", "energies": "energy"}


def write(data, folder: str) -> None:
    """Keys are zero-padded frame numbers."""
    import lmdb
    import msgpack

    offsets = starts(data)
    with lmdb.open(folder, map_size=1 << 40) as env, env.begin(write=True) as transaction:
        for i in range(len(data["natoms"])):
            atoms = slice(offsets[i], offsets[i + 1])
            arrays = {"atom_types": data["numbers"][atoms].astype(np.int64), "energies": data["energy"][i : i + 1]}
            arrays |= {
                "coords": data["positions"][atoms],
                "forces": data["forces"][atoms],
                "cells": data["cell"][i],
                "virials": data["virial"][i],
            }
            transaction.put(format(i, "012d").encode(), msgpack.packb({name: _encode(array) for name, array in arrays.items()}))


def batches(folder: str, seed: int):
    """Frames in a random order, decoded as DeePMD-kit's reader does."""
    import lmdb

    env = lmdb.open(folder, readonly=True, lock=False, readahead=False, meminit=False)
    transaction, rng = env.begin(), np.random.default_rng(seed)
    count = env.stat()["entries"]
    while True:
        order = rng.permutation(count)
        for k in range(0, count - BATCH + 1, BATCH):
            frames = [_read(transaction, i) for i in order[k : k + BATCH].tolist()]
            natoms = np.array([len(frame["numbers"]) for frame in frames], np.int32)
            joined = {name: np.concatenate([frame[name] for frame in frames]) for name in ("numbers", "positions", "forces", "energy")}
            stacked = {name: np.stack([frame[name] for frame in frames]) for name in ("cell", "virial")}
            yield tensors(natoms=natoms, **joined, **stacked)


def _encode(array: np.ndarray) -> dict:
    return {"type": array.dtype.str, "shape": list(array.shape), "data": array.tobytes()}


def _read(transaction, i: int) -> dict[str, np.ndarray]:
    from msgpack import unpackb

    frame = unpackb(transaction.get(format(i, "012d").encode()), raw=False)
    return {FIELDS[k]: np.frombuffer(v["data"], np.dtype(v["type"])).reshape(v["shape"]).copy() for k, v in frame.items()}
