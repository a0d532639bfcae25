"""Export: frames of a store -> files that other programs read; every label, group and origin goes along, in eV and Å."""

from .extxyz import quoted, text_of
from .run import FORMATS, ExportReport, export

__all__ = ["FORMATS", "ExportReport", "export", "quoted", "text_of"]
