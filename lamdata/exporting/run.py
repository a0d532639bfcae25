"""Export: a dataset of a store -> a file or a folder, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError, DataError
from ..located import did_you_mean
from ..places.local import explained
from ..progress import track
from ..store import open_dataset
from .ase_files import write_ase_db, write_ase_lmdb
from .deepmd_lmdb import write_deepmd_lmdb
from .deepmd_npy import write_mixed, write_npy
from .extxyz import write_extxyz
from .nvalchemi import write_nvalchemi
from .parquet import write_parquet
from .rows import About, Row, about, rows_of

FORMATS: dict[str, Callable[[Iterable[Row], Path, About], tuple[str, ...] | None]] = {  # which returns what it leaves out
    "extxyz": write_extxyz,
    "ase-db": write_ase_db,
    "ase-lmdb": write_ase_lmdb,
    "deepmd/npy": write_npy,
    "deepmd/npy/mixed": write_mixed,
    "deepmd/lmdb": write_deepmd_lmdb,
    "nvalchemi/zarr": write_nvalchemi,
    "parquet": write_parquet,
}
ENDINGS = {".extxyz": "extxyz", ".xyz": "extxyz", ".db": "ase-db", ".aselmdb": "ase-lmdb", ".parquet": "parquet"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What an export wrote."""

    dataset: str
    format: str
    path: str
    frames: int
    atoms: int
    left_out: tuple[str, ...] = ()  # "label: why" of what the format has no place for, and nobody gets elsewhere

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def export(
    store: str,
    dataset: str,
    path: str | Path,
    *,
    format: str | None = None,
    split: str | None = None,
    elements: Sequence[int | str] | None = None,
    natoms: tuple[int, int] | None = None,
    max_force: float | None = None,
    where: str | None = None,
    quiet: bool = False,
) -> ExportReport:
    """Write the frames of a dataset, or of a named view, that pass a filter to `path`, in a format that its ending names where none is given.

    The path must be free; what a killed export left beside it is written anew. Memory holds a thousand frames.
    """
    chosen, target = _chosen(format, str(path)), Path(path)
    if target.exists():
        raise ConfigError("is there already", where=str(target), hint="choose another path, or remove it")
    view = open_dataset(store, dataset, split=split, elements=elements, natoms=natoms, max_force=max_force, where=where)
    if not len(view):
        raise DataError(f"no frame of {dataset} passes the filter", where=store)
    aside = target.with_name(f".{target.name}.part")
    rows = track(rows_of(view), f"{dataset}: {chosen}", total=len(view), unit="frames", quiet=quiet)
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove(aside)
        try:
            left_out = FORMATS[chosen](rows, aside, about(view)) or ()
        except BaseException:
            _remove(aside)
            raise
        aside.rename(target)
    return ExportReport(dataset=dataset, format=chosen, path=str(target), frames=len(view), atoms=int(view.natoms.sum()), left_out=left_out)


def _chosen(format: str | None, path: str) -> str:
    if "://" in path:
        raise ConfigError("an export goes to a folder of this machine", where=path)
    if format is None:
        format = ENDINGS.get(Path(path).suffix)
        if format is None:
            raise ConfigError("its ending names no format", where=path, hint=f"give --format, one of: {', '.join(FORMATS)}")
    if format not in FORMATS:
        raise ConfigError(f"unknown format {format!r}", hint=did_you_mean(format, list(FORMATS)))
    return format


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
