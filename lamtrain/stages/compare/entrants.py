"""Entrants: what the command is given -> submissions; a checkpoint becomes one by predicting what is asked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lamdata.errors import ConfigError, ConfigErrors, DataError
from lamdata.fields import NAME
from lamdata.located import did_you_mean
from lamdata.registry import model_file

from ...checkpoint import Checkpoint, to_json
from ...files import replace_file, replace_yaml, sha256_of
from ...prediction.model import Model, load_model
from ...prediction.run import predict_files
from ...prediction.source import Source
from ...training.proposal import Known, choose_head
from ..submitted import DESCRIPTION, read_submission
from .exam import Exam
from .submission import Submission


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """A submission and its folder; of a checkpoint, the folder is ours."""

    submission: Submission
    folder: Path
    notes: list[str] = field(default_factory=list)


def read_entrants(models: Sequence[str], tasks: Sequence[str]) -> dict[str, Submission | None]:
    """What was given -> its description, None for a checkpoint; raises ConfigErrors for all that are wrong, before anything is computed."""
    found: dict[str, Submission | None] = {}
    errors, names = list[ConfigError](), dict[str, str]()
    for model in models:
        try:
            found[model] = read_submission(Path(model), Submission) if Path(model).is_dir() else None
            name = name_of(model, found[model])
        except ConfigError as err:
            errors += err.errors
            continue
        errors += _unknown_tasks(model, found[model], tasks)
        if (other := names.setdefault(name, model)) != model:
            hint = "give one of them another name" if found[model] else "copy one of them to a file of another name"
            errors.append(ConfigError(f"is called {name}, as {other} is", where=model, hint=hint))
    if errors:
        raise ConfigErrors(errors)
    return found


def name_of(model: str, submission: Submission | None) -> str:
    """Its name in the table: that of a run for its best.pt and last.pt, that of the file for others."""
    if submission is not None:
        return submission.submission
    path = Path(model.removeprefix("registry://"))
    name = path.name.removesuffix(".pt").replace("@", "-")
    name = path.resolve().parent.name if name in ("best", "last") and not model.startswith("registry://") else name
    if not re.fullmatch(NAME, name):
        raise ConfigError(f"{name!r} is no name for a table", where=model, hint="give the file a name of letters, digits and ._+()-")
    return name


def _unknown_tasks(model: str, submission: Submission | None, tasks: Sequence[str]) -> list[ConfigError]:
    if submission is None:
        return []
    named = dict.fromkeys([*submission.predictions, *submission.claims.tasks])
    where = f"{model}/{DESCRIPTION}"
    return [
        ConfigError(f"the benchmark has no task {task!r}", where=where, hint=did_you_mean(task, list(tasks)))
        for task in named
        if task not in tasks
    ]


def predict(model_path: str, exams: Sequence[Exam], asked: Mapping[str, Path], out: Path, *, device: str, quiet: bool) -> Entrant:
    """Predict with a checkpoint what is asked (task -> file), into a submission below `out`; what is there already is not predicted again."""
    name = name_of(model_path, None)
    folder, digest = out / name, sha256_of(model_file(model_path))
    model = load_model(model_path, device=device)
    notes, files, heads = list[str](), dict[str, str](), dict[str, str]()
    for exam in exams:
        head, why = _head_for(exam, model.checkpoint)
        if head is None:
            notes.append(f"{exam.name}: no head to ask: {why}")
            continue
        try:
            _predict_task(model, head, asked[exam.name], folder / f"{exam.name}.extxyz", digest=digest, quiet=quiet)
        except DataError as err:
            notes.append(f"{exam.name}: {err}")
            continue
        files[exam.name], heads[exam.name] = f"{exam.name}.extxyz", head
    if not files:
        raise DataError("the model answers no task of the benchmark", where=model_path, hint="; ".join(notes)[:400])
    submission = Submission(
        submission=name,
        model=f"{Path(model_path).name}, {model.config.descriptor.type}, {model.checkpoint.step:,} steps",
        trained_on=_trained_on(model.checkpoint),
        predictions=files,
        heads=heads,
        checkpoint=digest,
    )
    replace_yaml(folder / DESCRIPTION, submission.model_dump(mode="json"))
    return Entrant(submission=submission, folder=folder, notes=notes)


def _head_for(exam: Exam, checkpoint: Checkpoint) -> tuple[str | None, str]:
    """The head that was trained on the dataset; else the one whose elements, then whose theory, are nearest, as in `lamtrain transfer`."""
    content, data = exam.train.content_hash, checkpoint.lock.get("datasets", {})
    for name, row in checkpoint.heads.items():
        answers = row["task"] == "energy_force" and not row.get("stale")
        if answers and any(data.get(one, {}).get("content_hash") == content for one in row.get("datasets", ())):
            return name, "was trained on the dataset"
    head, why = choose_head(exam.name, "energy_force", Known(exam.train.elements, [exam.train.theory], {}), checkpoint)
    return (None if head == "new" else head), why


def _predict_task(model: Model, head: str, asked: Path, path: Path, *, digest: str, quiet: bool) -> None:
    """Predictions of one task, kept with what they depend on beside them."""
    kept = path.with_suffix(".from.json")
    key = to_json({"checkpoint": digest, "head": head, "asked": sha256_of(asked), "precision": model.config.precision})
    if path.exists() and kept.exists() and kept.read_text() == key:
        return
    kept.unlink(missing_ok=True)  # a kill between the two files leaves none that says what the other is not
    source = Source(paths=[str(asked)], format="extxyz", quiet=quiet, doing=f"{path.parent.name}: {path.stem}")
    predict_files(model, source, path, head=head)
    replace_file(kept, key.encode())


def _trained_on(checkpoint: Checkpoint) -> list[Any] | None:
    rows = checkpoint.lock.get("datasets", {})
    return [{"dataset": name, "content_hash": row.get("content_hash")} for name, row in rows.items()] or None
