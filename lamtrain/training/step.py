"""One optimizer step: a batch in parts -> gradients, summed over ranks, clipped, checked, taken."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch

from lamdata.frames import Frames

from ..config import TrainConfig
from ..data.batch import Batch, collate
from ..data.feed import split_by_head
from ..evaluation.metrics import Metrics
from ..tasks import Pair
from .by_head import GradientsByHead, norm_on_descriptor
from .loss import frame_losses, total_loss
from .memory import OutOfMemory, find_budget, is_out_of_memory
from .optimizer import rate_on_device, set_rate
from .ranks import Ranks
from .state import TrainState
from .taken import Taken


def train_step(
    state: TrainState,
    parts: list[Batch],
    *,
    frames: int,
    ranks: Ranks,
    stop: bool = False,
    drawn: Mapping[str, int] | None = None,
    whole: Frames | None = None,
) -> Taken:
    """One optimizer step on one batch, part by part; `frames` counts the whole batch, over all ranks, or its slots where these are runs.

    `drawn` is head -> how many of them are for it: needed where each head's gradient is limited by itself, and `parts` are then of one head
    each; or where shares are to be measured, with the frames of this rank as a `whole`.
    """
    config, model = state.config, state.model
    set_rate(state.optimizer, state.schedule.rate(state.step))
    state.forget_gradients()
    metrics = Metrics(state.metrics.heads)
    limit = math.inf if config.clip_norm is None else config.clip_norm
    shares: dict[str, torch.Tensor] = {}
    if config.step.clip == "per_head":
        assert drawn is not None, "the caller knows what was drawn"
        loss, shares = _add_by_head(state, parts, drawn=drawn, ranks=ranks, limit=limit, metrics=metrics)
        agreed = ranks.agree(loss, stop=stop)
        norm = _norm(state, math.inf)
    else:
        if drawn is not None and whole is not None and len(drawn) > 1:
            shares = _measure(state, whole, drawn=drawn, ranks=ranks)
        loss = torch.zeros((), dtype=torch.float64, device=state.device)
        for part in parts:
            loss = loss + add_gradients(state, part, frames=frames, metrics=metrics)
        agreed = ranks.agree(loss, stop=stop, gradients_of=model)
        if drawn is not None and len(drawn) == 1:
            shares = dict.fromkeys(drawn, norm_on_descriptor(model))
        norm = _norm(state, limit)
        shares = {head: share * torch.clamp(limit / (norm + 1e-6), max=1.0) for head, share in shares.items()}
    taken = Taken(torch.stack([agreed[0], norm.double(), agreed[1]]))
    if not state.reads_later and not taken.finite:
        return taken
    update(state, taken.told if state.reads_later else None)
    if state.measures_shares:
        state.shares = {head: state.shares.get(head, 0.0) + float(shares.get(head, 0.0)) for head in {**state.shares, **shares}}
    return taken_in(state, parts, taken, metrics)


def update(state: TrainState, told: torch.Tensor | None) -> None:
    """The optimizer's step; with what the step `told` so far, one that leaves all as it was where this is not finite."""
    if told is not None:
        state.optimizer.found_inf = 1.0 - torch.isfinite(told[:2]).all().float()  # type: ignore[attr-defined]  # of fused ones
    state.optimizer.step()
    if state.lora is not None:
        state.lora.merge()


def taken_in(state: TrainState, parts: Sequence[Batch], taken: Taken, metrics: Metrics) -> Taken:
    """What came of a step, once the state knows of it."""
    if state.average is not None:
        state.average.update(state.model)
    state.metrics.merge(metrics)
    state.unread.append(taken)
    if not state.reads_later:
        state.read()
    for part in parts:
        state.truncated[0] += max(part.truncated.values())
        state.truncated[1] += part.natoms_total - part.padding
    return taken


def step_on_device(state: TrainState, parts: Sequence[Batch], *, frames: torch.Tensor, rate: torch.Tensor) -> tuple[torch.Tensor, Metrics]:
    """A step of which the host learns nothing and knows no number but what `TrainState` and the shapes of `parts` say.

    `frames` and `rate` are () float64, of the batch and the step. Returns what `Taken` is made of, and errors to be added to the state's.
    """
    state.forget_gradients()
    metrics = Metrics(state.metrics.heads)
    loss = torch.zeros((), dtype=torch.float64, device=state.device)
    for part in parts:
        loss = loss + add_gradients(state, part, frames=frames, metrics=metrics, rate=rate)
    norm = _norm(state, math.inf if state.config.clip_norm is None else state.config.clip_norm)
    told = torch.stack([loss, norm.double(), torch.zeros_like(loss)])
    with rate_on_device(state.optimizer, rate):
        update(state, told)
    return told, metrics


def _norm(state: TrainState, limit: float) -> torch.Tensor:
    """The norm of the gradient of what is trained, limited; heads limited by themselves were so on the matrices, before factors of low rank."""
    if state.lora is not None:
        state.lora.take_gradients()
    return torch.nn.utils.clip_grad_norm_(state.parameters(), limit, foreach=True)


def _add_by_head(
    state: TrainState, parts: list[Batch], *, drawn: Mapping[str, int], ranks: Ranks, limit: float, metrics: Metrics | None = None
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The gradients of the heads that were drawn, each limited by itself; the loss, and what each gives to the descriptor's gradient."""
    sums, slots = GradientsByHead(state.model, ranks, limit=limit), sum(drawn.values())
    loss = torch.zeros((), dtype=torch.float64, device=state.device)
    for head, count in drawn.items():
        for part in parts:
            if part.heads[0].name == head:
                loss = loss + add_gradients(state, part, frames=count, metrics=metrics) * (count / slots)
        sums.take(head, share=count / slots)
    sums.give()
    return loss, sums.shares


def _measure(state: TrainState, whole: Frames, *, drawn: Mapping[str, int], ranks: Ranks) -> dict[str, torch.Tensor]:
    """What each head gives to the descriptor's gradient, before it is limited; no state is changed."""
    model = state.model
    frames = split_by_head(whole, at_once=state.config.batch.at_once)
    parts = [collate(part, model.config, dtype=state.dtype, chunk_atoms=model.chunk_atoms) for part in frames]
    _, shares = _add_by_head(state, parts, drawn=drawn, ranks=ranks, limit=math.inf)
    state.forget_gradients()
    return shares


def add_gradients(
    state: TrainState, batch: Batch, *, frames: int | torch.Tensor, metrics: Metrics | None = None, rate: torch.Tensor | None = None
) -> torch.Tensor:
    """Add the gradient of a part's share of the loss to the parameters', and its errors to `metrics`; return that share.

    `rate` is that of the step where it is on the device, as `frames` is then.
    """
    config, model = state.config, state.model
    batch = batch.to(state.device, non_blocking=True)
    model.train()
    output = model(batch, virial=any(max(pair) > 0 for pair in _of_virials(config)), create_graph=True)
    kinds = list(state.metrics.kinds.values())
    terms = frame_losses(kinds, output, batch, huber=config.loss.huber)
    if state.frames_of_slot is not None:
        each = state.frames_of_slot[batch.head]
        terms = {name: term / each for name, term in terms.items()}
    loss = total_loss(terms, config.loss, state.schedule, state.step, frames=frames, kinds=kinds, own=state.own, head=batch.head, rate=rate)
    if loss.requires_grad:
        torch.autograd.backward(loss, inputs=[p for p in model.parameters() if p.requires_grad])  # and not by the coordinates a second time
    if metrics is not None:
        metrics.add(output, batch)
    return loss.detach()


def _of_virials(config: TrainConfig) -> list[Pair]:
    return [config.loss.virial, *(spec.loss["virial"] for spec in config.heads.values() if "virial" in spec.loss)]


class Replays(Protocol):
    """What may do the steps in place of `train_step` (`graphs.py`)."""

    def step(self, parts: Sequence[Batch], *, frames: int, stop: bool = False) -> Taken:
        """As `train_step` of one rank."""
        ...


def step_in_memory(
    state: TrainState,
    parts: list[Batch],
    frames: Frames,
    *,
    count: int,
    ranks: Ranks,
    stop: bool,
    drawn: Mapping[str, int] | None = None,
    graphs: Replays | None = None,
) -> Taken:
    """`train_step`, or one of `graphs`; if a part of the batch, made of `frames`, is too large, raise OutOfMemory with a number of atoms that is not."""
    try:
        if graphs is not None:
            return graphs.step(parts, frames=count, stop=stop)
        whole = frames if state.measures_shares else None
        return train_step(state, parts, frames=count, ranks=ranks, stop=stop, drawn=drawn, whole=whole)
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
