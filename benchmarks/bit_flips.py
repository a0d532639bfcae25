"""What readers do with a flipped bit: 40 places of the largest file of each format, one bit each, and then every frame is read.

    python benchmarks/bit_flips.py [--frames 500] [--flips 40] [--only NAME ...] [--json FILE]

The same seeded data for all. A reader raises, ends in a crash or never, gives other numbers without a word, or gives the same (the bit was in padding, or
beyond the digits that are kept). Each reading is a process of its own. pip install 'lam[bench]' nvalchemi-toolkit; those that are not installed are left out and said.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import json
import os
import signal
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from peers import data

BIT = 6  # of a byte
PATIENCE = 60  # s
OUTCOMES = ("raised", "crashed", "silent", "no effect")
Rows = Iterator[tuple[Any, ...]]  # one frame: its arrays


def ours(folder: Path) -> Rows:
    from lamdata.store import open_dataset

    for frame in open_dataset(folder).frames():
        yield frame.numbers, frame.positions, frame.forces, frame.cell, frame.virial, frame.energy


def atompack(folder: Path) -> Rows:
    from atompack import Database
    from peers.atompack_db import FILE

    database = Database.open(str(folder / FILE))
    for i in range(len(database)):
        molecule = database[i]
        yield molecule.atomic_numbers, molecule.positions, molecule.forces, molecule.cell, molecule.stress, molecule.energy


def nvalchemi(folder: Path) -> Rows:
    from nvalchemi.data.datapipes import AtomicDataZarrReader

    reader = AtomicDataZarrReader(str(folder / "data.zarr"))
    reader.check_integrity()
    for frame, _ in reader.read_many(list(range(len(reader)))):
        yield tuple(frame[name].numpy() for name in ("atomic_numbers", "positions", "forces", "cell", "virial", "energy"))


def litdata(folder: Path) -> Rows:
    from litdata import StreamingDataset

    for frame in StreamingDataset(str(folder), max_cache_size="100GB"):
        yield tuple(frame[name] for name in ("numbers", "positions", "forces", "cell", "virial", "energy"))


def ase_lmdb(folder: Path) -> Rows:
    import ase.db
    import ase_db_backends  # noqa: F401  registers the backend

    for row in ase.db.connect(str(folder / "data.aselmdb"), type="aselmdb", readonly=True).select():
        yield row.numbers, row.positions, row.forces, row.cell, row.stress, row.energy


def deepmd_lmdb(folder: Path) -> Rows:
    import lmdb
    from peers.deepmd_lmdb import _read

    with lmdb.open(str(folder), readonly=True, lock=False) as env, env.begin() as transaction:
        for i in range(env.stat()["entries"]):
            yield tuple(_read(transaction, i).values())


def ase_extxyz(folder: Path) -> Rows:
    from ase.io import iread

    for atoms in iread(str(folder / "data.extxyz"), index=":"):
        yield atoms.numbers, atoms.positions, atoms.get_forces(), atoms.cell.array, atoms.get_stress(), atoms.get_potential_energy()


READERS = {  # name -> module that writes, its options, what reads, the package
    "ours lossless": ("ours", {"profile": "lossless"}, ours, "lamdata"),
    "ours fast": ("ours", {"profile": "fast"}, ours, "lamdata"),
    "Atompack": ("atompack_db", {}, atompack, "atompack"),
    "nvalchemi Zarr": ("nvalchemi", {}, nvalchemi, "nvalchemi"),
    "litdata": ("lit", {"packed": False}, litdata, "litdata"),
    "ASE LMDB (fairchem)": ("ase_lmdb", {}, ase_lmdb, "ase_db_backends"),
    "DeePMD LMDB": ("deepmd_lmdb", {}, deepmd_lmdb, "msgpack"),
    "extxyz by ASE": ("ase_extxyz", {}, ase_extxyz, "ase"),
}


def main() -> None:
    """Write, flip, read, print."""
    options = _options()
    made, found = data.make(options.frames), {}
    for name in options.only or READERS:
        module, how, read, package = READERS[name]
        if importlib.util.find_spec(package) is None:
            print(f"{name}: {package} is not installed")
            continue
        with tempfile.TemporaryDirectory() as folder:
            importlib.import_module(f"peers.{module}").write(made, folder, **how)
            found[name] = flip_all(Path(folder), read, flips=options.flips)
        print(f"{name:22s}" + "".join(f"{found[name][outcome]:4d} {outcome}" for outcome in OUTCOMES), flush=True)
    if options.json:
        Path(options.json).write_text(json.dumps({"frames": options.frames, "flips": options.flips, "readers": found}, indent=1))


def flip_all(folder: Path, read: Any, *, flips: int) -> dict[str, int]:
    """How often each outcome is met."""
    target = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    whole, clean = target.read_bytes(), _apart(read, folder)
    assert len(clean) == 64, f"the data do not read unharmed: {clean}"
    found: Counter[str] = Counter()
    for place in np.linspace(0, len(whole) - 1, flips + 2)[1:-1].astype(int).tolist():
        with open(target, "r+b") as file:
            file.seek(place)
            file.write(bytes([whole[place] ^ 1 << BIT]))
        outcome = _apart(read, folder)
        found[outcome if outcome in OUTCOMES else "no effect" if outcome == clean else "silent"] += 1
        with open(target, "r+b") as file:
            file.seek(place)
            file.write(whole[place : place + 1])
    return {outcome: found[outcome] for outcome in OUTCOMES}


def _apart(read: Any, folder: Path) -> str:
    """The digest of all frames, read in a process of its own; "raised" or "crashed"."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            said = _digest(read, folder)
        except BaseException:
            said = "raised"
        os.write(send, said.encode())
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as stream:
        said = stream.read()
    os.waitpid(child, 0)
    return said or "crashed"


def _digest(read: Any, folder: Path) -> str:
    warnings.simplefilter("ignore")
    digest = hashlib.sha256()
    for row in read(folder):
        for values in row:
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--flips", type=int, default=40)
    parser.add_argument("--only", action="append", choices=list(READERS))
    parser.add_argument("--json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
