"""What a distillation found -> tables for a screen, and a page with its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lamdata.command import table

from ...files import replace_file

DEFINITION = {
    "difference": "the largest over its atoms of |F_teacher - F_student|",
    "std": "the largest over its atoms of the population standard deviation of the two forces, |F_teacher - F_student| / 2",
}
ERRORS = {
    "energy_rmse_mev_per_atom": "energy RMSE, meV/atom",
    "force_rmse_mev_per_angstrom": "force RMSE, meV/Å",
    "virial_rmse_mev_per_atom": "virial RMSE, meV/atom",
}
NAMES = {"teacher": "teacher", "student": "student", "alone": "student, trained on the DFT data alone"}
Table = tuple[str, list[str], list[list[Any]]]  # title, columns, rows


def tables_of(result: Mapping[str, Any]) -> list[Table]:
    """In the order in which they are read."""
    found = [_checks(result)]
    if result["errors"]:
        found.append(_errors(result))
    return [*found, _speed(result), _rounds(result)]


def _checks(result: Mapping[str, Any]) -> Table:
    words = {True: "pass", False: "fail"}
    rows = [
        [
            check["name"],
            check["what"],
            check["value"],
            check["threshold"],
            words[check["passed"]] if check["value"] is not None else "fail: not measured",
            check["note"],
        ]
        for check in result["checks"]
    ]
    return "acceptance", ["check", "what", "found", "threshold", "verdict", "note"], rows


def _errors(result: Mapping[str, Any]) -> Table:
    keys = [key for key in ERRORS if any(key in row for row in result["errors"].values())]
    rows = [[NAMES[name], *(row.get(key) for key in keys)] for name, row in result["errors"].items()]
    return f"errors against DFT, on test frames of {result['test']}", ["model", *(ERRORS[key] for key in keys)], rows


def _speed(result: Mapping[str, Any]) -> Table:
    speed = result["suite"]["speed"]
    rows = [
        [name, row["parameters"], row["step_ms"], row["bytes_per_atom"] and row["bytes_per_atom"] / 1024, row["largest_atoms"]]
        for name, row in speed["models"].items()
    ]
    ratios = [
        f"{name} {middle:.3g} times faster ({low:.3g} to {high:.3g} in {speed['rounds']} rounds, in turn)"
        for name, (middle, low, high) in speed["times_faster"].items()
    ]
    faster = "; ".join(ratios)
    columns = ["model", "parameters", "step, ms", "memory, KiB/atom", f"atoms in {speed['memory_gib']:g} GiB"]
    return f"speed with {speed['atoms']} atoms, one thread: {faster}", columns, rows


def _rounds(result: Mapping[str, Any]) -> Table:
    columns = [
        "round",
        "driver",
        "trajectories",
        "blown up",
        "frames",
        "accurate",
        "candidates",
        "failed",
        "lost",
        "low",
        "force RMSE, meV/Å",
        "added",
        "held out",
    ]
    rows = [
        [row["round"], row["driver"], len(row["trajectories"]), row["blown_up"], row["frames"]]
        + [row.get(key) for key in ("accurate", "candidates", "failed", "lost", "low", "force_rmse_mev_per_angstrom", "kept", "held_out")]
        for row in result["rounds"]
    ]
    return "rounds (of the student before the training of the round; force RMSE is against the teacher)", columns, rows


def said(result: Mapping[str, Any]) -> list[str]:
    """The verdict, and what the numbers are of."""
    keep, labelled = result["config"]["keep"], result["labelled"]
    trained = f"{result['trainings']} trainings, {result['steps']:,} steps"
    frames = (
        f"{labelled['train']:,} frames labelled by the teacher to train on, {labelled['validation']:,} of other trajectories to choose by"
    )
    blown = sum(row["blown_up"] for row in result["rounds"])
    rule = f"{keep['accurate']:.0%} of the frames below {keep['low']:g} eV/Å"
    if keep["adaptive"]:
        adaptive = keep["adaptive"]
        rule = f"a lower threshold that moves by less than {adaptive['tolerance']:g} eV/Å over {adaptive['checks']} rounds, none blown up"
    return [
        f"verdict: {result['verdict']}; {'accepted' if result['accepted'] else 'not accepted'}",
        f"{trained}; {frames}; {blown} of {sum(len(row['trajectories']) for row in result['rounds'])} trajectories blew up",
        *([f"the student is not compressed: {why}"] if (why := result["suite"]["speed"]["not_compressed"]) else []),
        f"the deviation of a frame is {DEFINITION[keep['deviation']]}; converged means {rule}",
    ]


def print_report(result: Mapping[str, Any], out: Path) -> None:
    """On a screen."""
    print("\n".join(said(result)))
    for title, columns, rows in tables_of(result):
        table(title, columns, rows)
    print(f"student: {out / 'student.pt'}\nreport: {out / 'distil.md'}")


def write_page(result: Mapping[str, Any], out: Path) -> None:
    """`distil.md`: the same with the pictures."""
    lines = [f"# {result['distil']}: {Path(result['teacher']).name} distilled", "", *(f"- {line}" for line in said(result))]
    for title, columns, rows in tables_of(result):
        lines += ["", f"## {title[0].upper()}{title[1:]}", "", _row(columns), _row(["---"] * len(columns)), *map(_row, rows)]
    pictures = {"rounds": "rounds.png", "suite": "suite.png"} | {
        f"{NAMES[name]}, against DFT": f"tested/{name}/parity.png" for name in result["errors"]
    }
    lines += ["", *(f"![{words}]({file})" for words, file in pictures.items())]
    replace_file(out / "distil.md", ("\n".join(lines).rstrip() + "\n").encode())


def _row(cells: Sequence[Any]) -> str:
    words = ("-" if x is None else f"{x:.4g}" if isinstance(x, float) else f"{x:,}" if isinstance(x, int) else str(x) for x in cells)
    return f"| {' | '.join(words)} |"
