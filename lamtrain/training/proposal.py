"""Proposal: a mixture and another model -> which of its heads each head takes, and why; and the datasets it was trained on, to be trained along."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamdata.catalog import Catalog, Mixture, TaskSpec
from lamdata.elements import NUMBERS
from lamdata.errors import ConfigError, LamError
from lamdata.store import Dataset, Store, open_store
from lamdata.theory import Theory

from ..checkpoint import Checkpoint, load
from ..files import replace_yaml
from .adapt import has_seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What `start:` says, and the rows that are added to the mixture."""

    heads: dict[str, str]  # head of the mixture -> head of the model, or `new`
    reasons: dict[str, str]
    replay: list[TaskSpec]
    olds: dict[str, str]  # head of a row of `replay` -> head of the model
    notes: list[str]  # what was not put in, and why


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the data of one head."""

    elements: list[str]
    theories: list[Theory]
    datasets: dict[str, str | None]  # name -> content hash of its training frames, where a store has it


def propose(mixture: Mixture, catalog: Catalog, *, store: str, model: Path, replay: str | None) -> Proposal:
    """Choose by elements, then by theory; raises ConfigError where `replay` was asked for and has nothing of the model's data."""
    parent, opened = load(model), _opened(store)
    parent.refuse_compressed(where=str(model), done="trained")
    heads, reasons = {}, {}
    for head, kind in {task.head: task.task for task in mixture.heads}.items():
        known = _known(head, mixture, catalog, opened)
        heads[head], reasons[head] = choose_head(head, kind, known, parent)
    place = replay or store
    there = _opened(place) if replay is None else open_store(place)
    found, notes = _replayed(mixture, parent, there, place=replay)
    rows, olds = [row for row, _ in found], {row.head: source for row, source in found}
    if replay is not None and not rows:
        raise ConfigError(
            f"nothing that the model was trained on: {'; '.join(notes) or 'the model does not say what that was'}", where=replay
        )
    return Proposal(heads=heads, reasons=reasons, replay=rows, olds=olds, notes=notes)


def _opened(store: str) -> Store | None:
    """A store, which need not be there yet."""
    try:
        return open_store(store)
    except LamError:
        return None


def _known(head: str, mixture: Mixture, catalog: Catalog, store: Store | None) -> Known:
    elements: set[str] = set()
    theories, datasets = [], {}
    for name in [task.dataset for task in mixture.heads if task.head == head]:
        card = catalog.card(name)
        there = store is not None and name in list(store)
        train = store.open(name, split="train") if store is not None and there else None
        elements |= set(train.elements if train is not None else card.elements or ())
        theories.append(card.theory)
        datasets[name] = None if train is None else train.content_hash
    return Known(sorted(elements, key=NUMBERS.__getitem__), theories, datasets)


def head_for(dataset: Dataset, parent: Checkpoint) -> tuple[str, str]:
    """The head of a model whose elements, then whose theory, are nearest to those of a dataset, or `new`; and why."""
    known = Known(dataset.elements, [dataset.theory], {dataset.name: dataset.content_hash})
    return choose_head(dataset.name, "energy_force", known, parent)


def choose_head(head: str, kind: str, known: Known, parent: Checkpoint) -> tuple[str, str]:
    """A head of the parent, or `new`, and the reason."""
    rows = {name: row for name, row in parent.heads.items() if row["task"] == kind and not row.get("stale")}
    if not rows:
        return "new", f"the model has no head for {kind} that is not stale"
    if head in rows and has_seen(rows[head], parent.lock, known.datasets):
        return head, "goes on with the frames that it was trained on"
    if kind != "energy_force":
        chosen = head if head in rows else next(iter(rows))
        return chosen, f"the model's head for {kind}"
    apart = {name: _distance(known, row, parent) for name, row in rows.items()}
    chosen = min(apart, key=lambda name: (len(apart[name][0]), len(apart[name][1])))
    unknown, differences = apart[chosen]
    if known.elements and len(unknown) == len(known.elements):
        return "new", f"no head of the model knows {', '.join(unknown)}"
    if not known.elements:
        elements = "elements not known before the datasets are ingested"
    elif unknown:
        elements = f"knows {', '.join(symbol for symbol in known.elements if symbol not in unknown)}, not {', '.join(unknown)}"
    else:
        elements = f"knows {', '.join(known.elements)}"
    return chosen, f"{elements}; {'; '.join(differences) if differences else 'the same theory'}"


def _distance(known: Known, row: Mapping[str, Any], parent: Checkpoint) -> tuple[list[str], list[str]]:
    """Elements that a head of the parent has not seen, and where its theory is another."""
    references = row.get("references")
    seen = parent.model_config["elements"] if references is None else references["energies"]
    theories = [Theory.model_validate(theory) for theory in row["theory"]]
    pairs = [mine.differences(theirs) for mine in known.theories for theirs in theories]
    differences = min(pairs, key=len) if pairs else ["its theory is not known"]
    return [symbol for symbol in known.elements if symbol not in seen], differences


def _replayed(
    mixture: Mixture, parent: Checkpoint, store: Store | None, *, place: str | None
) -> tuple[list[tuple[TaskSpec, str]], list[str]]:
    """The parent's rows whose frames a store has, with as much weight together as the mixture's, and their heads; and why others are not there.

    A head whose name the mixture has for other frames becomes `old-NAME`.
    """
    lock = parent.lock.get("mixture") or {"heads": []}
    own = {task.head: {row.dataset for row in mixture.heads if row.head == task.head} for task in mixture.heads}
    names: dict[str, str] = {}
    rows: list[tuple[TaskSpec, str]] = []
    notes = []
    for values in lock["heads"]:
        row = TaskSpec.model_validate(values)
        if not row.weight or row.dataset in own.get(row.head, ()):
            continue
        if store is None or row.dataset not in list(store):
            notes.append(f"{row.dataset} of head {row.head} is not in the store: not trained along")
        elif store.open(row.dataset, split="train").content_hash != parent.lock["datasets"][row.dataset]["content_hash"]:
            notes.append(f"{row.dataset} of head {row.head} holds other frames than the model was trained on: not trained along")
        else:
            if row.head not in names:
                names[row.head] = _free(row.head, {*own, *names.values()})
            found = place if place is None or "://" in place else os.path.abspath(place)
            rows.append((row.model_copy(update={"store": found, "head": names[row.head]}), row.head))
    total, new = sum(row.weight for row, _ in rows), sum(task.weight for task in mixture.heads)
    return [(row.model_copy(update={"weight": float(f"{row.weight * new / total:.4g}")}), head) for row, head in rows], notes


def _free(name: str, used: set[str]) -> str:
    return _free(f"old-{name}", used) if name in used else name


def write_replay(mixture_file: Path, mixture: Mixture, catalog: Catalog, rows: Sequence[TaskSpec], *, store: str) -> list[Path]:
    """Write the mixture with the rows added, beside it, and cards of datasets that the folder has none of; return the files, the mixture first."""
    path = mixture_file.with_name(f"{mixture_file.stem}-replay.yaml")
    if path.exists():
        raise ConfigError("there is such a file already", where=str(path), hint="remove it, or give it to `lamtrain init` as the mixture")
    values = mixture.model_dump(mode="json", exclude_defaults=True)
    values |= {"mixture": f"{mixture.mixture}-replay", "heads": [_row(task) for task in [*mixture.heads, *rows]]}
    written = [path]
    for row in rows:
        card = mixture_file.parent / "cards" / f"{row.dataset}.yaml"
        if row.dataset not in catalog.cards and card not in written:
            replace_yaml(card, _described(open_store(row.store or store), row.dataset))
            written.append(card)
    replace_yaml(path, values)
    return written


def _row(task: TaskSpec) -> dict[str, Any]:
    return {"head": task.head, "dataset": task.dataset, "task": task.task, "weight": task.weight} | task.model_dump(
        mode="json", exclude_defaults=True
    )


def _described(store: Store, name: str) -> dict[str, Any]:
    """The card that a store keeps of a dataset, without its raw files, which are not here."""
    card = store[name].card.model_dump(mode="json", exclude_defaults=True)
    return {key: value for key, value in card.items() if key not in ("sources", "split")}
