"""Resume: refuse to go on with another config, mixture or data, for the result would be neither run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lamdata.errors import ConfigError

from ..checkpoint import Checkpoint
from ..config import TrainConfig
from ..data.mixture import TrainingData

# What does not change what is trained: names and places (the data behind them are compared by content), how long, how often it is
# looked at, and how a step is computed.
FREE = {
    "train", "mixture", "store", "steps", "checkpoint_every", "checkpoint_keep", "log_every", "validation", "kernels", "skip_nonfinite",
}  # fmt: skip
HINT = "give the new run a name with --name, or start again with --resume never"


def refuse_another_run(config: TrainConfig, data: TrainingData, checkpoint: Checkpoint, *, where: str) -> None:
    """Raise ConfigError that names every difference between the run of a checkpoint and the one that is asked for."""
    found = [*_of_config(config, checkpoint), *_of_mixture(data, checkpoint), *_of_datasets(data, checkpoint)]
    if found:
        raise ConfigError(f"the run was started with {'; '.join(found)}", where=where, hint=HINT)


def _of_config(config: TrainConfig, checkpoint: Checkpoint) -> Iterator[str]:
    started = TrainConfig.model_validate(checkpoint.train_config) if checkpoint.train_config else None  # a later key gets its default
    before, now = ({} if spec is None else spec.model_dump(mode="json") for spec in (started, config))
    for name in now:
        if name not in FREE and _shared(name, before.get(name)) != _shared(name, now[name]):
            yield f"another `{name}`"


def _shared(name: str, value: Any) -> Any:
    """A value without what only says how a step fits into memory."""
    return {key: part for key, part in value.items() if key != "at_once"} if name == "batch" and isinstance(value, dict) else value


def _of_mixture(data: TrainingData, checkpoint: Checkpoint) -> Iterator[str]:
    """Rows of the mixture, in order: a head's index is its place among them."""
    old = (checkpoint.lock.get("mixture") or {}).get("heads", [])
    new = data.lock()["mixture"]["heads"]
    names = [[(row["head"], row["dataset"]) for row in rows] for rows in (old, new)]
    if names[0] != names[1]:
        same = sorted(names[0]) == sorted(names[1])
        yield "the mixture's rows in another order" if same else f"heads {', '.join(f'{h} ({d})' for h, d in names[0])}"
        return
    for before, now in zip(old, new):
        for key in ("task", "weight", "augment"):
            if before.get(key) != now.get(key):
                yield f"another {key} of head {now['head']}: {_short(before.get(key))}, now {_short(now.get(key))}"


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_short(part)}" for key, part in value.items() if part is not None) + "}"
    return str(value)


def _of_datasets(data: TrainingData, checkpoint: Checkpoint) -> Iterator[str]:
    old, new = checkpoint.lock["datasets"], data.lock()["datasets"]
    for name in sorted(old.keys() & new.keys()):
        if old[name].get("content_hash") != new[name].get("content_hash"):
            yield f"other frames of dataset {name!r}"
