"""Batches with chosen labels, and outputs made by hand, for the tests of tasks and losses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from lamdata.frames import Frames
from lamtrain.data.batch import collate
from lamtrain.model.inputs import Batch
from lamtrain.model.lam import Output
from tests.lamtrain.model_cases import model_config, structure

HEADS = {"dft": "energy_force", "relaxed": "denoise", "mp2": "energy_force"}
CONFIG = model_config(heads=HEADS)


def labelled(sizes: tuple[int, ...] = (3, 5, 2), *, heads: tuple[int, ...] = (0, 2, 0), seed: int = 0) -> Frames:
    """Frames with every label, for the heads by number."""
    rng = np.random.default_rng(seed)
    frames = [
        replace(
            structure(n, seed=seed + 10 * i),
            energy=float(rng.normal()),
            forces=rng.normal(size=(n, 3)),
            virial=rng.normal(size=(3, 3)),
        )
        for i, n in enumerate(sizes)
    ]
    return Frames.from_list(frames).with_(head=np.array(heads, np.int32))


def batch_of(frames: Frames) -> Batch:
    """As the model of `HEADS` takes it."""
    return collate(frames, CONFIG)


def off_by(frames: Frames, *, energy: float = 0.0, force: float = 0.0, virial: float = 0.0) -> Output:
    """The labels, and so much added to each number."""
    return Output(
        energy=torch.from_numpy(frames.energy + energy),
        forces=torch.from_numpy(frames.forces + force),
        virial=torch.from_numpy(frames.virial + virial),
    )
