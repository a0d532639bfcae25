"""A file in any format that is read -> frames, one at a time, without a card and without a store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .catalog import CheckSpec, SourceSpec
from .checks import BEFORE_DISTANCES
from .frame import Frame, Rejection
from .frames import Parsed
from .sources import SourceFile, expand, guess_format, read_all, read_theory, reader
from .sources.bytes.group_files import hash_with_group

ALWAYS = ("nonfinite", "elements", "flat_cell")  # checks without which nothing can be done with a structure


def read_frames(path: str | Path, *, format: str = "auto", members: str | None = None) -> Iterator[Frame | Rejection]:
    """Read the frames of a file, folder, glob, archive or URL one by one, with their labels, groups and origins ("file#index").

    `format` is the name of a reader, "auto" the one that recognises each file; `members` a glob of files inside a folder or archive.
    Units are what the file states, else those of the format. What is no structure comes as a `Rejection` that says why.

    >>> for item in read_frames("OUTCAR"):  # doctest: +SKIP
    ...     print(item.origin)
    """
    spec = SourceSpec(path=str(path), format=format, members=members)
    files = expand(spec, base=Path.cwd())
    used = reader(format) if format != "auto" else None
    for file in files:
        for item in read_all(file, spec, use=used or reader(guess_format(file))):
            yield item if isinstance(item, Rejection) else _refused(item) or item


def files_of(path: str | Path) -> set[str]:
    """The files on this machine that `read_frames` would open, by their real paths."""
    return {os.path.realpath(file.path) for file in _found(path)}


def hashes_of(path: str | Path) -> dict[str, str]:
    """Name of each file that `read_frames` would open -> sha256 of its bytes."""
    return {file.name: hash_with_group(file, "sha256") for file in _found(path)}


def theories_of(path: str | Path, *, format: str = "auto") -> list[dict[str, Any]]:
    """What each file that `read_frames` would open states of how its labels were computed, each statement once; [] where all are silent."""
    found: list[dict[str, Any]] = []
    for file in _found(path):
        stated = read_theory(file, use=reader(guess_format(file) if format == "auto" else format))
        if stated and stated not in found:
            found.append(stated)
    return found


def _found(path: str | Path) -> list[SourceFile]:
    return expand(SourceSpec(path=str(path)), base=Path.cwd())


def _refused(frame: Frame) -> Rejection | None:
    """Why nothing can be measured in a structure."""
    parsed = Parsed.from_list([frame])
    for reason in ALWAYS:
        verdict = BEFORE_DISTANCES[reason](parsed, CheckSpec())
        if verdict is not None and np.asarray(verdict[0])[0]:
            value = verdict[1][0]
            return Rejection(origin=frame.origin, reason=reason, value=value.item() if isinstance(value, np.generic) else value)
    return None


def text_is_compiled() -> bool:
    """Whether texts are read by the compiled scanner; without it Python does the same, several times slower."""
    from .sources.bytes import scan

    return scan.compiled is not None
