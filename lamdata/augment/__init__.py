"""Augmentation on read: frames -> frames as training sees them, a pure function of seed, dataset, frame and epoch."""

from .apply import augment
from .specs import PRESETS, Augmentation, AugmentSpec, MaskSpec, NoiseSpec, SupercellSpec

__all__ = ["PRESETS", "AugmentSpec", "Augmentation", "MaskSpec", "NoiseSpec", "SupercellSpec", "augment"]
