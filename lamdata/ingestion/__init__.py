"""Ingestion: a card's raw files -> a segment of a store.

files -> parse -> staging (pieces) -> run (shuffle, fill, publish)
"""

from .run import IngestReport, ingest

__all__ = ["IngestReport", "ingest"]
