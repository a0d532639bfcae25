"""metrics.csv: one row for each look at a run. A resumed run drops what it will do again, so the file ends the same to the last bit."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from .files import replace_file

ENERGY_FORCE = ("energy_rmse_mev_per_atom", "force_rmse_mev_per_angstrom")
DENOISE = ("displacement_rmse_angstrom", "type_cross_entropy", "type_accuracy")


def columns(heads: dict[str, str]) -> list[str]:
    """Column names: step, learning rate, loss, then `HEAD.train.ERROR` and `HEAD.validation.ERROR`; units are in the names."""
    out = ["step", "learning_rate", "loss"]
    for head, task in heads.items():
        for side in ("train", "validation"):
            out += [f"{head}.{side}.{name}" for name in (ENERGY_FORCE if task == "energy_force" else DENOISE)]
    return out


class MetricsFile:
    """Appends rows to a CSV file."""

    def __init__(self, path: Path, heads: dict[str, str], *, after: int):
        """Open `path`, keeping whole rows up to step `after`."""
        self.path, self.columns = path, columns(heads)
        rows = [row for row in read_metrics(path) if int(row["step"]) <= after] if path.exists() and after else []
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        replace_file(path, text.getvalue().encode())

    def append(self, row: dict[str, object]) -> None:
        """Add a row; values absent stay empty."""
        text = io.StringIO()
        values = {name: repr(value) if isinstance(value, float) else value for name, value in row.items()}
        csv.DictWriter(text, self.columns, lineterminator="\n").writerow(values)
        with open(self.path, "a") as file:
            file.write(text.getvalue())


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Rows of a metrics file; a last row that was cut off is left out."""
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    return [row for row in csv.DictReader(io.StringIO(whole)) if row["step"] and None not in row.values()]


def flatten(table: dict[str, dict[str, float]], side: str) -> dict[str, float]:
    """Errors of each head as columns of one side."""
    known = {*ENERGY_FORCE, *DENOISE}
    return {f"{head}.{side}.{name}": value for head, errors in table.items() for name, value in errors.items() if name in known}
