"""Export: frames of a store -> files that other programs read; every label, group and origin goes along, in eV and Å."""

from .run import FORMATS, ExportReport, export

__all__ = ["FORMATS", "ExportReport", "export"]
