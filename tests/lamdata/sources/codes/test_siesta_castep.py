"""SIESTA runs that print few geometries or forces, and CASTEP runs of filled bands: the steps that can be known, and no other."""

import numpy as np
import pytest

from lamdata.units import BOHR
from tests.lamdata.sources.reading import frames, read, reasons

HEADER = """Siesta Version  : v4.1.5
 Species number:            1  Label: H Atomic number:           1
siesta: Atomic coordinates (Bohr) and species
siesta:      0.00000   0.00000   0.00000  1        1
siesta:      0.00000   0.00000   1.50000  1        2

"""
CELL = """outcell: Unit cell vectors (Ang):
        4.000000    0.000000    0.000000
        0.000000    4.000000    0.000000
        0.000000    0.000000    {c}

"""
SCF = """SCF cycle converged after   12 iterations
siesta: E_KS(eV) =              -31.{n}000

siesta: Atomic forces (eV/Ang):
----------------------------------------
   Tot    0.000000    0.000000    0.000000

"""
END = """siesta: Final energy (eV):
siesta: Atomic forces (eV/Ang):
siesta:      1    0.000000    0.000000   -0.300000
siesta:      2    0.000000    0.000000    0.300000
siesta: ----------------------------------------
siesta:    Tot    0.000000    0.000000    0.000000

>> End of run:
"""


def test_a_siesta_single_point_has_its_geometry_in_the_header_and_its_forces_at_the_end(write):
    (frame,) = frames(write(HEADER + CELL.format(c=4.0) + SCF.format(n=1) + END), "siesta/output")
    assert frame.positions[1, 2] == pytest.approx(1.5 * BOHR) and frame.forces[1, 2] == 0.3 and frame.volume == pytest.approx(64)


def test_siesta_steps_that_print_no_geometry_are_not_given_that_of_the_first(write):
    steps = [f"                        Begin CG opt. move =      {n}\n" + CELL.format(c=4.0) + SCF.format(n=n) for n in range(3)]
    items = read(write(HEADER + "".join(steps) + END), "siesta/output")
    assert len(items) == 3 and reasons(items) == ["no positions"] * 2 and items[0].energy == -31.0 and items[0].forces is None


def test_siesta_fractions_are_of_the_cell_that_follows_them(write):
    fractions = "outcoor: Atomic coordinates (fractional):\n    0.0  0.0  0.0   1       1  H\n    0.0  0.0  0.5   1       2  H\n\n"
    begin = "                        Begin CG opt. move =      {n}\n"
    steps = [begin.format(n=n) + fractions + CELL.format(c=c) + SCF.format(n=n) for n, c in enumerate((4.0, 4.2))]
    first, second = frames(write(HEADER + "".join(steps) + END), "siesta/output")
    assert (first.positions[1, 2], second.positions[1, 2]) == pytest.approx((2.0, 2.1))


LATTICE = """        Real Lattice(A)                      Reciprocal Lattice(1/A)
     {a}     0.0000000     0.0000000        1.2  0.0 0.0
     0.0000000     {a}     0.0000000        0.0  1.2 0.0
     0.0000000     0.0000000     {a}        0.0  0.0 1.2
"""
ATOMS = """            x  Element    Atom        Fractional coordinates of atoms    x
            x------------------------------------------------------------x
            x   Si         1          0.000000   0.000000   0.000000     x
            x   Si         2          0.250000   0.250000   0.250000     x
            xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
"""
FILLED = """SCF loop      Energy                           Energy gain       Timer   <-- SCF
Final energy =  -214.{n}000000000     eV
(energy not corrected for finite basis set)
"""
STRESS = """ ***************** Stress Tensor *****************
 *  x     -1.000000      0.000000      0.000000  *
 *  y      0.000000     -1.000000      0.000000  *
 *  z      0.000000      0.000000     -1.000000  *
 *************************************************
"""
TIME = "Total time          =     21.18 s\n"
CASTEP = " | Welcome to Academic Release CASTEP version 25.1 |\n"


def test_castep_bands_that_are_filled_have_one_energy(write):
    path = write(CASTEP + LATTICE.format(a=5.0) + ATOMS + FILLED.format(n=1) + TIME, "x.castep")
    for choice in ("free", "total", "sigma0"):
        assert frames(path, "castep/output", options={"energy": choice})[0].energy == -214.1
    corrected = "Dispersion corrected final energy* =  -215.5000000000     eV\n"
    path = write(CASTEP + LATTICE.format(a=5.0) + ATOMS + FILLED.format(n=1) + corrected + TIME, "x.castep")
    assert frames(path, "castep/output")[0].energy == -215.5


def test_a_castep_cell_that_moves_alone_makes_steps(write):
    steps = [LATTICE.format(a=a) + FILLED.format(n=n) + STRESS for n, a in enumerate((5.0, 5.2))]
    path = write(CASTEP + steps[0].replace("SCF loop", ATOMS + "SCF loop", 1) + steps[1] + LATTICE.format(a=5.2) + TIME, "x.castep")
    first, second = frames(path, "castep/output")
    assert (first.energy, second.energy) == (-214.0, -214.1) and second.virial is not None
    assert np.allclose(second.positions, first.positions * 5.2 / 5.0) and second.volume == pytest.approx(5.2**3)


def test_a_castep_energy_without_an_scf_is_a_pair_potential(write):
    path = write(CASTEP + LATTICE.format(a=5.0) + ATOMS + "Final energy = -0.9E-005eV\n" + TIME, "x.castep")
    assert reasons(read(path, "castep/output")) == ["pair potential"]
