"""Overlap: which frames of a store are the same structure, inside a dataset, between datasets, across splits.

points -> fingerprint (near ones found) -> superposition (each shown to be the same) -> duplicates -> compare -> report
"""

from .compare import compare, overlap
from .report import OverlapReport

__all__ = ["OverlapReport", "compare", "overlap"]
