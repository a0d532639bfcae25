"""Files of a run: each holds its old content or its new content, never half of it."""

from __future__ import annotations

import hashlib
import io
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def replace_file(path: Path, data: bytes) -> None:
    """Write `data` in place of what `path` held, by one rename; what a killed process of this machine left of that is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    own = f".{path.name}.{platform.node()}."
    for name in os.listdir(path.parent):
        if name.startswith(own) and (pid := name.removeprefix(own)).isdigit() and not _runs(int(pid)):
            path.with_name(name).unlink(missing_ok=True)
    hidden = path.with_name(f"{own}{os.getpid()}")
    try:
        with open(hidden, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(hidden, path)
    finally:
        hidden.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # of another user; of no process
        pass
    return True


def sha256_of(path: str | Path) -> str:
    """Of the bytes of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_yaml(path: Path, values: Mapping[str, Any]) -> None:
    """The same with plain data as YAML, keys in their order."""
    from ruamel.yaml import YAML

    text = io.BytesIO()
    YAML().dump(dict(values), text)
    replace_file(path, text.getvalue())
