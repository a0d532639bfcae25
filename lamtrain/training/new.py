"""New: a config and its data -> a model before its first step. No pass over the data: a sample, and the statistics made at ingest."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

import numpy as np
import torch

from lamdata.errors import ConfigError
from lamdata.store import cut_batches

from ..config import TrainConfig
from ..data.batch import Batch, collate
from ..data.mixture import Task, TrainingData
from ..model.config import ModelConfig
from ..model.lam import LamModel
from ..model.statistics import environment_statistics

SAMPLE_FRAMES = 200  # of each task; the reference takes 10 batches of each system
SAMPLE_ATOMS = 1024


def new_model(config: TrainConfig, data: TrainingData, *, quiet: bool = False) -> LamModel:
    """Build the model; raises ConfigError where elements or weights do not allow it."""
    if config.model.elements is not None and (others := [symbol for symbol in data.elements if symbol not in config.model.elements]):
        hint = "add them, or leave `elements` out: it then holds those of the datasets"
        raise ConfigError(f"training frames have {', '.join(others)}", where="model.elements", hint=hint)
    if measured := [head for head, weight in data.weights.items() if not weight]:
        found = f"head {measured[0]!r} has weight 0: it would be measured, and nothing has trained it"
        raise ConfigError(found, where=config.mixture, hint="give it a weight, or a model to `start` from")
    torch.manual_seed(config.seed)
    model_config = config.model.resolve(elements=data.elements, heads=data.heads, precision=config.precision)
    model = LamModel(model_config)
    batches = list(sample(config, data, model_config))
    environment_statistics((batch for _, batch in batches), model_config).apply(model.descriptor, model_config)
    if not quiet:
        _say_truncated(batches, model_config)
        say_unreferenced(data)
    set_references(model, data, heads=data.heads)
    begin_at_references(model, data.heads)
    return model


@torch.no_grad()
def begin_at_references(model: LamModel, heads: Iterable[str]) -> None:
    """Let the nets of new energy heads add nothing at first: random ones are off by an eV an atom, which short runs do not make good."""
    for head in heads:
        if model.config.heads[head] == "energy_force":
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


def sample(config: TrainConfig, data: TrainingData, model_config: ModelConfig) -> Iterator[tuple[Task, Batch]]:
    """Batches of a few frames of each task that is drawn, as the stream would give them."""
    for task in data.drawn:
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


def say_unreferenced(data: TrainingData) -> None:
    """Name the elements of held-out frames that no training frame of the head has: their energies cannot be scored."""
    for head in data.heads:
        if missing := data.unreferenced(head):
            line = f"no training frame has {', '.join(missing)}; energies of held-out frames with them are not scored"
            print(f"note: head {head}: {line}", file=sys.stderr)
