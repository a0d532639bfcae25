"""The summary of a prediction -> what is shown of it."""

from __future__ import annotations

from typing import Any

from lamdata.command import table

from .scores import COLUMNS, NAMES

TITLES = {NAMES["energy"]: "energy RMSE meV/atom", NAMES["force"]: "force RMSE meV/Å", NAMES["virial"]: "virial RMSE meV/atom"}


def print_summary(summary: dict[str, Any]) -> None:
    """How many frames, and where they have labels, errors of all, of elements and groups, and the worst."""
    print(f"wrote {summary['written']}: {summary['frames']:,} frames, {summary['atoms']:,} atoms, head {summary['head']}")
    if refit := summary.get("refit"):
        _print_refit(refit)
    if not summary["scored"]:
        print("no labels to compare with")
        return
    groups = summary["by_group"]
    rows = [["all", summary["scored"], summary["errors"]]]
    rows += [[f"element {symbol}", None, errors] for symbol, errors in summary["by_element"].items()]
    if groups["groups"] > 1:
        rows += [[f"group {row['group']}", row["frames"], row] for row in groups["worst"]]
    title = "errors" if groups["groups"] <= len(groups["worst"]) else f"errors; of {groups['groups']} groups the worst"
    table(title, ["", "frames", *TITLES.values()], [[name, count, *(errors.get(key) for key in TITLES)] for name, count, errors in rows])
    for quantity, frames in summary["worst"].items():
        if frames:
            rows = [[row["origin"], row["atoms"], *(row.get(column) for column in COLUMNS[:3])] for row in frames]
            columns = ["frame", "atoms", "energy error meV/atom", "force RMSE meV/Å", "largest meV/Å"]
            table(f"worst by {quantity}", columns, rows)


def _print_refit(refit: dict[str, Any]) -> None:
    shifts = ", ".join(f"{symbol} {value:+.6f}" for symbol, value in refit["shift_ev"].items()) or "none"
    left = f"leaves {refit['residual_rmse_mev_per_atom']:.3g} meV/atom"
    print(f"references shifted by {shifts} eV, fitted to {refit['frames']} frames (rank {refit['rank']}), {left}")
    for why, words in (("collinear", "only in fixed proportions there"), ("absent", "not there")):
        if refit[why]:
            print(f"no shift of their own for {', '.join(refit[why])}: {words}")


def print_labelled(summary: dict[str, Any]) -> None:
    """What was stored, and what was refused."""
    train = summary["frames"] - summary["validation_frames"] - summary["test_frames"]
    sides = f"train {train:,}, validation {summary['validation_frames']:,}, test {summary['test_frames']:,}"
    state = "" if summary["new"] else ", already there"
    print(f"{summary['dataset']}: {summary['frames']:,} frames ({sides}) with labels of model {summary['theory']['model']}{state}")
    if refused := summary["rejected"]:
        print(
            f"  {sum(refused.values()):,} refused ({', '.join(f'{n} {reason}' for reason, n in refused.items())}); see {summary['ledger']}"
        )
    if summary["atoms_with_neighbours_cut"]:
        print(f"  {summary['atoms_with_neighbours_cut']:,} atoms have more neighbours than the model keeps, and lose the farthest")
