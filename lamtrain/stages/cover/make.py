"""A trained model and its training data -> a sketch for each energy head, in the checkpoint."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lamdata.catalog import Mixture
from lamdata.errors import ConfigError, DataError
from lamdata.frame import Frame, Rejection
from lamdata.frames import Frames
from lamdata.progress import Progress

from ...checkpoint import Checkpoint, load, save
from ...config import TrainConfig
from ...data.mixture import TrainingData, open_tasks, open_training_data
from ...prediction.answers import Answer, Tally, answers
from ...prediction.model import Model, load_model
from ...training.stop import Interrupted, Stop
from ...training.trainer import arithmetic
from .calibrate import calibrate
from .pairs import pair_codes, pairs_of
from .sample import Sample, draw_sample
from .sketch import Sketch, build_sketch

SHOWN = ("best.pt", "last.pt")
HELD_OUT_ATOMS = 4000  # of the validation frames, about


def sketch_run(folder: Path, config: TrainConfig, *, device: str, quiet: bool = False) -> None:
    """Put sketches into the checkpoints that a finished training left, where they have none yet. Of several processes the first does it."""
    if os.environ.get("RANK", "0") != "0":
        return
    lacking = [path for name in SHOWN if (path := folder / name).exists() and load(path).cover is None]
    if lacking:
        with Stop() as stop:
            add_sketches(lacking, open_training_data(config.mixture, config.store), device=device, quiet=quiet, stop=stop)


def sketch_model(path: Path, store: str, *, device: str, quiet: bool = False) -> None:
    """Put sketches into a checkpoint from the data that it was trained on. Raises DataError where `store` holds other frames."""
    checkpoint = load(path)
    add_sketches([path], training_data(checkpoint, path, store), device=device, quiet=quiet)


def training_data(checkpoint: Checkpoint, path: Path, store: str) -> TrainingData:
    """What a checkpoint was trained on, opened in a store."""
    if checkpoint.lock["mixture"] is None:
        raise ConfigError("the model does not say what it was trained on", where=str(path), hint="train it, or a fine-tune of it")
    data = open_tasks(Mixture.model_validate(checkpoint.lock["mixture"]), store)
    for task in data.drawn:
        if task.train.content_hash != checkpoint.lock["datasets"][task.spec.data]["content_hash"]:
            found = f"dataset {task.spec.data} holds other frames than the model was trained on"
            raise DataError(found, where=store, hint="name the store that it was trained from")
    return data


def add_sketches(paths: Sequence[Path], data: TrainingData, *, device: str, quiet: bool, stop: Stop | None = None) -> None:
    """The same frames for each of some checkpoints of one training; equal weights are asked once. Raises Interrupted where `stop` says so."""
    samples: dict[str, tuple[Sample, Sample]] = {}
    done: list[Checkpoint] = []
    for path in paths:
        model = load_model(path, device=device)
        twin = next((other for other in done if same_weights(other, model.checkpoint)), None)
        with arithmetic():
            model.checkpoint.cover = make_sketches(model, data, samples, quiet=quiet, stop=stop) if twin is None else twin.cover
        save(model.checkpoint, path)
        done.append(model.checkpoint)


def same_weights(one: Checkpoint, other: Checkpoint) -> bool:
    """Whether two checkpoints of one training are the same model."""
    return all(torch.equal(value, other.model[name]) for name, value in one.model.items())


def make_sketches(
    model: Model, data: TrainingData, samples: dict[str, tuple[Sample, Sample]], *, quiet: bool = False, stop: Stop | None = None
) -> dict[str, dict[str, Any]]:
    """Head -> the data of its sketch; `samples` (head -> of training, of validation frames) are drawn where they are not there yet."""
    made = {}
    for head in model.heads:
        if head not in data.heads or head in model.checkpoint.stale:
            continue
        if head not in samples:
            tasks = [task for task in data.of_head(head) if task.spec.weight]
            samples[head] = (
                draw_sample([task.train for task in tasks]),
                draw_sample([task.validation for task in tasks], atoms=HELD_OUT_ATOMS),
            )
        training, held_out = samples[head]
        if training.frames:
            with Progress(f"sketching {head}", total=len(training.frames), unit="frames", quiet=quiet) as progress:
                sketch = sketch_of(model, head, training, progress, stop=stop)
            made[head] = replace(sketch, held_out=calibrate(model, head, sketch, held_out.frames)).to_data()
    return made


def sketch_of(model: Model, head: str, sample: Sample, progress: Progress, *, stop: Stop | None = None) -> Sketch:
    """Ask the model for the descriptors of a sample."""
    numbers, features, natoms = list[NDArray[np.uint8]](), list[NDArray[np.float32]](), list[int]()
    seen = np.zeros(1 << 16, bool)
    for answer in described(model, head, [frame.bare() for frame in sample.frames]):
        assert answer.features is not None and answer.edges is not None
        numbers.append(answer.label.numbers)
        features.append(answer.features)
        natoms.append(len(answer.label.numbers))
        seen[pair_codes(answer.label.numbers, answer.edges)] = True
        progress.advance()
        if stop is not None and stop.asked:
            raise Interrupted(f"{stop.reason} after the last step, before the sketch of the training", hint="the same command makes it")
    for frame in sample.paired:
        [edges] = model.neighbors(Frames.from_list([frame]))
        seen[pair_codes(frame.numbers, edges)] = True
    if not natoms:
        raise DataError(f"the model answers none of the training frames of head {head}", where=model.path)
    codes = np.flatnonzero(seen)
    starts = np.cumsum([0, *natoms[:-1]])
    return build_sketch(np.concatenate(numbers), np.concatenate(features), starts, pairs=pairs_of(codes), of=sample.frames_of_all)


def described(model: Model, head: str, frames: Sequence[Frame]) -> Iterator[Answer]:
    """Answers with features, of the frames that are answered."""
    return (found for found in answers(model, head, frames, Tally(), describe=True) if not isinstance(found, Rejection))


def sketch_for(model: Model, head: str) -> Sketch:
    """The sketch of a head. Raises ConfigError where there is none."""
    sketches = model.checkpoint.cover
    if sketches is None:
        hint = f"lamtrain cover {model.path} ... --training STORE makes it from the data that the model was trained on, once"
        raise ConfigError("the checkpoint has no sketch of its training data", where=model.path, hint=hint)
    if head not in sketches:
        others = f"there are sketches of {', '.join(sketches)}" if sketches else None
        raise ConfigError(
            f"head {head!r} was not trained in this run, so there is no sketch of its training data", where=model.path, hint=others
        )
    return Sketch.from_data(sketches[head])
