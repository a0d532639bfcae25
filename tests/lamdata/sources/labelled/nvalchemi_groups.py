"""An nvalchemi dataset in a few lines: the layout that its own writer gives (0.3.0)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import zarr

PER_ATOM = ("positions", "atomic_numbers", "forces")


def write_group(
    path: Path, natoms: Sequence[int], core: Mapping[str, np.ndarray], *, custom: Mapping[str, np.ndarray] | None = None, **layout
) -> Path:
    """Write `core` and `custom` arrays of frames with so many atoms each; `layout` goes to each array, as chunks or codecs."""
    root, frames = zarr.create_group(path, zarr_format=3), len(natoms)
    starts = np.concatenate([[0], np.cumsum(natoms)]).astype(np.int64)
    meta = {"atoms_ptr": starts, "edges_ptr": np.zeros(frames + 1, np.int64), "samples_mask": np.ones(frames, bool)}
    meta |= {"atoms_mask": np.ones(starts[-1], bool), "edges_mask": np.ones(0, bool)}
    fields = {"core": {name: "atom" if name in PER_ATOM else "system" for name in core}, "custom": dict.fromkeys(custom or {}, "system")}
    for part, arrays in (("meta", meta), ("core", core), ("custom", custom or {})):
        group = root.create_group(part)
        for name, values in arrays.items():
            group.create_array(name, data=values, **(layout if part == "core" else {}))
    root.attrs.update({"num_samples": frames, "fields": fields})
    return path
