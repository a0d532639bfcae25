"""Ingestion: a card's raw files -> a segment of a store.

files -> parse -> staging (pieces) -> run (shuffle, fill, publish); repair does some of it again
"""

from .repair import repair
from .run import IngestReport, ingest

__all__ = ["IngestReport", "ingest", "repair"]
