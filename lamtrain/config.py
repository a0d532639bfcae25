"""TrainConfig: what a training run is, as one YAML file; torch-free, so that every mistake is found before anything heavy loads."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from lamdata.elements import SYMBOLS
from lamdata.errors import ConfigError
from lamdata.located import Places, Spec, did_you_mean, parse_yaml, read_yaml, validate
from lamtrain.model.config import DenoiseConfig, DescriptorConfig, FittingConfig, ModelConfig
from lamtrain.tasks import Pair, TaskKind, installed_kinds
from lamtrain.tasks.denoise import DenoiseLoss
from lamtrain.tasks.energy_force import EnergyForceLoss

ELEMENTS = SYMBOLS[1:]  # without the hidden one
Size = Literal["tiny", "small", "medium", "large", "student"]
FINE = 0.3  # rate of a fine-tune by that of a new model of as many steps: of 0.1, 0.3 and 1, best for forces or within 3% of it (docs/fine-tune.md)


class ModelSpec(Spec):
    """The network: a named size, and whatever differs from it."""

    size: Size = "small"
    """DPA-2 as DeePMD-kit ships it (small, medium, large), or one for a laptop (tiny); or DPA-1 without attention (student)."""
    descriptor: DescriptorConfig | None = None
    """What differs from the descriptor of the size; a whole descriptor where its `type` is another."""
    fitting: FittingConfig | None = None
    """What differs from the energy heads of the size."""
    denoise: DenoiseConfig | None = None
    """What differs from the denoise heads of the size."""
    elements: list[str] | None = None
    """Elements the model knows; by default those of its datasets."""

    @field_validator("elements")
    @classmethod
    def _known_elements(cls, elements: list[str] | None) -> list[str] | None:
        for symbol in elements or ():
            if symbol not in ELEMENTS:
                raise ValueError(f"{symbol!r} is no element; {did_you_mean(symbol, ELEMENTS)}")
        if elements is not None and (not elements or len(set(elements)) != len(elements)):
            raise ValueError("elements must be distinct, and at least one")
        return elements

    @model_validator(mode="before")
    @classmethod
    def _fill_from_size(cls, data: Any) -> Any:
        """Take what a section leaves out from the size."""
        size = str(data.get("size", "small")) if isinstance(data, dict) else ""
        if size not in get_args(Size):
            return data
        base = getattr(ModelConfig, size)(elements=["H"]).model_dump(mode="json")
        parts = {name: data[name] for name in ("descriptor", "fitting", "denoise") if isinstance(data.get(name), dict)}
        return data | {name: _filled(part, base[name]) for name, part in parts.items()}

    def resolve(self, *, elements: list[str], heads: dict[str, str], precision: Literal["float64", "float32"]) -> ModelConfig:
        """Return the full model config for the elements and heads of a mixture; raises ConfigError where they do not go together."""
        base: ModelConfig = getattr(ModelConfig, self.size)(elements=self.elements or elements)
        parts = {name: getattr(self, name) or getattr(base, name) for name in ("descriptor", "fitting", "denoise")}
        values = {name: part.model_dump(mode="json") for name, part in parts.items()}
        for name in ("descriptor", "fitting"):
            values[name]["precision"] = precision
        return validate(values | {"elements": base.elements, "heads": heads}, ModelConfig, where="model", places={})


def _filled(part: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """`part` with what it leaves out from `base`, section by section; another type of descriptor leaves nothing out."""
    if part.get("type", base.get("type")) != base.get("type"):
        return part
    return base | {
        key: _filled(value, base[key]) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in part.items()
    }


class BatchSpec(Spec):
    """How much goes into one step, over all ranks together."""

    frames: int | None = Field(default=None, ge=1)
    """Frames a step."""
    atoms: int | None = Field(default=None, ge=1)
    """Atoms a step at most (at least one frame)."""
    at_once: int | None = Field(default=None, ge=1)
    """Atoms that a process holds at once, at most (at least one frame): the step is done in parts and, but for rounding, stays the same."""

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
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
    """Steps over which the rate first grows in a line; fewer than all."""
    warmup_start_factor: float = Field(default=0.0, ge=0, le=1)
    """Share of `start` that the warm-up begins at."""


class LossSpec(EnergyForceLoss, DenoiseLoss):
    """Prefactors [start, limit]; each goes from start to limit as the learning rate falls (DPA-2 paper, and DeePMD-kit's `ener` loss)."""

    more: dict[str, Pair] = {}
    """Prefactors of terms of other kinds of tasks; by default those of the kind."""
    huber: float = Field(default=1.0, gt=0)
    """Where the smooth-L1 loss of displacements turns from square to straight, Å."""

    def pair(self, term: str, kinds: Iterable[TaskKind]) -> Pair:
        """The prefactors of a term: those said here, else those of the kind of task whose term it is."""
        if term in self.more:
            return self.more[term]
        own = {**EnergyForceLoss.model_fields, **DenoiseLoss.model_fields}
        defaults = {name: pair for kind in kinds for name, pair in kind.prefactors.items()}
        found: Pair | None = getattr(self, term) if term in own else defaults.get(term)
        if found is None:
            raise ConfigError(f"no prefactors for {term!r}", where="loss", hint=f"add `more: {{{term}: [1, 1]}}`")
        return found

    @model_validator(mode="after")
    def _terms_exist(self) -> Self:
        if self.more:
            terms = [term for kind in installed_kinds() for term in kind.prefactors]
            for name in self.more:
                if name not in terms:
                    raise ValueError(f"more: no kind of task has a term {name!r}; {did_you_mean(name, terms)}")
        return self

    @model_validator(mode="after")
    def _not_negative(self) -> Self:
        for name, pair in (self.model_dump(exclude={"more", "huber"}) | self.more).items():
            if min(pair) < 0:
                raise ValueError(f"prefactor {name} is negative")
        return self


class ValidationSpec(Spec):
    """When and on how much the held-out groups are looked at."""

    every: int = Field(default=1000, ge=1)
    """Steps between two looks."""
    frames: int = Field(default=200, ge=1)
    """Frames of each dataset, at most."""


class LoraSpec(Spec):
    """Updates of low rank: W + A B for each matrix W of the descriptor, W (in, out), A (in, rank), B (rank, out), of which A and B are trained."""

    rank: int = Field(ge=1)
    """Width of A and B; a matrix that A and B would not make smaller stays as it is."""


class TrainLoraSpec(Spec):
    """The heads, and the descriptor by updates of low rank."""

    lora: LoraSpec
    """How narrow the updates are."""


class StartSpec(Spec):
    """Another model to start from, instead of random weights."""

    model: str
    """Its checkpoint; relative to the file this stands in."""
    heads: dict[str, str] = {}
    """Head of this run -> head of that model whose net it takes, or `new`; a head that is not named takes the one of its own name."""
    references: Literal["change", "refit", "keep"] = "change"
    """Reference energies of heads that are taken for other data: that model's, shifted by element by what its energies leave of the training
    frames' (change); fitted to the training frames as if there were no net (refit); or as they are (keep)."""
    train: Literal["all", "heads"] | TrainLoraSpec | list[str] = "all"
    """What is trained: everything; the heads alone; the heads, and the descriptor by updates of low rank, as `{lora: {rank: 4}}`; or
    parameters by pattern of name, as `heads.*`."""
    lr_scale: dict[str, Annotated[float, Field(gt=0)]] = {}
    """Pattern of parameter names -> factor on the learning rate; the first that fits counts."""


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
    start: StartSpec | None = None
    """Another model to start from."""
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
    kernels: Literal["auto", "plain", "closed", "cpp"] = "auto"
    """Operators in C++ on a CPU for which they were compiled at installation, else plain (auto); plain PyTorch; the gated softmax with its
    derivatives in closed form; or the operators in C++ and nothing else (cpp)."""
    threads: int | None = Field(default=None, ge=1)
    """Threads of a process on a CPU; null for a trial in the first seconds of the run, or OMP_NUM_THREADS where it is set."""
    seed: int = Field(default=1, ge=0)
    """Of the weights, the order of the data and the noise."""
    validation: ValidationSpec = ValidationSpec()
    """Looks at held-out groups."""
    skip_nonfinite: int = Field(default=0, ge=0)
    """Batches whose gradient is not finite that are passed over, at most; one more ends the run, and names the frames."""
    checkpoint_every: int = Field(default=1000, ge=1)
    """Steps between two checkpoints."""
    checkpoint_keep: int = Field(default=3, ge=1)
    """Newest checkpoints that are kept; the best is kept besides."""
    log_every: int = Field(default=100, ge=1)
    """Steps between two rows of metrics.csv."""

    @model_validator(mode="after")
    def _only_float32_is_rounded(self) -> Self:
        if self.precision == "float64" and self.matmul != "ieee":
            raise ValueError(f"matmul {self.matmul} rounds float32 products, but precision is float64")
        return self

    @model_validator(mode="after")
    def _one_network(self) -> Self:
        if self.start is not None and self.model != ModelSpec():
            raise ValueError("`start.model` brings its own network: leave `model` out")
        return self

    @model_validator(mode="after")
    def _something_follows_the_warm_up(self) -> Self:
        if self.learning_rate.warmup_steps >= self.steps:
            raise ValueError(f"learning_rate.warmup_steps ({self.learning_rate.warmup_steps}) must be below steps ({self.steps})")
        return self


def read_config(path: str | Path, *, overrides: list[str] | None = None) -> TrainConfig:
    """Read a training config; `overrides` are `key.path=value` and win over the file."""
    path = Path(path)
    data, places = read_yaml(path)
    for override in overrides or []:
        _override(data, override, places)
    config = validate(data, TrainConfig, where=str(path), places=places)
    here = path.parent
    changes: dict[str, Any] = {"mixture": _beside(config.mixture, here), "store": _beside(config.store, here)}
    if config.start is not None:
        changes["start"] = config.start.model_copy(update={"model": _beside(config.start.model, here)})
    for override in overrides or []:  # what is typed in a shell is relative to where the shell is
        key, value = override.split("=", 1)
        if key in changes:
            changes[key] = value
    return config.model_copy(update=changes)


def _beside(path: str, folder: Path) -> str:
    return path if "://" in path or Path(path).is_absolute() else str(folder / path)


def _override(data: Any, override: str, places: Places) -> None:
    """Put `key.path=value` into the data of a file; errors about it will say that it came from there."""
    where = f"--set {override}"
    key, found, value = override.partition("=")
    if not found or not key:
        raise ConfigError(f"{override!r} is not KEY=VALUE", where="--set", hint="as --set batch.frames=16")
    *folders, last = key.split(".")
    for i, name in enumerate(folders, 1):
        if not isinstance(data, dict):
            break
        places.setdefault(tuple(folders[:i]), where)
        data = data.setdefault(name, {})
    if not isinstance(data, dict):
        raise ConfigError(f"`{'.'.join(folders)}` holds no keys", where=where)
    data[last], inside = parse_yaml(value, where=where)
    at = (*folders, last)
    for old in [path for path in places if path[: len(at)] == at]:
        del places[old]
    places.update({(*at, *path): where for path in inside} | {at: where})


def write_config(
    path: Path,
    *,
    name: str,
    mixture: Path,
    store: str,
    size: Size,
    steps: int,
    start: Mapping[str, tuple[str, str]] | None = None,
    model: Path | None = None,
) -> None:
    """Write a config that holds only what differs from the defaults; paths become relative to it.

    With `model` it starts from that one: `start` is head -> (the model's head, or `new`; the reason), and the rate is a fine-tune's.
    """
    refuse_written(path)
    rate, loss = schedule_for(steps, size)
    if model is None:
        network = {"model": f"{{size: {size}}}"}
    else:
        rate = rate.model_copy(update={"start": FINE * rate.start, "stop": FINE * rate.stop})
        heads = "".join(f"\n    {head}: {source}  # {reason}" for head, (source, reason) in (start or {}).items())
        network = {"start": f"\n  model: {_from(model, path.parent)}\n  heads:{heads}\n  references: change\n  train: all"}
    lines = {
        "train": name,
        "mixture": _from(mixture, path.parent),
        "store": store if "://" in store else _from(Path(store), path.parent),
        **network,
        "steps": steps,
        "learning_rate": f"{{start: {rate.start:.1e}, stop: {rate.stop:.1e}}}  # for so many steps: change them together",
        "loss": f"{{energy: {_pair(loss.energy)}, force: {_pair(loss.force)}}}",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{key}:{'' if str(value).startswith(chr(10)) else ' '}{value}\n" for key, value in lines.items()))


def refuse_written(path: Path) -> None:
    """Raise ConfigError where a config stands already."""
    if path.exists():
        raise ConfigError("there is such a file already", where=str(path), hint="choose another with -o")


def schedule_for(steps: int, size: Size) -> tuple[LearningRateSpec, LossSpec]:
    """A schedule that learns within `steps`: that of DPA-2's pre-training at a million, a higher rate that falls less for a short run.

    The rate goes as steps^-0.4 and falls by 2 to 3.8 decades; energies weigh more in a short run, which never sees small rates for long.
    Larger networks than `tiny` take half the rate.
    """
    long = min(max((math.log10(steps) - 3) / 3, 0.0), 1.0)  # 0 up to 1,000 steps, 1 from a million on
    start = min(2e-4 * max(1e6 / steps, 1.0) ** 0.4, 1e-2) * (1.0 if size in ("tiny", "student") or long == 1.0 else 0.5)
    rate = LearningRateSpec(start=start, stop=start * 10 ** -(2 + 1.756 * long))
    energy, force = (0.02**long, 20 ** (1 - long)), (100 * 10**long, 1.0)
    return rate, LossSpec(energy=energy, force=force)


def _pair(pair: Pair) -> str:
    return f"[{pair[0]:.3g}, {pair[1]:.3g}]"


def _from(path: Path, folder: Path) -> str:
    return os.path.relpath(path, folder)
