"""Ingestion: a card's raw files -> a segment of a store.

files -> parse -> staging (pieces) -> run (shuffle, fill, publish); in_hand begins with frames, repair does some of it again
"""

from .example import write_example
from .in_hand import store_frames
from .repair import repair
from .run import IngestReport, ingest

__all__ = ["IngestReport", "ingest", "repair", "store_frames", "write_example"]
