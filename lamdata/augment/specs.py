"""Specs: what augmentation a mixture asks for, as YAML says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args

from pydantic import BeforeValidator, Field, model_validator

from ..located import Spec, did_you_mean

Some = TypeVar("Some", "NoiseSpec", "MaskSpec")


def _probability_or_number(spec: Some) -> Some:
    """Validate that exactly one says how many atoms."""
    if (spec.probability is None) == (spec.number is None):
        raise ValueError("give either `probability` or `number` of atoms" + ("" if spec.number is None else ", not both"))
    return spec


class NoiseSpec(Spec):
    """Displace some atoms of each frame by random vectors. The displacement of each component is independent."""

    kind: Literal["gaussian", "uniform", "truncated"] = "gaussian"
    """Distribution of a component: Gaussian; uniform in +-scale; Gaussian cut off at 2 sigma."""
    scale: float = Field(gt=0, le=5)
    """Standard deviation before the cut, or half width of the uniform one, Å; with `relative`, as a share of a length of the structure."""
    probability: float | None = Field(default=None, gt=0, le=1)
    """Share of the atoms of each frame, rounded down, but at least one atom."""
    number: int | None = Field(default=None, ge=1)
    """Atoms of each frame, or all of them where it has fewer."""
    min_distance: float = Field(default=0.5, ge=0, le=5)
    """No displaced atom comes closer than this to another, images included, Å; or than the clean structure's shortest distance
    where that is less. Displacements that would are drawn again."""
    relative: bool = False
    """`scale` is a share of the shortest distance between two atoms of the clean structure, images included; a lone atom stays."""
    centered: bool = False
    """Take the mean displacement of all atoms of a frame away: no model can see it. The only atom of a cell then has nothing to undo."""

    later: ClassVar[tuple[str, ...]] = ("relative", "centered")
    _exactly_one = model_validator(mode="after")(_probability_or_number)


class MaskSpec(Spec):
    """Hide the elements of some atoms of each frame."""

    probability: float | None = Field(default=None, gt=0, le=1)
    """Share of the atoms of each frame, rounded down, but at least one atom."""
    number: int | None = Field(default=None, ge=1)
    """Atoms of each frame, or all of them where it has fewer."""

    _exactly_one = model_validator(mode="after")(_probability_or_number)


class SupercellSpec(Spec):
    """Repeat small periodic cells, one more along the shortest axis at a time."""

    max_atoms: int = Field(ge=2)
    """No cell grows beyond this many atoms."""


class AugmentSpec(Spec):
    """What happens to frames as they are read, in this order: supercell, rotate, noise, mask."""

    noise: NoiseSpec | None = None
    """Displacements to undo."""
    mask: MaskSpec | None = None
    """Elements to guess."""
    same_atoms: bool = False
    """Mask the displaced atoms, instead of a choice of its own by `mask`."""
    rotate: bool = False
    """Turn each frame by a random rotation, its labels with it."""
    supercell: SupercellSpec | None = None
    """Repeat small cells."""

    @model_validator(mode="after")
    def _same_atoms_says_it_all(self) -> Self:
        if self.same_atoms and self.noise is None:
            raise ValueError("same_atoms masks the displaced atoms: it needs `noise`")
        if self.same_atoms and self.mask is not None:
            raise ValueError("same_atoms masks the displaced atoms: leave `mask` out")
        return self


Preset = Literal["openlam-2024", "lam-2026"]
PRESETS: Mapping[str, Mapping[str, Any]] = {
    # The example of the public code of the report's own date (dptech-corp/deepmd-pytorch@d52ecfb, examples/water/dpa2-denoise/input.json), whose
    # check for atoms that come too close never took effect. The settings of the published 29-head model are not known.
    "openlam-2024": {
        "noise": {"kind": "uniform", "scale": 1.0, "probability": 0.15, "min_distance": 0.0},
        "mask": {"probability": 0.15},
    },
    # The same shares; small cells repeated, since of few atoms one moves, and of one nothing can be told; noise by the size of a bond.
    "lam-2026": {
        "supercell": {"max_atoms": 32},
        "noise": {"kind": "gaussian", "scale": 0.12, "relative": True, "centered": True, "probability": 0.15},
        "mask": {"probability": 0.15},
    },
}


def _from_preset(value: Any) -> Any:
    """A preset's settings for its name."""
    if not isinstance(value, str):
        return value
    if value not in PRESETS:
        raise ValueError(f"no preset is called so; {did_you_mean(value, list(get_args(Preset)))}")
    return PRESETS[value]


Augmentation = Annotated[AugmentSpec | None, BeforeValidator(_from_preset, json_schema_input_type=AugmentSpec | Preset | None)]
"""An augmentation, as its settings or as the name of a preset."""
