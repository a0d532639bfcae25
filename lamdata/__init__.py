"""lamdata: raw quantum-chemistry outputs and relaxed structures -> a cataloged Zarr store -> a stream of frames."""

from __future__ import annotations

import importlib

_PUBLIC = {
    "Frame": "frame",
    "Frames": "frames",
    "Rejection": "frame",
    "Theory": "theory",
    "AugmentSpec": "augment",
    "Card": "catalog",
    "Mixture": "catalog",
    "open_catalog": "catalog",
    "open_mixture": "catalog",
    "open_card": "catalog",
    "open_store": "store",
    "open_dataset": "store",
    "Stream": "stream",
    "StreamHead": "stream",
    "ingest": "ingestion",
    "validate": "validation",
}
__all__ = list(_PUBLIC)  # noqa: PLE0605
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that `lamdata --help` stays quick."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'lamdata' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)
