"""Averages of weights: what a run shows of itself - validated, kept as the best, tested, exported - while training goes on from its latest weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from ..config import TrainConfig
from ..model.lam import LamModel


class Average(Protocol):
    """Weights that are shown in place of those that are trained."""

    def update(self, model: LamModel) -> None:
        """Take in the weights after a step."""

    def model(self) -> LamModel:
        """A model with the average, not to be changed."""
        ...

    def restore(self, weights: Mapping[str, Tensor], *, steps: int) -> None:
        """Go on from the average after so many steps."""


class MovingAverage:
    """An exponential moving average: after step n the share min(decay, (1 + n) / (10 + n)) of it stays, so that first weights are soon forgotten."""

    def __init__(self, model: LamModel, decay: float):
        self.decay = decay
        self._shown, self._steps = copy.deepcopy(model).requires_grad_(False), 0

    @torch.no_grad()
    def update(self, model: LamModel) -> None:
        """Take in the weights after a step; the first become the average. `torch.optim.swa_utils` counts steps on the device, and waits for them."""
        averages: list[Tensor] = [*self._shown.parameters()]
        latest: list[Tensor] = [*model.parameters()]
        if self._steps == 0:
            torch._foreach_copy_(averages, latest)
        else:
            kept = min(self.decay, (1 + self._steps) / (10 + self._steps))
            torch._foreach_lerp_(averages, latest, 1.0 - kept)
        self._steps += 1

    def model(self) -> LamModel:
        """The model with the average."""
        return self._shown

    def restore(self, weights: Mapping[str, Tensor], *, steps: int) -> None:
        """Go on from the average after so many steps."""
        self._shown.load_state_dict(weights)
        self._steps = steps


class ScheduleFreeAverage:
    """The average that a schedule-free optimizer keeps by itself: x, of the latest weights y = beta x + (1 - beta) z, and its z."""

    def __init__(self, model: LamModel, optimizer: torch.optim.Optimizer):
        self._trained, self._optimizer, self._shown = model, optimizer, copy.deepcopy(model)

    def update(self, model: LamModel) -> None:
        """Nothing: the optimizer did."""

    @torch.no_grad()
    def model(self) -> LamModel:
        """A copy of the model at x, by `schedulefree`'s own formula; its way there and back in place would change last digits of y."""
        self._shown.load_state_dict(self._trained.state_dict())
        shown = dict(zip(self._trained.parameters(), self._shown.parameters()))
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                if "z" in (state := self._optimizer.state[parameter]):
                    shown[parameter].lerp_(state["z"], 1 - 1 / group["betas"][0])
        return self._shown

    def restore(self, weights: Mapping[str, Tensor], *, steps: int) -> None:
        """Nothing: it follows from the optimizer's state."""


def build_average(model: LamModel, config: TrainConfig, optimizer: torch.optim.Optimizer) -> Average | None:
    """What the run shows in place of its latest weights; None where it shows these."""
    if config.optimizer.kind == "schedule_free":
        return ScheduleFreeAverage(model, optimizer)
    return None if config.average is None else MovingAverage(model, config.average.decay)
