"""Adapt: another model's checkpoint and this run's data -> the model that this run begins with.

Elements that the other model does not know extend its tables; its heads are taken by name, or new. Heads that this run has no data for
stay in the model, and are marked stale once the descriptor they were trained with moves.
"""

from __future__ import annotations

from fnmatch import fnmatch

from torch import Tensor

from lamdata.errors import ConfigError
from lamdata.located import did_you_mean

from ..checkpoint import Checkpoint
from ..config import StartSpec
from ..data.mixture import TrainingData
from ..model.config import ModelConfig
from ..model.lam import LamModel


def adapted_config(start: StartSpec, data: TrainingData, parent: ModelConfig) -> ModelConfig:
    """The parent's descriptor and nets, with the elements and heads of this run; the parent's other heads come last."""
    elements = [*parent.elements, *(symbol for symbol in data.elements if symbol not in parent.elements)]
    taken = taken_heads(start, data, parent)
    others = {name: kind for name, kind in parent.heads.items() if name not in data.heads and name not in taken.values()}
    values = parent.model_dump(mode="json") | {"elements": elements, "heads": dict(data.heads) | others}
    return ModelConfig.model_validate(values)


def taken_heads(start: StartSpec, data: TrainingData, parent: ModelConfig) -> dict[str, str]:
    """Head of this run -> head of the parent, for those that are not new; raises ConfigError where it is not clear or cannot be."""
    unknown = [head for head in start.heads if head not in data.heads]
    if unknown:
        raise ConfigError(f"the mixture has no head {unknown[0]!r}", where="start.heads", hint=did_you_mean(unknown[0], list(data.heads)))
    taken = {}
    for head, kind in data.heads.items():
        source = start.heads.get(head, head)
        if source == "new":
            continue
        if source not in parent.heads:
            hint = f"start.heads: {{{head}: one of {', '.join(parent.heads)}, or new}}"
            raise ConfigError(f"{start.model} has no head {source!r} for head {head!r}", where="start.heads", hint=hint)
        if parent.heads[source] != kind:
            raise ConfigError(
                f"head {source!r} of {start.model} is for {parent.heads[source]}, head {head!r} for {kind}", where="start.heads"
            )
        taken[head] = source
    return taken


def adapt(model: LamModel, start: StartSpec, data: TrainingData, parent: Checkpoint) -> None:
    """Fill `model`, built of `adapted_config`, with the parent's weights; rows of new elements and new heads stay as they are."""
    config = ModelConfig.model_validate(parent.model_config)
    taken = taken_heads(start, data, config)
    own = model.state_dict()
    for name, value in own.items():
        source = _source_of(name, taken)
        if source in parent.model:
            _copy_rows(value, parent.model[source], old=len(config.elements), new=len(model.config.elements))
    model.load_state_dict(own)


def _source_of(name: str, taken: dict[str, str]) -> str:
    """The parent's name of a tensor."""
    if not name.startswith("heads."):
        return name
    _, head, rest = name.split(".", 2)
    return f"heads.{taken[head]}.{rest}" if head in taken else name


def _copy_rows(into: Tensor, source: Tensor, *, old: int, new: int) -> None:
    """Copy a tensor; of a table over elements, with or without a last row for hidden types, the rows of the parent's."""
    if into.shape == source.shape:
        into.copy_(source)
        return
    extra = len(source) - old  # 1 where the hidden type has a row
    if len(into) != new + extra or into.shape[1:] != source.shape[1:] or extra not in (0, 1):
        raise ConfigError(f"a tensor of shape {tuple(source.shape)} does not fit {tuple(into.shape)}", where="start.model")
    into[:old].copy_(source[:old])
    if extra:
        into[new:].copy_(source[old:])


def freeze(model: LamModel, train: str | list[str]) -> None:
    """Keep what is not to be trained as it is; raises ConfigError for a pattern that names no parameter."""
    patterns = {"all": ["*"], "heads": ["heads.*"]}[train] if isinstance(train, str) else train
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in names):
            raise ConfigError(f"no parameter is called {pattern!r}", where="start.train", hint="as heads.* or descriptor.repformer.*")
    for name, parameter in model.named_parameters():
        if not any(fnmatch(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)


def stale_heads(model: LamModel, data: TrainingData) -> list[str]:
    """Heads that this run does not train while it trains what they read."""
    moves = any(parameter.requires_grad for parameter in model.descriptor.parameters())
    return [head for head in model.config.heads if head not in data.heads] if moves else []
