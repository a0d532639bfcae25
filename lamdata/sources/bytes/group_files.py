"""A Zarr group as files: its root `zarr.json`, which stands for all of it among sources, what this says, and one hash of all."""

from __future__ import annotations

import io
import json
import os
import posixpath
from collections.abc import Sequence
from typing import Any

from lamdata.errors import SourceError

from .digests import Kind, digest_of
from .source_file import SourceFile

ROOT = "zarr.json"
MAX_DOCUMENT = 64 << 20  # bytes of a `zarr.json`


def without_insides(names: Sequence[str]) -> list[str]:
    """Paths without those that lie in a Zarr group, but for its root, which stands for it."""
    groups = {posixpath.dirname(name) for name in map(_slashes, names) if posixpath.basename(name) == ROOT}
    outer = {group for group in groups if not any(above in groups for above in _above(group))}
    return [
        name
        for name in names
        if (path := _slashes(name)) and all(posixpath.join(above, ROOT) == path for above in _above(path) if above in outer)
    ]


def _slashes(path: str) -> str:
    return path.replace(os.sep, "/")


def _above(path: str) -> list[str]:
    """The folders that a relative path lies in, the outermost, "", last."""
    found = []
    while path:
        path = posixpath.dirname(path)
        found.append(path)
    return found


def document_of(file: SourceFile) -> dict[str, Any]:
    """What a `zarr.json` says. Raises SourceError where it is none."""
    try:
        document = json.loads(file.bytes(MAX_DOCUMENT))
    except (ValueError, RecursionError) as err:
        raise SourceError(f"damaged {ROOT}: {' '.join(str(err).split())[:120]}", where=file.name) from err
    if not isinstance(document, dict):
        raise SourceError(f"damaged {ROOT}: not a mapping", where=file.name)
    return document


def attributes_of(file: SourceFile) -> dict[str, Any]:
    """Attributes of the group whose root a file is; {} where it is no root of a group of format 3, damaged ones among them."""
    if file.basename != ROOT:
        return {}
    try:
        document = document_of(file)
    except SourceError:
        return {}
    found = document.get("attributes") if document.get("zarr_format") == 3 and document.get("node_type") == "group" else None
    return found if isinstance(found, dict) else {}


def hash_with_group(file: SourceFile, kind: Kind) -> str:
    """The digest of a file; of the root of a group, of it and of every file below it, by name."""
    if file.basename != ROOT:
        return file.digest(kind)
    lines = [f"{file.digest(kind)}\n"]
    lines += [f"{posixpath.relpath(one.name, file.folder or '.')} {one.digest(kind)}\n" for one in file.siblings("*/**")]
    return digest_of(io.BytesIO("".join(lines).encode()), kind)
