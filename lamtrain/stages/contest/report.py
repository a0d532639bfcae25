"""What became of a submission -> tables for a screen, contest.csv, contest.json, a picture, and a page that needs no other file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lamdata.command import table

from ...checkpoint import to_json
from ...evaluation.figures import new_figure, save_figure
from ...files import replace_file
from .. import page
from .checks import REASONS

COLUMNS = {
    "row": "row",
    "formula": "formula",
    "atoms": "atoms",
    "energy_ev_per_atom": "eV/atom",
    "above_hull_mev_per_atom": "above hull, meV/atom",
    "largest_force_ev_per_angstrom": "largest force, eV/Å",
    "largest_virial_ev_per_atom": "largest virial, eV/atom",
    "volume_angstrom3_per_atom": "volume, Å³/atom",
    "status": "status",
    "reason": "reason",
    "note": "note",
}
ON_SCREEN = ("row", "formula", "above_hull_mev_per_atom", "largest_force_ev_per_angstrom", "status", "reason")
SHOWN = 60  # rows on a screen


def write_report(result: Mapping[str, Any], out: Path) -> None:
    """All files."""
    rows = result["structures"]
    text = io.StringIO()
    writer = csv.DictWriter(text, ("origin", *COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value is None else value for key, value in row.items()} for row in rows)
    replace_file(out / "contest.csv", text.getvalue().encode())
    draw(result, out / "contest.png")
    page.write_page(out / "contest.html", f"{result['submission']}: {result['score']} structures count", _parts(result, out))
    replace_file(out / "contest.json", to_json(dict(result)).encode())


def said(result: Mapping[str, Any]) -> list[str]:
    """What must be known beside the score."""
    lines = [f"{len(result['structures']):,} structures, measured by hull {result['hull']} ({result['hull_energies']})"]
    if not result["computed_again"]:
        lines.append("energies and forces are those that were handed in: nothing was computed again")
    if result["claim"] is not None and result["claim"] != result["score"]:
        lines.append(f"claims {result['claim']:,}, found {result['score']:,}")
    if off := sum(bool(row["note"]) for row in result["structures"]):
        lines.append(f"{off:,} structures were handed in with other energies or forces than they have")
    return lines


def _parts(result: Mapping[str, Any], out: Path) -> Iterator[str]:
    yield page.listing([result["model"], *said(result)])
    yield page.table(["status", "structures"], list(result["statuses"].items()))
    yield page.picture(out / "contest.png", "structures by what became of them")
    rows = [["" if row[key] is None else row[key] for key in COLUMNS] for row in result["structures"]]
    yield page.table(list(COLUMNS.values()), rows)


def print_report(result: Mapping[str, Any], out: Path) -> None:
    """On a screen."""
    rows = [[row[key] for key in ON_SCREEN] for row in result["structures"][:SHOWN]]
    table(result["submission"], [COLUMNS[key] for key in ON_SCREEN], rows)
    if len(result["structures"]) > SHOWN:
        print(f"{len(result['structures']) - SHOWN:,} more in {out / 'contest.csv'}")
    print("\n".join([f"{result['score']:,} count", *said(result)]))
    print(f"report: {out / 'contest.html'}")


def draw(result: Mapping[str, Any], path: Path) -> None:
    """How many there are of each status, and how far above the hull those lie that are measured."""
    figure, axes = new_figure(1, 2)
    statuses = result["statuses"]
    names = [name for name in REASONS if name in statuses]
    colours = ["tab:green" if name == "counts" else "tab:gray" for name in names]
    axes[0][0].barh(names, [statuses[name] for name in names], color=colours)
    axes[0][0].set(xlabel="structures")
    for status, colour in (("other", "tab:gray"), ("counts", "tab:green")):
        some = [row for row in result["structures"] if row["above_hull_mev_per_atom"] is not None]
        some = [row for row in some if (row["status"] == "counts") == (status == "counts")]
        x, y = [row["volume_angstrom3_per_atom"] for row in some], [row["above_hull_mev_per_atom"] for row in some]
        axes[0][1].scatter(x, y, s=14, color=colour, label=status, alpha=0.7)
    axes[0][1].axhline(1000 * result["rules"]["within"], color="0.5", linestyle=":", linewidth=1)
    axes[0][1].set(xlabel="volume, Å³/atom", ylabel="above the hull, meV/atom")
    axes[0][1].legend(frameon=False)
    save_figure(figure, path)
