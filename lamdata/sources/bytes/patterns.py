"""Patterns: which names in a folder, an archive or a bucket a glob means."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from fnmatch import fnmatchcase

from lamdata.errors import SourceError


def matches(name: str, pattern: str) -> bool:
    """Shell-style match of a path; `*` stays within one folder, `**` crosses them."""
    return _match_parts(name.split("/"), pattern.split("/"))


def _match_parts(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(_match_parts(parts[i:], patterns[1:]) for i in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], patterns[0]) and _match_parts(parts[1:], patterns[1:])


def names_in_url(folder: str, pattern: str) -> list[str]:
    """Files below a remote folder whose path from it matches `pattern`, sorted."""
    import fsspec

    try:
        files, root = fsspec.url_to_fs(folder)
        found = files.glob(f"{root.rstrip('/')}/{pattern}", detail=True)
    except Exception as err:  # each remote file system has its own tree of errors
        raise SourceError(f"cannot be listed ({type(err).__name__}: {err})", where=folder) from err
    prefix = root.strip("/")
    return sorted(posixpath.relpath(p.strip("/"), prefix) for p, info in found.items() if info.get("type") == "file")
