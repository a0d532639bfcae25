"""Throughput of ingest: each format against its library called bare, one worker against two, and memory on one large file.

    python benchmarks/ingest.py [--frames 4000] [--atoms 48] [--rounds 3] [--only NAME ...] [--json FILE]
    python benchmarks/ingest.py --workers-frames 30000 [--json FILE]
    python benchmarks/ingest.py --dask 8 [--json FILE]
    python benchmarks/ingest.py --large-gb 5 [--folder DIR] [--json FILE]

Formats: the library turns the files into its own objects, our reader turns them into frames, ingest turns them into a store
(hashes, theory, checks and statistics included), all in this process in turn; CPU time, the least of the rounds. The library is the
one that people read the format with: dpdata for DeePMD's formats, which are arrays already, so that all that an ingest does beside
reading stands against a copy in memory. Workers: many files and one file; wall time, the least of interleaved rounds, which other work
on the machine lengthens; beside it CPU time along the longest way: this process, then the busiest worker. Dask: a cluster of so many
processes of this machine on one file of 4 million atoms and on 10,000 files of 400; what the scheduler takes for a task is that of tasks that do nothing; the store must have the bytes
of one process. Large: peak resident memory of an ingest of one generated extxyz file, in a process of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from foreign import FORMATS, Format, extxyz_text
from measure import least_cpu

from lamdata import ingest
from lamdata.catalog import Card, SourceSpec
from lamdata.frames import Parsed
from lamdata.ingestion.workers import run_tasks
from lamdata.sources import expand, read_items


def main() -> None:
    """Measure what was asked for, print it, write it."""
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="ingest-", dir=options.folder))
    report: dict = {}
    try:
        if options.large_gb:
            report["large"] = measure_large(folder, gigabytes=options.large_gb, atoms=options.atoms)
        elif options.dask:
            report["dask"] = measure_dask(folder, processes=options.dask)
        elif options.workers_frames:
            report["workers"] = measure_workers(folder, frames=options.workers_frames, atoms=options.atoms, rounds=options.rounds)
        else:
            report["formats"] = measure_formats(folder, options)
    finally:
        shutil.rmtree(folder)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=4000, help="enough that what an ingest costs once does not show")
    parser.add_argument("--atoms", type=int, default=48, help="atoms of a frame")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--workers-frames", type=int, help="frames of the comparison of one worker with two")
    parser.add_argument("--dask", type=int, help="processes of a cluster of Dask on this machine")
    parser.add_argument("--large-gb", type=float, help="size of the large file")
    parser.add_argument("--folder", help="where temporary files go")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def run(
    source: Path, store: Path, *, format: str = "auto", members: str | None = None, workers: int = 1, scheduler: str | None = None
) -> int:
    """Ingest one source into a fresh store; return the number of frames that were stored or refused."""
    shutil.rmtree(store, ignore_errors=True)
    spec = SourceSpec(path=str(source), members=members, format=format, group="frame")  # else one system may be held out whole
    card = Card(dataset="bench", title="bench", sources=[spec])
    report = ingest(card, str(store), base=source.parent, quiet=True, workers=workers, scheduler=scheduler)
    return report.frames + sum(report.rejected.values())


def read(source: Path, kind: Format) -> int:
    """Read one source as ingest does and keep nothing."""
    spec = SourceSpec(path=str(source), members=kind.members, format=kind.format)
    items = (item for file in expand(spec, base=source.parent) for item in read_items(file, spec))
    return sum(len(item) if isinstance(item, Parsed) else 1 for item in items)


def measure_formats(folder: Path, options: argparse.Namespace) -> list[dict]:
    """Frames per CPU second of the bare library, of our reader and of ingest."""
    print(f"{options.atoms} atoms a frame\n{'':14}{'library':16}{'bare/s':>9}{'read/s':>9}{'ingest/s':>9}{'read':>8}{'ingest':>8}")
    rows = []
    for name in options.only:
        kind = FORMATS[name]
        place = folder / name
        place.mkdir()
        source = kind.write(place, options.frames, options.atoms)
        frames, times = _compare(kind, source, folder / "store", rounds=options.rounds)
        rates = {who: frames / seconds for who, seconds in times.items()}
        row = {"format": name, "library": kind.library, "frames": frames, **rates}
        row |= {f"{who}_ratio": rates[who] / rates["bare"] for who in ("read", "ingest")}
        rows.append(row)
        numbers = f"{row['bare']:9.0f}{row['read']:9.0f}{row['ingest']:9.0f}{row['read_ratio']:8.2f}{row['ingest_ratio']:8.2f}"
        print(f"{name:14}{kind.library:16}{numbers}", flush=True)
    return rows


def _compare(kind: Format, source: Path, store: Path, *, rounds: int) -> tuple[int, dict[str, float]]:
    """How many frames each sees, and the least CPU seconds of each, taken in turn."""
    jobs = {
        "bare": lambda: kind.bare(source),
        "read": lambda: read(source, kind),
        "ingest": lambda: run(source, store, format=kind.format, members=kind.members),
    }
    counts, times = least_cpu(jobs, rounds=rounds)
    if len(set(counts.values())) > 1:
        raise SystemExit(f"{source}: frames differ in number: {counts}")
    return counts["ingest"], times


def measure_workers(folder: Path, *, frames: int, atoms: int, rounds: int) -> list[dict]:
    """Wall time with one worker and with two, on extxyz in 40 files and in one."""
    rows = []
    for files in (40, 1):
        source = folder / f"files-{files}"
        source.mkdir()
        for i in range(files):
            (source / f"{i:02d}.extxyz").write_text(extxyz_text(frames // files, atoms, seed=i))
        rows.append({"files": files, "frames": frames} | _one_against_two(source, folder / "store", rounds=rounds))
        shutil.rmtree(source)
    return rows


def _one_against_two(source: Path, store: Path, *, rounds: int) -> dict:
    walls = {1: np.inf, 2: np.inf}
    before = os.getloadavg()[0]
    for _ in range(rounds):
        for workers in walls:
            start = time.perf_counter()
            run(source, store, workers=workers)
            walls[workers] = min(walls[workers], time.perf_counter() - start)
    cpu = {workers: busiest_cpu(lambda n=workers: run(source, store, workers=n)) for workers in walls}
    row = {"load_before": before, "wall": walls, "wall_ratio": walls[1] / walls[2], "cpu": cpu, "cpu_ratio": cpu[1] / cpu[2]}
    print(
        f"{source.name}, wall: 1 worker {walls[1]:.1f} s, 2 workers {walls[2]:.1f} s, ratio {row['wall_ratio']:.2f} (load before: {before:.1f})"
    )
    print(f"{'':{len(source.name)}}  CPU of the longest way: {cpu[1]:.1f} s and {cpu[2]:.1f} s, ratio {row['cpu_ratio']:.2f}", flush=True)
    return row


@dataclass(frozen=True)
class Timed:
    """A task's function that also says in which process it ran, and what that process has spent since it began."""

    function: Callable

    def __call__(self, task):
        return self.function(task), os.getpid(), time.process_time()


def busiest_cpu(job: Callable[[], object]) -> float:
    """CPU seconds of this process, and of the busiest worker of each pool: the wall time of a machine with nothing else to do."""
    pipeline: Any = sys.modules[ingest.__module__]
    workers: list[float] = []
    plain = pipeline.run_tasks

    def counted(function, tasks, **how):
        spent: dict[int, float] = {}
        for result, process, seconds in plain(Timed(function), tasks, **how):
            spent[process] = max(seconds, spent.get(process, 0.0))
            yield result
        spent.pop(os.getpid(), None)
        workers.append(max(spent.values(), default=0.0))

    pipeline.run_tasks = counted
    try:
        start = time.process_time()
        job()
        return time.process_time() - start + sum(workers)
    finally:
        pipeline.run_tasks = plain


def nothing(task: int) -> int:
    """A task that costs what the scheduler takes for it."""
    return task


def bytes_of(store: Path) -> dict[str, bytes]:
    """Hashes of all files of a store."""
    return {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).digest() for path in sorted(store.rglob("*")) if path.is_file()}


def measure_dask(folder: Path, *, processes: int) -> list[dict]:
    """Seconds of an ingest of one process and of the cluster, and of a task that does nothing."""
    from distributed import Client, LocalCluster

    rows = []
    with LocalCluster(n_workers=processes, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        Client(cluster).wait_for_workers(processes)
        list(run_tasks(nothing, range(processes), scheduler=address))
        start = time.perf_counter()
        list(run_tasks(nothing, range(1000), scheduler=address))
        overhead = (time.perf_counter() - start) / 1000
        print(f"{processes} processes of Dask on {os.cpu_count()} cores; {1e3 * overhead:.1f} ms for a task that does nothing")
        for files, frames, atoms in ((1, 20_000, 200), (10_000, 1, 400)):
            source = folder / f"files-{files}"
            source.mkdir()
            for i in range(files):
                (source / f"{i:05d}.extxyz").write_text(extxyz_text(frames, atoms, seed=i))
            seconds, stores = [], []
            for name, where in (("alone", None), ("cluster", address)):
                start = time.perf_counter()
                run(source, folder / name, scheduler=where)
                seconds.append(time.perf_counter() - start)
                stores.append(bytes_of(folder / name))
            if stores[0] != stores[1]:
                raise SystemExit(f"{files} files: the store of the cluster has other bytes")
            rows.append(
                {"files": files, "frames": files * frames, "seconds": seconds, "ratio": seconds[0] / seconds[1], "task_s": overhead}
            )
            print(
                f"{files:,} files, {files * frames:,} frames: {seconds[0]:.1f} s alone, {seconds[1]:.1f} s by the cluster, the same bytes",
                flush=True,
            )
            shutil.rmtree(source)
    return rows


def measure_large(folder: Path, *, gigabytes: float, atoms: int) -> dict:
    """Peak resident memory of an ingest of one file, mapped files included."""
    text = extxyz_text(2000, atoms).encode()
    path, size = folder / "large.extxyz", 0
    with open(path, "wb") as file:
        while size < gigabytes * 1e9:
            size += file.write(text)
    code = "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import ingest; print(ingest.large(*map(pathlib.Path, sys.argv[2:])))"
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(path), str(folder / "store")]
    row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    row |= {"gigabytes": size / 1e9}
    print(f"{row['gigabytes']:.2f} GB, {row['frames']} frames: peak {row['peak_mb']:.0f} MB, {row['cpu_s']:.0f} CPU s")
    return row


def large(source: Path, store: Path) -> str:
    """Ingest `source` and say, as JSON, what it took."""
    from measure import peak_rss

    frames = run(source, store, format="extxyz")
    return json.dumps({"frames": frames, "peak_mb": peak_rss(), "cpu_s": time.process_time()})


if __name__ == "__main__":
    main()
