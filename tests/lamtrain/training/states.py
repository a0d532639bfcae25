"""A run before its first step, on the small store, made by the calls that a run makes."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lamdata.frames import Frames
from lamtrain.config import read_config
from lamtrain.data.batch import Batch, collate
from lamtrain.data.mixture import open_training_data
from lamtrain.training.ranks import Ranks
from lamtrain.training.start import start_run
from lamtrain.training.state import TrainState

# A narrow model: its steps take milliseconds.
NARROW = (
    "precision=float64",
    "model={size: tiny, descriptor: {repinit: {neuron: [2, 4, 8], tebd_dim: 4}, repformer: {nlayers: 1, g1_dim: 8, g2_dim: 4}},"
    " fitting: {neuron: [8]}, denoise: {hidden: 8}}",
)


def new_state(small: Path, out: Path, *changes: str) -> TrainState:
    """A new run with one or another key of its config changed."""
    config = read_config(small / "train.yaml", overrides=[*NARROW, *changes])
    data = open_training_data(config.mixture, config.store)
    return start_run(config, data, out, resume="never", stream={}, ranks=Ranks("cpu"), quiet=True)


def frames_of(state: TrainState, count: int, **options: Any) -> Frames:
    """The first frames of its stream, for the heads of its model."""
    with state.data.stream(seed=state.config.seed, batch_frames=count, batch_atoms=None, **options) as stream:
        return state.data.with_model_heads(next(iter(stream)))


def batch_of(state: TrainState, frames: Frames, *, padded: bool = False) -> Batch:
    """As its model takes them."""
    return collate(frames, state.model.config, dtype=state.dtype, chunk_atoms=state.model.chunk_atoms, padded=padded)


@contextmanager
def planted(frames: Frames, row: int, name: str, value: float):
    """Frames of which one has a number that no store would have let in."""
    array = getattr(frames, name).copy()
    array[frames.starts[row] if name in ("positions", "forces") else row] = value
    yield frames.with_(**{name: array})
