"""What every descriptor is: types and edges of all atoms -> a vector for each, and pair channels where it has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from .inputs import Chunk
from .pairs import Pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What heads read."""

    atoms: Tensor  # (A, dim_out) by row
    chunks: list[Pairs]  # pair channels after the last layer, one for each chunk; empty where the descriptor has none
    outside: Tensor | None = None  # () int64, edges shorter than the tables of a compressed descriptor reach; None where it has none


class DescriptorModule(Protocol):
    """A module whose config has `lists`; the block of each list is an attribute of the list's name, with its `environment`."""

    def __call__(self, types: Tensor, lead_types: Tensor, chunks: Sequence[Chunk], vectors: Sequence[Tensor]) -> Descriptor:
        """`types`, `lead_types` (A,) by row; `vectors` (N, W, 3) Å for each chunk, given apart to be differentiated."""
        ...
