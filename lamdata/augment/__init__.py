"""Augmentation on read: frames -> frames as training sees them, a pure function of seed, dataset, frame and epoch."""

from .apply import augment
from .specs import AugmentSpec, MaskSpec, NoiseSpec, SupercellSpec

__all__ = ["AugmentSpec", "MaskSpec", "NoiseSpec", "SupercellSpec", "augment"]
