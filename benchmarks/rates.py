"""The rate that Muon wants under a cosine, beside Adam in the stairs that `lamtrain init` wrote before: new models, and fine-tunes of one.

python benchmarks/rates.py FOLDER DATASETS [--only PATTERN]     runs what is missing, one by one, into FOLDER and benchmarks/rates.json
python benchmarks/rates.py --show                               prints the tables of rates.json

DATASETS is the folder that `OPEN_MINI` stands for (docs/plan.md). One seed; errors are of 20 validation frames after the last step. `pool` has four heads
of equal weight: Si of mlearn, water, MPtrj and acetylacetone. A run that was stopped goes on; one that is in the file is not done again.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kept_runs  # beside this file
from kept_runs import slug
from open_mini import stairs

ROOT = Path(__file__).resolve().parents[1]
CATALOG, RESULTS = ROOT / "catalogs/open-mini", ROOT / "benchmarks/rates.json"
POOL = ("mlearn-Si", "water", "mptrj-1k", "AcAc")
NEW = (
    ("mlearn-Si", "tiny", 400, 2),
    ("pool", "tiny", 400, 4),
    ("mlearn-Si", "small", 300, 2),
    ("mlearn-Si", "tiny", 1600, 2),
)  # of the last, Adam and 0.01 were run
MUON = (5e-3, 1e-2, 2e-2)
TUNED, TUNED_STEPS, TUNED_RATES = (("mlearn-Ge", "mlearn-Si"), ("mlearn-Mo", "mptrj-1k")), 150, (1e-3, 3e-3, 1e-2)
PARENT = "pool, tiny, 400 steps: muon 0.01"


def prepare(folder: Path, datasets: Path) -> str:
    """Ingest the sets, and write their mixtures; return the store's path."""
    from lamdata import ingest, open_card, open_store

    os.environ["OPEN_MINI"] = str(datasets.resolve())
    (folder / "cards").mkdir(parents=True, exist_ok=True)
    store = folder / "rates.zarr"
    names = [*POOL, *(name for name, _ in TUNED)]
    for name in names:
        card = Path(shutil.copy(CATALOG / f"cards/{name}.yaml", folder / "cards"))
        if not store.exists() or name not in set(open_store(store)):
            ingest(open_card(card), str(store), base=card.parent, quiet=True)
    for name, rows in {"pool": POOL, **{name: (name,) for name in names}}.items():
        heads = "".join(f"  - {{head: {row}, dataset: {row}, task: energy_force, weight: 1.0}}\n" for row in rows)
        (folder / f"{name}.yaml").write_text(f"mixture: {name}\nheads:\n{heads}")
    return str(store)


def runs(folder: Path, store: str, results: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name of each run, and what its config has of its own."""
    for mixture, size, steps, frames in NEW:
        title, common = f"{mixture}, {size}, {steps} steps", {"steps": steps, "model": {"size": size}, "batch": {"frames": frames}}
        yield f"{title}: adam in stairs", {"mixture": mixture, **common, "learning_rate": stairs(steps, size)}
        for rate in MUON:
            yield f"{title}: muon {rate:g}", {"mixture": mixture, **common, **muon(rate)}
    for mixture, head in TUNED:
        title, common = f"{mixture}, {TUNED_STEPS} steps", {"mixture": mixture, "steps": TUNED_STEPS, "batch": {"frames": 2}}
        yield f"{title}: from scratch {TUNED_RATES[-1]:g}", {**common, "model": {"size": "tiny"}, **muon(TUNED_RATES[-1])}
        start = {"model": str(folder / "runs" / slug(PARENT) / "best.pt"), "heads": {mixture: head}, "references": "change", "train": "all"}
        for rate in TUNED_RATES:
            yield f"{title}: fine-tuned {rate:g}", {**common, "start": start, **muon(rate)}


def muon(rate: float) -> dict[str, Any]:
    """Muon under a cosine."""
    return {"optimizer": {"kind": "muon"}, "learning_rate": {"kind": "cosine", "start": rate, "stop": rate / 300}}


def run(folder: Path, store: str, name: str, own: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Train one; errors of each head on validation frames after the last step."""
    from lamtrain.config import TrainConfig
    from lamtrain.proposed import schedule_for
    from lamtrain.runlog import read_metrics
    from lamtrain.training.trainer import train

    steps, look = own["steps"], max(own["steps"] // 4, 1)
    values = {
        "train": slug(name), "store": store, "seed": 1, "threads": 1, "validation": {"every": look, "frames": 20}, "checkpoint_every": steps,
        "log_every": look, "loss": schedule_for(steps)[1].model_dump(mode="json", exclude_defaults=True),
        **own, "mixture": str(folder / f"{own['mixture']}.yaml"),
    }  # fmt: skip
    out = train(TrainConfig.model_validate(values), out=folder / "runs" / slug(name), device="cpu", quiet=True)
    last, found = read_metrics(out / "metrics.csv")[-1], {}
    for key, value in last.items():
        head, _, rest = key.partition(".validation.")
        if "rmse" in rest and value:
            found.setdefault(head, {})[rest] = float(value)
    return found


def show(results: dict[str, Any]) -> None:
    """A row for each set, a column for each recipe: force RMSE, and for a pool that of each head."""
    titles = list(dict.fromkeys(name.partition(": ")[0] for name in results))
    for title in titles:
        mine = {name.partition(": ")[2]: found for name, found in results.items() if name.startswith(f"{title}: ")}
        for head in next(iter(mine.values())):
            cells = [f"{how} {found[head]['force_rmse_mev_per_angstrom']:.0f}" for how, found in mine.items()]
            print(f"{title:28} {head:10} {' | '.join(cells)}")


if __name__ == "__main__":
    sys.exit(kept_runs.main(__doc__, RESULTS, prepare=prepare, runs=runs, run=run, show=show, shown_after=True))
