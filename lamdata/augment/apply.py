"""Clean frames -> frames as training sees them: repeated, turned, displaced and masked, the same bits whoever reads them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..counter import U32, Purpose, frame_keys
from ..frames import MASKED, Frames
from .choose import choose, wanted
from .displace import displace
from .specs import AugmentSpec, MaskSpec
from .transform import repeat, rotate


def augment(frames: Frames, spec: AugmentSpec, *, seed: int) -> Frames:
    """Return `frames` as `spec` says; the arrays that it changes are new, the others are shared.

    What happens to a frame is a function of the seed and of its `dataset`, `index` and `epoch` alone.
    """
    if not len(frames):
        return frames
    keys = frame_keys(seed, dataset=frames.dataset, index=frames.index, epoch=frames.epoch)
    if spec.supercell is not None:
        frames = repeat(frames, max_atoms=spec.supercell.max_atoms)
    if spec.rotate:
        frames = rotate(frames, keys=keys)
    if spec.noise is not None:
        frames, moved = displace(frames, spec.noise, keys=keys)
        if spec.same_atoms:
            return _mask(frames, moved)
    if spec.mask is not None:
        return _mask(frames, _masked_atoms(frames, spec.mask, keys=keys))
    return frames


def _masked_atoms(frames: Frames, spec: MaskSpec, *, keys: U32) -> NDArray[np.bool_]:
    count = wanted(frames.natoms, probability=spec.probability, number=spec.number)
    return choose(frames.natoms, count, keys=keys, purpose=Purpose.MASKED_ATOMS)


def _mask(frames: Frames, hidden: NDArray[np.bool_]) -> Frames:
    """Hide the elements of the flagged atoms (A,)."""
    return frames.with_(numbers=np.where(hidden, np.uint8(MASKED), frames.numbers), clean_numbers=frames.numbers)
