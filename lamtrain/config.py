"""TrainConfig: what a training run is, as one YAML file; torch-free, so that every mistake is found before anything heavy loads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from lamdata.errors import ConfigError
from lamdata.located import Spec, read_yaml, validate
from lamtrain.model.config import DenoiseConfig, DescriptorConfig, FittingConfig, ModelConfig

Pair = tuple[float, float]


class ModelSpec(Spec):
    """The network: a named size, and whatever differs from it."""

    size: Literal["tiny", "small", "medium", "large"] = "small"
    """DPA-2 as DeePMD-kit ships it (small, medium, large), or one for a laptop (tiny)."""
    descriptor: DescriptorConfig | None = None
    """Replaces the descriptor of the size."""
    fitting: FittingConfig | None = None
    """Replaces the energy heads of the size."""
    denoise: DenoiseConfig | None = None
    """Replaces the denoise heads of the size."""
    elements: list[str] | None = None
    """Elements the model knows; by default those of its datasets."""

    def resolve(self, *, elements: list[str], heads: dict[str, str], precision: str) -> ModelConfig:
        """Return the full model config for the elements and heads of a mixture."""
        base = getattr(ModelConfig, self.size)(elements=self.elements or elements, heads=heads)
        parts = {name: getattr(self, name) or getattr(base, name) for name in ("descriptor", "fitting", "denoise")}
        for name in ("descriptor", "fitting"):
            parts[name] = parts[name].model_copy(update={"precision": precision})
        return base.model_copy(update=parts)


class BatchSpec(Spec):
    """How much goes into one step, over all ranks together."""

    frames: int | None = Field(default=None, ge=1)
    """Frames a step."""
    atoms: int | None = Field(default=None, ge=1)
    """Atoms a step at most (at least one frame)."""
    at_once: int | None = Field(default=None, ge=1)
    """Atoms that a process holds at once, at most (at least one frame): the step is done in parts and, but for rounding, stays the same."""

    @model_validator(mode="after")
    def _one_of_them(self):
        if (self.frames is None) == (self.atoms is None):
            raise ValueError("give either `frames` or `atoms`")
        return self


class LearningRateSpec(Spec):
    """Exponential decay in steps, as DeePMD-kit: lr(t) = start (stop/start)^(floor(t/s) s / T)."""

    start: float = Field(default=2e-4, gt=0)
    """Rate of the first step."""
    stop: float = Field(default=3.51e-8, gt=0)
    """Rate of the last step."""
    decay_steps: int = Field(default=5000, ge=1)
    """Steps between two lowerings."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps over which the rate first grows from nothing."""


class LossSpec(Spec):
    """Prefactors [start, limit]; each goes from start to limit as the learning rate falls (DPA-2 paper, and DeePMD-kit's `ener` loss)."""

    energy: Pair = (0.02, 1.0)
    """Of (dE)^2 / N, eV."""
    force: Pair = (1000.0, 1.0)
    """Of the mean (dF)^2 over components, eV/Å."""
    virial: Pair = (0.0, 0.0)
    """Of the mean (dV)^2 / N over components, eV."""
    displacement: Pair = (1.0, 1.0)
    """Of the smooth-L1 distance between predicted and true displacement on displaced atoms, Å."""
    types: Pair = (1.0, 1.0)
    """Of the cross-entropy of hidden types."""
    huber: float = Field(default=1.0, gt=0)
    """Where the smooth-L1 loss of displacements turns from square to straight, Å."""

    @model_validator(mode="after")
    def _not_negative(self):
        for name in ("energy", "force", "virial", "displacement", "types"):
            if min(getattr(self, name)) < 0:
                raise ValueError(f"prefactor {name} is negative")
        return self


class ValidationSpec(Spec):
    """When and on how much the held-out groups are looked at."""

    every: int = Field(default=1000, ge=1)
    """Steps between two looks."""
    frames: int = Field(default=200, ge=1)
    """Frames of each dataset, at most."""


class TrainConfig(Spec):
    """A training run. Paths are relative to the file they stand in."""

    train: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the run; its folder is `runs/NAME`."""
    mixture: str
    """The mixture file: heads, datasets, weights."""
    store: str
    """Folder or URL of the store that holds the datasets."""
    model: ModelSpec = ModelSpec()
    """The network."""
    steps: int = Field(ge=1)
    """Optimizer steps."""
    batch: BatchSpec = BatchSpec(frames=8)
    """How much goes into one step."""
    learning_rate: LearningRateSpec = LearningRateSpec()
    """The schedule."""
    loss: LossSpec = LossSpec()
    """Prefactors."""
    clip_norm: float | None = Field(default=5.0, gt=0)
    """Largest norm of the gradient; null for no limit."""
    precision: Literal["float32", "float64"] = "float32"
    """Of weights and activations; energies are summed in float64."""
    matmul: Literal["ieee", "tf32", "bf16"] = "ieee"
    """Products of float32 matrices: exact factors, or factors rounded to TF32 (CUDA) or bfloat16 (CPU); those inside `cpp` kernels stay exact."""
    kernels: Literal["plain", "closed", "cpp"] = "plain"
    """Plain PyTorch; the gated softmax with its derivatives in closed form; or operators in C++ (CPU only), built on first use."""
    seed: int = Field(default=1, ge=0)
    """Of the weights, the order of the data and the noise."""
    validation: ValidationSpec = ValidationSpec()
    """Looks at held-out groups."""
    checkpoint_every: int = Field(default=1000, ge=1)
    """Steps between two checkpoints."""
    log_every: int = Field(default=100, ge=1)
    """Steps between two rows of metrics.csv."""

    @model_validator(mode="after")
    def _only_float32_is_rounded(self):
        if self.precision == "float64" and self.matmul != "ieee":
            raise ValueError(f"matmul {self.matmul} rounds float32 products, but precision is float64")
        return self


def read_config(path: str | Path, *, overrides: list[str] | None = None) -> TrainConfig:
    """Read a training config; `overrides` are `key.path=value` and win over the file."""
    path = Path(path)
    data, places = read_yaml(path)
    for override in overrides or []:
        _override(data, override)
    config = validate(data, TrainConfig, where=str(path), places=places)
    here = path.parent
    changes = {"mixture": _beside(config.mixture, here), "store": _beside(config.store, here)}
    for override in overrides or []:  # what is typed in a shell is relative to where the shell is
        key, value = override.split("=", 1)
        if key in changes:
            changes[key] = value
    return config.model_copy(update=changes)


def _beside(path: str, folder: Path) -> str:
    return path if "://" in path or Path(path).is_absolute() else str(folder / path)


def _override(data: dict, override: str) -> None:
    from lamdata.located import parse_yaml

    key, found, value = override.partition("=")
    if not found or not key:
        raise ConfigError(f"{override!r} is not KEY=VALUE", where="--set", hint="as --set batch.frames=16")
    *folders, last = key.split(".")
    for name in folders:
        data = data.setdefault(name, {})
        if not isinstance(data, dict):
            raise ConfigError(f"`{name}` holds no keys", where=f"--set {override}")
    data[last] = parse_yaml(value, where=f"--set {override}")[0]


def write_config(path: Path, *, name: str, mixture: Path, store: str, size: str, steps: int) -> None:
    """Write a config that holds only what differs from the defaults; paths become relative to it."""
    if path.exists():
        raise ConfigError("there is such a file already", where=str(path), hint="choose another with -o")
    lines = {
        "train": name,
        "mixture": _from(mixture, path.parent),
        "store": store if "://" in store else _from(Path(store), path.parent),
        "model": f"{{size: {size}}}",
        "steps": steps,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))


def _from(path: Path, folder: Path) -> str:
    return os.path.relpath(path, folder)
