"""Observers: what is done after a step, in order: a checkpoint, a row of metrics, a look at held-out frames.

Each is called on every rank with the state and the row of the step; only the first rank writes.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import torch

from lamdata.errors import LamError

from ..checkpoint import Checkpoint, frozen, save
from ..evaluation.evaluate import evaluate, score
from ..runlog import MetricsFile, flatten
from .by_head import share_lines
from .ranks import Ranks
from .state import TrainState

Row = dict[str, Any]  # column -> value


class Observer(Protocol):
    """Something that is done after a step."""

    def __call__(self, state: TrainState, row: Row) -> None:
        """Look at the state; what is worth a column goes into `row`."""

    def due(self, state: TrainState) -> bool:
        """Whether there is something to do after this step."""


class Checkpoints:
    """Every so many steps and at the end: last.pt, with the ones before it in `checkpoints/`; written while the next steps are done."""

    def __init__(self, out: Path, ranks: Ranks, *, saved: int):
        self.out, self.ranks, self.saved = out, ranks, saved  # the step of last.pt
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._written: Future[None] | None = None

    def __call__(self, state: TrainState, row: Row) -> None:
        """Save where it is due. Before a look, so that nothing is lost where the look fails."""
        if self.due(state):
            self.save(state)

    def due(self, state: TrainState) -> bool:
        """Whether a checkpoint belongs to this step."""
        return state.step % state.config.checkpoint_every == 0 or state.step == state.config.steps

    def save(self, state: TrainState) -> None:
        """Write last.pt; all ranks must call it."""
        self.ranks.sum_metrics(state.metrics, state.truncated)
        if not self.ranks.first:
            return
        refuse_bad_weights(state)
        keep = state.config.checkpoint_keep
        self._hand_over(lambda checkpoint: self._write(checkpoint, keep=keep), state)

    def write_best(self, state: TrainState) -> None:
        """Write best.pt, behind what is being written."""
        self._hand_over(lambda checkpoint: save(checkpoint, self.out / "best.pt"), state)

    def _hand_over(self, write: Callable[[Checkpoint], None], state: TrainState) -> None:
        self.finish()
        self._written = self._writer.submit(write, frozen(state.snapshot()))

    def finish(self) -> None:
        """Wait until what was saved is on disk; raise what kept it from there."""
        if self._written is not None:
            self._written.result()
        self._written = None

    def _write(self, checkpoint: Checkpoint, *, keep: int) -> None:
        last = self.out / "last.pt"
        if checkpoint.step != self.saved:
            self._keep(last, before=keep - 1)
        save(checkpoint, last)
        self.saved = checkpoint.step

    def _keep(self, last: Path, *, before: int) -> None:
        """Put the present last.pt aside, and remove the oldest."""
        folder = self.out / "checkpoints"
        if before and last.exists():
            folder.mkdir(parents=True, exist_ok=True)
            aside = folder / f"step-{self.saved:09}.pt"
            if not aside.exists():
                try:
                    os.link(last, aside)
                except OSError:  # a file system without links
                    shutil.copy2(last, aside)
        for old in sorted(folder.glob("*.pt"))[: -before or None] if folder.is_dir() else ():
            old.unlink()


def refuse_bad_weights(state: TrainState) -> None:
    """Raise LamError where a weight is not finite: such a checkpoint would never train again."""
    bad = [name for name, value in state.model.state_dict().items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if bad:
        raise LamError(
            f"{len(bad)} tensors of the model are not finite after step {state.step}, {bad[0]} first", hint="last.pt is the one before"
        )


class Look:
    """Every so many steps and at the end: a row of metrics.csv, with errors on held-out frames where they are due."""

    def __init__(self, checkpoints: Checkpoints, ranks: Ranks, log: MetricsFile | None, *, quiet: bool = True):
        self.checkpoints, self.ranks, self.log, self.quiet = checkpoints, ranks, log, quiet
        self.table: dict[str, Row] = {}  # head -> errors on held-out frames, of the last time they were due

    def __call__(self, state: TrainState, row: Row) -> None:
        """Look where it is due."""
        if self.due(state):
            self.look(state, row)

    def due(self, state: TrainState) -> bool:
        """Whether a row belongs to this step."""
        return state.step % state.config.log_every == 0 or self._validates(state)

    def _validates(self, state: TrainState) -> bool:
        return state.step % state.config.validation.every == 0 or state.step == state.config.steps

    def look(self, state: TrainState, row: Row) -> None:
        """Write the row; the best model so far is kept."""
        self.ranks.sum_metrics(state.metrics, state.truncated)
        state.read()
        if self.ranks.first:
            row |= {
                "step": state.step,
                "learning_rate": state.schedule.rate(state.step - 1),
                "loss": math.fsum(state.losses) / len(state.losses) if state.losses else None,
                "truncated": state.truncated[0] / state.truncated[1] if state.truncated[1] else None,
            }
            row |= flatten(state.metrics.table(), "train", state.data.heads) | self._shares(state)
        state.looked = state.step
        state.forget_errors()
        if self._validates(state):
            row |= self._validate(state)
        if self.log is not None:
            self.log.append(row)

    def _shares(self, state: TrainState) -> Row:
        """What each head gave to the gradient of the descriptor since the last look, of 1; it is printed, too."""
        if not self.quiet:
            print("".join(f"{line}\n" for line in share_lines(state.shares, state.data.weights)), end="", file=sys.stderr)
        whole = math.fsum(state.shares.values())
        return {f"{head}.train.share": state.shares.get(head, 0.0) / whole for head in state.data.heads} if whole else {}

    def _validate(self, state: TrainState) -> Row:
        model = state.shown.eval()
        limits = {"frames": state.config.validation.frames, "at_once": state.config.batch.at_once}
        table = evaluate(model, state.data, together=self.ranks.together, **limits)
        self.table, value = table, score(table)
        if not self.ranks.first:
            return {}
        if value < state.best or math.isinf(value):  # nothing held out: the last is the best there is
            state.best = value
            self.checkpoints.write_best(state)
        return flatten(table, "validation", state.data.heads)
