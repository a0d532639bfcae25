"""Resume: refuse to go on with another config, mixture or data, for the result would be neither run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lamdata.energies import References
from lamdata.errors import ConfigError
from lamdata.stream import differences

from ..checkpoint import Checkpoint
from ..config import TrainConfig
from ..data.mixture import TrainingData

# What does not change what is trained: names and places (the data behind them are compared by content), how long, how often it is
# looked at, and how a step is computed.
FREE = {
    "train", "mixture", "store", "steps", "checkpoint_every", "checkpoint_keep", "log_every", "validation", "kernels", "graphs",
    "threads", "skip_nonfinite", "shares_every",
}  # fmt: skip
HINT = "give the new run a name with --name, or start again with --resume never"


def refuse_another_run(config: TrainConfig, data: TrainingData, checkpoint: Checkpoint, *, stream: dict[str, Any], where: str) -> None:
    """Raise ConfigError that names every difference between the run of a checkpoint and the one that is asked for.

    `stream` is the fingerprint of the stream that the run would go on with: rows in order, weights, noise and frames.
    """
    found = [*_of_config(config, checkpoint), *_of_tasks(data, checkpoint), *_of_stream(data, checkpoint, stream)]
    if found:
        raise ConfigError(f"the run was started with {'; '.join(found)}", where=where, hint=HINT)


def go_on_with_references(data: TrainingData, checkpoint: Checkpoint) -> dict[str, dict[str, Any]]:
    """Let `data` know the references that heads were adapted with; return what the checkpoint says of their start."""
    started: dict[str, dict[str, Any]] = {}
    for head in data.heads:
        row = checkpoint.heads.get(head, {})
        if "start" in row:
            started[head] = {key: row[key] for key in ("start", "stale") if key in row}
            if row.get("references") is not None:
                data.take_references(head, References(**row["references"]))
    return started


def _of_config(config: TrainConfig, checkpoint: Checkpoint) -> Iterator[str]:
    started = TrainConfig.model_validate(checkpoint.train_config) if checkpoint.train_config else None  # a later key gets its default
    before, now = ({} if spec is None else spec.model_dump(mode="json") for spec in (started, config))
    for name in now:
        if name not in FREE and _shared(name, before.get(name)) != _shared(name, now[name]):
            yield f"another `{name}`"


def _shared(name: str, value: Any) -> Any:
    """A value without what only says how a step fits into memory."""
    return {key: part for key, part in value.items() if key != "at_once"} if name == "batch" and isinstance(value, dict) else value


def _of_tasks(data: TrainingData, checkpoint: Checkpoint) -> Iterator[str]:
    for head, kind in data.heads.items():
        before = checkpoint.heads.get(head, {}).get("task")
        if before not in (None, kind):
            yield f"task {before} for head `{head}`, now {kind}"


def _of_stream(data: TrainingData, checkpoint: Checkpoint, stream: dict[str, Any]) -> Iterator[str]:
    """What makes other batches; a checkpoint from before the stream was kept is compared by its lock."""
    if checkpoint.stream is not None:
        yield from differences(checkpoint.stream, stream)
        if _measured(checkpoint.lock) != _measured(data.lock()):
            yield "other heads of weight 0"
        return
    old, new = checkpoint.lock, data.lock()
    if old.get("mixture") and old["mixture"]["heads"] != new["mixture"]["heads"]:
        yield "another mixture"
    for name, now in new["datasets"].items():
        if old["datasets"].get(name, now)["content_hash"] != now["content_hash"]:
            yield f"other frames of dataset {name!r}"


def _measured(lock: dict[str, Any]) -> list[tuple[str, str]]:
    """Heads and datasets that are measured only, of which the stream knows nothing."""
    return [(row["head"], row["dataset"]) for row in (lock.get("mixture") or {"heads": []})["heads"] if not row["weight"]]
