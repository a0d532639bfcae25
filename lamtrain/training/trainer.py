"""The training loop: a config -> a folder with metrics, checkpoints and everything needed to go on from any instant.

The state of a run is the model, the optimizer and two integers (steps done, frames drawn). The stream's order and noise are pure
functions of the second, so a run killed anywhere goes on from its last checkpoint with the same bits. Ranks share each batch:
their number changes who does what, not what is done.
"""

from __future__ import annotations

import io
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lamdata.errors import ConfigError, LamError
from lamdata.frames import Frames
from lamdata.progress import Progress

from ..checkpoint import Checkpoint, load, save, to_json
from ..config import TrainConfig
from ..data.batch import Batch, collate
from ..data.feed import Feed
from ..data.mixture import TrainingData, open_training_data
from ..evaluation.evaluate import device_of, evaluate, score
from ..evaluation.metrics import Metrics
from ..files import replace_file
from ..model.lam import LamModel
from ..runlog import MetricsFile, flatten
from .loss import frame_losses, total_loss
from .memory import OutOfMemory, find_budget, is_out_of_memory
from .products import set_products
from .ranks import Ranks
from .schedule import Schedule
from .start import new_model

ADAM = {"betas": (0.9, 0.999), "eps": 1e-8}  # DeePMD-kit's


@dataclass(slots=True, kw_only=True)
class TrainState:
    """A run between two steps."""

    config: TrainConfig
    data: TrainingData
    model: LamModel
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    metrics: Metrics
    losses: list[float]
    step: int = 0
    position: int = 0
    best: float = math.inf


class Interrupted(LamError):
    """Ctrl-C: the run was saved and goes on where it stopped."""

    exit_code = 130


def train(config: TrainConfig, *, out: Path, resume: str = "auto", device: str = "auto", quiet: bool = False) -> Path:
    """Train until `config.steps` are done; return the run's folder. `resume` is "auto", "never" or a checkpoint."""
    torch.use_deterministic_algorithms(True, warn_only=False)
    torch.set_flush_denormal(True)  # products of edges that fade out; a CPU needs a hundred times as long for them
    with Ranks() as ranks:
        data = open_training_data(config.mixture, config.store)
        place = ranks.device(device_of(device))
        set_products(config.matmul, place)
        state = _start(config, data, out, resume, place)
        if state.step >= config.steps:
            return out
        if ranks.first:
            _write_config(state, out)
        _loop(state, out, ranks, quiet)
    return out


def _loop(state: TrainState, out: Path, ranks: Ranks, quiet: bool) -> None:
    config = state.config
    stream = state.data.stream(
        seed=config.seed,
        batch_frames=config.batch.frames,
        batch_atoms=config.batch.atoms,
        position=state.position,
        rank=ranks.rank,
        world=ranks.world,
    )
    log = MetricsFile(out / "metrics.csv", state.data.heads, after=state.step) if ranks.first else None
    title, model = f"training {config.train}", state.model
    with (
        Feed(state.data, stream, model.config, dtype=_dtype(config), chunk_atoms=model.chunk_atoms, at_once=config.batch.at_once) as feed,
        Progress(title, total=config.steps, unit="steps", done=state.step, quiet=quiet or not ranks.first) as bar,
    ):
        try:
            for parts, frames, position in feed:
                loss = _step_in_memory(state, parts, frames, count=position - state.position, ranks=ranks)
                state.step, state.position = state.step + 1, position
                state.losses.append(loss)
                bar.note = f"loss {loss:.3g}"
                _look(state, out, log, ranks)
                bar.advance()
                if state.step == config.steps:
                    return
        except KeyboardInterrupt:
            if ranks.first:
                save(snapshot(state), out / "last.pt")
            raise Interrupted(f"interrupted after step {state.step}", hint="the same command goes on from there") from None


def _step_in_memory(state: TrainState, parts: list[Batch], frames: Frames, *, count: int, ranks: Ranks) -> float:
    """`train_step`; if a part of the batch, made of `frames`, is too large, raise OutOfMemory with a number of atoms that is not."""
    try:
        return train_step(state, parts, frames=count, ranks=ranks)
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
    state.optimizer.zero_grad(set_to_none=True)
    model = state.model
    add_gradients(state, collate(some, model.config, dtype=_dtype(state.config), chunk_atoms=model.chunk_atoms), frames=len(some))
    state.optimizer.zero_grad(set_to_none=True)


def train_step(state: TrainState, parts: list[Batch], *, frames: int, ranks: Ranks) -> float:
    """One optimizer step on one batch, part by part; return the loss over all ranks. `frames` counts the whole batch."""
    config, model = state.config, state.model
    rate = state.schedule.rate(state.step)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.optimizer.zero_grad(set_to_none=True)
    loss = sum(add_gradients(state, part, frames=frames) for part in parts)
    ranks.sum_gradients(model)
    if config.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
    state.optimizer.step()
    value = ranks.sum(loss)
    if not math.isfinite(value):
        raise LamError(f"the loss is {value} at step {state.step}", hint="lower learning_rate.start, or validate the store")
    return value


def add_gradients(state: TrainState, batch: Batch, *, frames: int) -> torch.Tensor:
    """Add the gradient of a part's share of the loss to the parameters', and its errors to the metrics; return that share."""
    config, model = state.config, state.model
    batch = batch.to(next(model.parameters()).device, non_blocking=True)
    model.train()
    output = model(batch, virial=max(config.loss.virial) > 0, create_graph=True)
    terms = frame_losses(output, batch, huber=config.loss.huber)
    loss = total_loss(terms, config.loss, state.schedule, state.step, frames=frames)
    if loss.requires_grad:
        loss.backward(inputs=[p for p in model.parameters() if p.requires_grad])  # and not by the coordinates a second time
    state.metrics.add(output, batch)
    return loss.detach()


def _look(state: TrainState, out: Path, log: MetricsFile | None, ranks: Ranks) -> None:
    """After a step: a row of metrics, a look at held-out frames, a checkpoint, where they are due."""
    config = state.config
    last = state.step == config.steps
    looks = state.step % config.validation.every == 0 or last
    if state.step % config.log_every == 0 or looks:
        ranks.sum_metrics(state.metrics)
        row = {
            "step": state.step,
            "learning_rate": state.schedule.rate(state.step - 1),
            "loss": math.fsum(state.losses) / len(state.losses),
        }
        row |= flatten(state.metrics.table(), "train")
        state.metrics, state.losses = Metrics(list(state.data.heads)), []
        if looks and ranks.first:
            row |= _validate(state, out)
        if log is not None:
            log.append(row)
    if (state.step % config.checkpoint_every == 0 or last) and ranks.first:
        save(snapshot(state), out / "last.pt")


def _validate(state: TrainState, out: Path) -> dict[str, float]:
    state.model.eval()
    table = evaluate(state.model, state.data, frames=state.config.validation.frames)
    value = score(table)
    if value < state.best or math.isinf(value):  # nothing held out: the last is the best there is
        state.best = value
        save(snapshot(state), out / "best.pt")
    return flatten(table, "validation")


def snapshot(state: TrainState) -> Checkpoint:
    """The run as it stands."""
    data = state.data
    lock = data.lock()
    heads = {}
    for head, task in data.heads.items():
        references = data.references(head) if task == "energy_force" else None
        heads[head] = {
            "task": task,
            "weight": data.weights[head],
            "datasets": [t.spec.dataset for t in data.of_head(head)],
            "theory": [lock["datasets"][t.spec.dataset]["theory"] for t in data.of_head(head)],
            "references": None if references is None else references.to_json(),
        }
    return Checkpoint(
        model_config=state.model.config.model_dump(mode="json"),
        model=state.model.state_dict(),
        heads=heads,
        lock=lock,
        train_config=state.config.model_dump(mode="json"),
        optimizer=state.optimizer.state_dict(),
        step=state.step,
        position=state.position,
        sums={head: dict(sums) for head, sums in state.metrics.sums.items()},
        loss=list(state.losses),
        best=None if math.isinf(state.best) else state.best,
    )


def _start(config: TrainConfig, data: TrainingData, out: Path, resume: str, device: torch.device) -> TrainState:
    """A fresh run, or the one that stands in `out`."""
    path = out / "last.pt" if resume == "auto" else Path(resume)
    checkpoint = None if resume == "never" or (resume == "auto" and not path.exists()) else load(path)
    if checkpoint is None:
        model = new_model(config, data)
    else:
        _same_run(config, data, checkpoint, path)
        model = checkpoint.build()
    model = model.to(device)
    model.use_kernels(config.kernels)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate.start, **ADAM)
    state = TrainState(
        config=config,
        data=data,
        model=model,
        optimizer=optimizer,
        schedule=Schedule(config.learning_rate, config.steps),
        metrics=Metrics(list(data.heads)),
        losses=[],
    )
    if checkpoint is not None:
        optimizer.load_state_dict(checkpoint.optimizer)
        state.step, state.position, state.losses = checkpoint.step, checkpoint.position, list(checkpoint.loss)
        state.best = math.inf if checkpoint.best is None else checkpoint.best
        for head, sums in checkpoint.sums.items():
            state.metrics.sums[head].update(sums)
    return state


def _same_run(config: TrainConfig, data: TrainingData, checkpoint: Checkpoint, path: Path) -> None:
    """Refuse to go on with another config or other data: the result would be neither run."""
    started = TrainConfig.model_validate(checkpoint.train_config) if checkpoint.train_config else None  # a later key gets its default
    before, now = ({} if spec is None else _what_is_trained(spec.model_dump(mode="json")) for spec in (started, config))
    changed = [name for name in now if name not in ("mixture", "store", "train") and before.get(name) != now[name]]
    if changed:
        raise ConfigError(
            f"the run was started with another `{'`, `'.join(changed)}`",
            where=str(path),
            hint="give it a new name with --name, or use --resume never",
        )
    old, new = checkpoint.lock["datasets"], data.lock()["datasets"]
    for name in sorted({*old, *new}):
        if old.get(name, {}).get("content_hash") != new.get(name, {}).get("content_hash"):
            raise ConfigError(
                f"dataset {name!r} is not the one the run was started with", where=str(path), hint="use --resume never to start again"
            )


def _what_is_trained(config: dict) -> dict:
    """A config without what only says how a step fits into memory."""
    batch = {name: value for name, value in config.get("batch", {}).items() if name != "at_once"}
    return config | {"batch": batch}


def _write_config(state: TrainState, out: Path) -> None:
    from ruamel.yaml import YAML

    config = state.config.model_dump(mode="json")
    for name in ("mixture", "store"):
        if "://" not in config[name]:
            config[name] = os.path.relpath(config[name], out)
    text = io.BytesIO()
    YAML().dump(config, text)
    replace_file(out / "config.yaml", text.getvalue())
    replace_file(out / "catalog.lock", to_json(state.data.lock()).encode())


def _dtype(config: TrainConfig) -> torch.dtype:
    return {"float32": torch.float32, "float64": torch.float64}[config.precision]
