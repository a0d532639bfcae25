"""Augmentation on read: frames -> frames as training sees them, a pure function of seed, dataset, frame and epoch."""

from .apply import AugmentSpec, MaskSpec, NoiseSpec, SupercellSpec, augment

__all__ = ["AugmentSpec", "MaskSpec", "NoiseSpec", "SupercellSpec", "augment"]
