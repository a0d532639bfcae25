"""MANIFEST.tsv -> rows: a file or folder, and the values that somebody else read from it. Any column but `path` may be missing."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row; None where the manifest says nothing."""

    path: str  # relative to the manifest
    what: str = ""
    natoms: int | None = None
    frames: int | None = None
    energy: float | None = None  # eV, of the first frame
    forces: bool | None = None
    virial: bool | None = None
    checked: str = ""  # what another library said of it


def read_manifest(path: Path) -> list[Row]:
    """Read the rows; one without a path is left out."""
    with open(path, encoding="utf-8", errors="replace", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    return [_row(row) for row in rows if (row.get("path") or "").strip()]


def _row(row: dict[str, str | None]) -> Row:
    def text(name: str) -> str:
        return (row.get(name) or "").strip()

    return Row(
        path=text("path"),
        what=text("what"),
        natoms=_number(text("natoms"), int),
        frames=_number(text("frames"), int),
        energy=_number(text("energy_first_eV"), float),
        forces=_flag(text("forces")),
        virial=_flag(text("virial_or_stress")),
        checked=text("reader_checked_here"),
    )


def _number(text: str, kind: type) -> int | float | None:
    try:
        return kind(float(text)) if text else None
    except (ValueError, OverflowError):
        return None


def _flag(text: str) -> bool | None:
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(text.lower())
