"""What all options of a model are made of: a frozen block, ranges of its numbers, and the checks that several blocks share."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1, le=4096)]
Length = Annotated[float, Field(gt=0.0, le=50.0)]  # Å
Activation = Annotated[
    str, Field(pattern=r"^(tanh|relu|relu6|softplus|sigmoid|gelu|gelu_tf|silu|linear|none|(silut|custom_silu)(:[0-9.eE+-]+)?)$")
]
Precision = Literal["default", "float64", "float32", "double", "single"]


class Options(BaseModel):
    """A frozen block of options; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class NeighborList(NamedTuple):
    """A neighbour list that a descriptor wants of every atom, and how its environment matrix is made from it."""

    rcut: float  # Å
    nsel: int  # neighbours kept, the nearest first
    rcut_smth: float  # Å, where the switch starts to fall from 1
    set_davg_zero: bool  # keep the mean of the environment matrix at zero


def width_of(precision: Precision) -> Literal["float64", "float32"]:
    return "float32" if precision in ("float32", "single") else "float64"


def switch_below(name: str, start: float, limit: str, rcut: float) -> None:
    if start >= rcut:
        raise ValueError(f"`{name}` ({start} Å) must be below `{limit}` ({rcut} Å)")


def no_wider(name: str, value: int, limit: str, width: int) -> None:
    if value > width:
        raise ValueError(f"`{name}` ({value}) is larger than {limit} ({width})")


def ordered(wide: str, rcut: float, nsel: int, narrow: str, inner: float, fewer: int, *, strict: bool) -> None:
    """The shorter neighbour lists are prefixes of the longest, so cutoffs and counts must be in one order."""
    if rcut < inner or nsel < fewer or (strict and (rcut == inner or nsel == fewer)):
        raise ValueError(f"{wide} (rcut {rcut} Å, nsel {nsel}) must reach further than {narrow} (rcut {inner} Å, nsel {fewer})")
