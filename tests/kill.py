"""Kill or interrupt ingest and training at random instants; the rerun must end with the bytes of a run that was left alone.

    python tests/kill.py SEED [--ingest 20] [--train 10] [--fine-tune 20] [--distil 5] [--stop 60] [--process 30]

Each trial starts the real command in a process group of its own, sends SIGKILL to the group, or with `--stop` SIGINT or SIGTERM to the
process, at an instant drawn from the seed, runs the same command again to its end, and compares the store, byte by byte, or metrics.csv and
every tensor of last.pt, of a distillation all that it decides, or the hashes of all results of a process. A training that was told to stop must have ended with 130, or been done.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.conftest import command, tree, write_catalog

INGEST = command("lamdata", "ingest", "bulk.yaml", "cluster.yaml", "crystals.yaml", "-o", "small.zarr", "--workers", "2", "--quiet")
STOPS = (signal.SIGINT, signal.SIGTERM)
TRAIN = command("lamtrain", "train", "train.yaml", "--quiet")
FINE_TUNE = command("lamtrain", "train", "tune.yaml", "--quiet")
DISTIL = command("lamtrain", "distil", "near.yaml", "--quiet", "--device", "cpu")
MINE = """mixture: mine
heads:
  - {head: mine, dataset: cluster, task: energy_force}
  - {head: bulk, dataset: bulk, task: energy_force, weight: 0.5}
"""
TUNE = """train: tuned
mixture: mine.yaml
store: small.zarr
start: {model: parents/small/last.pt, heads: {mine: bulk}, train: {lora: {rank: 2}}, lr_scale: {"descriptor.*": 0.5}}
steps: 12
batch: {frames: 4}
validation: {every: 6, frames: 5}
checkpoint_every: 2
log_every: 3
"""


RUN = command("lamtrain", "run", "process.yaml", "--quiet")


def run(args: list[str], folder: Path, *, kill_after: float | None = None, by: signal.Signals = signal.SIGKILL) -> float:
    """Run to the end, or kill the whole group or tell the process to stop after some seconds; return how long it took."""
    start = time.monotonic()
    process = subprocess.Popen(args, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    try:
        _, error = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        if by == signal.SIGKILL:
            os.killpg(process.pid, by)
            process.communicate()
            return time.monotonic() - start
        process.send_signal(by)
        _, error = process.communicate(timeout=300)
        early = process.returncode in (-by, 130)  # before the handlers stand, or between two steps
        importing = process.returncode == -by  # Python's own end, before `main` is there to catch it: it prints where it was
        if not early and process.returncode != 0 or b"Traceback" in error and not importing:
            raise SystemExit(f"{by.name}: {' '.join(args[2:])} ended with {process.returncode}: {error.decode()}") from None
        return time.monotonic() - start
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(args[2:])} ended with {process.returncode}: {error.decode()}")
    return time.monotonic() - start


def outcome_of_ingest(folder: Path) -> dict[str, bytes]:
    """The store, and that nothing is left beside it."""
    assert not [p for p in folder.iterdir() if p.name.endswith(".staging")], "staging was left behind"
    return tree(folder / "small.zarr")


def outcome_of_training(folder: Path) -> dict[str, bytes]:
    """metrics.csv and the bits of every tensor and number of the last checkpoint."""
    from lamtrain.checkpoint import load

    (run_folder,) = (folder / "runs").iterdir()
    checkpoint = load(run_folder / "last.pt")
    tensors = {name: value.numpy().tobytes() for name, value in checkpoint.model.items()}
    for part, values in (checkpoint.lora or {}).items():
        tensors |= {f"{part} of {name}": value.numpy().tobytes() for name, value in values.items()}
    for head, sketch in (checkpoint.cover or {}).items():
        plain = {key: value.tolist() if hasattr(value, "tolist") else value for key, value in sketch.items()}
        tensors[f"sketch of {head}"] = repr(plain).encode()
    tensors["heads"] = repr(checkpoint.heads).encode()
    hidden = [p.name for p in run_folder.iterdir() if p.name.startswith(".") and "metrics" not in p.name and p.suffix != ".pt"]
    numbers = repr((checkpoint.step, checkpoint.position, checkpoint.best, checkpoint.looked)).encode()
    return {"metrics": (run_folder / "metrics.csv").read_bytes(), "numbers": numbers, "hidden": repr(hidden).encode(), **tensors}


def outcome_of_process(folder: Path) -> dict[str, bytes]:
    """Hashes of what each stage of a process left, by what is on disk."""
    from lamtrain.stages.process.run import contents_of
    from lamtrain.stages.process.spec import read_process
    from lamtrain.stages.process.state import read_done, results_of

    process = read_process(folder / "process.yaml")
    found = {}
    for stage in process.stages:
        done, results = read_done(folder / stage.folder), results_of(stage, contents_of(process))
        assert done is not None and done.results == results, stage.name
        found[stage.name] = repr((done.identity.digest, sorted(results.items()))).encode()
    return found


def trials(
    name: str,
    args: list[str],
    prepare: Callable[[Path], None],
    outcome: Callable[[Path], dict],
    *,
    count: int,
    rng: random.Random,
    signals: Sequence[signal.Signals] = (signal.SIGKILL,),
) -> int:
    """Return how many of `count` killed and repeated runs did not end like one that was left alone."""
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        whole.mkdir()
        prepare(whole)
        seconds = run(args, whole)
        expected, bad = outcome(whole), 0
        for trial in range(count):
            folder = Path(scratch) / f"trial-{trial}"
            shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("small.zarr" if name == "ingest" else "runs"))
            instant, by = rng.random() * seconds, rng.choice(signals)
            run(args, folder, kill_after=instant, by=by)
            run(args, folder)
            found = outcome(folder)
            others = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
            bad += bool(others)
            print(f"{name} {by.name} at {instant / seconds:.0%}: {f'DIFFERENT: {others[:5]}' if others else 'same'}", flush=True)
            shutil.rmtree(folder)
    return bad


def write_fine_tune(folder: Path) -> None:
    """What `write_and_ingest` leaves, a model with three heads, and a config that adapts it: updates of low rank, references, an old head."""
    write_and_ingest(folder)
    run([*TRAIN, "--runs", "parents", "--set", "steps=3"], folder)
    (folder / "mine.yaml").write_text(MINE)
    (folder / "tune.yaml").write_text(TUNE)


def write_distil(folder: Path) -> None:
    """What `write_and_ingest` leaves, a teacher, and a distillation whose student is near enough after one training."""
    from tests.lamtrain.stages.distil.cases import prepare, write_other

    write_and_ingest(folder)
    prepare(folder, folder)
    write_other(folder, "near.yaml", **{"low: 0.01": "low: 4.9"})


def outcome_of_distil(folder: Path) -> dict[str, bytes]:
    """Trajectories, judgements, frames and students."""
    from tests.lamtrain.stages.distil.cases import outcome

    return outcome(folder / "runs/metals")


def write_process(folder: Path) -> None:
    """Raw files and a process that ingests, compares, trains and tests."""
    from tests.lamtrain.stages.process.conftest import PROCESS

    write_catalog(folder)
    (folder / "process.yaml").write_text(PROCESS)


def write_process_of_data(folder: Path) -> None:
    """The same, without what needs torch."""
    write_process(folder)
    path = folder / "process.yaml"
    path.write_text(path.read_text().partition("  learn:")[0])


def main() -> int:
    """Parse, run, count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seed", type=int)
    parser.add_argument("--ingest", type=int, default=20, help="killed ingests")
    parser.add_argument("--train", type=int, default=10, help="killed trainings")
    parser.add_argument("--fine-tune", type=int, default=20, help="killed fine-tunes")
    parser.add_argument("--distil", type=int, default=5, help="killed distillations")
    parser.add_argument("--process", type=int, default=0, help="killed processes")
    parser.add_argument("--stop", type=int, default=0, help="trainings that SIGINT or SIGTERM tells to stop")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    bad = trials("ingest", INGEST, write_catalog, outcome_of_ingest, count=options.ingest, rng=rng)
    bad += trials("training", TRAIN, write_and_ingest, outcome_of_training, count=options.train, rng=rng)
    bad += trials("training", TRAIN, write_and_ingest, outcome_of_training, count=options.stop, rng=rng, signals=STOPS)
    bad += trials("fine-tune", FINE_TUNE, write_fine_tune, outcome_of_training, count=options.fine_tune, rng=rng)
    bad += trials("distillation", DISTIL, write_distil, outcome_of_distil, count=options.distil, rng=rng)
    bad += trials("process", RUN, write_process, outcome_of_process, count=options.process, rng=rng)
    count = options.ingest + options.train + options.fine_tune + options.distil + options.stop + options.process
    print(f"{count - bad} of {count} ended the same")
    return 1 if bad else 0


def write_and_ingest(folder: Path) -> None:
    """Raw files and their store."""
    write_catalog(folder)
    run(INGEST, folder)


if __name__ == "__main__":
    sys.exit(main())
