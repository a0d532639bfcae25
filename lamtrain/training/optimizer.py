"""The optimizer: a model -> its groups of parameters, each with a rate relative to the schedule's."""

from __future__ import annotations

from fnmatch import fnmatch

import torch

from lamdata.errors import ConfigError

from ..config import TrainConfig
from ..model.lam import LamModel
from .lora import Lora

BETAS, EPS = (0.9, 0.999), 1e-8  # DeePMD-kit's


def build_optimizer(model: LamModel, config: TrainConfig, lora: Lora | None = None) -> torch.optim.Optimizer:
    """Adam over the parameters that are trained, in groups of one rate; raises ConfigError where a pattern names none.

    A parameter belongs to the first pattern of `start.lr_scale` that fits its name (`lamtrain/model/names.py`), else its rate is the schedule's.
    The two factors of an update of low rank stand in place of their matrix.
    """
    scales = {} if config.start is None else config.start.lr_scale
    groups: dict[float, list[torch.nn.Parameter]] = {1.0: []}
    unused = set(scales)
    for name, parameter in model.named_parameters():
        pattern = next((pattern for pattern in scales if fnmatch(name, pattern)), None)
        unused.discard(pattern or "")
        own = lora.of(name) if lora is not None and name in lora.weights else [parameter]
        groups.setdefault(scales[pattern] if pattern else 1.0, []).extend(own)
    if unused:
        example = next(name for name, _ in model.named_parameters())
        raise ConfigError(
            f"no parameter is called {sorted(unused)[0]!r}", where="start.lr_scale", hint=f"names are as {example}; * stands for any part"
        )
    parts = [{"params": parameters, "scale": scale} for scale, parameters in groups.items() if parameters]
    return torch.optim.Adam(parts, lr=config.learning_rate.start, betas=BETAS, eps=EPS)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The schedule's rate, times the scale of each group."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)
