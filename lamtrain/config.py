"""TrainConfig: what a training run is, as one YAML file; torch-free, so that every mistake is found before anything heavy loads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from lamdata.elements import SYMBOLS
from lamdata.errors import ConfigError, ConfigErrors
from lamdata.located import Places, Spec, did_you_mean, parse_yaml, read_yaml, spot_of, validate
from lamtrain.model.config import DenoiseConfig, DescriptorConfig, FittingConfig, ModelConfig
from lamtrain.recipe import AverageSpec, HeadSpec, OptimizerSpec, StepSpec
from lamtrain.recipe import LearningRateSpec as LearningRateSpec
from lamtrain.tasks import Pair, TaskKind, installed_kinds, task_kind
from lamtrain.tasks.denoise import DenoiseLoss
from lamtrain.tasks.energy_force import EnergyForceLoss

ELEMENTS = SYMBOLS[1:]  # without the hidden one
Size = Literal["tiny", "small", "medium", "large", "student"]


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

    @field_validator("descriptor")
    @classmethod
    def _no_table(cls, descriptor: DescriptorConfig | None) -> DescriptorConfig | None:
        if getattr(descriptor, "table", None) is not None:
            raise ValueError("`table` is what `lamtrain compress` makes of a finished model: leave it out")
        return descriptor

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


TERMS = [*EnergyForceLoss.model_fields, *DenoiseLoss.model_fields]


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
        defaults = {name: pair for kind in kinds for name, pair in kind.prefactors.items()}
        found: Pair | None = getattr(self, term) if term in TERMS else defaults.get(term)
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

    def follows_the_rate(self) -> list[str]:
        """Terms whose prefactors go from one value to another."""
        pairs = {name: getattr(self, name) for name in TERMS} | self.more
        return [name for name, (start, limit) in pairs.items() if start != limit]


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
    """Its checkpoint, relative to the file this stands in; or `registry://NAME@VERSION`, of the registry that LAM_REGISTRY names."""
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
    """Folder or URL of the store that holds the datasets; or `registry://NAME@VERSION`, of the registry that LAM_REGISTRY names."""
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
    optimizer: OptimizerSpec = OptimizerSpec()
    """What turns gradients into steps."""
    average: AverageSpec | None = None
    """An average of the weights; null for none."""
    loss: LossSpec = LossSpec()
    """Prefactors."""
    heads: dict[str, HeadSpec] = {}
    """Heads of the mixture that have prefactors or batches of their own."""
    step: StepSpec = StepSpec()
    """What a step is made of: heads side by side or one at a time, and what is clipped."""
    clip_norm: float | None = Field(default=5.0, gt=0)
    """Largest norm of the gradient; null for no limit."""
    precision: Literal["float32", "float64"] = "float32"
    """Of weights and activations; energies are summed in float64."""
    matmul: Literal["ieee", "tf32", "bf16"] = "ieee"
    """Products of float32 matrices: exact factors, or factors rounded to TF32 (CUDA) or bfloat16 (CPU); those inside `cpp` kernels stay exact."""
    kernels: Literal["auto", "plain", "closed", "cpp", "triton"] = "auto"
    """Operators in C++ on a CPU for which they were compiled at installation, the kernels for CUDA on a GPU where they give what plain gives in a trial, else plain (auto); plain PyTorch;
    the gated softmax with its derivatives in closed form; or the operators in C++ (cpp), or the kernels for CUDA (triton), and nothing else."""
    graphs: bool = False
    """Steps on a GPU are recorded once for each shape of a batch and replayed as CUDA graphs; batches are padded, so that shapes repeat."""
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
    shares_every: int | None = Field(default=None, ge=1)
    """Steps between two measurements of what each head gives to the gradient of the descriptor, for a table with each row of metrics.csv; null for
    none. With `step.clip: sum` each costs another pass."""
    log_to: list[Literal["tensorboard", "wandb", "mlflow"]] = []
    """Where the rows of metrics.csv go besides: event files of TensorBoard in the run's folder, Weights & Biases, MLflow."""

    @model_validator(mode="after")
    def _only_float32_is_rounded(self) -> Self:
        if self.precision == "float64" and self.matmul != "ieee":
            raise ValueError(f"matmul {self.matmul} rounds float32 products, but precision is float64")
        return self

    @model_validator(mode="after")
    def _steps_can_be_recorded(self) -> Self:
        others = {
            "step.clip: per_head": self.step.clip == "per_head",
            "skip_nonfinite": self.skip_nonfinite > 0,
            "shares_every": self.shares_every is not None,
            f"optimizer.kind: {self.optimizer.kind}": self.optimizer.kind == "schedule_free",
        }
        if self.graphs and (name := next((name for name, asked in others.items() if asked), None)):
            raise ValueError(f"graphs are records of steps that the host does not look into, as it must for {name}")
        return self

    @model_validator(mode="after")
    def _one_network(self) -> Self:
        if self.start is not None and self.model != ModelSpec():
            raise ValueError("`start.model` brings its own network: leave `model` out")
        return self

    @model_validator(mode="after")
    def _batches_of_heads(self) -> Self:
        own = [head for head, spec in self.heads.items() if spec.frames is not None]
        if self.step.heads == "mixed" and own:
            raise ValueError(f"heads.{own[0]}.frames goes with `step: {{heads: one}}`: a mixed batch has frames of each head by its weight")
        if self.step.heads == "one" and (self.batch.frames is None or self.batch.frames % self.step.draws):
            size = f"batch.frames ({self.batch.frames})" if self.batch.frames else "batch.atoms"
            raise ValueError(f"`step: {{heads: one}}` needs batch.frames, a multiple of its draws ({self.step.draws}), not {size}")
        return self

    @model_validator(mode="after")
    def _prefactors_of_heads(self) -> Self:
        for head, spec in self.heads.items():
            for term, pair in spec.loss.items():
                if min(pair) < 0:
                    raise ValueError(f"heads.{head}.loss: prefactor {term} is negative")
        return self

    @model_validator(mode="after")
    def _free_of_a_schedule(self) -> Self:
        if self.optimizer.kind != "schedule_free":
            return self
        if self.average is not None:
            raise ValueError("`optimizer: {kind: schedule_free}` averages its weights by itself: leave `average` out")
        if self.learning_rate.start != self.learning_rate.stop:
            raise ValueError(
                "`optimizer: {kind: schedule_free}` needs a rate that does not fall: learning_rate.stop as learning_rate.start"
            )
        if terms := self.loss.follows_the_rate():
            raise ValueError(f"prefactors of loss.{terms[0]} follow a rate that does not fall here: give it one value, twice")
        return self

    @model_validator(mode="after")
    def _something_follows_the_warm_up(self) -> Self:
        if self.learning_rate.warmup_steps >= self.steps:
            raise ValueError(f"learning_rate.warmup_steps ({self.learning_rate.warmup_steps}) must be below steps ({self.steps})")
        return self

    def runs(self, heads: Iterable[str]) -> dict[str, int]:
        """Head -> frames of each slot of the stream: of a draw with `step: {heads: one}`, else 1."""
        if self.step.heads == "mixed" or self.batch.frames is None:
            return dict.fromkeys(heads, 1)
        part = self.batch.frames // self.step.draws
        return {head: (self.heads[head].frames if head in self.heads else None) or part for head in heads}

    def check_heads(self, heads: Mapping[str, str]) -> None:
        """Raise ConfigError where `heads` here names one that the mixture (head -> kind) has not, or a term that its kind has not."""
        for head, spec in self.heads.items():
            if head not in heads:
                raise ConfigError(f"the mixture has no head {head!r}", where="heads", hint=did_you_mean(head, list(heads)))
            terms = task_kind(heads[head]).prefactors
            for term in spec.loss:
                if term not in terms:
                    found = f"a head for {heads[head]} has no term {term!r}"
                    raise ConfigError(found, where=f"heads.{head}.loss", hint=did_you_mean(term, list(terms)))


def read_config(path: str | Path, *, overrides: list[str] | None = None) -> TrainConfig:
    """Read a training config; `overrides` are `key.path=value` and win over the file."""
    path = Path(path)
    data, places = read_yaml(path)
    for override in overrides or [] if isinstance(data, dict) else []:
        _override(data, override, places)
    config = validate(data, TrainConfig, where=str(path), places=places)

    def beside(name: str, *key: str) -> str:
        in_shell = isinstance(places.get(key), str)  # what is typed in a shell is relative to where the shell is
        return name if in_shell or "://" in name or Path(name).is_absolute() else str(path.parent / name)

    changes: dict[str, Any] = {"mixture": beside(config.mixture, "mixture"), "store": beside(config.store, "store")}
    if config.start is not None:
        changes["start"] = config.start.model_copy(update={"model": beside(config.start.model, "start", "model")})
    return config.model_copy(update=changes)


@contextmanager
def placed_in(path: str | Path, *, overrides: list[str] | None = None) -> Iterator[None]:
    """Let an error that is met later and names a key of the config ("model.elements") say where in the file, or on the command line, that stands."""
    try:
        yield
    except ConfigError as err:
        data, places = read_yaml(path)
        for override in overrides or []:
            _override(data, override, places)
        errors = [_placed(one, places, str(path)) for one in err.errors]
        raise (ConfigErrors(errors) if isinstance(err, ConfigErrors) else errors[0]) from None


def _placed(err: ConfigError, places: Places, path: str) -> ConfigError:
    key = tuple((err.where or "").split("."))
    if key[0] not in TrainConfig.model_fields:
        return err
    known = next((key[:length] for length in range(len(key), 0, -1) if key[:length] in places), None)
    if known is None:
        return ConfigError(f"`{err.where}`: {err.message}", where=path, hint=err.hint)
    rest = f"`{err.where}`: " if known != key else ""
    return ConfigError(rest + err.message, where=spot_of(known, places, where=path), hint=err.hint)


def _override(data: dict[str, Any], override: str, places: Places) -> None:
    """Put `key.path=value` into the data of a file; errors about it will say that it came from there."""
    where = f"--set {override}"
    key, found, value = override.partition("=")
    if not found or not key:
        raise ConfigError(f"{override!r} is not KEY=VALUE", where="--set", hint="as --set batch.frames=16")
    *folders, last = key.split(".")
    section: Any = data
    for i, name in enumerate(folders, 1):
        if not isinstance(section, dict):
            break
        places.setdefault(tuple(folders[:i]), where)
        section = section.setdefault(name, {})
    if not isinstance(section, dict):
        raise ConfigError(f"`{'.'.join(folders)}` holds no keys", where=where)
    section[last], inside = parse_yaml(value, where=where)
    at = (*folders, last)
    for old in [path for path in places if path[: len(at)] == at]:
        del places[old]
    places.update({(*at, *path): where for path in inside} | {at: where})
