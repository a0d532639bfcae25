"""Survey: what must be known of all frames of a segment before its first shard can be written; made per piece and merged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..frames import Frames
from .lattice import FACTORS, Lattice, best_lattice, find_lattices, merge_lattices
from .layout import COLUMNS, FLOATS, PACKING, TEXTS, SegmentPlan, Texts, atom_width, encoded

_UNIFORM = (
    "natoms",
    "energy",
    "cell",
    "virial",
    "pbc",
    "charge",
    "multiplicity",
    "weight",
    "shortest",
    "has_energy",
    "has_forces",
    "has_virial",
    "forces",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Mergeable facts: decimal lattices of the float arrays, the range of each array, the longest texts."""

    frames: int
    lattices: Mapping[str, Mapping[str, Lattice]]  # array -> unit -> lattice
    ranges: Mapping[str, tuple[float, float]]  # array -> smallest and largest value
    text_widths: Mapping[str, int]  # bytes

    @staticmethod
    def of(
        frames: Frames, groups: Texts, origins: Texts, infos: Texts = (), *, profile: str = "lossless", after: Survey | None = None
    ) -> Survey:
        """Survey one piece; for the `fast` profile, which stores no lattice, none is looked for.

        Where it comes `after` others with which it will be merged, only lattices that these are on are looked for: merged it is the same.
        """
        widths = {name: _width(texts) for name, texts in (("group", groups), ("origin", origins), ("info", infos))}
        lossless = FLOATS if profile == "lossless" else ()
        known = None if after is None else after.lattices
        found = {name: find_lattices(getattr(frames, name), FACTORS[name], None if known is None else known[name]) for name in lossless}
        return Survey(
            frames=len(frames),
            lattices={name: found.get(name, {}) for name in FLOATS},
            ranges={name: _range(getattr(frames, name)) for name in _UNIFORM},
            text_widths={name: max(1, width) for name, width in widths.items() if width or name != "info"},
        )

    def merge(self, other: Survey) -> Survey:
        """The survey of both pieces together; order does not matter."""
        return Survey(
            frames=self.frames + other.frames,
            lattices={name: merge_lattices(self.lattices[name], other.lattices[name]) for name in FLOATS},
            ranges={name: _join(self.ranges[name], other.ranges[name]) for name in _UNIFORM},
            text_widths={
                name: max(self.text_widths.get(name, 1), other.text_widths.get(name, 1))
                for name in TEXTS
                if name in self.text_widths or name in other.text_widths
            },
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `from_json` gives the same survey back."""
        return {
            "frames": self.frames,
            "lattices": {
                name: {unit: [x.factor, x.decimals, x.least, x.largest] for unit, x in found.items()}
                for name, found in self.lattices.items()
            },
            "ranges": {name: [_plain(x) for x in ends] for name, ends in self.ranges.items()},
            "text_widths": dict(self.text_widths),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Survey:
        lattices = {
            name: {u: Lattice(unit=u, factor=f, decimals=d, least=a, largest=b) for u, (f, d, a, b) in found.items()}
            for name, found in data["lattices"].items()
        }
        ranges = {name: (_number(low), _number(high)) for name, (low, high) in data["ranges"].items()}
        return Survey(frames=data["frames"], lattices=lattices, ranges=ranges, text_widths=data["text_widths"])


def plan_segment(
    natoms: NDArray[np.integer],
    survey: Survey,
    *,
    profile: str = "lossless",
    split: NDArray[np.integer] | None = None,
    block_frames: int = 1024,
    shard_blocks: int = 32,
) -> SegmentPlan:
    """Decide geometry and encodings from the atom counts in their final order and the merged survey.

    `lossless` keeps every float64 bit (a zero loses its sign, nothing else); `fast` rounds positions, forces, cell and virial
    to float32.
    """
    if profile not in ("lossless", "fast"):
        raise ConfigError(f"unknown profile {profile!r}", hint="use `lossless` or `fast`")
    if len(natoms) != survey.frames:
        raise ConfigError(f"the survey saw {survey.frames} frames, the order has {len(natoms)}")
    constants = {name: _constant(name, low) for name, (low, high) in survey.ranges.items() if low == high and np.isfinite(low)}
    if split is not None and len(split) and (split == split[0]).all():
        constants["split"] = int(split[0])
    weighted = survey.ranges["weight"] != (1.0, 1.0)
    if not weighted:
        constants.pop("weight", None)
    best = {name: best_lattice(found) for name, found in survey.lattices.items() if name not in constants}
    return SegmentPlan(
        profile=profile,
        frames=len(natoms),
        atom_width=atom_width(natoms, block_frames=block_frames),
        lattices={name: x for name, x in best.items() if x is not None} if profile == "lossless" else {},
        constants=constants,
        text_widths=survey.text_widths,
        weighted=weighted,
        packing=PACKING,
        block_frames=block_frames,
        shard_blocks=shard_blocks,
    )


def _width(texts: Texts) -> int:
    """Bytes of the longest."""
    return int(np.char.str_len(encoded(texts)).max(initial=0))


def _constant(name: str, value: float) -> float | int | bool:
    kind = np.dtype(COLUMNS[name].dtype).kind
    return bool(value) if kind == "b" else int(value) if kind in "iu" else float(value) + 0.0  # never -0.0


def _range(values: np.ndarray) -> tuple[float, float]:
    return (float(values.min()), float(values.max())) if values.size else (float("inf"), float("-inf"))


def _join(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return float(np.minimum(a[0], b[0])), float(np.maximum(a[1], b[1]))  # NaN stays NaN: such an array is never constant


def _number(plain: float | str | None) -> float:
    return float("nan") if plain is None else float(plain)


def _plain(value: float) -> float | str | None:
    return None if np.isnan(value) else value if np.isfinite(value) else str(value)
