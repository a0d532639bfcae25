"""Adapt: another model's checkpoint and this run's data -> the model that this run begins with.

Elements that the other model does not know extend its tables; its heads are taken by name, or new. Heads that this run does not train
stay in the model, and are marked stale once the descriptor they were trained with moves.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import torch
from torch import Tensor

from lamdata.errors import ConfigError
from lamdata.located import did_you_mean

from ..checkpoint import Checkpoint, load
from ..config import StartSpec, TrainConfig, TrainLoraSpec
from ..data.mixture import TrainingData
from ..kernels import use_kernels
from ..model.config import ModelConfig
from ..model.lam import LamModel
from ..model.statistics import environment_statistics
from .lora import Lora, narrowed
from .new import begin_at_references, sample, say_unreferenced
from .references import apply_references, describe, fit_head

TABLE = "descriptor.type_embedding.weight"  # its rows are elements, unless they are projected from electron configurations


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapted:
    """A model before its first step, and what is known of its heads."""

    model: LamModel
    others: dict[str, dict[str, Any]]  # head that this run has no data for -> what the parent's checkpoint says of it
    started: dict[str, dict[str, Any]]  # head of this run -> `start`: parent's head and references; `stale` where it is only measured


def adapted_model(
    config: TrainConfig, start: StartSpec, data: TrainingData, *, device: torch.device | str = "cpu", quiet: bool = False
) -> Adapted:
    """Take over the parent's net, extend its tables, fit references to training frames; raises ConfigError where that is not possible."""
    parent = load(start.model)
    parent.refuse_compressed(where=start.model, done="trained")
    before = ModelConfig.model_validate(parent.model_config)
    taken = taken_heads(start, data, before)
    _refuse_stale(start, parent, taken)
    torch.manual_seed(config.seed)
    model = LamModel(adapted_config(start, data, before).in_precision(config.precision))
    extended = [symbol for symbol in model.config.elements if symbol not in before.elements]
    if extended:
        environment_statistics((batch for _, batch in sample(config, data, model.config)), model.config).apply(
            model.descriptor, model.config
        )
    adapt(model, start, data, parent)
    begin_at_references(model, [head for head in data.heads if head not in taken])
    model = use_kernels(model.to(device), "auto").eval()
    lines = _say_elements(model, before, extended)
    started: dict[str, dict[str, Any]] = {}
    freeze(model, start.train, extended=extended)
    stale = stale_heads(model, data)
    for head, kind in data.heads.items():
        report: dict[str, Any] = {"model": start.model, "from": taken.get(head)}
        if kind == "energy_force":
            row = parent.heads.get(taken.get(head, ""), {})
            frames = {task.spec.dataset: task.train.content_hash for task in data.of_head(head)}
            goes_on = head in taken and has_seen(row, parent.lock, frames)
            mode = "refit" if head not in taken else "keep" if goes_on else start.references
            known = [] if head not in taken else list((row.get("references") or {"energies": before.elements})["energies"])
            fitted = fit_head(model, head=head, data=data, known=known, mode=mode)
            apply_references(model, data, head, fitted)
            report["references"] = fitted.to_json()
            lines += describe(head, fitted)
        started[head] = {"start": report, "stale": head in stale}
    others = {
        head: row | {"stale": head in stale or bool(row.get("stale"))}
        for head, row in parent.heads.items()
        if head in model.config.heads and head not in data.heads
    }
    if turned := [head for head in stale if not parent.heads.get(head, {}).get("stale")]:
        lines.append(f"not trained along, so stale from the first step on: {', '.join(turned)}")
    if not quiet:
        print("".join(f"start: {line}\n" for line in lines), end="", file=sys.stderr)
        say_unreferenced(data)
    return Adapted(model=model, others=others, started=started)


def _refuse_stale(start: StartSpec, parent: Checkpoint, taken: dict[str, str]) -> None:
    for head, source in taken.items():
        if parent.heads.get(source, {}).get("stale"):
            found = f"head {source!r} of {start.model} is stale: the descriptor moved after it was last trained"
            raise ConfigError(found, where="start.heads", hint=f"{{{head}: new}}, or start from the model that it came from")


def has_seen(row: Mapping[str, Any], lock: Mapping[str, Any], frames: Mapping[str, str | None]) -> bool:
    """Whether a head of a checkpoint was trained on all of `frames`, dataset -> content hash of its training frames."""
    hashes = {name: lock["datasets"].get(name, {}).get("content_hash") for name in row.get("datasets", [])}
    return all(found is not None and hashes.get(name) == found for name, found in frames.items())


def _say_elements(model: LamModel, before: ModelConfig, extended: list[str]) -> list[str]:
    if not extended:
        return []
    tables = "type embedding, references and statistics of neighbours"
    return [f"{', '.join(extended)} are new to the model of {len(before.elements)} elements: rows were added to {tables}"]


def adapted_config(start: StartSpec, data: TrainingData, parent: ModelConfig) -> ModelConfig:
    """The parent's descriptor and nets, with the elements and heads of this run; the parent's other heads come last."""
    elements = [*parent.elements, *(symbol for symbol in data.elements if symbol not in parent.elements)]
    taken = taken_heads(start, data, parent)
    others = {name: kind for name, kind in parent.heads.items() if name not in data.heads and name not in taken.values()}
    heads = dict(data.heads) | others
    energy, room = sum(kind == "energy_force" for kind in heads.values()), parent.fitting.dim_case_embd
    if room and energy > room:
        found = f"{start.model} tells its heads apart by a one-hot vector of {room} heads, and there would be {energy}"
        hint = "a head that is taken under another name leaves its place where the mixture does not name it too"
        raise ConfigError(found, where="start.heads", hint=hint)
    values = parent.model_dump(mode="json") | {"elements": elements, "heads": heads}
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


def freeze(model: LamModel, train: str | TrainLoraSpec | list[str], *, extended: list[str] | None = None) -> list[str]:
    """Keep what is not to be trained as it is; return the matrices that low-rank updates are for.

    Raises ConfigError for a pattern that names no parameter, and where rows of new elements (`extended`) would stay as random as they are.
    """
    lowered = narrowed(model, train.lora.rank) if isinstance(train, TrainLoraSpec) else []
    if isinstance(train, list):
        patterns = train
    else:
        patterns = ["*"] if train == "all" else ["heads.*", *lowered]
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in names):
            raise ConfigError(f"no parameter is called {pattern!r}", where="start.train", hint="as heads.* or descriptor.repformer.*")
    for name, parameter in model.named_parameters():
        if not any(fnmatch(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)
    if extended and not model.config.descriptor.use_econf_tebd and not model.get_parameter(TABLE).requires_grad:
        found = f"{', '.join(extended)} are new, and their rows of {TABLE} would stay random"
        raise ConfigError(found, where="start.train", hint=f'all, or patterns with "{TABLE}"')
    return lowered


def trained_part(model: LamModel, config: TrainConfig) -> Lora | None:
    """Freeze what this run does not train; the low-rank updates, where it trains such."""
    train = "all" if config.start is None else config.start.train
    lowered = freeze(model, train)
    return Lora(model, lowered, rank=train.lora.rank, seed=config.seed) if isinstance(train, TrainLoraSpec) else None


def stale_heads(model: LamModel, data: TrainingData) -> list[str]:
    """Heads that this run does not train while it trains what they read."""
    moves = any(parameter.requires_grad for parameter in model.descriptor.parameters())
    return [head for head in model.config.heads if not data.weights.get(head)] if moves else []
