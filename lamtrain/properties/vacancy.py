"""Vacancy: a supercell with and without an atom -> the energy that the missing one costs, in a crystal of one element."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamdata.errors import DataError

from .crystal import LOOSE, relax, repeat_to

if TYPE_CHECKING:
    from ase import Atoms

title = "vacancy"
HEIGHT = 9.0  # Å between faces of the supercell at least


def measure(crystal: Atoms, calculator: Any) -> dict[str, Any]:
    """E(N - 1) - (N - 1)/N E(N) in eV at the volume of the crystal, with the other atoms held and at rest.

    Raises DataError for a crystal of several elements: what an atom is worth is then a matter of what it is taken to.
    """
    given: Any = crystal
    if len(set(given.numbers)) > 1:
        raise DataError("a vacancy is measured in crystals of one element")
    each = given.get_potential_energy() / len(given)
    without: Any = given * repeat_to(crystal, height=HEIGHT)
    del without[0]
    without.calc = calculator
    held = float(without.get_potential_energy() - len(without) * each)
    at_rest: Any = relax(without, calculator, cell="fixed", fmax=LOOSE)
    return {
        "atoms": len(without),
        "formation_energy_ev": float(at_rest.get_potential_energy() - len(without) * each),
        "formation_energy_held_ev": held,
    }


def draw(axis: Any, found: dict[str, Any]) -> None:
    """Two bars."""
    values = [found["formation_energy_held_ev"], found["formation_energy_ev"]]
    axis.bar(["atoms held", "at rest"], values, color=["0.7", "tab:blue"])
    axis.set(ylabel="vacancy formation energy, eV", title=f"{values[1]:.2f} eV")
