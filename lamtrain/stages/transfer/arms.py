"""Arms: what is compared -> a training config each, the same steps, batches and frames: a fine-tune of a model, and its net from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lamdata import Card
from lamdata.errors import ConfigError

from ...config import read_config
from ...files import replace_yaml
from ...proposed import OPTIMIZER, schedule_for

ARMS = ("fine-tuned", "scratch")
OURS = ("train", "mixture", "store", "model", "start", "steps", "seed")  # keys that the stage sets by itself


def check_overrides(overrides: Sequence[str]) -> None:
    """Raise ConfigError for a change of what the stage compares, and for one that no training config takes."""
    for override in overrides:
        if (key := override.partition("=")[0].partition(".")[0]) in OURS:
            raise ConfigError(f"`{key}` is what is compared, or set by the command", where=f"--set {override}", hint="leave it out")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "train.yaml"
        replace_yaml(path, {"train": "any", "mixture": "any", "store": "any", "steps": 1})
        read_config(path, overrides=list(overrides))


def arm_config(
    arm: str,
    *,
    steps: int,
    network: Mapping[str, Any],
    start: Mapping[str, Any],
) -> dict[str, Any]:
    """What decides how an arm learns: `model` or `start`, the steps, and a schedule for so many.

    Optimizer, prefactors and schedule are those that `lamtrain init` writes, and `init --from`.
    """
    rate, loss = schedule_for(steps)
    own: dict[str, Any] = {"start": dict(start)} if arm == "fine-tuned" else {"model": dict(network)}
    return own | {
        "steps": steps,
        "optimizer": {"kind": OPTIMIZER.kind},
        "learning_rate": {"kind": rate.kind, "start": rate.start, "stop": rate.stop},
        "loss": {"energy": list(loss.energy), "force": list(loss.force)},
    }


def network_of(model_config: Mapping[str, Any], elements: Sequence[str]) -> dict[str, Any]:
    """The section `model` of a config that builds a checkpoint's net anew, for some elements."""
    return {"descriptor": model_config["descriptor"], "fitting": model_config["fitting"], "elements": list(elements)}


def write_run(folder: Path, name: str, values: Mapping[str, Any], *, card: Card, head: str, store: str) -> Path:
    """Write a mixture of one head on one dataset, its card and the config of a run, which `lamtrain train` can do as well; return the config."""
    described = card.model_dump(mode="json", exclude_defaults=True)
    replace_yaml(
        folder / "cards" / f"{card.dataset}.yaml", {key: value for key, value in described.items() if key not in ("checks", "split")}
    )
    row = {"head": head, "dataset": card.dataset, "task": "energy_force", "weight": 1.0}
    replace_yaml(folder / "mixture.yaml", {"mixture": card.dataset, "heads": [row]})
    path = folder / f"{name}.yaml"
    replace_yaml(path, {"train": name, "mixture": "mixture.yaml", "store": store, **values})
    return path
