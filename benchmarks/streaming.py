"""How fast formats stream shuffled ragged frames: ours, litdata, memmap, HDF5, DeePMD's LMDB, ASE's LMDB, MosaicML's MDS, Atompack, nvalchemi.

    python benchmarks/streaming.py [--frames 200000] [--rounds 3] [--seconds 4] [--only NAME ...] [--json FILE]
    python benchmarks/streaming.py --s3 --latency-ms 0,20,50 [--json FILE]

The same seeded data for all (pip install 'lam[bench]'), in memory as arrays, written twice by this process, the second time measured; each
read in a process of its own, rounds interleaved, medians reported. CPU seconds are those of a process with all its threads. The share of memcpy is against copying the same bytes once.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from peers import BESIDE, PEERS, data
from processor import processor

COLUMNS = (
    ("kframes/CPU-s", "frames_per_cpu_s", 1e-3, ".1f"),
    ("kframes/s", "frames_per_s", 1e-3, ".1f"),
    ("written/CPU-s", "written_per_cpu_s", 1e-3, ".1f"),
    ("bytes/atom", "bytes_per_atom", 1, ".1f"),
    ("first batch s", "first_batch_s", 1, ".3f"),
    ("RSS MB", "rss_mb", 1, ".0f"),
)


def main() -> None:
    """Write, measure, print."""
    options = _options()
    folder = Path(options.folder or tempfile.mkdtemp(prefix="streaming-"))
    names = options.only or [name for name in PEERS if name not in BESIDE or importlib.util.find_spec(name)]
    if options.s3:
        from cloud import measure_cloud

        report = {
            "rows": [],
            "ratios": {},
            "s3": measure_cloud(folder, frames=options.frames, latencies=options.latency_ms, seconds=options.seconds),
        }
    else:
        report = compare(names, folder, frames=options.frames, rounds=options.rounds, seconds=options.seconds) | {"s3": []}
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1))
    if not options.folder:
        shutil.rmtree(folder)


def compare(names: list[str], folder: Path, *, frames: int, rounds: int, seconds: float) -> dict:
    """Measure each format `rounds` times, in turn."""
    written = _write_all(names, folder, frames)
    found: dict[str, list[dict]] = {name: [] for name in names}
    for k in range(rounds):
        for name in names:
            found[name].append(_measure(PEERS[name][0], folder / _slug(name), seconds, seed=k))
    rows = []
    for name in names:
        row = {key: statistics.median(one[key] for one in found[name]) for key in found[name][0]}
        rows.append({"format": name, **written[name], **row})
    _print_table(rows)
    ratios = _ratios({row["format"]: row["frames_per_cpu_s"] for row in rows})
    ratios |= {f"write_{name}": value for name, value in _ratios({row["format"]: row["written_per_cpu_s"] for row in rows}).items()}
    best = max(rows, key=lambda row: row["atoms_per_cpu_s"])
    ratios["share_of_memcpy"] = best["atoms_per_cpu_s"] / memcpy_atoms_per_cpu_s()
    for name, value in ratios.items():
        print(f"{name}: {value:.3g}")
    return {"rows": rows, "ratios": ratios}


def memcpy_atoms_per_cpu_s(*, bytes_per_atom: int = 25, size: int = 1 << 26) -> float:
    """How many atoms of float32 positions, forces and a byte a processor copies in a second."""
    source, target = np.ones(size, np.uint8), np.ones(size, np.uint8)
    begin, copied = time.process_time(), 0
    while time.process_time() - begin < 1:
        np.copyto(target, source)
        copied += size
    return copied / bytes_per_atom / (time.process_time() - begin)


def _write_all(names: list[str], folder: Path, frames: int) -> dict[str, dict[str, float]]:
    """Write what is not there yet; bytes per atom, and frames per CPU-second of the writing."""
    made, found = None, {}
    for name in names:
        target, marker = folder / _slug(name), folder / f"{_slug(name)}.atoms"
        if not marker.exists():
            made = made or data.make(frames)
            module, how = PEERS[name]
            peer = importlib.import_module(f"peers.{module}")
            for _ in range(2):  # the first imports what is needed
                shutil.rmtree(target, ignore_errors=True)
                target.mkdir(parents=True)
                start = time.process_time()
                peer.write(made, str(target), **how)
                took = time.process_time() - start
            natoms = made["natoms"][: getattr(peer, "SOME", None)]
            marker.write_text(json.dumps({"atoms": int(natoms.sum()), "written_per_cpu_s": len(natoms) / took}))
        used = sum(
            path.stat().st_blocks * 512 if path.suffix == ".mdb" else path.stat().st_size for path in target.rglob("*") if path.is_file()
        )
        said = json.loads(marker.read_text())
        found[name] = {"bytes_per_atom": used / said.pop("atoms"), **said}
    return found


def _measure(module: str, folder: Path, seconds: float, seed: int) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__).parent / "measure.py"), module, str(folder), str(seconds), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        sys.exit(f"{module}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _ratios(speed: dict[str, float]) -> dict[str, float]:
    """`fast_vs_litdata` and so on."""
    peers = [name for name in speed if not name.startswith("ours")]
    mine = {profile: speed[f"ours {profile}"] for profile in ("fast", "lossless") if f"ours {profile}" in speed}
    return {f"{profile}_vs_{_slug(peer)}": value / speed[peer] for profile, value in mine.items() for peer in peers}


def _print_table(rows: list[dict]) -> None:
    print(processor())
    print(f"{'format':14s}" + "".join(f"{title:>15s}" for title, *_ in COLUMNS))
    for row in rows:
        print(f"{row['format']:14s}" + "".join(f"{row[key] * factor:15{form}}" for _, key, factor, form in COLUMNS))


def _slug(name: str) -> str:
    return name.replace(" ", "_")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="measured time of one reading")
    parser.add_argument("--only", action="append", choices=list(PEERS))
    parser.add_argument("--folder", help="keep the written data here for the next call")
    parser.add_argument("--s3", action="store_true", help="read from an S3 server on loopback instead")
    parser.add_argument("--latency-ms", type=lambda text: [float(x) for x in text.split(",")], default=[0.0, 20.0, 50.0])
    parser.add_argument("--json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
