"""Checkpoints: all that a run is, in one file that loads with `weights_only=True`: tensors, numbers and text, nothing executable."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from lamdata.errors import ConfigError, DataError
from lamdata.registry import model_file

from .files import replace_file
from .model.config import ModelConfig
from .model.lam import LamModel

FORMAT = 1
HINT = "a run leaves runs/NAME/best.pt and last.pt; `lamtrain import` makes one of a DeePMD-kit model"
UNITS = {"energy": "eV", "length": "Angstrom", "force": "eV/Angstrom", "virial": "eV"}


@dataclass(slots=True, kw_only=True)
class Checkpoint:
    """A run at one step."""

    model_config: dict[str, Any]  # ModelConfig
    model: dict[str, torch.Tensor]  # of a run that averages its weights, the average
    heads: dict[str, dict[str, Any]]  # head -> task, weight, theory, licences, reference energies, `stale`, `start`
    lock: dict[str, Any]  # what it was trained on
    train_config: dict[str, Any] | None = None
    optimizer: dict[str, Any] | None = None
    latest: dict[str, torch.Tensor] | None = None  # what training goes on from, where that is not `model`
    lora: dict[str, dict[str, torch.Tensor]] | None = None  # of updates of low rank: base, down, up; the weights hold their sums
    step: int = 0  # optimizer steps done
    position: int = 0  # of the stream: frames drawn, over all ranks
    stream: dict[str, Any] | None = None  # what decides which frames come in which batch
    sums: dict[str, dict[str, float]] = field(default_factory=dict)  # training errors since the last row of metrics.csv
    loss: list[float] = field(default_factory=list)  # losses since that row
    shares: dict[str, float] = field(default_factory=dict)  # head -> sum of what it gave to the descriptor's gradient, since that row
    best: float | None = None  # lowest validation score so far
    looked: int | None = None  # the step of the last row of metrics.csv; None in files from before it was kept: that of the file
    threads: int | None = None  # with which a CPU did the steps: bits of sums depend on it
    skipped: int = 0  # batches passed over because their gradient was not finite
    cover: dict[str, dict[str, Any]] | None = None  # head -> sketch of its training frames, see `lamtrain cover`; None before it is made
    truncated: list[int] = field(default_factory=lambda: [0, 0])  # atoms whose neighbour list was cut, of how many, since that row
    compressed: dict[str, Any] | None = None  # of `lamtrain compress`: the model it was made of, the tolerance, what was measured
    units: dict[str, str] = field(default_factory=lambda: dict(UNITS))
    format: int = FORMAT

    @property
    def stale(self) -> list[str]:
        """Heads that the descriptor has left behind: they answer nothing."""
        return [head for head, row in self.heads.items() if row.get("stale")]

    def refuse_compressed(self, *, where: str, done: str) -> None:
        """Raise ConfigError where the nets of the model are gone; `done` is what cannot be done with it."""
        if self.compressed is not None:
            hint = f"take the model it was made from, {self.compressed['model']} (sha256 {self.compressed['sha256'][:12]})"
            raise ConfigError(f"a compressed model is not {done}", where=where, hint=hint)

    def build(self, *, precision: Literal["float64", "float32"] | None = None, device: str | torch.device = "cpu") -> LamModel:
        """The model with its weights, ready to be evaluated, in its own precision unless another is named."""
        config = ModelConfig.model_validate(self.model_config)
        if precision is not None:
            config = config.in_precision(precision)
        model = LamModel(config)
        model.load_state_dict(self.model)
        return model.to(device).eval()


def save(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint so that `path` holds the old one or the new one, never half of it."""
    buffer = io.BytesIO()
    torch.save({name: getattr(checkpoint, name) for name in _names()}, buffer)
    replace_file(path, buffer.getvalue())


def frozen(checkpoint: Checkpoint) -> Checkpoint:
    """A copy in the memory of the host, which no later step changes."""
    return Checkpoint(**{name: _frozen(getattr(checkpoint, name)) for name in _names()})


def _frozen(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _frozen(part) for key, part in value.items()}
    return type(value)(map(_frozen, value)) if isinstance(value, (list, tuple)) else value


def _names() -> list[str]:
    """Fields of a checkpoint, in order."""
    return list(Checkpoint.__dataclass_fields__)


def load(path: str | Path) -> Checkpoint:
    """Read a checkpoint, of a file or of `registry://NAME@VERSION`; code in it is never run."""
    path = model_file(path)
    if not path.is_file():
        raise DataError("no such model", where=str(path), hint=HINT)
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as err:
        raise DataError(f"not a checkpoint ({type(err).__name__})", where=str(path), hint=HINT) from None
    if not isinstance(data, dict) or "format" not in data or "model_config" not in data:
        raise DataError("not a lamtrain checkpoint", where=str(path), hint=HINT)
    if data["format"] > FORMAT:
        raise DataError(f"written by a newer lamtrain (format {data['format']}, this one reads up to {FORMAT})", where=str(path))
    return Checkpoint(**{name: data[name] for name in _names() if name in data})


def to_json(value: Any) -> str:
    """Plain data as stable text."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
