"""The optimizer: a model -> its groups of parameters, each with a rate relative to the schedule's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from lamdata.errors import ConfigError, SetupError

from ..config import TrainConfig
from ..model.lam import LamModel
from ..recipe import OptimizerSpec
from .lora import Lora
from .muon import Muon

BETAS, EPS = (0.9, 0.999), 1e-8  # DeePMD-kit's


def build_optimizer(model: LamModel, config: TrainConfig, lora: Lora | None = None) -> torch.optim.Optimizer:
    """The optimizer over the parameters that are trained, in groups of one rate; raises ConfigError where a pattern names none.

    A parameter belongs to the first pattern of `start.lr_scale` that fits its name (`lamtrain/model/names.py`), else its rate is the schedule's.
    The two factors of an update of low rank stand in place of their matrix.
    """
    if lora is not None and config.optimizer.kind == "schedule_free":
        raise ConfigError("schedule_free does not take updates of low rank", where="optimizer.kind", hint="adam, adamw or muon does")
    scales = {} if config.start is None else config.start.lr_scale
    groups: dict[float, dict[str, Parameter]] = {1.0: {}}
    unused = set(scales)
    for name, parameter in model.named_parameters():
        pattern = next((pattern for pattern in scales if fnmatch(name, pattern)), None)
        unused.discard(pattern or "")
        own = {name: parameter} if lora is None or name not in lora.weights else lora.of(name)
        groups.setdefault(scales[pattern] if pattern else 1.0, {}).update(own)
    if unused:
        example = next(name for name, _ in model.named_parameters())
        raise ConfigError(
            f"no parameter is called {sorted(unused)[0]!r}", where="start.lr_scale", hint=f"names are as {example}; * stands for any part"
        )
    return _of_kind(config.optimizer, {scale: named for scale, named in groups.items() if named}, rate=config.learning_rate.start)


def _of_kind(spec: OptimizerSpec, groups: dict[float, dict[str, Parameter]], *, rate: float) -> torch.optim.Optimizer:
    """The optimizer that a config names, over groups: scale of the rate -> parameters by name."""
    if spec.kind == "adam":
        parts = [{"params": [*named.values()], "scale": scale} for scale, named in groups.items()]
        return torch.optim.Adam(parts, lr=rate, betas=BETAS, eps=EPS, fused=True)
    if spec.kind == "schedule_free":
        optimizer: torch.optim.Optimizer = _schedule_free()(_decayed(groups, spec.decay), lr=rate, betas=BETAS, eps=EPS)
        optimizer.train()  # type: ignore[attr-defined]  # it has to be told; y is what is trained
        return optimizer
    if spec.kind == "adamw":
        return torch.optim.AdamW(_decayed(groups, spec.decay), lr=rate, betas=BETAS, eps=EPS, fused=True)
    hidden = [{"params": [p for name, p in named.items() if _is_hidden(name, p)], "scale": scale} for scale, named in groups.items()]
    rest = {scale: {name: p for name, p in named.items() if not _is_hidden(name, p)} for scale, named in groups.items()}
    muon = Muon([part for part in hidden if part["params"]], lr=rate, weight_decay=spec.decay)
    return Both(muon, torch.optim.AdamW(_decayed(rest, spec.decay), lr=rate, betas=BETAS, eps=EPS, fused=True))


def _decayed(groups: dict[float, dict[str, Parameter]], decay: float) -> list[dict[str, Any]]:
    """Groups of matrices, which decay, and of the rest: biases, norms, steps of residuals, which do not."""
    parts = []
    for scale, named in groups.items():
        for matrices in (True, False):
            params = [p for p in named.values() if (p.ndim >= 2) == matrices]
            parts.append({"params": params, "scale": scale, "weight_decay": decay if matrices else 0.0})
    return [part for part in parts if part["params"]]


def _is_hidden(name: str, parameter: Parameter) -> bool:
    """Whether a parameter is a matrix between two layers: no table of elements, no way in or out of one number."""
    return parameter.ndim == 2 and min(parameter.shape) > 1 and "type_embedding" not in name


def _schedule_free() -> Any:
    try:
        from schedulefree import AdamWScheduleFree
    except ImportError as err:
        found = "optimizer schedule_free needs the package schedulefree"
        raise SetupError(found, where="optimizer.kind", hint="pip install 'lam[schedulefree]'") from err
    return AdamWScheduleFree


class Both(torch.optim.Optimizer):
    """Two optimizers, each with parameters of its own, as one."""

    def __init__(self, *parts: torch.optim.Optimizer):
        self.parts = parts
        fused = all(isinstance(part, Muon) or part.defaults.get("fused") for part in parts)
        super().__init__([group for part in parts for group in part.param_groups], {"fused": fused})
        self.param_groups = [group for part in parts for group in part.param_groups]  # theirs, and no copies

    def step(self, closure: Any = None) -> Any:
        """One step of each; `found_inf`, where it is set, is for all."""
        for part in self.parts:
            if hasattr(self, "found_inf"):
                part.found_inf = self.found_inf  # type: ignore[attr-defined]
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """That of each, in order."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The schedule's rate, times the scale of each group."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)


@contextmanager
def rate_on_device(optimizer: torch.optim.Optimizer, rate: Tensor) -> Iterator[None]:
    """The same from a number on the device, () float64, in which a step that is replayed finds the rate of its own time.

    Optimizers get it in single precision, as fused ones must. What a checkpoint says of the groups stays as it was.
    """
    keys = ["lr", "capturable"]
    before = [{key: group[key] for key in keys if key in group} for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = (rate * group.get("scale", 1.0)).float()
        if "capturable" in group:
            group["capturable"] = torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
    try:
        yield
    finally:
        for group, own in zip(optimizer.param_groups, before):
            group.update(own)
