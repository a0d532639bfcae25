"""Fine-tuned against from scratch, on few frames of mlearn Si and of acetylacetone, by a parent that has seen neither set.

python benchmarks/fine_tune.py FOLDER DATASETS [--only PATTERN]     runs what is missing, one by one, into FOLDER and benchmarks/fine_tune.json
python benchmarks/fine_tune.py --show                               table and picture of fine_tune.json, into docs/

DATASETS holds mlearn/, botnet/ and mattersim/ with extended XYZ files, xz-compressed. A run that was stopped goes on; one that is in the file
is not done again. Parent: three heads, 1,000 random MPtrj frames, Ge of mlearn and 3BPA of BOTNet, none of them with a frame of what follows.
"""

from __future__ import annotations

import lzma
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kept_runs  # beside this file

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/fine_tune.json"
SIZES, SEEDS = (10, 30, 100), (0, 1, 2)
EQUAL, LONG, FAR, PARENT = 100, 400, 3000, 1500  # steps: of all; four times as many; until little changes, with 30 frames; of the parent
WEIGHTS = (0.0, 0.5, 2.0)  # of all old heads together, against 1 of the new one
UNITS = "{energy: eV, length: Angstrom, force: eV/Angstrom}"
SETS = {  # new head: frames to draw from, test frames, the head of the parent that is taken (of Si chosen by a trial of seed 0), frames a step
    "Si": ("mlearn/Si-training", "mlearn/Si-test", "ge", 1),
    "AcAc": ("botnet/acac-train_300K", "botnet/acac-test_MD_300K", "bpa", 2),
}
OLD = {"mptrj": "mattersim/mptrj-random-1k", "ge": "mlearn/Ge-training", "bpa": "botnet/3BPA-train_mixedT"}
MOST_TEST, VALIDATION, LOOK = 40, 20, 8
FINE = 0.3  # rate of a fine-tune by that from scratch


def frames_of(file: Path) -> list[str]:
    """Each frame of an extended XYZ file as text."""
    with lzma.open(file, "rt") as text:
        lines = text.readlines()
    out, at = [], 0
    while at < len(lines):
        stop = at + int(lines[at]) + 2
        out.append("".join(lines[at:stop]))
        at = stop
    return out


def write_card(folder: Path, name: str, parts: dict[str, list[str]]) -> None:
    """A card with one file for each split."""
    (folder / "raw").mkdir(parents=True, exist_ok=True)
    sources = ""
    for split, frames in parts.items():
        (folder / f"raw/{name}-{split}.xyz").write_text("".join(frames))
        keys = 'keys: {virial: "", stress: ""}, ' if "irial" in frames[0] or "stress=" in frames[0] else ""
        sources += f"  - {{path: raw/{name}-{split}.xyz, format: extxyz, group: frame, split: {split}, {keys}units: {UNITS}}}\n"
    text = f"dataset: {name}\ntitle: {name}\nlicense: null\ntheory: {{code: null, functional: null}}\nchecks: {{max_force: null, net_force: null}}\n"
    (folder / f"{name}.yaml").write_text(f"{text}sources:\n{sources}")


def prepare(folder: Path, datasets: Path) -> str:
    """Write cards, mixtures and the store; return the store's path."""
    from lamdata import ingest, open_card, open_store

    store = folder / "fine-tune.zarr"
    for name, source in OLD.items():
        frames = frames_of(datasets / f"{source}.xyz.xz")
        random.Random(name).shuffle(frames)
        held = min(len(frames) // 5, 40)
        write_card(
            folder, name, {"test": frames[:held], "validation": frames[held : held + VALIDATION], "train": frames[held + VALIDATION :]}
        )
    for name, (source, test, _, _) in SETS.items():
        pool, shown = frames_of(datasets / f"{source}.xyz.xz"), frames_of(datasets / f"{test}.xyz.xz")
        random.Random(name).shuffle(shown)
        for seed in SEEDS:
            order = random.Random(f"{name} {seed}").sample(pool, len(pool))
            for size in SIZES:
                parts = {"train": order[:size], "validation": order[-VALIDATION:], "test": shown[:MOST_TEST]}
                write_card(folder, f"{name}-{size}-{seed}", parts)
    known = set(open_store(store)) if store.exists() else set()
    for card in sorted(folder.glob("*.yaml")):
        if "dataset:" in card.read_text()[:9] and card.stem not in known:
            ingest(open_card(card), str(store), base=folder, quiet=True)
    return str(store)


def write_mixture(folder: Path, name: str, rows: list[tuple[str, str, float]]) -> Path:
    """A mixture of energy/force heads: (head, dataset, weight)."""
    lines = [f"  - {{head: {head}, dataset: {dataset}, task: energy_force, weight: {weight:g}}}\n" for head, dataset, weight in rows]
    path = folder / f"{name}.mixture.yaml"
    path.write_text(f"mixture: {name}\nheads:\n{''.join(lines)}")
    return path


def config_of(
    folder: Path, store: str, name: str, rows: list[tuple[str, str, float]], arm: str, *, steps: int, frames: int, seed: int, **start: Any
) -> dict[str, Any]:
    """A training config of an arm: Adam in stairs; `start` is that of a fine-tune, whose rate is FINE of that from scratch."""
    from open_mini import stairs  # beside this file

    from lamtrain.proposed import schedule_for

    loss, rate, scale = schedule_for(steps)[1], stairs(steps, "tiny"), FINE if arm == "fine-tuned" else 1.0
    return {
        "train": name, "mixture": str(write_mixture(folder, name, rows)), "store": store, "batch": {"frames": frames}, "seed": seed,
        "validation": {"every": steps, "frames": LOOK}, "checkpoint_every": steps, "log_every": steps, "threads": 1, "steps": steps,
        "learning_rate": {"start": scale * rate["start"], "stop": scale * rate["stop"], "decay_steps": max(steps // 50, 1)},
        "loss": {"energy": list(loss.energy), "force": list(loss.force)},
    } | ({"start": dict(start)} if arm == "fine-tuned" else {"model": {"size": "tiny"}})  # fmt: skip


def runs(folder: Path, store: str, results: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and config of every run, the ones that all else needs first."""
    yield "parent", config_of(
        folder, store, "parent", [(h, h, 1.0) for h in OLD], "scratch", steps=PARENT, frames=6, seed=1
    ) | {"checkpoint_every": 500, "log_every": 500, "validation": {"every": 500, "frames": VALIDATION}}  # fmt: skip
    model = str(folder / "runs/parent/last.pt")
    for length, steps, sizes in (("equal", EQUAL, SIZES), ("long", LONG, SIZES), ("far", FAR, (30,))):
        for seed in SEEDS:
            for size in sizes:
                for name, (_, _, source, frames) in SETS.items():
                    what = f"{name}-{size}-{seed}"
                    row, shared = [("new", what, 1.0)], {"steps": steps, "frames": frames, "seed": seed}
                    scratch = f"{length}-scratch-{what}"
                    yield scratch, config_of(folder, store, scratch, row, "scratch", **shared)
                    yield f"{length}-all-{what}", tuned(folder, store, f"{length}-all-{what}", row, model, source, "all", **shared)
                    if length == "equal" and size == 30:
                        yield from variants(folder, store, what, model, source, shared)


def variants(folder: Path, store: str, what: str, model: str, source: str, shared: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Less of the net trained, and old heads trained along."""
    row: list[tuple[str, str, float]] = [("new", what, 1.0)]
    for label, train in (("heads", "heads"), ("lora", {"lora": {"rank": 4}})):
        yield f"{label}-{what}", tuned(folder, store, f"{label}-{what}", row, model, source, train, **shared)
    for weight in WEIGHTS:
        old = [(head, head, weight / len(OLD)) for head in OLD]
        name = f"replay{weight:g}-{what}"
        yield name, tuned(folder, store, name, [*row, *old], model, source, "all", **shared)


def tuned(
    folder: Path, store: str, name: str, rows: list[tuple[str, str, float]], model: str, source: str, train: Any, **shared: Any
) -> dict[str, Any]:
    """A config that starts from the parent; everything else as from scratch."""
    return config_of(folder, store, name, rows, "fine-tuned", model=model, heads={"new": source}, train=train, **shared)


def run(folder: Path, store: str, name: str, values: dict[str, Any]) -> dict[str, Any]:
    """Train and test one; what is worth keeping."""
    from lamtrain.config import TrainConfig
    from lamtrain.evaluation.report import test_model
    from lamtrain.training.trainer import train

    out = train(TrainConfig.model_validate(values), out=folder / "runs" / name, device="cpu", quiet=True)
    found = test_model(out / "last.pt", store, output=out, quiet=True)["heads"]
    keys = ("energy_rmse_mev_per_atom", "force_rmse_mev_per_angstrom")
    kept: dict[str, Any] = {}
    for head, row in found.items():
        kept[head] = {key: row[key] for key in keys} | ({"stale": True} if row.get("stale") else {})
        if "before" in row:
            kept[head]["before"] = {key: row["before"][key] for key in keys}
    return {"steps": values["steps"], "batch": values["batch"]["frames"], "heads": kept}


def show(results: dict[str, Any]) -> None:
    """Tables and a picture, into docs/."""
    from fine_tune_shown import show as put  # beside this file

    put(results, ROOT / "docs")


if __name__ == "__main__":
    sys.exit(kept_runs.main(__doc__, RESULTS, prepare=prepare, runs=runs, run=run, show=show, brief=lambda found: found["heads"]))
