"""Which frames of a dataset a mixture uses: a filter, as a key of its file."""

from __future__ import annotations

from pydantic import Field, model_validator

from .elements import SYMBOLS
from .located import Spec


class KeepSpec(Spec):
    """Which frames of a dataset are used; what is left out keeps all. The same filters as of `lamdata select` and `open_dataset`."""

    elements: list[str] | None = None
    """Frames made of nothing but these elements."""
    natoms: tuple[int, int] | None = None
    """Frames of these numbers of atoms, smallest and largest."""
    max_force: float | None = Field(default=None, ge=0)
    """Frames whose forces are known and none larger, eV/Å."""

    @model_validator(mode="after")
    def _possible(self) -> KeepSpec:
        if wrong := [symbol for symbol in self.elements or [] if symbol not in SYMBOLS[1:]]:
            raise ValueError(f"{wrong[0]!r} is no element")
        if self.natoms is not None and not 1 <= self.natoms[0] <= self.natoms[1]:
            raise ValueError(f"natoms is {list(self.natoms)}: give the smallest and the largest number")
        return self

    @property
    def words(self) -> str:
        """In a few words, as a part of a name."""
        elements = f"elements {' '.join(self.elements)}" if self.elements else None
        natoms = f"natoms {self.natoms[0]}-{self.natoms[1]}" if self.natoms else None
        force = None if self.max_force is None else f"forces up to {self.max_force:g}"
        return ", ".join(filter(None, (elements, natoms, force)))
