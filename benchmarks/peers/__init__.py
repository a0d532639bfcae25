"""Formats to compare: each module writes the seeded data in its own way and reads it back, shuffled, in ragged torch batches.

`write(data, folder)` and `batches(folder, seed)`, an endless iterator of dicts of tensors with the keys of `KEYS`. Every peer is used as
its manual has it, in one process: a sample a frame, samples joined into batches. `litdata packed` is the fastest way that we found to
use it: each frame one string of bytes, packed and unpacked by hand.
"""

KEYS = ("numbers", "positions", "forces", "natoms", "cell", "virial", "energy")
BATCH = 64  # frames

# name in the table -> module, options of its `write`
PEERS = {
    "ours fast": ("ours", {"profile": "fast"}),
    "ours lossless": ("ours", {"profile": "lossless"}),
    "atompack": ("atompack_db", {}),
    "litdata": ("lit", {"packed": False}),
    "litdata packed": ("lit", {"packed": True}),
    "memmap": ("memmap", {}),
    "hdf5": ("hdf5", {}),
    "deepmd lmdb": ("deepmd_lmdb", {}),
    "ase lmdb": ("ase_lmdb", {}),
    "mds": ("mds", {}),
    "nvalchemi": ("nvalchemi", {}),
}
BESIDE = ("nvalchemi",)  # brings so much that it is not in 'lam[bench]': measured where `nvalchemi-toolkit` is installed
