"""Specs: what augmentation a mixture asks for, as YAML says it."""

from __future__ import annotations

from typing import Literal, Self, TypeVar

from pydantic import Field, model_validator

from ..located import Spec

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
    """Standard deviation before the cut, or half width of the uniform one, Å."""
    probability: float | None = Field(default=None, gt=0, le=1)
    """Share of the atoms of each frame, rounded down, but at least one atom."""
    number: int | None = Field(default=None, ge=1)
    """Atoms of each frame, or all of them where it has fewer."""
    min_distance: float = Field(default=0.5, ge=0, le=5)
    """No displaced atom comes closer than this to another, images included, Å; or than the clean structure's shortest distance
    where that is less. Displacements that would are drawn again."""

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
