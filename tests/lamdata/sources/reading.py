"""What the readers' tests share: read text or a file by format, and compare with a library called bare."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lamdata.catalog import SourceSpec
from lamdata.frame import Frame, Rejection
from lamdata.sources import SourceFile, expand, guess_format, read_all, reader

DATA = Path(__file__).parent / "data"


def read(path: Path, format: str, **choices) -> list[Frame | Rejection]:
    """Every item of one file."""
    spec = SourceSpec(path=str(path), format=format, **choices)
    return [item for file in expand(spec, base=path.parent) for item in read_all(file, spec)]


def frames(path: Path, format: str, **choices) -> list[Frame]:
    """The frames of one file."""
    return [item for item in read(path, format, **choices) if isinstance(item, Frame)]


def reasons(items: list[Frame | Rejection]) -> list[str]:
    """Why the rejected items were rejected."""
    return [item.reason for item in items if isinstance(item, Rejection)]


def stated(path: Path) -> tuple[str, dict]:
    """The format that a file is taken for, and the theory that it states."""
    file = SourceFile(name=path.name, path=str(path))
    return guess_format(file), reader(guess_format(file)).theory(file)


def same_as_dpdata(ours: list[Frame], system, *, energy: float = 1e-8, forces: float = 1e-8, virial: float = 1e-8) -> None:
    """Compare in eV and Å; positions up to lattice vectors."""
    assert len(ours) == len(system)
    for i, frame in enumerate(ours):
        assert abs(frame.energy - system["energies"][i]) < energy
        assert abs(frame.forces - system["forces"][i]).max() < forces
        moved = frame.positions - system["coords"][i]
        if frame.cell is not None:
            assert abs(frame.cell - system["cells"][i]).max() < 1e-3
            moved -= np.round(moved @ np.linalg.inv(frame.cell)) @ frame.cell
        assert abs(moved).max() < 1e-4
        if "virials" in system.data and frame.virial is not None:
            assert abs(frame.virial - system["virials"][i]).max() < virial
