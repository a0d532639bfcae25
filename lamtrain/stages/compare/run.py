"""`lamtrain compare`: checkpoints and submissions on a benchmark -> compare.html, compare.json, compare.csv, ranks.png.

Every row is computed from predictions in files, those of a checkpoint as those of others. In the folder: `asked/TASK.extxyz`, the structures
to predict; `submissions/NAME/`, what checkpoints predicted of them, which can be handed in elsewhere.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...checkpoint import to_json
from ...files import replace_file
from .benchmark import Benchmark
from .board import result_of, row_of
from .entrants import Entrant, predict, read_entrants
from .errors import Measured, measure
from .exam import Exam, open_exams
from .predictions import read_predictions
from .report import write_report
from .seen import find_seen


def compare(
    models: Sequence[str],
    benchmark: Benchmark,
    out: Path,
    *,
    where: str,
    store: str | None = None,
    training: Sequence[str] = (),
    device: str = "auto",
    quiet: bool = False,
) -> dict[str, Any]:
    """Compare models on a benchmark that stands in the file `where`; return what compare.json holds. Without models, only `asked` is written.

    `store` is where the benchmark's data lie, if elsewhere; in `training` stores datasets are looked for on which models were trained.
    """
    given = read_entrants(models, [spec.task for spec in benchmark.tasks])
    exams = open_exams(benchmark, where=where, store=store)
    asked = {exam.name: exam.write_asked(out / "asked") for exam in exams}
    place = store or benchmark.store
    entrants: dict[str, Entrant] = {}
    for model, submission in given.items():
        if submission is None:
            entrant = predict(model, exams, asked, out / "submissions", device=device, quiet=quiet)
        else:
            entrant = Entrant(submission=submission, folder=Path(model))
        entrants[entrant.submission.submission] = entrant
    seen = find_seen(exams, {name: one.submission for name, one in entrants.items()}, [place, *training], quiet=quiet)
    rows = []
    for name, entrant in entrants.items():
        measured, notes = _measure(entrant, exams)
        rows.append(row_of(name, entrant.submission, exams, measured, seen[name], [*entrant.notes, *notes]))
    result = result_of(benchmark, exams, rows, store=place)
    if rows:
        write_report(result, out)
        replace_file(out / "compare.json", to_json(result).encode())
    if not quiet:
        say(result)
    return result


def _measure(entrant: Entrant, exams: Sequence[Exam]) -> tuple[dict[str, Measured], list[str]]:
    """Task -> errors of what a submission predicts, and what is to be said of its files."""
    found, notes = {}, []
    for exam in exams:
        name = entrant.submission.predictions.get(exam.name)
        matched = read_predictions(entrant.folder, name, exam.asked)
        found[exam.name] = measure(exam, matched.frames)
        notes += [f"{exam.name}: {note}" for note in matched.notes]
    return found, notes


def say(result: Mapping[str, Any]) -> None:
    """What must be known beside the numbers, on stderr."""
    for task, about in result["tasks"].items():
        if not about["fixed"]:
            print(f"note: {task}: nothing fixes its frames; `contents: {about['contents']}` in the benchmark does", file=sys.stderr)
    for row in result["rows"]:
        for line in [*row["missing"], *(f"claim: {claim}" for claim in row["claims"]), *row["notes"]]:
            print(f"note: {row['name']}: {line}", file=sys.stderr)
