"""What a comparison found -> tables for a screen, a table in csv, a picture, and a page that needs no other file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lamdata.command import table

from ...files import replace_file
from .. import page
from .figures import draw_ranks
from .names import METRICS

Table = tuple[str, list[str], list[list[Any]]]  # title, columns, rows


def ranks_table(result: Mapping[str, Any]) -> Table:
    """A row for each model, the best first."""
    domains = list(dict.fromkeys(task["domain"] for task in result["tasks"].values()))
    several = domains if len(domains) > 1 else []
    columns = ["rank", "model", "score", *several, "parts missing", "frames seen in training", "claims that differ"]
    rows = [
        [
            row["rank"], row["name"], row["score"], *(row["domains"][domain] for domain in several), len(row["missing"]),
            "unknown" if row["seen"] is None else sum(row["seen"].values()), len(row["claims"]),
        ]
        for row in result["rows"]
    ]  # fmt: skip
    title = f"{result['benchmark']}, version {result['version']}: normalised errors, 1 is the guess that needs no model, 0 no error"
    return title, columns, rows


def task_tables(result: Mapping[str, Any]) -> Iterator[Table]:
    """For each task, the errors of each model in the order of the ranks; then the guess, and what others published."""
    for task, about in result["tasks"].items():
        names = [name for label in about["labels"] for name in METRICS[label]]
        rows = [[row["rank"], row["name"], *(_error(row["tasks"][task], name) for name in names)] for row in result["rows"]]
        rows.append(["", "the guess", *(about["guess"].get(name) for name in names)])
        for one in result["published"]:
            if errors := one["tasks"].get(task):
                rows.append(["", f"{one['name']}, as published", *(errors.get(name) for name in names)])
        title = f"{task}: {about['frames']:,} {about['split']} frames of {about['dataset']}"
        yield title, ["rank", "model", *(name.replace("_", " ") for name in names)], rows


def _error(found: Mapping[str, Any], name: str) -> Any:
    label = name.partition("_")[0]
    return found["errors"].get(name, "incomplete" if label in found["missing"] else None)


def print_report(result: Mapping[str, Any], out: Path) -> None:
    """On a screen."""
    if not result["rows"]:
        frames = sum(about["frames"] + about["fitted"] for about in result["tasks"].values())
        print(f"wrote {out / 'asked'}: {frames:,} structures of {len(result['tasks'])} tasks to predict")
        return
    for title, columns, rows in (ranks_table(result), *task_tables(result)):
        table(title, columns, rows)
    print(f"report: {out / 'compare.html'}")


def write_report(result: Mapping[str, Any], out: Path) -> None:
    """compare.csv, ranks.png and compare.html."""
    replace_file(out / "compare.csv", _csv(result).encode())
    draw_ranks(result, out / "ranks.png")
    title = f"{result['benchmark']}{': ' if result['title'] else ''}{result['title']}"
    page.write_page(out / "compare.html", title, _parts(result, out))


def _parts(result: Mapping[str, Any], out: Path) -> Iterator[str]:
    heading, columns, rows = ranks_table(result)
    yield f"<p>{page.escaped(heading)}. Every number is computed from predictions; what is missing counts as the guess.</p>"
    yield page.table(columns, rows)
    yield page.picture(out / "ranks.png", "scores, and errors by those of the guess for each task")
    for row in result["rows"]:
        lines = [*row["missing"], *(f"claim: {claim}" for claim in row["claims"]), *_seen(row), *row["notes"]]
        words = [row["model"], *(f"by {', '.join(row['authors'])}" for _ in row["authors"][:1])]
        yield f"<h2>{row['rank']}. {page.escaped(row['name'])}</h2><p>{page.escaped('; '.join(words))}</p>"
        trained = row["trained_on"]
        yield f"<p>Trained on: {page.escaped('not known' if trained is None else ', '.join(one['dataset'] for one in trained))}</p>"
        yield page.listing(lines) if lines else ""
    for heading, columns, rows in task_tables(result):
        yield f"<h2>{page.escaped(heading)}</h2>"
        yield page.table(columns, [["" if cell is None else cell for cell in row] for row in rows])
    yield "<h2>Frames</h2>"
    yield page.table(
        ["task", "dataset", "measured", "fitted", "energies not scored", "contents (sha256)"],
        [
            [name, one["dataset"], one["frames"], one["fitted"], one["energies_not_scored"], one["contents"]]
            for name, one in result["tasks"].items()
        ],
    )
    published = [f"{one['name']}, as published: {one['source']}" for one in result["published"]]
    yield page.listing([*published, *result["citations"]]) if published or result["citations"] else ""


def _seen(row: Mapping[str, Any]) -> list[str]:
    """Copies of training frames among those that are measured, by task."""
    return [f"{task}: {count} measured frames are copies of its training frames" for task, count in (row["seen"] or {}).items() if count]


def _csv(result: Mapping[str, Any]) -> str:
    """A row for each model; errors as TASK.NAME, empty where there is none."""
    names = [f"{task}.{name}" for task, about in result["tasks"].items() for label in about["labels"] for name in METRICS[label]]
    domains = list(dict.fromkeys(task["domain"] for task in result["tasks"].values()))
    fixed = ["rank", "name", "score", *(f"score.{domain}" for domain in domains), "complete", "seen", "claims_that_differ"]
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow([*fixed, *names])
    for row in result["rows"]:
        seen = "" if row["seen"] is None else sum(row["seen"].values())
        head = [row["rank"], row["name"], row["score"], *(row["domains"][d] for d in domains), row["complete"], seen, len(row["claims"])]
        cells = [row["tasks"][task]["errors"].get(error, "") for task, _, error in (name.rpartition(".") for name in names)]
        rows.writerow([*head, *cells])
    return out.getvalue()
