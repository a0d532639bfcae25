"""What was found -> a page of Markdown to read, with its pictures, and the lines on the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lamdata.command import table

WORDS = {"covered": "covered", "partly": "partly covered", "not": "not covered"}


def page(result: Mapping[str, Any], *, pictures: Sequence[str]) -> str:
    """The report."""
    lines = [
        f"# {result['source_said']}: {WORDS[result['verdict']]}",
        "",
        f"Model `{result['model']}`, head `{result['head']}`{_why(result)}. {_counts(result)}",
        "",
        *(f"- {reason}" for reason in result["reasons"]),
        "",
        "## Gates",
        "",
        *_table(["gate", "", ""], [[name, row["state"], row["said"]] for name, row in result["gates"].items()]),
        "",
        "## Scores",
        "",
        "A score above 1 is that of one training atom, or frame, in a hundred; see `lamtrain/stages/cover/sketch.py` for the formula.",
        "",
        *_table(["element", "atoms", "beyond", "share"], _elements(result)),
        "",
        *(f"![{name}]({name})" for name in pictures),
        "",
        "## Frames that decide",
        "",
        *_table(list(FRAME_TITLES), _frames(result)),
    ]
    if result["errors"]["energy"] or result["errors"]["forces"]:
        lines += ["", "## Errors", "", *_table(["", "", ""], _errors(result))]
    if result["overlap"]:
        lines += ["", "## Copies", "", *(f"- {line}" for line in result["overlap"]["said"])]
    return "\n".join(lines) + "\n"


def _why(result: Mapping[str, Any]) -> str:
    """Of a head that nobody named."""
    return "" if result["head_why"] is None else f" ({result['head_why']})"


FRAME_TITLES = {
    "frame": "origin",
    "score": "score",
    "atoms beyond": "atoms_beyond",
    "of": "atoms",
    "farthest atom": "worst_atom",
    "unseen pairs": "unseen_pairs",
    "force error meV/Å": "force_rmse_mev_per_angstrom",
}


def _counts(result: Mapping[str, Any]) -> str:
    counts = result["frames"]
    parts = [f"{counts['distinct']:,} frames"]
    parts += [f"{counts['copies']:,} copies of them left out"] if counts["copies"] else []
    parts += [f"{counts['refused']:,} refused"] if counts["refused"] else []
    sketch = result["sketch"]
    return f"{', '.join(parts)}; {result['atoms']['scored']:,} atoms scored, by {sketch['frames']:,} of {sketch['of']:,} training frames."


def _elements(result: Mapping[str, Any]) -> list[list[Any]]:
    return [[symbol, row["atoms"], row["beyond"], f"{row['beyond'] / row['atoms']:.1%}"] for symbol, row in result["by_element"].items()]


def _frames(result: Mapping[str, Any]) -> list[list[Any]]:
    return [[row[key] for key in FRAME_TITLES.values()] for row in result["deciding"]]


def _errors(result: Mapping[str, Any]) -> list[list[Any]]:
    rows = []
    for name, values in result["errors"].items():
        rows += [[name, key.replace("_", " "), value] for key, value in values.items() if not isinstance(value, dict)]
    return rows


def _table(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """A table of Markdown."""
    lines = [list(titles), ["---"] * len(titles), *([_cell(value) for value in row] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    text = f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def print_report(result: Mapping[str, Any]) -> None:
    """The verdict, its reasons, gates, elements, and the frames that decide."""
    print(f"{result['source_said']}: {WORDS[result['verdict']]} by head {result['head']}{_why(result)} of {result['model']}")
    print("\n".join(f"  {reason}" for reason in result["reasons"]))
    table("gates", ["gate", "state", ""], [[name, row["state"], row["said"]] for name, row in result["gates"].items()])
    if result["by_element"]:
        table("atoms beyond the 99% quantile of training", ["element", "atoms", "beyond", "share"], _elements(result))
        table("frames that decide", list(FRAME_TITLES), _frames(result)[:5])
    for line in (result["overlap"] or {}).get("said", ()):
        print(f"  {line}")
    print(f"wrote {result['written']}")
