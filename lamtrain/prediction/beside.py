"""A file and what stands beside it, written under other names and put in place together, the file itself last."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import IO


class Beside:
    """Files that share the stem of `target`. As a context manager, it removes all that was not put in place."""

    def __init__(self, target: Path):
        self.target = target
        self._open: dict[Path, IO[str]] = {}

    def __enter__(self) -> Beside:
        return self

    def __exit__(self, *_: object) -> None:
        for path, file in self._open.items():
            with suppress(OSError):  # of a full disk, which has been said
                file.close()
            _remove(_hidden(path))

    def path(self, suffix: str = "") -> Path:
        """Where a file will stand: the target for "", else its stem and the suffix."""
        return self.target.with_name(f"{self.target.stem}{suffix}") if suffix else self.target

    def text(self, suffix: str = "") -> IO[str]:
        """A file to write to; the same for the same suffix."""
        path = self.path(suffix)
        if path not in self._open:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open[path] = open(_hidden(path), "w", encoding="utf-8")  # noqa: SIM115
        return self._open[path]

    def place(self, suffix: str) -> Path:
        """Where to write a file of bytes."""
        self.text(suffix).close()
        return _hidden(self.path(suffix))

    def folder(self) -> Path:
        """Where to write the target, as a folder that is not there yet."""
        hidden = self.place("")
        hidden.unlink()
        return hidden

    def publish(self, *, all_suffixes: tuple[str, ...]) -> list[Path]:
        """Put the files in place, the target last; those of an earlier run that this one has not written are removed."""
        for file in self._open.values():
            if not file.closed:
                file.flush()
                os.fsync(file.fileno())
                file.close()
        placed = sorted(self._open, key=lambda path: path == self.target)
        for suffix in ("", *all_suffixes):
            if (path := self.path(suffix)) not in self._open:
                _remove(path)
        for path in placed:
            aside = path.with_name(f".{path.name}.old")
            if path.is_dir():  # which no rename replaces; a kill between the two leaves the old one aside and the new one beside it
                _remove(aside)
                path.rename(aside)
            os.replace(_hidden(path), path)
            _remove(aside)
        self._open.clear()
        return placed


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")
