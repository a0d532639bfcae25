"""One optimizer step: a batch in parts -> gradients, summed over ranks, clipped, checked, taken."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from lamdata.frames import Frames

from ..data.batch import Batch, collate
from ..evaluation.metrics import Metrics
from .loss import frame_losses, total_loss
from .memory import OutOfMemory, find_budget, is_out_of_memory
from .optimizer import set_rate
from .ranks import Ranks
from .state import TrainState


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What came of a step, the same on all ranks."""

    loss: float
    norm: float  # of the gradient, before it was clipped
    stop: bool = False  # a rank was told to stop

    @property
    def finite(self) -> bool:
        """Whether the step was taken: a gradient or a loss that is not finite leaves the weights as they were."""
        return math.isfinite(self.loss) and math.isfinite(self.norm)


def train_step(state: TrainState, parts: list[Batch], *, frames: int, ranks: Ranks, stop: bool = False) -> Taken:
    """One optimizer step on one batch, part by part; `frames` counts the whole batch, over all ranks."""
    config, model = state.config, state.model
    set_rate(state.optimizer, state.schedule.rate(state.step))
    state.forget_gradients()
    metrics = Metrics(state.metrics.heads)
    loss = torch.zeros((), dtype=torch.float64, device=state.device)
    for part in parts:
        loss = loss + add_gradients(state, part, frames=frames, metrics=metrics)
    ranks.sum_gradients(model)
    limit = math.inf if config.clip_norm is None else config.clip_norm
    if state.lora is not None:
        state.lora.take_gradients()
    norm = torch.nn.utils.clip_grad_norm_(state.parameters(), limit)
    agreed = ranks.agree(loss, stop=stop)
    taken = Taken(loss=agreed.loss, norm=float(norm), stop=agreed.stop)
    if taken.finite:
        state.optimizer.step()
        if state.lora is not None:
            state.lora.merge()
        state.metrics.merge(metrics)
        state.losses.append(taken.loss)
        for part in parts:
            state.truncated[0] += max(part.truncated.values())
            state.truncated[1] += part.natoms_total
    return taken


def add_gradients(state: TrainState, batch: Batch, *, frames: int, metrics: Metrics | None = None) -> torch.Tensor:
    """Add the gradient of a part's share of the loss to the parameters', and its errors to `metrics`; return that share."""
    config, model = state.config, state.model
    batch = batch.to(state.device, non_blocking=True)
    model.train()
    output = model(batch, virial=max(config.loss.virial) > 0, create_graph=True)
    kinds = list(state.metrics.kinds.values())
    terms = frame_losses(kinds, output, batch, huber=config.loss.huber)
    loss = total_loss(terms, config.loss, state.schedule, state.step, frames=frames, kinds=kinds)
    if loss.requires_grad:
        torch.autograd.backward(loss, inputs=[p for p in model.parameters() if p.requires_grad])  # and not by the coordinates a second time
    if metrics is not None:
        metrics.add(output, batch)
    return loss.detach()


def step_in_memory(state: TrainState, parts: list[Batch], frames: Frames, *, count: int, ranks: Ranks, stop: bool) -> Taken:
    """`train_step`; if a part of the batch, made of `frames`, is too large, raise OutOfMemory with a number of atoms that is not."""
    try:
        return train_step(state, parts, frames=count, ranks=ranks, stop=stop)
    except (RuntimeError, MemoryError) as err:
        if not is_out_of_memory(err):
            raise
    atoms = max(part.natoms_total for part in parts)
    budget = find_budget(lambda most: _try_first(state, frames, most), failed=atoms)
    hint = f"set batch.at_once to {budget}, which fits" if budget else "not even one frame fits; take a smaller model"
    raise OutOfMemory(f"out of memory: {atoms} atoms at once do not fit", hint=hint)


def _try_first(state: TrainState, frames: Frames, atoms: int) -> None:
    """The memory of a step on the first frames that have `atoms` atoms at most, or on the first alone, without the step."""
    some = frames.part(0, max(1, int(np.searchsorted(frames.starts, atoms, side="right")) - 1))
    state.forget_gradients()
    model = state.model
    add_gradients(state, collate(some, model.config, dtype=state.dtype, chunk_atoms=model.chunk_atoms), frames=len(some))
    state.forget_gradients()
