"""Which properties there are; a structure and a calculator -> those that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from lamdata.errors import ConfigError, DataError
from lamdata.located import did_you_mean

from . import elastic, eos, nve, phonon, vacancy
from .crystal import describe, find_crystal

if TYPE_CHECKING:
    from ase import Atoms


class Property(Protocol):
    """One property: a module of this package."""

    title: str

    def measure(self, crystal: Atoms, calculator: Any) -> dict[str, Any]:
        """Numbers, with units in their names. Raises DataError where there are none."""

    def draw(self, axis: Any, found: dict[str, Any]) -> None:
        """Show them on an axis of matplotlib."""


PROPERTIES: dict[str, Property] = {
    name: cast(Property, module)
    for name, module in (("eos", eos), ("elastic", elastic), ("phonon", phonon), ("vacancy", vacancy), ("nve", nve))
}


def chosen(names: str | Sequence[str]) -> list[str]:
    """Names of properties, once each; a string separates them by commas. Raises ConfigError for one that there is not."""
    given = names.split(",") if isinstance(names, str) else list(names)
    wanted = list(dict.fromkeys(name.strip() for name in given if name.strip()))
    for name in wanted:
        if name not in PROPERTIES:
            raise ConfigError(f"no property {name!r}", where="properties", hint=did_you_mean(name, list(PROPERTIES)))
    if not wanted:
        raise ConfigError("no property is named", where="properties", hint=f"some of: {','.join(PROPERTIES)}")
    return wanted


def measure(
    atoms: Atoms, calculator: Any, properties: str | Sequence[str] = tuple(PROPERTIES), *, step: Callable[[], None] = lambda: None
) -> dict[str, dict[str, Any]]:
    """Bring a structure to rest with any calculator of ASE, and measure it: {"crystal": ..., "eos": ..., ...}, numbers with units in names.

    What could not be measured is {"failed": why}. `step` is called after each property.

    >>> measure(bulk("Cu"), EMT(), "eos,elastic")["eos"]["bulk_modulus_gpa"]  # doctest: +SKIP
    """
    wanted = chosen(properties)
    try:
        crystal = find_crystal(atoms, calculator)
    except DataError as err:
        for _ in wanted:
            step()
        return {"crystal": {"failed": str(err)}} | {name: {"failed": "the structure did not come to rest"} for name in wanted}
    found = {"crystal": describe(crystal)}
    for name in wanted:
        try:
            found[name] = PROPERTIES[name].measure(crystal, calculator)
        except DataError as err:
            found[name] = {"failed": str(err)}
        step()
    return found


def draw_properties(rows: dict[str, dict[str, dict[str, Any]]], path: Path) -> None:
    """One row a structure, one panel a property; what failed says why."""
    from ..evaluation.figures import new_figure, save_figure

    columns = list(dict.fromkeys(name for found in rows.values() for name in found if name != "crystal"))
    figure, axes = new_figure(len(rows), len(columns))
    for row, (title, found) in enumerate(rows.items()):
        for column, name in enumerate(columns):
            axis, values = axes[row][column], found.get(name)
            if values is None or "failed" in values:
                axis.axis("off")
                axis.text(0.5, 0.5, "" if values is None else f"{PROPERTIES[name].title}:\n{values['failed']}", ha="center", wrap=True)
                continue
            PROPERTIES[name].draw(axis, values)
        axes[row][0].set_title(f"{title}\n{axes[row][0].get_title()}")
    save_figure(figure, path)
