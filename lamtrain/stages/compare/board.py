"""Board: errors of models on all tasks -> rows with a normalised score and a rank; a part that is missing counts as the guess, and never helps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...evaluation.normalised import Task, ratios_of, score
from .benchmark import Benchmark
from .errors import Measured
from .exam import Exam
from .seen import Seen
from .submission import Submission

CLAIMED = 0.01  # by which part of what is found a claim may be off


def tasks_of(exams: Sequence[Exam]) -> list[Task]:
    """What the score is of."""
    return [Task(name=exam.name, domain=exam.spec.domain, guess=guess_of(exam)) for exam in exams]


def guess_of(exam: Exam) -> dict[str, float]:
    """Errors of the guess, of the labels that count."""
    return {name: value for name, value in exam.guess_errors.items() if name.partition("_")[0] in exam.labels}


def row_of(
    name: str, submission: Submission, exams: Sequence[Exam], measured: Mapping[str, Measured], seen: Seen, notes: Sequence[str]
) -> dict[str, Any]:
    """Everything about one model but its rank."""
    tasks: dict[str, dict[str, Any]] = {}
    missing: list[str] = []
    for exam in exams:
        one = measured[exam.name]
        tasks[exam.name] = {
            "errors": one.errors,
            "ratios": ratios_of(one.errors, guess_of(exam)),
            "missing": one.missing,
            "head": submission.heads.get(exam.name),
            "references_ev": None if one.shift is None else one.shift.to_json(known=exam.train.elements)["shift_ev"],
        }
        if one.missing:
            frames = len(exam.asked)
            counts = ", ".join(f"{label} of {count}" for label, count in one.missing.items())
            missing.append(f"{exam.name}: no {counts} of {frames} frames that were asked for: counts as the guess")
    scores = score(tasks_of(exams), {task: row["errors"] for task, row in tasks.items()})
    return {
        "name": name,
        "score": scores["all"],
        "domains": {domain: value for domain, value in scores.items() if domain != "all"},
        "complete": not missing,
        "missing": missing,
        "claims": differing_claims(submission, scores["all"], {task: row["errors"] for task, row in tasks.items()}),
        "seen": seen.frames,
        "notes": [*notes, *seen.notes],
        "model": submission.model,
        "authors": submission.authors,
        "trained_on": None if submission.trained_on is None else [row.model_dump(mode="json") for row in submission.trained_on],
        "checkpoint": submission.checkpoint,
        "tasks": tasks,
    }


def differing_claims(submission: Submission, found_score: float, errors: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What a submission says of itself and is not so."""
    claims = submission.claims
    pairs: list[tuple[str, float | None, float | None]] = [("score", claims.score, found_score)]
    pairs += [(f"{task}, {name}", value, errors[task].get(name)) for task, said in claims.tasks.items() for name, value in said.items()]
    found = []
    for what, claim, value in pairs:
        if claim is None or (value is not None and abs(claim - value) <= CLAIMED * abs(value)):
            continue
        found.append(
            f"{what}: claims {claim:.4g}, " + ("which cannot be computed of what is here" if value is None else f"found {value:.4g}")
        )
    return found


def rank(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The best first, with `rank`; equal rows share one, and of equal scores the complete come first."""
    place = {id(row): (row["score"], not row["complete"]) for row in rows}
    ordered = sorted(rows, key=lambda row: (place[id(row)], row["name"]))
    return [{"rank": 1 + sum(place[id(other)] < place[id(row)] for other in rows)} | row for row in ordered]


def result_of(benchmark: Benchmark, exams: Sequence[Exam], rows: Sequence[dict[str, Any]], *, store: str) -> dict[str, Any]:
    """What compare.json holds."""
    return {
        "benchmark": benchmark.benchmark,
        "version": benchmark.version,
        "title": benchmark.title,
        "store": store,
        "references": benchmark.references,
        "citations": benchmark.citations,
        "tasks": {
            exam.name: {
                "dataset": exam.spec.dataset,
                "split": exam.spec.split,
                "domain": exam.spec.domain,
                "labels": list(exam.labels),
                "frames": len(exam.shown),
                "fitted": len(exam.fitted),
                "energies_not_scored": int((exam.shown.has_energy & ~exam.scored).sum()),
                "contents": exam.contents,
                "fixed": exam.spec.contents is not None,
                "guess": guess_of(exam),
            }
            for exam in exams
        },
        "rows": rank(rows),
        "published": [row.model_dump(mode="json") for row in benchmark.published],
    }
