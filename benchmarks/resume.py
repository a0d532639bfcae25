"""What a restart in the middle of an epoch gives: the batches that an uninterrupted run would have had, or others.

    python benchmarks/resume.py [--only NAME ...] [--json FILE]

640 frames in batches of 64, shuffled. One process reads two epochs; another reads one and a half and saves what its manual says to save; a third goes on from
there. Of the second epoch it is counted how many frames are then seen twice and how many never. A format without a state of its own is read by torch's
`DataLoader(shuffle=True)`, whose manual has none either: it starts an epoch anew. pip install 'lam[bench]' nvalchemi-toolkit; what is not installed is left out and
said.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from peers import BATCH, data

EPOCH = 10  # batches
STOPPED = 15
Batches = Iterator[tuple[list[float], Any]]  # energies of a batch, which name its frames, and what is saved after it


def ours(folder: str, state: Any) -> Batches:
    from lamdata.store import open_dataset
    from lamdata.stream import Stream, StreamHead

    with Stream([StreamHead(name="ragged", dataset=open_dataset(folder))], seed=0, batch_frames=BATCH, threads=0) as stream:
        if state is not None:
            stream.load_state_dict(state)
        for batch in stream:
            yield batch.energy.tolist(), stream.state_dict()


def litdata(folder: str, state: Any) -> Batches:
    from litdata import StreamingDataLoader, StreamingDataset
    from peers.record import collate_samples

    dataset = StreamingDataset(folder, shuffle=True, seed=0, max_cache_size="100GB")
    loader = StreamingDataLoader(dataset, batch_size=BATCH, num_workers=0, collate_fn=collate_samples)
    if state is not None:
        loader.load_state_dict(state)
    while True:
        for batch in loader:
            yield batch["energy"].tolist(), loader.state_dict()


def nvalchemi(folder: str, state: Any) -> Batches:
    from peers.nvalchemi import loader

    found, (epoch, step) = loader(folder), state or (0, 0)
    while True:
        found.set_epoch(epoch)
        found.set_epoch_step(step)
        for batch in found:
            step += 1
            yield batch.energy[:, 0].tolist(), (epoch, step)
        epoch, step = epoch + 1, 0


def atompack(folder: str, state: Any) -> Batches:
    from atompack import Database
    from peers.atompack_db import FILE

    database = Database.open(f"{folder}/{FILE}")
    return _anew(len(database), lambda rows: database.get_molecules_flat(rows)["energy"].tolist(), state)


def ase_lmdb(folder: str, state: Any) -> Batches:
    import ase.db
    import ase_db_backends  # noqa: F401  registers the backend

    base = ase.db.connect(f"{folder}/data.aselmdb", type="aselmdb", readonly=True)
    return _anew(len(base), lambda rows: [base.get(row + 1).energy for row in rows], state)


def _anew(count: int, take: Any, state: Any) -> Batches:
    """torch's loader; `state` is which process this is: a run that goes on has drawn other random numbers than one that begins."""
    import torch

    torch.manual_seed(0 if state is None else 1)
    loader = torch.utils.data.DataLoader(range(count), batch_size=BATCH, shuffle=True, collate_fn=list)
    while True:
        for rows in loader:
            yield take(rows), 1


READERS = {  # name -> module that writes, its options, what reads, the package
    "ours": ("ours", {"profile": "lossless"}, ours, "lamdata"),
    "litdata": ("lit", {"packed": False}, litdata, "litdata"),
    "nvalchemi Zarr": ("nvalchemi", {}, nvalchemi, "nvalchemi"),
    "Atompack": ("atompack_db", {}, atompack, "atompack"),
    "ASE LMDB (fairchem)": ("ase_lmdb", {}, ase_lmdb, "ase_db_backends"),
}


def main() -> None:
    """Write, stop, go on, print."""
    options = _options()
    if options.read:
        read(*json.loads(options.read))
    made, found = data.make(EPOCH * BATCH), {}
    made["energy"] = np.arange(EPOCH * BATCH) / 8.0  # which float32 tells apart
    for name in options.only or READERS:
        module, how, _, package = READERS[name]
        if importlib.util.find_spec(package) is None:
            print(f"{name}: {package} is not installed")
            continue
        with tempfile.TemporaryDirectory() as folder:
            importlib.import_module(f"peers.{module}").write(made, folder, **how)
            found[name] = restarted(folder, name)
        said = found[name]
        print(
            f"{name:22s}{'the same batches' if said['same'] else 'others':18s}{said['twice']:4d} twice {said['never']:4d} never, of {said['frames']}",
            flush=True,
        )
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1))


def restarted(folder: str, name: str) -> dict[str, Any]:
    """Whether the rest is that of an uninterrupted run, and how often the frames of the epoch were seen."""
    whole, _ = _apart(name, folder, None, 2 * EPOCH)
    begun, state = _apart(name, folder, None, STOPPED)
    rest, _ = _apart(name, folder, state, 2 * EPOCH - STOPPED)
    seen = Counter(frame for batch in [*begun[EPOCH:], *rest] for frame in batch)
    frames = EPOCH * BATCH
    return {
        "same": begun + rest == whole,
        "twice": sum(count > 1 for count in seen.values()),
        "never": frames - len(seen),
        "frames": frames,
    }


def _apart(name: str, folder: str, state: Any, count: int) -> tuple[list[list[float]], Any]:
    """So many batches, read in a process of its own, and what it saves."""
    command = [sys.executable, __file__, "--read", json.dumps([name, folder, state, count])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr.strip()[-2000:]}")
    batches, saved = json.loads(done.stdout.strip().splitlines()[-1])
    return batches, saved


def read(name: str, folder: str, state: Any, count: int) -> None:
    """What one process reads and saves, as JSON."""
    batches = list(itertools.islice(READERS[name][2](folder, state), count))
    print(json.dumps([[frames for frames, _ in batches], batches[-1][1]]), flush=True)
    os._exit(0)  # some readers' threads do not end


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=list(READERS))
    parser.add_argument("--json")
    parser.add_argument("--read", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
