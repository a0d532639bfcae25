"""Students: datasets of a store -> a trained student, by a config that `lamtrain train` can do as well."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lamdata import open_dataset

from ...config import read_config
from ...files import replace_yaml
from ...proposed import schedule_for
from ...training.trainer import train
from .config import DistilConfig

LOOKS = 10  # of a short training
FURTHER = 0.3  # rate of a later training by that of the first: it moves a student that fits already


def train_student(
    config: DistilConfig,
    folder: Path,
    *,
    store: str,
    datasets: Mapping[str, int],
    head: str,
    steps: int,
    threads: int,
    start: Path | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Path:
    """The checkpoint that was best on held-out frames, after so many steps on datasets (name -> training frames); with `start`, from that student.

    Killed anywhere, the same call goes on with the same bits; done, it trains no more.
    """
    path = _write(config, folder, store=store, datasets=datasets, head=head, steps=steps, threads=threads, start=start)
    train(read_config(path), out=folder / "run", device=device, quiet=quiet)
    return folder / "run/best.pt"


def _write(
    config: DistilConfig,
    folder: Path,
    *,
    store: str,
    datasets: Mapping[str, int],
    head: str,
    steps: int,
    threads: int,
    start: Path | None,
) -> Path:
    """A mixture, the cards of its datasets, and a training config."""
    for name in datasets:
        described = open_dataset(store, name).card.model_dump(mode="json", exclude_defaults=True)
        card = {key: value for key, value in described.items() if key not in ("checks", "split", "sources")}
        replace_yaml(folder / "cards" / f"{name}.yaml", card)
    rows = [{"head": head, "dataset": name, "task": "energy_force", "weight": float(frames)} for name, frames in datasets.items()]
    replace_yaml(folder / "mixture.yaml", {"mixture": config.distil, "heads": rows})
    student = config.student
    network: dict[str, Any] = {"model": student.model.model_dump(mode="json", exclude_none=True)}
    if start is not None:
        network = {"start": {"model": str(start), "references": "keep"}}
    often = max(min(1000, steps // LOOKS), 1)
    values = {
        "train": config.distil,
        "mixture": "mixture.yaml",
        "store": store,
        **network,
        "steps": steps,
        "batch": student.batch.model_dump(mode="json", exclude_none=True),
        **_schedule(config, steps, further=start is not None),
        "seed": config.seed,
        "threads": threads,
        "validation": {"every": often},
        "checkpoint_every": often,
        **student.more,
    }
    replace_yaml(folder / "train.yaml", values)
    return folder / "train.yaml"


def _schedule(config: DistilConfig, steps: int, *, further: bool) -> dict[str, Any]:
    """Optimizer, rate and prefactors; a later training has a lower rate."""
    student, rate = config.student, config.student.learning_rate
    loss = student.loss or schedule_for(steps)[1]
    scale = FURTHER if further else 1.0
    values = rate.model_dump(mode="json", exclude_defaults=True)
    own = {"start": scale * rate.start, "stop": scale * rate.stop}
    stairs = {"decay_steps": max(steps // 50, 1)} if rate.kind == "exp" and "decay_steps" not in values else {}
    optimizer = student.optimizer.model_dump(mode="json", exclude_none=True)
    return {"optimizer": optimizer, "learning_rate": values | stairs | own, "loss": loss.model_dump(mode="json", exclude_defaults=True)}


def steps_of(config: DistilConfig, trainings: int) -> int:
    """That a student has had after so many trainings."""
    return config.student.steps + max(trainings - 1, 0) * config.student.further
