"""Whether frames that `lamdata select --by` takes teach more than as many at random: acetylacetone, from 300 K to 600 K, three seeds.

python benchmarks/worth.py FOLDER DATASETS [--only PATTERN]     runs what is missing, one by one, into FOLDER and benchmarks/worth.json
python benchmarks/worth.py --show                               prints the table of worth.json

A model of 300 frames at 300 K scores 500 frames at 600 K without their labels; COUNT of them, chosen by score and distance or at random, are
added, and training goes on from that model on both for as many steps. Errors are on 600 K and 300 K test frames. DATASETS holds botnet/ with
extended XYZ files, xz-compressed. A run that was stopped goes on; one that is in the file is not done again.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kept_runs  # beside this file
from fine_tune import config_of, frames_of, write_card

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/worth.json"
SEEDS, COUNTS = (0, 1, 2), (20,)
PARENT, STEPS, FRAMES = 3000, 1000, 4  # steps of the first model, of each that goes on, and frames a step
TRAIN, VALIDATION, TEST = 300, 40, 100
KEYS = ("energy_rmse_mev_per_atom", "force_rmse_mev_per_angstrom")


def prepare(folder: Path, datasets: Path) -> str:
    """Write cards and the store: 300 K, the pool of 600 K, and test frames of both; return the store's path."""
    from lamdata import ingest, open_card, open_store

    store = folder / "worth.zarr"
    cold, hot, cold_test, hot_test = (
        _shuffled(datasets / f"botnet/acac-{name}.xyz.xz") for name in ("train_300K", "train_600K", "test_MD_300K", "test_MD_600K")
    )
    write_card(folder, "cold", {"train": cold[:TRAIN], "validation": cold[-VALIDATION:], "test": cold_test[:TEST]})
    write_card(folder, "hot", {"train": hot, "test": hot_test[:TEST]})
    known = set(open_store(store)) if store.exists() else set()
    for name in ("cold", "hot"):
        card = folder / f"{name}.yaml"
        card.write_text(card.read_text().replace("code: null, functional: null", "code: ORCA, functional: PBE"))  # one head for both
        if name not in known:
            ingest(open_card(card), str(store), base=folder, quiet=True)
    return str(store)


def _shuffled(file: Path) -> list[str]:
    frames = frames_of(file)
    random.Random(file.name).shuffle(frames)
    return frames


def parent(folder: Path, store: str, seed: int) -> Path:
    """The model of 300 K, with its sketch; made once a seed."""
    from lamtrain.config import TrainConfig
    from lamtrain.stages.cover.make import sketch_run
    from lamtrain.training.trainer import train

    name = f"parent-{seed}"
    values = config_of(folder, store, name, [("acac", "cold", 1.0)], "scratch", steps=PARENT, frames=FRAMES, seed=seed)
    config = TrainConfig.model_validate(values)
    out = train(config, out=folder / "runs" / name, device="cpu", quiet=True)
    sketch_run(out, config, device="cpu", quiet=True)
    return out / "last.pt"


def view(folder: Path, store: str, model: Path, how: str, count: int, seed: int) -> str:
    """The frames of the pool that are chosen, as a view of the store; return its name."""
    from lamdata import open_dataset, open_store
    from lamdata.store import Worth, select
    from lamtrain import load_model
    from lamtrain.stages.cover.run import cover, open_frames

    name = f"{how}-{count}-{seed}"
    if name in open_store(store).views:
        return name
    if how == "random":
        origins = sorted(frame.origin for frame in open_dataset(store, "hot", split="train"))
        select(store, "hot", name=name, listed=random.Random(seed).sample(origins, count))
        return name
    out = folder / f"cover-{seed}"
    cover(load_model(model, device="cpu"), open_frames([store, "hot"], split="train", format="auto", quiet=True), out)
    select(store, "hot", name=name, split="train", worth=Worth(table=out / "cover.frames.csv", count=count, seed=seed))
    return name


def runs(folder: Path, store: str, results: dict[str, Any]) -> Iterator[tuple[str, tuple[str, int, int]]]:
    """Name; how frames are chosen, how many, seed."""
    for seed in SEEDS:
        yield f"none-0-{seed}", ("none", 0, seed)
        for count in COUNTS:
            for how in ("select", "random"):
                yield f"{how}-{count}-{seed}", (how, count, seed)


def run(folder: Path, store: str, name: str, what: tuple[str, int, int]) -> dict[str, Any]:
    """Train on, and test on both temperatures."""
    from lamtrain.config import TrainConfig
    from lamtrain.evaluation.report import test_model
    from lamtrain.training.trainer import train

    how, count, seed = what
    model = parent(folder, store, seed)
    if count:
        chosen = view(folder, store, model, how, count, seed)
        rows = [("acac", "cold", 0.5), ("acac", f"hot, view: {chosen}", 0.5)]
        shared: dict[str, Any] = {"steps": STEPS, "frames": FRAMES, "seed": seed}
        values = config_of(folder, store, name, rows, "fine-tuned", model=str(model), train="all", **shared)
        model = train(TrainConfig.model_validate(values), out=folder / "runs" / name, device="cpu", quiet=True) / "last.pt"
    found = {}
    for dataset in ("hot", "cold"):
        row = test_model(model, store, output=folder / "tests" / f"{name}-{dataset}", head="acac", dataset=dataset, quiet=True)["heads"][
            "acac"
        ]
        found[dataset] = {key: row[key] for key in KEYS}
    return {"count": count, "how": how, "seed": seed, **found}


def show(results: dict[str, Any]) -> None:
    """Force errors at 600 K by number of frames, each seed."""
    print(f"{'frames':>8}{'seed':>6}{'select':>10}{'random':>10}   force RMSE at 600 K, meV/Å")
    for count in COUNTS:
        for seed in SEEDS:
            row = [results.get(f"{how}-{count}-{seed}") for how in ("select", "random")]
            cells = ["-" if one is None else f"{one['hot'][KEYS[1]]:.1f}" for one in row]
            print(f"{count:>8}{seed:>6}{cells[0]:>10}{cells[1]:>10}")


if __name__ == "__main__":
    sys.exit(kept_runs.main(__doc__, RESULTS, prepare=prepare, runs=runs, run=run, show=show, shown_after=True))
