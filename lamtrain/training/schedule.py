"""Schedules: the step -> the learning rate, and from it the prefactors of the loss."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..recipe import LearningRateSpec


@dataclass(frozen=True, slots=True)
class Schedule:
    """A warm-up in a line, then a fall from `start` to `stop`.

    `exp`: stairs (DeePMD-kit `LearningRateExp`): lr(t) = start * rate^floor(t / s), rate = (stop/start)^(s/T).

    t and T count from the end of the warm-up, over which the rate grows in a line. When the stairs would be longer than T, s becomes
    100, or T // 100 + 1 for a decay of under 100 stairs of 100. `cosine`: stop + (start - stop) (1 + cos(pi t / T)) / 2. `wsd`: flat, and over
    the last `fall` of T stop + (start - stop) (1 - sqrt(x)), x from 0 to 1.
    """

    spec: LearningRateSpec
    steps: int  # of the run, warm-up and decay

    @property
    def decay(self) -> int:
        """T, steps after the warm-up."""
        return self.steps - self.spec.warmup_steps

    @property
    def stair(self) -> int:
        """Steps on one stair."""
        s = self.spec.decay_steps
        if s < self.decay:
            return s
        return 100 if self.decay // 10 > 100 else self.decay // 100 + 1

    def rate(self, step: int) -> float:
        """Learning rate of step `step` (0-based)."""
        spec = self.spec
        if step < spec.warmup_steps:
            first = spec.warmup_start_factor
            return spec.start * (first + (1.0 - first) * step / spec.warmup_steps)
        t, T = step - spec.warmup_steps, self.decay
        if spec.kind == "cosine":
            return spec.stop + (spec.start - spec.stop) * (1.0 + math.cos(math.pi * min(t / T, 1.0))) / 2
        if spec.kind == "wsd":
            last = spec.fall * T
            x = min(max((t - (T - last)) / last, 0.0), 1.0)
            return spec.stop + (spec.start - spec.stop) * (1.0 - math.sqrt(x))
        fall: float = (spec.stop / spec.start) ** (self.stair / T)
        return spec.start * float(fall ** (t // self.stair))

    def prefactor(self, pair: tuple[float, float], step: int) -> float:
        """p(t) = limit + (start - limit) lr(t) / start (DPA-2 paper; DeePMD-kit `EnergyStdLoss`): a warm-up begins near the limits, there as here."""
        start, limit = pair
        return limit + (start - limit) * self.rate(step) / self.spec.start
