"""Places: where bytes lie, by URL; ranges read, whole objects written, each commit created at most once."""

from .remote import Place, Range, open_place

__all__ = ["Place", "Range", "open_place"]
