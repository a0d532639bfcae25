"""The first state of a model: random weights from the seed, environment statistics from a sample, reference energies from the store."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from lamdata.store import cut_batches

from ..config import TrainConfig
from ..data.batch import Batch, collate
from ..data.mixture import TrainingData
from ..model.config import ModelConfig
from ..model.lam import LamModel
from ..model.statistics import environment_statistics

SAMPLE_FRAMES = 200  # of each task; the reference takes 10 batches of each system
SAMPLE_ATOMS = 1024


def new_model(config: TrainConfig, data: TrainingData) -> LamModel:
    """Build the model of a run before its first step. No pass over the data: a sample and the statistics made at ingest."""
    torch.manual_seed(config.seed)
    model_config = config.model.resolve(elements=data.elements, heads=data.heads, precision=config.precision)
    model = LamModel(model_config)
    environment_statistics(_sample(config, data, model_config), model_config).apply(model.descriptor, model_config)
    for head, task in data.heads.items():
        references = data.references(head) if task == "energy_force" else None
        if references is not None:
            energies = [references.energies.get(symbol, 0.0) for symbol in model_config.elements]
            model.heads[head].bias[: len(energies)] = torch.tensor(energies, dtype=torch.float64)
    return model


def _sample(config: TrainConfig, data: TrainingData, model_config: ModelConfig) -> Iterator[Batch]:
    """Batches of a few frames of each task, as the stream would give them."""
    for task in data.tasks:
        frames = task.noised(task.train.frames(0, SAMPLE_FRAMES), seed=config.seed)  # a store is shuffled: its start is a fair sample
        head = list(data.heads).index(task.spec.head)
        for part in cut_batches(frames.with_(head=np.full(len(frames), head, np.int32)), batch_atoms=SAMPLE_ATOMS):
            yield collate(part, model_config)
