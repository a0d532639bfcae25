"""Steps of a training on a machine that others use too: with nothing else to do, with a busy process on every core, and on one core.

    python benchmarks/shared_machine.py [--size small] [--kernels cpp] [--seconds 10] [--json shared.json]

Each row is a process of its own that does training steps (dpa2_step.py's `our_step`) for some seconds: first with each count of threads, then
with the count that `lamtrain.training.threads.choose_threads` prefers there. `alone` means that this benchmark starts nothing else: run it on an
idle machine. In `loaded` a process that counts is pinned to every core. `one core` is the same by affinity, and by a quota of a
cgroup where this user may make one. A row's last column is its rate by that of the best row `alone`; chosen threads should keep 0.4 when loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from processor import processor


def work(arguments: argparse.Namespace) -> None:
    """Do steps for some seconds and print steps, seconds and threads as JSON."""
    import torch
    from dpa2_step import our_step

    from lamtrain.training.threads import choose_threads

    step = our_step(arguments.size, arguments.precision, arguments.case, arguments.kernels, "cpu")
    about = {}
    if arguments.worker == "chosen":
        chosen = choose_threads(step)
        about = {"tried": chosen.seconds, "usable": chosen.usable}
    else:
        torch.set_num_threads(int(arguments.worker))
        step()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < arguments.seconds:
        step()
        count += 1
    rate = count / (time.perf_counter() - start)
    print(json.dumps({"threads": torch.get_num_threads(), "rate": rate, **about}), flush=True)


@contextmanager
def load(cores: set[int]) -> Iterator[None]:
    """A busy process on each core."""
    busy = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"
    others = [subprocess.Popen([sys.executable, "-c", busy, str(core)]) for core in cores]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


@contextmanager
def quota() -> Iterator[Path | None]:
    """A cgroup with the time of one core; None where this user may not make one."""
    root = Path("/sys/fs/cgroup")
    unified = (root / "cgroup.controllers").exists()  # the second version of the interface
    group = (root if unified else root / "cpu") / "lam-shared-machine"
    try:
        group.mkdir(exist_ok=True)
        (group / "cpu.max").write_text("100000 100000") if unified else (group / "cpu.cfs_quota_us").write_text("100000")
    except OSError:
        yield None
        return
    try:
        yield group
    finally:
        for _ in range(50):  # the last process of the group may still be on its way out
            with suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.1)


def measure(arguments: argparse.Namespace, threads: str, *, cores: set[int] | None = None, group: Path | None = None) -> dict:
    """One row: the worker's answer."""

    def confine() -> None:
        if cores is not None:
            os.sched_setaffinity(0, cores)
        if group is not None:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    options = ["--size", arguments.size, "--precision", arguments.precision, "--case", arguments.case, "--kernels", arguments.kernels]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_WAIT_POLICY": arguments.wait}
    done = subprocess.run(
        [sys.executable, __file__, "--worker", threads, "--seconds", str(arguments.seconds), *options],
        env=environment,
        preexec_fn=confine,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def rows(arguments: argparse.Namespace) -> Iterator[dict]:
    all_cores = os.sched_getaffinity(0)
    counts = [*(str(n) for n in sorted({1, 2, len(all_cores)}) if n <= len(all_cores)), "chosen"]
    for asked in counts:
        yield {"where": "alone", "asked": asked, **measure(arguments, asked)}
    with load(all_cores):
        for asked in counts:
            yield {"where": "loaded", "asked": asked, **measure(arguments, asked)}
    one = {min(all_cores)}
    for asked in counts[-2:]:
        yield {"where": "one core, affinity", "asked": asked, **measure(arguments, asked, cores=one)}
    with quota() as group:
        if group is None:
            print("one core, cgroup: not measured, this user may not make a cgroup", flush=True)
            return
        for asked in counts[-2:]:
            yield {"where": "one core, cgroup", "asked": asked, **measure(arguments, asked, group=group)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=("small", "medium"), default="small")
    parser.add_argument("--precision", choices=("float32", "float64"), default="float32")
    parser.add_argument("--case", default="1x192", help="FRAMESxATOMS or ragged, as of dpa2_step.py")
    parser.add_argument("--kernels", default="cpp")
    parser.add_argument("--seconds", type=float, default=10.0, help="that each row takes, after its first step")
    parser.add_argument("--wait", choices=("PASSIVE", "ACTIVE"), default="PASSIVE", help="how PyTorch's own threads wait for each other")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return work(arguments)
    print(
        f"{processor()}; {len(os.sched_getaffinity(0))} cores; {arguments.case} {arguments.size} {arguments.precision} {arguments.kernels}"
    )
    table: list[dict] = []
    for row in rows(arguments):
        table.append(row)
        best = max(row["rate"] for row in table if row["where"] == "alone")
        tried = "".join(f"  {n}: {float(s):.3f} s" for n, s in row.get("tried", {}).items())
        print(
            f"{row['where']:20s} {row['asked']:>7s} {row['threads']:3d} threads  {row['rate']:6.2f} steps/s  {row['rate'] / best:5.2f}{tried}",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps({"processor": processor(), "rows": table}, indent=1))


if __name__ == "__main__":
    main()
