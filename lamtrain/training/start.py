"""The first state of a run: a new model, one adapted from another's checkpoint, or the run itself where it stopped."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lamdata.errors import ConfigError, SetupError
from lamdata.store import cut_batches

from ..checkpoint import load
from ..config import StartSpec, TrainConfig
from ..data.batch import Batch, collate
from ..data.mixture import Task, TrainingData
from ..evaluation.metrics import Metrics
from ..model.config import ModelConfig
from ..model.lam import LamModel
from ..model.statistics import environment_statistics
from .adapt import adapt, adapted_config, freeze, stale_heads, taken_heads
from .average import build_average
from .optimizer import build_optimizer
from .ranks import Ranks
from .resume import refuse_another_run
from .schedule import Schedule
from .state import TrainState

SAMPLE_FRAMES = 200  # of each task; the reference takes 10 batches of each system
SAMPLE_ATOMS = 1024
PARTS = ("test-", "validation")
OF_A_RUN = (
    "last.pt", "best.pt", "checkpoints", "metrics.csv", "test.json", "parity.png", "curves.png", "config.yaml", "catalog.lock",
    "tensorboard", "wandb.id", "mlflow.id",
)  # fmt: skip


def start_run(
    config: TrainConfig, data: TrainingData, out: Path, *, resume: str, stream: dict[str, Any], ranks: Ranks, quiet: bool = False
) -> TrainState:
    """The state that a run begins with: where it stopped, if there is such a run in `out`, else a new one. `stream` is its fingerprint."""
    path = out / "last.pt" if resume == "auto" else Path(resume)
    checkpoint = None if resume == "never" or (resume == "auto" and not path.exists()) else load(path)
    others: dict[str, dict[str, Any]] = {}
    config.check_heads(data.heads)
    if checkpoint is not None:
        refuse_another_run(config, data, checkpoint, stream=stream, where=str(path))
        model, others = checkpoint.build(), {head: row for head, row in checkpoint.heads.items() if head not in data.heads}
        model.load_state_dict(checkpoint.model if checkpoint.latest is None else checkpoint.latest)
    elif config.start is not None:
        model, others = adapted_model(config, config.start, data)
    else:
        model = new_model(config, data, quiet=quiet or not ranks.first)
    model = model.to(ranks.device)
    ranks.share_weights(model)
    _use_kernels(model, config.kernels)
    freeze(model, "all" if config.start is None else config.start.train)
    optimizer = build_optimizer(model, config)
    state = TrainState(
        config=config,
        data=data,
        model=model,
        optimizer=optimizer,
        average=build_average(model, config, optimizer),
        runs=config.runs(data.heads),
        schedule=Schedule(config.learning_rate, config.steps),
        metrics=Metrics(data.heads),
        stream=stream,
        others=others,
    )
    if checkpoint is not None:
        state.restore(checkpoint)
        if not ranks.first:
            state.metrics, state.truncated = Metrics(data.heads), [0, 0]  # a checkpoint holds the sums of all ranks
    return state


def adapted_model(config: TrainConfig, start: StartSpec, data: TrainingData) -> tuple[LamModel, dict[str, dict[str, Any]]]:
    """The model of another run's checkpoint, made this run's; and what the checkpoint says of heads that this run does not train."""
    parent = load(start.model)
    parent_config = ModelConfig.model_validate(parent.model_config)
    torch.manual_seed(config.seed)
    model = LamModel(adapted_config(start, data, parent_config).in_precision(config.precision))
    if set(model.config.elements) - set(parent_config.elements):
        batches = (batch for _, batch in _sample(config, data, model.config))
        environment_statistics(batches, model.config).apply(model.descriptor, model.config)
    adapt(model, start, data, parent)
    taken = taken_heads(start, data, parent_config)
    set_references(model, data, heads=[head for head in data.heads if head not in taken or start.references == "refit"])
    freeze(model, start.train)
    stale = stale_heads(model, data)
    return model, {
        head: row | {"stale": head in stale} for head, row in parent.heads.items() if head in model.config.heads and head not in data.heads
    }


def _use_kernels(model: LamModel, name: str) -> None:
    try:
        model.use_kernels(name)
    except (RuntimeError, ValueError) as err:
        raise SetupError(str(err).splitlines()[0], where=f"kernels: {name}", hint="set kernels: plain") from err


def new_model(config: TrainConfig, data: TrainingData, *, quiet: bool = False) -> LamModel:
    """Build the model of a run before its first step. No pass over the data: a sample and the statistics made at ingest."""
    if config.model.elements is not None and (others := [symbol for symbol in data.elements if symbol not in config.model.elements]):
        hint = "add them, or leave `elements` out: it then holds those of the datasets"
        raise ConfigError(f"training frames have {', '.join(others)}", where="model.elements", hint=hint)
    torch.manual_seed(config.seed)
    model_config = config.model.resolve(elements=data.elements, heads=data.heads, precision=config.precision)
    model = LamModel(model_config)
    batches = list(_sample(config, data, model_config))
    environment_statistics((batch for _, batch in batches), model_config).apply(model.descriptor, model_config)
    if not quiet:
        _say_truncated(batches, model_config)
        _say_unreferenced(data)
    set_references(model, data, heads=data.heads)
    _begin_at_references(model, data)
    return model


@torch.no_grad()
def _begin_at_references(model: LamModel, data: TrainingData) -> None:
    """Let the nets of new energy heads add nothing at first: random ones are off by an eV an atom, which short runs do not make good."""
    for head, kind in data.heads.items():
        if kind == "energy_force":
            last = model.energy_head(head).last
            for parameter in last.parameters():
                parameter.zero_()


def set_references(model: LamModel, data: TrainingData, *, heads: Iterable[str]) -> None:
    """Write the reference energies of energy heads into their biases; elements without one keep what they have."""
    for head in heads:
        references = data.references(head)
        if references is not None:
            bias = model.energy_head(head).bias
            for symbol, energy in references.energies.items():
                bias[model.config.elements.index(symbol)] = energy


def _sample(config: TrainConfig, data: TrainingData, model_config: ModelConfig) -> Iterator[tuple[Task, Batch]]:
    """Batches of a few frames of each task, as the stream would give them."""
    for task in data.tasks:
        frames = task.noised(task.train.frames(0, SAMPLE_FRAMES), seed=config.seed)  # a store is shuffled: its start is a fair sample
        head = list(data.heads).index(task.spec.head)
        for part in cut_batches(frames.with_(head=np.full(len(frames), head, np.int32)), batch_atoms=SAMPLE_ATOMS):
            yield task, collate(part, model_config)


def _say_truncated(batches: list[tuple[Task, Batch]], config: ModelConfig) -> None:
    """Name each dataset whose atoms have more neighbours than a list keeps: the farthest do not count, and forces jump where they change."""
    for name, wanted in config.descriptor.lists.items():
        cut: dict[str, list[int]] = {}
        for task, batch in batches:
            counts = cut.setdefault(task.spec.data, [0, 0])
            counts[0] += batch.truncated[name]
            counts[1] += batch.natoms_total
        for dataset, (more, atoms) in cut.items():
            if more:
                share = f"{more / atoms:.0%} of its atoms have" if more / atoms >= 0.01 else f"{more} of {atoms} atoms have"
                line = f"{share} more than {wanted.nsel} neighbours within {wanted.rcut:g} Å, and lose the farthest ({name})"
                print(f"note: dataset {dataset}: {line}", file=sys.stderr)


def _say_unreferenced(data: TrainingData) -> None:
    """Name the elements of held-out frames that no training frame of the head has: their energies cannot be scored."""
    for head in data.heads:
        if missing := data.unreferenced(head):
            line = f"no training frame has {', '.join(missing)}; energies of held-out frames with them are not scored"
            print(f"note: head {head}: {line}", file=sys.stderr)


def clear(out: Path) -> None:
    """Remove what an earlier run left in its folder, so that nothing of it stands beside a new model."""
    parts = [found.parent for part in PARTS for found in out.glob(f"{part}*/test.json")]  # what `lamtrain test` says of one head or dataset
    for path in [*(out / name for name in OF_A_RUN), *parts]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
