"""What is known of a stage on disk: what it began with, what it ended with, and the hashes of its results."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...cores import usable_threads
from ...files import replace_file
from .contents import Contents
from .identity import Identity
from .spec import Process, Stage

BEGUN, DONE = "begun.json", "done.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A stage that is done."""

    identity: Identity
    results: dict[str, str]  # name -> hash
    seconds: float


def read_done(folder: Path) -> Ended | None:
    """What a stage ended with, or None where it has not."""
    data = _read(folder / DONE)
    if data is None:
        return None
    return Ended(identity=Identity.from_json(data["identity"]), results=data["results"], seconds=data["seconds"])


def write_done(folder: Path, ended: Ended) -> None:
    """Say that a stage is done: the last file that it writes."""
    _write(folder / DONE, {"identity": ended.identity.to_json(), "results": ended.results, "seconds": ended.seconds})


def read_begun(folder: Path) -> str | None:
    """Digest of the identity that a stage began with, if it has."""
    data = _read(folder / BEGUN)
    return None if data is None else str(data["identity"])


def begin(folder: Path, identity: Identity, *, resumes: bool) -> None:
    """Make the folder of a stage ready: what it left is kept where it goes on from that, and is of the same identity."""
    (folder / DONE).unlink(missing_ok=True)
    if not resumes or read_begun(folder) != identity.digest:
        (folder / BEGUN).unlink(missing_ok=True)
        if folder.exists():
            shutil.rmtree(folder)
    (folder / "out").mkdir(parents=True, exist_ok=True)
    _write(folder / BEGUN, {"identity": identity.digest})


def _read(path: Path) -> dict[str, Any] | None:
    """A file of ours; None where it is not there, or is not whole."""
    try:
        data = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return data if isinstance(data, dict) else None


def _write(path: Path, data: dict[str, Any]) -> None:
    replace_file(path, (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())


def results_of(stage: Stage, contents: Contents) -> dict[str, str]:
    """Name -> hash of each result that is there."""
    there = {name: f"{stage.out}/{path}" for name, path in stage.how.leaves.items()}
    return {name: contents.of(path) for name, path in there.items() if (contents.base / path).exists()}


def threads_of(process: Process) -> int:
    """Threads of every stage: those that are said, or that the folder began with; bits of sums depend on them."""
    path = process.base / process.folder / "process.json"
    if process.threads is not None:
        return process.threads
    known = _read(path)
    if known is None:
        known = {"threads": usable_threads()}
        _write(path, known)
    return int(known["threads"])


@contextmanager
def alone(folder: Path, *, quiet: bool) -> Iterator[int]:
    """Wait until no other run, and no command that a killed one left, is at work in a folder; the descriptor is for commands to hold on to."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not quiet:
                print(f"note: another run is at work in {folder}: waiting for its end", file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)
