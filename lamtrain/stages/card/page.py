"""What is known of a model, as plain data -> its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lamdata import __version__
from lamdata.card.dataset import LICENCE
from lamdata.card.figures import bars_picture, curves_picture, pairs_picture, points_picture
from lamdata.card.page import Page
from lamdata.card.periodic import periodic_table
from lamdata.theory import Theory

from ...evaluation.report import table_of
from ...tasks import kinds_of, task_kind

PICTURES = ("parity.png", "worst.png")  # that commands leave beside a report
LARGEST_PICTURE = 4 << 20  # bytes
CURVES = 6  # in one picture, before it shows validation alone


def model_page(content: Mapping[str, Any], folder: Path) -> Page:
    """Of `content_of`; pictures that stand beside the reports are read from the `folder` of the model."""
    name = Path(content["model"]).name
    heads = content["heads"]
    page = Page(
        f"Model {Path(content['model']).parent.name or name}",
        lead=f"{content['descriptor'].upper().replace('DPA', 'DPA-')}, {len(heads)} {'head' if len(heads) == 1 else 'heads'}, step {content['step']:,}.",
    )
    _what(page, content)
    page.heading("Heads", level=2)
    _heads(page, heads)
    page.heading("Elements", level=2)
    _elements(page, content)
    page.heading("Data and licences", level=2)
    _data(page, content)
    page.heading("Learning", level=2)
    _learning(page, content)
    page.heading("Errors", level=2)
    _errors(page, content, folder)
    page.heading("Coverage", level=2)
    _coverage(page, content)
    page.heading("To cite", level=2)
    page.items(content["citations"])
    page.heading("To use it", level=2)
    _use(page, content)
    page.heading("This page", level=2)
    page.say(
        f"Made by lamtrain {__version__} of {content['model']} and the reports beside it. It loads nothing from anywhere. Its pictures are drawn by plotly.js (MIT licence)."
    )
    return page


def _what(page: Page, content: Mapping[str, Any]) -> None:
    config = content["train_config"] or {}
    facts: dict[str, Any] = {
        "checkpoint": content["model"],
        "step": f"{content['step']:,}" + (f" of {config['steps']:,}" if config.get("steps") else ""),
        "frames seen": content["frames_seen"],
        "parameters and constants": content["values"],
        "units": ", ".join(f"{key} {unit}" for key, unit in content["units"].items()),
        "made from": content["parents"] or "no other model",
    }
    if compressed := content["compressed"]:
        facts["compressed from"] = f"{compressed['model']} (sha256 {compressed['sha256'][:12]})"
    page.facts(facts)


def _heads(page: Page, heads: Mapping[str, Mapping[str, Any]]) -> None:
    rows = [
        [f"{head} (stale)" if row.get("stale") else head, row["task"], row["weight"], ", ".join(row.get("datasets", []))]
        + ["; ".join(Theory.model_validate(theory).summary() for theory in row["theory"]) or "unknown"]
        for head, row in heads.items()
    ]
    page.table("Heads", ("head", "task", "weight", "datasets", "theory"), rows)
    energies = {head: row["references"]["energies"] for head, row in heads.items() if row.get("references")}
    symbols = list(dict.fromkeys(symbol for table in energies.values() for symbol in table))
    page.table(
        "Reference energies, eV",
        ("element", *energies),
        [[symbol, *(table.get(symbol) for table in energies.values())] for symbol in symbols],
        folded=True,
    )


def _elements(page: Page, content: Mapping[str, Any]) -> None:
    counts: dict[str, int | None] = dict.fromkeys(content["elements"])
    sketches = content["sketches"]
    for sketch in sketches.values():
        for symbol, atoms in sketch["elements"].items():
            counts[symbol] = (counts.get(symbol) or 0) + atoms
    title = f"{len(counts)} elements" + (", by their atoms in the sample of the training that the model keeps" if sketches else "")
    page.markup(periodic_table(counts, title=title, unit="atoms"))
    rows = [[symbol, *(sketch["elements"].get(symbol, 0) for sketch in sketches.values())] for symbol in counts]
    page.table("The numbers of the periodic table", ("element", *(f"atoms for {head}" for head in sketches)), rows, folded=True)


def _data(page: Page, content: Mapping[str, Any]) -> None:
    rows = [
        [
            name,
            row["train_frames"],
            row["validation_frames"],
            row.get("test_frames", 0),
            row["license"] or "unknown",
            row["content_hash"][:16],
        ]
        for name, row in content["lock"]["datasets"].items()
    ]
    page.table("Trained on", ("dataset", "train frames", "validation", "test", "licence", "content"), rows)
    if not rows:
        page.say("The model does not say what it was trained on.")
    by_licence: dict[str, list[str]] = {}
    for name, row in content["licences"].items():
        meant = "; ".join(LICENCE[problem] for problem in row["problems"])
        by_licence.setdefault(f"{row['license'] or 'unknown'}{f' ({meant})' if meant else ''}", []).append(name)
    rolled = [[licence, len(names), ", ".join(names)] for licence, names in sorted(by_licence.items())]
    page.table("Licences of all that is in it, its parents' too", ("licence", "of how many", "of"), rolled)
    if any(row["problems"] for row in content["licences"].values()):
        page.say(
            "Before the model is given to others, look at those that are not free: `lamtrain publish` refuses them unless they are accepted by name."
        )


def _learning(page: Page, content: Mapping[str, Any]) -> None:
    curves = content["curves"]
    if not curves:
        page.say("No metrics.csv stands beside the model.")
        return
    if loss := curves.get("loss"):
        said = f"From {loss[0][1]:.4g} at step {loss[0][0]:,} to {loss[-1][1]:.4g} at step {loss[-1][0]:,}."
        page.picture(curves_picture("Loss", said, {"loss": loss}, x="step", y="loss"))
    titles = _errors_of(content)
    for error in titles:
        lines = {
            f"{head}, {side}": curves[column]
            for head in content["heads"]
            for side in ("train", "validation")
            if (column := f"{head}.{side}.{error}") in curves
        }
        if len(lines) > CURVES:
            lines = {name: line for name, line in lines.items() if name.endswith(", validation")}
        if lines:
            ends = ", ".join(f"{name} {line[-1][1]:.4g}" for name, line in list(lines.items())[:CURVES])
            title = titles[error]
            page.picture(curves_picture(title, f"The last values: {ends}.", lines, x="step", y=title))


def _errors_of(content: Mapping[str, Any]) -> dict[str, str]:
    """Names of the errors that are drawn, of all kinds of its heads, and their titles."""
    kinds = kinds_of({head: row["task"] for head, row in content["heads"].items()}).values()
    titles = {column.key: column.title for kind in kinds for column in kind.columns}
    return {name: titles.get(name, name.replace("_", " ")) for kind in kinds for name in kind.drawn}


def _errors(page: Page, content: Mapping[str, Any], folder: Path) -> None:
    tests, predictions = content["tests"], content["predictions"]
    for file, result in tests.items():
        page.heading(f"Errors on {result['split']} frames, {file}", level=3)
        if result["step"] != content["step"]:
            page.say(f"This report is of the model at step {result['step']:,}, not of this one.")
        columns, rows = table_of(dict(result))
        page.table(f"{result['split']} frames", columns, [[cell if cell is not None else "" for cell in row] for row in rows])
        _beside_the_spread(page, result["heads"], file)
        _images(page, folder / file)
    for file, summary in predictions.items():
        page.heading(f"Errors by element, {file}", level=3)
        _by_element(page, summary)
    if not tests and not predictions:
        page.say("No report of a test stands beside the model.")
        page.code(f"lamtrain test {content['model']} STORE", language="shell")


def _beside_the_spread(page: Page, heads: Mapping[str, Mapping[str, Any]], file: str) -> None:
    """Errors over the spread of the labels, by head: below 1 the model says more than the mean does."""
    groups: dict[str, dict[str, float]] = {}
    for head, row in heads.items():
        for error, spread in task_kind(row["task"]).relative:
            if row.get(error) is not None and row.get(spread):
                groups.setdefault(error.split("_")[0], {})[head] = row[error] / row[spread]
    if groups:
        said = "Each error over what it is measured against, the spread of the labels or the guess of nothing: 1 has learnt nothing."
        page.picture(bars_picture(f"Errors beside the spread, {file}", said, groups, y="error / spread"))


def _by_element(page: Page, summary: Mapping[str, Any]) -> None:
    named = {symbol: row for symbol, row in summary["by_element"].items() if isinstance(row, Mapping)}
    columns = list(dict.fromkeys(key for row in named.values() for key in row))
    page.say(f"Of {summary.get('scored', 0):,} frames of {', '.join(map(str, summary.get('source', [])))}, by head {summary['head']}.")
    rows = [[symbol, *(row.get(key) for key in columns)] for symbol, row in named.items()]
    for column in columns:
        values = {symbol: row[column] for symbol, row in named.items() if column in row}
        title = f"{column.replace('_', ' ')} by element"
        page.picture(bars_picture(title, f"Of {len(values)} elements.", {"": values}, y=column.replace("_", " ")))
    page.table("Errors by element", ("element", *(key.replace("_", " ") for key in columns)), rows)


def _images(page: Page, report: Path) -> None:
    """Pictures that the same command wrote."""
    for name in PICTURES:
        path = report.parent / name
        if path.is_file() and path.stat().st_size <= LARGEST_PICTURE:
            page.image(
                path.read_bytes(), title=name, said="Predictions against labels, a row for each head; the numbers are in the table above."
            )


def _coverage(page: Page, content: Mapping[str, Any]) -> None:
    sketches = content["sketches"]
    if not sketches:
        page.say("The model keeps no sketch of its training; `lamtrain cover MODEL FRAMES --training STORE` makes one.")
    for head, sketch in sketches.items():
        page.heading(f"What {head} was trained on", level=3)
        points = [[*point, f"frame {number}"] for number, point in enumerate(sketch["points"])]
        said = f"{len(points):,} of {sketch['of']:,} training frames by the model's own descriptors, along the two directions in which they differ most."
        page.picture(
            points_picture(
                f"Training frames of {head}",
                said,
                {head: points},
                x="principal axis 1",
                y="principal axis 2",
                columns=("axis 1", "axis 2", "frame"),
            )
        )
        seen = {(pair[0], pair[1]): 1 for pair in sketch["pairs"]}
        if len(sketch["elements"]) > 1:
            said = "Pairs of elements that training has within the cutoff of each other; of the others the model has seen nothing."
            page.picture(pairs_picture(f"Pairs of {head}", said, seen, unit="seen"))
    rows = [
        [row["source_said"], row.get("head"), row["verdict"], "; ".join(map(str, row["reasons"]))] for row in content["coverages"].values()
    ]
    page.table("Frames that were compared with it", ("frames", "head", "covered", "why"), rows)


def _use(page: Page, content: Mapping[str, Any]) -> None:
    model = content["model"]
    heads: Sequence[str] = [head for head, row in content["heads"].items() if row["task"] == "energy_force" and not row.get("stale")]
    named = f", head={heads[0]!r}" if heads else ""
    page.code(
        f"from lamtrain import Calculator, load_model\n\nmodel = load_model({model!r})\nfound = model.predict(atoms{named})\natoms.calc = Calculator({model!r}{named})",
        language="Python",
    )
    page.code(f"lamtrain predict {model} 'structures/*' -o predicted.extxyz" + (f" --head {heads[0]}" if heads else ""), language="shell")
