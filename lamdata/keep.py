"""Which frames of a dataset are used, as a key of its card or of a mixture: an expression, or short forms of common ones."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from .elements import NUMBERS, SYMBOLS
from .located import Spec
from .where import Condition, columns_of, condition_of, keys_of


class KeepSpec(Spec):
    """Which frames are used; what is left out keeps all. A text instead of keys is `where` alone. The same as in `lamdata select` and `open_dataset`."""

    elements: list[str] | None = None
    """Frames made of nothing but these elements."""
    natoms: tuple[int, int] | None = None
    """Frames of these numbers of atoms, smallest and largest."""
    max_force: float | None = Field(default=None, ge=0)
    """Frames whose forces are known and none larger, eV/Å."""
    where: str | None = None
    """Frames of which this expression is true, as `n(O) / natoms > 0.5 and charge == 0`."""

    later = ("where",)

    @model_validator(mode="after")
    def _possible(self) -> KeepSpec:
        if wrong := [symbol for symbol in self.elements or [] if symbol not in SYMBOLS[1:]]:
            raise ValueError(f"{wrong[0]!r} is no element")
        if self.natoms is not None and not 1 <= self.natoms[0] <= self.natoms[1]:
            raise ValueError(f"natoms is {list(self.natoms)}: give the smallest and the largest number")
        if "split" in self.columns:
            raise ValueError("the split of a frame is no matter of `keep`: each split is filtered by itself")
        return self

    @property
    def condition(self) -> Condition | None:
        """All of it as one; `None` where it keeps all."""
        elements = None if self.elements is None else [NUMBERS[symbol] for symbol in self.elements]
        return condition_of(elements=elements, natoms=self.natoms, max_force=self.max_force, where=self.where)

    @property
    def columns(self) -> set[str]:
        """What must be known of frames for it, as `lamdata.where.columns_of` names it."""
        return set() if (condition := self.condition) is None else columns_of(condition)

    @property
    def keys(self) -> set[str]:
        """The keys of the source that it asks for."""
        return set() if (condition := self.condition) is None else keys_of(condition)

    @property
    def words(self) -> str:
        """In a few words, as a part of a name."""
        elements = f"elements {' '.join(self.elements)}" if self.elements else None
        natoms = f"natoms {self.natoms[0]}-{self.natoms[1]}" if self.natoms else None
        force = None if self.max_force is None else f"forces up to {self.max_force:g}"
        return ", ".join(filter(None, (elements, natoms, force, self.where)))


def _from_text(said: Any) -> Any:
    return {"where": said} if isinstance(said, str) else said


Keep = Annotated[KeepSpec, BeforeValidator(_from_text, json_schema_input_type=KeepSpec | str)]
"""A filter, or the text of its expression."""
