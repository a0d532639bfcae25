"""The config that `lamtrain init` writes: what differs from the defaults, with a schedule that suits the number of steps."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

from lamdata.errors import ConfigError

from .config import LossSpec, Size
from .recipe import LearningRateSpec, OptimizerSpec
from .tasks import Pair

OPTIMIZER = OptimizerSpec(kind="muon")  # of all that were tried the lowest errors after as many steps (docs/concepts/steps.md)


def write_config(
    path: Path,
    *,
    name: str,
    mixture: Path,
    store: str,
    steps: int,
    size: Size | None = None,
    start: Mapping[str, tuple[str, str]] | None = None,
    model: Path | None = None,
) -> None:
    """Write a config that holds only what differs from the defaults; paths become relative to it.

    A new model has a `size`. With `model` it starts from that one: `start` is head -> (the model's head, or `new`; the reason).
    """
    refuse_written(path)
    rate, loss = schedule_for(steps)
    if model is None:
        network = {"model": f"{{size: {size}}}"}
    else:
        heads = "".join(f"\n    {head}: {source}  # {reason}" for head, (source, reason) in (start or {}).items())
        network = {"start": f"\n  model: {_from(model, path.parent)}\n  heads:{heads}\n  references: change\n  train: all"}
    lines = {
        "train": name,
        "mixture": _from(mixture, path.parent),
        "store": store if "://" in store else _from(Path(store), path.parent),
        **network,
        "steps": steps,
        "optimizer": f"{{kind: {OPTIMIZER.kind}}}",
        "learning_rate": f"{{kind: {rate.kind}, start: {rate.start:.1e}, stop: {rate.stop:.1e}}}  # for so many steps: change them together",
        "loss": f"{{energy: {_pair(loss.energy)}, force: {_pair(loss.force)}}}",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{key}:{'' if str(value).startswith(chr(10)) else ' '}{value}\n" for key, value in lines.items()))


def refuse_written(path: Path) -> None:
    """Raise ConfigError where a config stands already."""
    if path.exists():
        raise ConfigError("there is such a file already", where=str(path), hint="choose another with -o")


def schedule_for(steps: int) -> tuple[LearningRateSpec, LossSpec]:
    """A schedule that learns within `steps`: half a cosine from a rate that is the higher, the shorter the run, and goes as steps^-0.4.

    A fine-tune has the rates of a new model: of 0.1, 0.3 and 1 of them, the last was the best in a trial (docs/fine-tune.md).
    Energies weigh more in a short run, which never sees small rates for long; at a million steps prefactors are those of DPA-2's pre-training.
    """
    long = min(max((math.log10(steps) - 3) / 3, 0.0), 1.0)  # 0 up to 1,000 steps, 1 from a million on
    start = min(8e-4 * max(1e6 / steps, 1.0) ** 0.4, 2e-2)
    rate = LearningRateSpec(kind="cosine", start=start, stop=start / 300)
    energy, force = (0.02**long, 20 ** (1 - long)), (100 * 10**long, 1.0)
    return rate, LossSpec(energy=energy, force=force)


def _pair(pair: Pair) -> str:
    return f"[{pair[0]:.3g}, {pair[1]:.3g}]"


def _from(path: Path, folder: Path) -> str:
    return os.path.relpath(path, folder)
