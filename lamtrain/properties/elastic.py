"""Elastic constants: stresses of strained crystals -> the tensor, with atoms at rest and with atoms held, and the moduli of its polycrystal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .crystal import LOOSE, relax

if TYPE_CHECKING:
    from ase import Atoms

title = "elastic constants"
NORMAL, SHEAR = (-0.01, -0.005, 0.005, 0.01), (-0.06, -0.03, 0.03, 0.06)  # as matcalc; shears are twice the tensor's component
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def measure(crystal: Atoms, calculator: Any) -> dict[str, Any]:
    """C_ij = d stress_i / d strain_j in GPa, Voigt's order, in the axes of the crystal: the slope at rest of a cubic through five strains each.

    Raises DataError where atoms of a strained crystal do not come to rest.
    """
    from ase.units import GPa

    given: Any = crystal
    held, relaxed = np.zeros((6, 6)), np.zeros((6, 6))
    at_rest = given.get_stress() / GPa
    for column in range(6):
        amounts = NORMAL if column < 3 else SHEAR
        stresses = [_stresses(given, calculator, column, amount) for amount in amounts]
        for tensor, which in ((held, 0), (relaxed, 1)):
            values = [at_rest, *(pair[which] / GPa for pair in stresses)]
            tensor[:, column] = np.polyfit([0.0, *amounts], values, 3)[2]
    return {**_moduli(relaxed), "tensor_gpa": _symmetric(relaxed).tolist(), "tensor_held_gpa": _symmetric(held).tolist()}


def _stresses(crystal: Any, calculator: Any, column: int, amount: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(6,) eV/Å^3 of a strained crystal before and after its atoms come to rest."""
    row, other = VOIGT[column]
    strain = np.zeros((3, 3))
    strain[row, other] += amount / 2
    strain[other, row] += amount / 2
    strained = crystal.copy()
    strained.set_cell(crystal.cell[:] @ (np.eye(3) + strain), scale_atoms=True)
    strained.calc = calculator
    before = strained.get_stress()
    at_rest: Any = relax(strained, calculator, cell="fixed", fmax=LOOSE)
    return before, at_rest.get_stress()


def _symmetric(tensor: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 * (tensor + tensor.T)


def _moduli(tensor: NDArray[np.float64]) -> dict[str, Any]:
    """Voigt's, Reuss's and Hill's means (Proc. Phys. Soc. A 65, 349, 1952), and whether every strain costs energy (Born)."""
    c, asymmetry = _symmetric(tensor), float(np.abs(tensor - tensor.T).max() / 2)
    lowest = float(np.linalg.eigvalsh(c)[0])
    found: dict[str, Any] = {"stable": lowest > 0, "lowest_eigenvalue_gpa": lowest, "asymmetry_gpa": asymmetry}
    bulk_voigt = float(c[:3, :3].sum() / 9)
    shear_voigt = float((np.trace(c[:3, :3]) - (c[0, 1] + c[0, 2] + c[1, 2]) + 3 * np.trace(c[3:, 3:])) / 15)
    found |= {"bulk_modulus_voigt_gpa": bulk_voigt, "shear_modulus_voigt_gpa": shear_voigt}
    if lowest <= 0:
        return found  # a compliance of what does not hold itself says nothing
    s = np.linalg.inv(c)
    bulk_reuss = float(1 / s[:3, :3].sum())
    shear_reuss = float(15 / (4 * np.trace(s[:3, :3]) - 4 * (s[0, 1] + s[0, 2] + s[1, 2]) + 3 * np.trace(s[3:, 3:])))
    bulk, shear = (bulk_voigt + bulk_reuss) / 2, (shear_voigt + shear_reuss) / 2
    return found | {
        "bulk_modulus_reuss_gpa": bulk_reuss,
        "shear_modulus_reuss_gpa": shear_reuss,
        "bulk_modulus_gpa": bulk,
        "shear_modulus_gpa": shear,
        "youngs_modulus_gpa": 9 * bulk * shear / (3 * bulk + shear),
        "poisson_ratio": (3 * bulk - 2 * shear) / (6 * bulk + 2 * shear),
    }


def draw(axis: Any, found: dict[str, Any]) -> None:
    """The tensor as a table of colours with its numbers."""
    tensor = np.array(found["tensor_gpa"])
    limit = max(float(np.abs(tensor).max()), 1e-9)
    axis.imshow(tensor, cmap="RdBu_r", vmin=-limit, vmax=limit)
    for row, column in np.ndindex(6, 6):
        value, dark = float(np.round(tensor[row, column])) + 0.0, abs(tensor[row, column]) > 0.6 * limit  # no -0
        axis.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8, color="white" if dark else "black")
    names = ["xx", "yy", "zz", "yz", "xz", "xy"]
    axis.set(xticks=range(6), yticks=range(6), xticklabels=names, yticklabels=names)
    axis.set(title="elastic constants, GPa" if found["stable"] else "elastic constants, GPa: not stable")
