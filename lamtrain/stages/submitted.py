"""A folder that somebody handed in -> its description, and the files that it names: inside of it, of a bounded size, never more than data."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import TypeVar

from lamdata.errors import ConfigError, DataError
from lamdata.located import Spec, read_yaml, validate

DESCRIPTION = "submission.yaml"
MOST_FILES = 100_000  # of a store
PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")  # how gz, bz2 and xz begin, which may hold a thousand times their size
Described = TypeVar("Described", bound=Spec)


def read_submission(folder: Path, model: type[Described]) -> Described:
    """The description of a folder; raises ConfigError where there is none, with the place in the file where it is wrong."""
    path = folder / DESCRIPTION
    if path.is_symlink() or not path.is_file():
        raise ConfigError(f"no {DESCRIPTION} here", where=str(folder), hint="docs/leaderboard.md says what a submission holds")
    data, places = read_yaml(path)
    return validate(data, model, where=str(path), places=places)


def check_inside(name: str) -> str:
    """Refuse, as a value of YAML, a path that is absolute, climbs out or is hidden."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or "\\" in name or "\0" in name or any(part.startswith(".") for part in parts):
        raise ValueError("expected a path below the folder of the submission, without `.` and `..`")
    return name


def file_inside(folder: Path, name: str, *, most_bytes: int) -> Path:
    """A file, or a folder that is a store, of a submission. Raises DataError where it is missing, too large, or reaches out by a link."""
    path, where = folder / name, f"{folder}/{name}"
    if not path.exists():
        raise DataError("no such file", where=where)
    inner = path.relative_to(folder).parts
    if any(folder.joinpath(*inner[: n + 1]).is_symlink() for n in range(len(inner))):
        raise DataError("is a link, which may lead out of the submission", where=where, hint="put the file itself there")
    files = [path] if path.is_file() else list(_files_below(path, where))
    size = sum(file.stat().st_size for file in files)
    if size > most_bytes:
        raise DataError(f"{size:,} bytes; what was asked for takes at most {most_bytes:,}", where=where)
    if path.is_file():
        with open(path, "rb") as file:
            if file.read(8).startswith(PACKED):
                raise DataError("is compressed", where=where, hint="hand it in as plain text")
    return path


def _files_below(path: Path, where: str) -> list[Path]:
    """Files of a folder; raises DataError for links, and for more than MOST_FILES."""
    found: list[Path] = []
    for place, folders, files in os.walk(path):
        for name in (*folders, *files):
            one = Path(place, name)
            if one.is_symlink() or not (one.is_file() or one.is_dir()):
                raise DataError(f"{one.relative_to(path)} is no plain file", where=where, hint="put the file itself there")
        found += [Path(place, name) for name in files]
        if len(found) > MOST_FILES:
            raise DataError(f"more than {MOST_FILES:,} files", where=where)
    return found
