"""DFTB+ and sqm: what stands beside an output is of the same run, and what it states of charge, stress and field is heeded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lamdata.sources import SourceFile, reader
from lamdata.units import BOHR, HARTREE
from tests.lamdata.sources.reading import frames, read, reasons

Write = Callable[..., Path]

DETAILED = """Fermi distribution function

Calculation with static geometry

 iSCC Total electronic   Diff electronic      SCC error
   10   -0.30000000E+01   -0.10000000E-07    0.10000000E-06

 Total charge:     1.00000000

 Atomic gross charges (e)
 Atom           Charge
    1       0.70000000
    2       0.30000000

l-shell populations (up)
 Atom Sh.   l       Population
    1   1   0       1.65733979
    1   2   1       3.82602986
    2   1   0       0.96424172

Total energy:                       -3.1000000000 H          -84.3553 eV
Total Mermin free energy:           -3.1500000000 H          -85.7159 eV

SCC converged

"""
FORCES = """Total Forces
    1      0.010000000000      0.000000000000      0.005000000000
    2     -0.010000000000      0.000000000000     -0.005000000000

"""
STRESS = """Total stress tensor
      0.001000000000      0.000000000000      0.000000000000
      0.000000000000      0.002000000000      0.000000000000
      0.000000000000      0.000000000000      0.003000000000

Volume:                              {volume} au^3
Pressure:                            {pressure} au         0.58842E+11 Pa
"""
PIN = """Geometry = GenFormat {{
2 {kind}
N H
1     1        0.0 0.0 0.0
2     2        0.0 0.0 1.0
{cell}}}
Driver = {{}}
Hamiltonian = DFTB {{
  MaxAngularMomentum = {{
    N = "p"
    H = "s"
  }}
  Charge = 1.0000000000000000
  SpinPolarisation = {{}}
  ElectricField = {{}}
  Dispersion = {{}}
}}
"""
MOLECULE = PIN.format(kind="C", cell="")
CRYSTAL = PIN.format(kind="S", cell="0 0 0\n4 0 0\n0 4 0\n0 0 4\n")
BOX = 64 / BOHR**3


def test_the_charge_is_that_of_the_run(write: Write) -> None:
    path = write(DETAILED + FORCES, "detailed.out")
    write(MOLECULE, "dftb_pin.hsd")
    (frame,) = frames(path, "dftbplus/detailed")
    assert frame.charge == 1 and frame.energy == pytest.approx(-3.15 * HARTREE) and frame.forces is not None


@pytest.mark.parametrize(
    ("detailed", "pin", "reason"),
    [
        (DETAILED, MOLECULE.replace("Charge = 1.0", "Charge = 0.0"), "the charge is 1.0, in dftb_pin.hsd 0.0000000000000000"),
        (DETAILED.replace("1.00000000\n\n Atomic", "0.50000000\n\n Atomic"), MOLECULE.replace("Charge = 1.0", "Charge = 0.5"), "charge is not a whole number"),
        (DETAILED.replace("    2       0.30000000\n", "    2       0.20000000\n    3       0.10000000\n"), MOLECULE, "has 3 atoms, dftb_pin.hsd has 2"),
        (DETAILED, MOLECULE.replace("1     1  ", "1     2  ").replace("2     2  ", "2     1  "), "the shells of its atoms are not those of dftb_pin.hsd"),
        (DETAILED + "Excitation Energy:                   0.1000000000 H            2.7211 eV\n", MOLECULE, "of an excited state, or beside one"),
        (DETAILED.replace("Calculation with static geometry", "Geometry optimization step: 0, Lattice step: 3"), MOLECULE, "the input has the geometry of the first step alone"),
        (DETAILED.replace("Calculation with static geometry", "MD step: 4"), MOLECULE, "the input has the geometry of the first step alone"),
        (DETAILED.replace("Calculation with static geometry", ""), MOLECULE.replace("Driver = {}", "Driver = LBFGS {}"), "does not say of which step it is"),
    ],
)  # fmt: skip
def test_an_input_of_another_run_is_not_joined(write: Write, detailed: str, pin: str, reason: str) -> None:
    write(pin, "dftb_pin.hsd")
    assert reasons(read(write(detailed, "detailed.out"), "dftbplus/detailed")) == [reason]


@pytest.mark.parametrize(
    ("dipole", "same"), [("0.00000000    0.00000000    0.56691784", True), ("0.00000000    0.00000000    0.60000000", False)]
)
def test_the_geometry_beside_an_output_makes_its_dipole_moment(write: Write, dipole: str, same: bool) -> None:
    """The same molecule in another geometry has the same atoms, shells and charge, and no volume."""
    write(MOLECULE, "dftb_pin.hsd")
    items = read(write(DETAILED + FORCES + f"Dipole moment:    {dipole} au\n", "detailed.out"), "dftbplus/detailed")
    assert reasons(items) == ([] if same else ["its dipole moment is not that of the geometry of dftb_pin.hsd"])


def test_the_stress_is_positive_when_compressed_as_its_pressure_shows(write: Write) -> None:
    write(CRYSTAL, "dftb_pin.hsd")
    path = write(DETAILED + FORCES + STRESS.format(volume=f"{BOX:.6f}", pressure="0.002"), "detailed.out")
    (frame,) = frames(path, "dftbplus/detailed")
    assert frame.virial is not None and np.allclose(np.diag(frame.virial), np.array([1, 2, 3]) * 1e-3 * BOX * HARTREE)
    path.write_text(DETAILED + FORCES + STRESS.format(volume=f"{BOX:.6f}", pressure="-0.002"))
    (frame,) = frames(path, "dftbplus/detailed")
    assert frame.virial is None and frame.left_out == ("virial: no pressure is printed that tells the sign of the stress",)
    path.write_text(DETAILED + FORCES + STRESS.format(volume=f"{BOX * 1.1:.6f}", pressure="0.002"))
    assert reasons(read(path, "dftbplus/detailed")) == ["its volume is not that of the input"]


TAGS = """mermin_energy       :real:0:
 {energy}
forces              :real:2:3,2
  0.100000000000000E-001  0.000000000000000E+000  0.500000000000000E-002
 -0.100000000000000E-001  0.000000000000000E+000 -0.500000000000000E-002
"""


def test_forces_of_results_tag_are_taken_where_its_energy_is_the_same(write: Write) -> None:
    write(MOLECULE, "dftb_pin.hsd")
    path = write(DETAILED, "detailed.out")
    tags = write(TAGS.format(energy="-0.315000000000000E+001"), "results.tag")
    (frame,) = frames(path, "dftbplus/detailed")
    assert frame.forces is not None and frame.forces[1, 2] == pytest.approx(-0.005 * HARTREE / BOHR)
    tags.write_text(TAGS.format(energy="-0.316000000000000E+001"))
    (frame,) = frames(path, "dftbplus/detailed")
    assert frame.forces is None and frame.left_out == ("forces: those of results.tag are of another run",)
    path.write_text(DETAILED + FORCES)
    tags.write_text(TAGS.format(energy="-0.315000000000000E+001").replace("0.500", "0.600"))
    assert reasons(read(path, "dftbplus/detailed")) == ["the forces of detailed.out and of results.tag differ"]


@pytest.mark.parametrize(
    ("old", "new", "field", "value"),
    [
        ("Dispersion = {}", "Dispersion = DftD3 {}", "dispersion", "DftD3"),
        ("Dispersion = {}", "Dispersion = {}", "dispersion", "none"),
        ("SpinPolarisation = {}", "SpinPolarisation = Colinear {\n    UnpairedElectrons = 1\n  }", "spin", "collinear"),
        ("ElectricField = {}", "ElectricField = {\n    External = {}\n  }", "state", "ElectricField"),
        ("Hamiltonian = DFTB {", 'Hamiltonian = xTB {\n  Method = "GFN1-xTB"', "functional", "GFN1-xTB"),
    ],
)
def test_the_theory_is_what_the_input_states(write: Write, old: str, new: str, field: str, value: str) -> None:
    path = write(DETAILED, "detailed.out")
    write(MOLECULE.replace(old, new), "dftb_pin.hsd")
    assert reader("dftbplus/detailed").theory(SourceFile(name="detailed.out", path=str(path)))[field] == value


SQM = """            AMBER SQM VERSION 19
QMMM: DOUBLET STATE CALCULATION
 QMMM SCC-DFTB: No external charges defined.
 Total SCF energy    =       -500.00000000 kcal/mol  (      -21.70000000 eV)
 Total Mulliken Charge =       1.000
  Final Structure
  QMMM:     1        1      H        0.0000    0.0000    0.0000
  QMMM:     2        2      H        0.0000    0.0000    1.0000
           --------- Calculation Completed ----------
"""


def test_sqm_states_its_charge_its_spin_and_what_acts_on_it(write: Write) -> None:
    (frame,) = frames(write(SQM, "sqm.out"), "sqm/output")
    assert (frame.charge, frame.multiplicity) == (1, 2)
    assert reasons(read(write(SQM.replace("1.000\n", "0.600\n"), "sqm.out"), "sqm/output")) == ["charge is not a whole number"]
    charged = SQM.replace("No external charges defined.", "QM Region, external charges:")
    assert reasons(read(write(charged, "sqm.out"), "sqm/output")) == ["in the field of external charges"]
