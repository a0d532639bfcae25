"""Places: where bytes lie, by URL; ranges read, whole objects written, each commit created at most once."""

from __future__ import annotations

from pathlib import Path

from .local import LocalPlace
from .place import Object, Place, Range
from .published import SCHEME, open_published
from .remote import RemotePlace

__all__ = ["Object", "Place", "Range", "open_place"]


def open_place(url: str | Path) -> Place:
    """Return the place that a URL or a local path names: a local path through the operating system, any other URL through fsspec.

    `registry://NAME@VERSION` is the store of a published dataset.
    """
    text = str(url)
    if text.startswith(SCHEME):
        return open_published(text)
    if text.startswith("file://"):
        return LocalPlace(text.removeprefix("file://"))
    return RemotePlace(text) if "://" in text or "::" in text else LocalPlace(text)
