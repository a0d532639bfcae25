"""Schedules: the step -> the learning rate, and from it the prefactors of the loss."""

from __future__ import annotations

from dataclasses import dataclass

from ..config import LearningRateSpec


@dataclass(frozen=True, slots=True)
class Schedule:
    """Exponential decay in stairs (DeePMD-kit `LearningRateExp`): lr(t) = start * rate^floor(t / s), rate = (stop/start)^(s/T).

    When the stairs would be longer than the run, s becomes 100, or T // 100 + 1 for a run of under 100 stairs of 100.
    """

    spec: LearningRateSpec
    steps: int  # T

    @property
    def stair(self) -> int:
        """Steps on one stair."""
        s = self.spec.decay_steps
        if s < self.steps:
            return s
        return 100 if self.steps // 10 > 100 else self.steps // 100 + 1

    def rate(self, step: int) -> float:
        """Learning rate of step `step` (0-based)."""
        spec = self.spec
        if step < spec.warmup_steps:
            return spec.start * (step + 1) / (spec.warmup_steps + 1)
        total = self.steps - spec.warmup_steps
        decay = (spec.stop / spec.start) ** (self.stair / total)
        return spec.start * decay ** ((step - spec.warmup_steps) // self.stair)

    def prefactor(self, pair: tuple[float, float], step: int) -> float:
        """p(t) = limit + (start - limit) lr(t) / lr(0) (DPA-2 paper; DeePMD-kit `EnergyStdLoss`)."""
        start, limit = pair
        return limit + (start - limit) * self.rate(step) / self.spec.start
