"""Submission: the description beside structures that are handed in, and these structures, read as data of others."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from lamdata import read_frames
from lamdata.errors import DataError
from lamdata.fields import Name
from lamdata.frame import Frame, Rejection
from lamdata.located import Spec

from ..submitted import check_inside, file_inside, read_submission

MOST_STRUCTURES = 100_000
MOST_BYTES = 1 << 30


def _check_file(name: str) -> str:
    if not check_inside(name).endswith((".extxyz", ".xyz")):
        raise ValueError("structures are handed in as extended XYZ (.extxyz)")
    return name


class Handed(Spec):
    """Structures that are handed in. The path is inside the folder."""

    submission: Name
    """Its name."""
    model: str
    """What they were relaxed by, in a line."""
    authors: list[str] = []
    """Who."""
    structures: Annotated[str, AfterValidator(_check_file)] = "structures.extxyz"
    """File with the structures, their energies, forces and stresses."""
    checkpoint: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """sha256 of the model's file, where there is one."""
    head: str | None = None
    """Its head that was asked, where it has several."""
    claim: int | None = Field(default=None, ge=0)
    """How many are said to count. It changes nothing; where it is not what is found, that is said."""

    later = ("authors", "claim", "head", "checkpoint")


def read_handed(folder: Path) -> tuple[Handed, list[Frame | Rejection]]:
    """Description and structures; raises DataError for a file that is missing, leads out, or is too large."""
    handed = read_submission(folder, Handed)
    path = file_inside(folder, handed.structures, most_bytes=MOST_BYTES)
    found = list(islice(read_frames(path, format="extxyz"), MOST_STRUCTURES + 1))
    if len(found) > MOST_STRUCTURES:
        raise DataError(f"more than {MOST_STRUCTURES:,} structures", where=str(path), hint="hand them in as several submissions")
    return handed, found
