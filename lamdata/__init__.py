"""lamdata: raw quantum-chemistry outputs and relaxed structures -> a cataloged Zarr store -> a stream of frames."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .augment import AugmentSpec as AugmentSpec
    from .catalog import Card as Card
    from .catalog import Mixture as Mixture
    from .catalog import open_card as open_card
    from .catalog import open_catalog as open_catalog
    from .catalog import open_mixture as open_mixture
    from .frame import Frame as Frame
    from .frame import Rejection as Rejection
    from .frames import Frames as Frames
    from .ingestion import ingest as ingest
    from .ingestion import store_frames as store_frames
    from .ingestion import write_example as write_example
    from .reading import read_frames as read_frames
    from .store import open_dataset as open_dataset
    from .store import open_store as open_store
    from .stream import Stream as Stream
    from .stream import StreamHead as StreamHead
    from .theory import Theory as Theory
    from .validation import validate as validate

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
    "read_frames": "reading",
    "open_store": "store",
    "open_dataset": "store",
    "Stream": "stream",
    "StreamHead": "stream",
    "ingest": "ingestion",
    "store_frames": "ingestion",
    "write_example": "ingestion",
    "validate": "validation",
}
__all__ = list(_PUBLIC)  # noqa: PLE0605
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that `lamdata --help` stays quick."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'lamdata' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)
