"""What a transfer found -> tables for a screen, and a page with its pictures."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from lamdata.command import table

from ...files import replace_file
from ...properties.report import table_of_properties
from .arms import ARMS
from .curves import taken

ENERGY, FORCE = "energy_rmse_mev_per_atom", "force_rmse_mev_per_angstrom"
Table = tuple[str, list[str], list[list[Any]]]  # title, columns, rows


def tables_of(result: Mapping[str, Any]) -> list[Table]:
    """In the order in which they are read."""
    found = [_zero_shot(result)]
    for name, target in result["datasets"].items():
        if target["curves"]:
            found += _curves(name, target)
        if target["properties"]:
            titles, rows = table_of_properties(target["properties"])
            found.append((f"{name}: one crystal by each model", ["model", *titles[1:]], rows))
    return found


def _zero_shot(result: Mapping[str, Any]) -> Table:
    columns = ["dataset", "head", "references fitted to", "energy RMSE meV/atom", "guess", "force RMSE meV/Å", "guess", "normalised"]
    rows = []
    for name, target in result["datasets"].items():
        for which, words in (("held_in", "training frames"), ("as_lambench", "the test frames, as LAMBench")):
            one = target["zero_shot"][which]
            cells = [value for key in (ENERGY, FORCE) for value in (one["errors"].get(key), one["guess"].get(key))]
            rows.append([name, target["head"], words, *cells, one["normalised"]])
    for which, words in (("held_in", "training frames"), ("as_lambench", "the test frames, as LAMBench")):
        rows.append(["all", None, words, None, None, None, None, result["normalised"][which]])
    return "the model as it is, on test frames (guess: the composition alone; normalised: 1 is the guess, 0 no error)", columns, rows


def _curves(name: str, target: Mapping[str, Any]) -> Iterator[Table]:
    """A table for forces and one for energies."""
    rows, guess = target["curves"], target["zero_shot"]["held_in"]["guess"]
    steps = rows[0]["runs"][0]["steps"]
    columns = ["frames", "seeds", *(f"{arm}, {when}" for when in (f"{steps:,} steps", "longer") for arm in ARMS)]
    columns += [f"{arm}: converged" for arm in ARMS]
    for key, quantity in ((FORCE, "force RMSE, meV/Å"), (ENERGY, "energy RMSE, meV/atom")):
        lines = []
        for size in sorted({row["frames"] for row in rows}):
            line: list[Any] = [size, len({row["seed"] for row in rows if row["frames"] == size})]
            for when, arm in product(("equal", "converged"), ARMS):
                line.append(said([run["errors"][key] for run in taken(rows, arm=arm, when=when)[size] if key in run["errors"]]))
            lines.append(line + [_ladders([row for row in rows if (row["arm"], row["frames"]) == (arm, size)]) for arm in ARMS])
        if key in guess:
            yield f"{name}: {quantity}, mean (lowest–highest) of the seeds; composition only: {guess[key]:.4g}", columns, lines


def _ladders(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many of the seeds converged, and with how many steps the runs were that were taken."""
    steps = sorted({row["runs"][row["chosen"]]["steps"] for row in rows})
    return (
        f"{sum(row['converged'] for row in rows)} of {len(rows)}, {'–'.join(f'{x:,}' for x in dict.fromkeys((steps[0], steps[-1])))} steps"
    )


def said(values: Sequence[float]) -> str:
    """Mean and range."""
    if not values:
        return "-"
    mean = statistics.fmean(values)
    form = ".0f" if mean >= 100 else ".3g"
    return f"{mean:{form}} ({min(values):{form}}–{max(values):{form}})"


def print_report(result: Mapping[str, Any], out: Path) -> None:
    """On a screen."""
    for name, target in result["datasets"].items():
        print(f"{name}: head {target['head']}: {target['why']}")
    for title, columns, rows in tables_of(result):
        table(title, columns, rows)
    print(f"report: {out / 'transfer.md'}")


def write_page(result: Mapping[str, Any], out: Path) -> None:
    """`transfer.md`: the same with the pictures."""
    lines = [f"# {Path(result['model']).name} taken to {', '.join(result['datasets'])}", ""]
    for name, target in result["datasets"].items():
        about = target["about"]
        fitted = f"references fitted to {about['frames_fitted']:,} training frames, measured on {about['frames_measured']:,} test frames"
        lines.append(f"- {name} ({' '.join(about['elements'])}): head {target['head']}: {target['why']}; {fitted}")
        lines += [f"- {name}: {note}" for note in target["notes"]]
    for title, columns, rows in tables_of(result):
        lines += ["", f"## {title[0].upper()}{title[1:]}", "", _row(columns), _row(["---"] * len(columns)), *map(_row, rows)]
    for name, target in result["datasets"].items():
        pictures = [("curves.png", target["curves"]), ("properties.png", target["properties"])]
        lines += ["", *(f"![{name}: {file}]({name}/{file})" for file, there in pictures if there)]
    text = "\n".join(lines).rstrip() + "\n"
    replace_file(out / "transfer.md", text.encode())


def _row(cells: Sequence[Any]) -> str:
    words = ("-" if x is None else f"{x:.4g}" if isinstance(x, float) else f"{x:,}" if isinstance(x, int) else str(x) for x in cells)
    return f"| {' | '.join(words)} |"
