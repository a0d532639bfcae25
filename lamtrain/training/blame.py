"""Blame: a batch whose gradient is not finite -> the frames that make it so."""

from __future__ import annotations

import numpy as np
import torch

from lamdata.frames import Frames

from ..data.batch import collate
from .state import TrainState
from .step import add_gradients

MOST_NAMED = 5


def find_culprits(state: TrainState, frames: Frames) -> list[str]:
    """Do the step of each frame alone, and describe those whose loss or gradient is not finite, at most MOST_NAMED; no state is changed."""
    lines: list[str] = []
    for f in range(len(frames)):
        if len(lines) < MOST_NAMED and (what := _not_finite(state, frames.part(f, f + 1))):
            head = list(state.model.config.heads)[int(frames.head[f])]
            lines.append(f"head {head}: {state.data.origin(frames, f)}: not finite: {what}")
    state.forget_gradients()
    return lines


def _not_finite(state: TrainState, frame: Frames) -> str | None:
    """What of a frame's labels, positions, loss and gradient is the first not to be finite."""
    flags = {"energy": frame.has_energy, "forces": frame.has_forces, "virial": frame.has_virial}
    for name in ("positions", "cell", *(name for name, flag in flags.items() if flag.any())):
        if not np.isfinite(getattr(frame, name)).all():
            return name
    state.forget_gradients()
    model = state.model
    part = collate(frame, model.config, dtype=state.dtype, chunk_atoms=model.chunk_atoms)
    loss = add_gradients(state, part, frames=1)
    if not torch.isfinite(loss):
        return "loss"
    found = [p.grad for p in model.parameters() if p.grad is not None]
    return None if all(torch.isfinite(grad).all() for grad in found) else "gradient"
