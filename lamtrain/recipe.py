"""The recipe of a training config: what a step is made of, what heads have of their own, the optimizer, its rate, and the average of weights."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lamdata.located import Spec

from .tasks import Pair


class StepSpec(Spec):
    """What a step is made of."""

    heads: Literal["mixed", "one"] = "mixed"
    """Each frame of the batch for a head of its own draw (mixed); or one head drawn by weight for the whole batch, as DeePMD-kit does (one)."""
    draws: int = Field(default=1, ge=1)
    """Heads drawn for a step of `one`, each for an equal part of the batch: in a run of DeePMD-kit, its ranks. Processes here share them."""
    clip: Literal["sum", "per_head"] = "sum"
    """What `clip_norm` limits: the gradient of the batch (sum); or that of each head by itself, the mean over its frames, on the descriptor and on
    its own net apart, before they are added with the shares that they have in the batch (per_head). Costs a pass for each head in a batch."""

    @model_validator(mode="after")
    def _draws_of_one(self) -> Self:
        if self.heads == "mixed" and self.draws != 1:
            raise ValueError("`draws` goes with `heads: one`: in a mixed batch each frame is a draw")
        return self


class HeadSpec(Spec):
    """What a head has of its own."""

    loss: dict[str, Pair] = {}
    """Prefactors [start, limit] of terms of its loss; of the others those of `loss`."""
    frames: int | None = Field(default=None, ge=1)
    """Frames of each of its draws, with `step: {heads: one}`; by default an equal part of `batch.frames`."""


class OptimizerSpec(Spec):
    """What turns gradients into steps, with betas of 0.9 and 0.999."""

    kind: Literal["adam", "adamw", "muon", "schedule_free"] = "adam"
    """Adam; AdamW; Muon for matrices between hidden layers, at the rate that moves them as far as AdamW does, and AdamW for the rest; or AdamW that
    needs no schedule and is evaluated at an average of its weights (`pip install schedulefree`)."""
    weight_decay: float | None = Field(default=None, ge=0)
    """Of matrices, times the rate; 0.001 unless said, and none for `adam`."""

    @model_validator(mode="after")
    def _adam_has_no_decay(self) -> Self:
        if self.kind == "adam" and self.weight_decay is not None:
            raise ValueError("weight_decay goes with `kind: adamw`, muon or schedule_free")
        return self

    @property
    def decay(self) -> float:
        """The weight decay that is used."""
        return 0.001 if self.weight_decay is None else self.weight_decay


STAIRS = 5000
FALL = 0.2


class LearningRateSpec(Spec):
    """A warm-up in a line, then one of three ways from `start` to `stop`; those of `exp` are DeePMD-kit's: lr(t) = start (stop/start)^(floor(t/s) s / T)."""

    kind: Literal["exp", "cosine", "wsd"] = "exp"
    """Exponential stairs; half a cosine; or flat, and in the end a fall as 1 - sqrt(t) (arXiv 2405.18392)."""
    start: float = Field(default=2e-4, gt=0)
    """Rate of the first step."""
    stop: float = Field(default=3.51e-8, gt=0)
    """Rate of the last step."""
    decay_steps: int = Field(default=STAIRS, ge=1)
    """Steps between two lowerings, of `exp`."""
    fall: Annotated[float, Field(gt=0, le=1)] = FALL
    """Share of the steps after the warm-up over which `wsd` falls."""
    warmup_steps: int = Field(default=0, ge=0)
    """Steps over which the rate first grows in a line; fewer than all."""
    warmup_start_factor: float = Field(default=0.0, ge=0, le=1)
    """Share of `start` that the warm-up begins at."""

    @model_validator(mode="after")
    def _keys_of_the_kind(self) -> Self:
        if self.kind != "exp" and self.decay_steps != STAIRS:
            raise ValueError(f"decay_steps goes with `kind: exp`, not {self.kind}")
        if self.kind != "wsd" and self.fall != FALL:
            raise ValueError(f"fall goes with `kind: wsd`, not {self.kind}")
        return self


class AverageSpec(Spec):
    """An exponential moving average of the weights: it is validated, kept as the best, tested and exported."""

    decay: float = Field(default=0.999, gt=0, lt=1)
    """Share of the average that stays at each step n; in the beginning (1 + n) / (10 + n), where that is less."""
