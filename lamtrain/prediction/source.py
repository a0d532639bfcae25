"""Files of any format that is read, or a dataset of a store -> frames to ask a model about, and those that are none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lamdata import open_dataset, open_store, read_frames
from lamdata.errors import ConfigError, LamError
from lamdata.exporting.rows import rows_of
from lamdata.frame import Frame, Rejection
from lamdata.progress import Progress
from lamdata.reading import files_of, hashes_of
from lamdata.store import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What to ask a model about."""

    paths: Sequence[str]
    format: str = "auto"
    dataset: Dataset | None = None
    quiet: bool = False
    doing: str = "predicting"  # what the progress bar says

    def __iter__(self) -> Iterator[Frame | Rejection]:
        """Every frame in order, under a progress bar."""
        if self.dataset is not None:
            with Progress(self.doing, total=len(self.dataset), unit="frames", quiet=self.quiet) as progress:
                for row in rows_of(self.dataset):
                    yield replace(row.frame, split=row.split)
                    progress.advance()
            return
        with Progress(self.doing, total=len(self.paths), unit="inputs", quiet=self.quiet) as progress:
            done = 0
            for path in self.paths:
                for item in read_frames(path, format=self.format):
                    yield item
                    done += 1
                    progress.note = f"({done} frames)"
                    progress.advance(0)
                progress.advance()

    @property
    def said(self) -> str:
        """What it is, for people; no longer than a line."""
        return f"dataset {self.dataset.name} of {self.paths[0]}" if self.dataset is not None else ", ".join(self.paths)[:200]

    def hashes(self) -> dict[str, str]:
        """A sha256 for each file, or for the frames of the dataset."""
        if self.dataset is None:
            return {name: digest for path in self.paths for name, digest in hashes_of(path).items()}
        wanted = json.dumps([self.dataset.content_hash, self.dataset.filter.to_json()], sort_keys=True)
        return {f"dataset: {self.dataset.name}": hashlib.sha256(wanted.encode()).hexdigest()}

    def files(self) -> set[str]:
        """Files of this machine that are read."""
        return set() if self.dataset is not None else {file for path in self.paths for file in files_of(path)}


def open_source(
    paths: Sequence[str], *, dataset: str | None, split: str | None, format: str, quiet: bool, option: str = "--dataset"
) -> Source:
    """Files, or with `dataset` (given by an option of that name) the store that `paths` is. Raises ConfigError where it is not clear which."""
    if dataset is None:
        if split is not None:
            raise ConfigError("a split is of a dataset of a store", where="--split", hint=f"name it with {option}")
        for path in paths:
            if datasets := datasets_of(path):
                raise ConfigError("is a store", where=path, hint=f"name a dataset with {option}, one of: {', '.join(datasets)}")
        return Source(paths=paths, format=format, quiet=quiet)
    if len(paths) != 1:
        raise ConfigError(f"a dataset is of one store, and there are {len(paths)} inputs", where=option)
    if format != "auto":
        raise ConfigError("a store has no other format", where="--format", hint="leave it out")
    return Source(paths=paths, dataset=open_dataset(paths[0], dataset, split=split), quiet=quiet)


def datasets_of(path: str) -> list[str]:
    """The datasets of a folder that is a store; [] for anything else."""
    if not Path(path).is_dir():
        return []
    try:
        return list(open_store(path))
    except LamError:
        return []
