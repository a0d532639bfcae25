"""TrainState: a run between two steps, and the checkpoint that says all of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from ..checkpoint import Checkpoint
from ..config import TrainConfig
from ..data.mixture import TrainingData
from ..evaluation.metrics import Metrics
from ..model.lam import LamModel
from .average import Average
from .lora import Lora
from .loss import OwnPair, own_prefactors
from .schedule import Schedule
from .taken import Taken


@dataclass(slots=True, kw_only=True)
class TrainState:
    """A run between two steps."""

    config: TrainConfig
    data: TrainingData
    model: LamModel
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    metrics: Metrics  # errors since the last look
    average: Average | None = None  # weights that are shown in place of the latest
    lora: Lora | None = None  # updates of low rank, where these are trained in place of their matrices
    runs: dict[str, int] = field(default_factory=dict)  # head -> frames of a slot of the stream, where these are not 1
    stream: dict[str, Any] | None = None  # what decides which frames come in which batch
    others: dict[str, dict[str, Any]] = field(default_factory=dict)  # heads of the model that this run does not train -> their descriptions
    started: dict[str, dict[str, Any]] = field(default_factory=dict)  # head of this run -> what it was taken from, and its errors before
    losses: list[float] = field(default_factory=list)  # since the last look, but for those of steps that are
    unread: list[Taken] = field(default_factory=list)  # still where they were computed
    shares: dict[str, float] = field(default_factory=dict)  # head -> sum of what it gave to the descriptor's gradient, since the last look
    truncated: list[int] = field(default_factory=lambda: [0, 0])  # atoms whose neighbour list was cut, of how many, since the last look
    step: int = 0  # optimizer steps done
    position: int = 0  # of the stream: frames drawn, over all ranks
    threads: int | None = None  # with which a CPU does the steps; None before it was tried
    looked: int = 0  # the step of the last look
    skipped: int = 0  # batches passed over because their gradient was not finite
    best: float = math.inf  # lowest validation score so far
    own: dict[str, OwnPair] = field(init=False)  # prefactors that heads have of their own, and
    frames_of_slot: torch.Tensor | None = field(init=False)  # (heads,) of each, where these are not 1: both on the device

    def __post_init__(self) -> None:
        heads, device = list(self.model.config.heads), self.device
        mine = [self.config.heads[head].loss if head in self.config.heads else {} for head in heads]
        self.own = own_prefactors(self.config.loss, mine, list(self.metrics.kinds.values()), device=device)
        several = any(run > 1 for run in self.runs.values())
        self.frames_of_slot = torch.tensor([self.runs.get(head, 1) for head in heads], dtype=torch.float64).to(device) if several else None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and of what is collated for them."""
        return next(self.model.parameters()).dtype

    @property
    def reads_later(self) -> bool:
        """Whether what came of a step may stay on the device while the next ones are done: an accelerator would wait for who looks.

        Only where a step that is not finite ends the run, and the optimizer leaves it out by itself.
        """
        fused = bool(self.optimizer.defaults.get("fused"))
        return self.device.type != "cpu" and fused and self.config.skip_nonfinite == 0

    def read(self) -> None:
        """Take in the losses of steps that were not looked at."""
        self.losses += [taken.loss for taken in self.unread]
        self.unread = []

    @property
    def shown(self) -> LamModel:
        """The model that is validated, tested and exported."""
        return self.model if self.average is None else self.average.model()

    @property
    def measures_shares(self) -> bool:
        """Whether the next step does."""
        every = self.config.shares_every
        return every is not None and (self.step + 1) % every == 0

    def parameters(self) -> list[torch.nn.Parameter]:
        """All that may have a gradient when a step is taken, in the order of the model."""
        return [*self.model.parameters(), *([] if self.lora is None else self.lora.parameters())]

    def forget_gradients(self) -> None:
        """Before those of the next batch are added."""
        for parameter in self.parameters():
            parameter.grad = None

    def snapshot(self) -> Checkpoint:
        """The run as it stands."""
        self.read()
        lock = self.data.lock()
        return Checkpoint(
            model_config=self.model.config.model_dump(mode="json"),
            model=self.shown.state_dict(),
            latest=None if self.average is None else self.model.state_dict(),
            heads={head: self._describe(head, lock["datasets"]) for head in self.data.heads} | self.others,
            lock=lock,
            train_config=self.config.model_dump(mode="json"),
            optimizer=self.optimizer.state_dict(),
            lora=None if self.lora is None else self.lora.state(),
            step=self.step,
            position=self.position,
            stream=self.stream,
            looked=self.looked,
            skipped=self.skipped,
            threads=self.threads,
            truncated=list(self.truncated),
            sums=self.metrics.sums,
            loss=list(self.losses),
            shares=dict(self.shares),
            best=None if math.isinf(self.best) else self.best,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from what `snapshot` gave; the model has its latest weights already."""
        if self.average is not None:
            self.average.restore(checkpoint.model, steps=checkpoint.step)
        if checkpoint.optimizer is not None:
            self.optimizer.load_state_dict(checkpoint.optimizer)
        if self.lora is not None and checkpoint.lora is not None:
            self.lora.restore(checkpoint.lora)
        self.step, self.position, self.skipped = checkpoint.step, checkpoint.position, checkpoint.skipped
        self.threads = self.config.threads or checkpoint.threads
        self.looked = checkpoint.step if checkpoint.looked is None else checkpoint.looked
        self.losses, self.truncated = list(checkpoint.loss), list(checkpoint.truncated)
        self.shares = dict(checkpoint.shares)
        self.best = math.inf if checkpoint.best is None else checkpoint.best
        self.metrics.restore(checkpoint.sums)

    def forget_errors(self) -> None:
        """Begin to count anew, after a look."""
        self.metrics, self.losses, self.truncated, self.shares = Metrics(self.data.heads), [], [0, 0], {}
        self.unread = []

    def _describe(self, head: str, datasets: dict[str, Any]) -> dict[str, Any]:
        """What a checkpoint says of a head."""
        data = self.data
        references, names = data.references(head), [task.spec.data for task in data.of_head(head)]
        return {
            "task": data.heads[head],
            "weight": data.weights[head],
            "datasets": names,
            "theory": [datasets[name]["theory"] for name in names],
            "references": None if references is None else references.to_json(),
            **self.started.get(head, {}),
        }
