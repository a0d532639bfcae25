"""SIESTA runs that print few geometries or forces, and CASTEP runs of filled bands: the steps that can be known, and no other."""

import numpy as np
import pytest

from lamdata.errors import SourceError
from lamdata.units import BOHR, GPA, RYDBERG
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


AT_END = """outcoor: {title} coordinates ({unit}):
    {x}    {x}    {x}   1       1  H
    {x}    {x}    {z}   1       2  H

"""
LABELS = (
    END.replace(">> End of run:\n", "")
    + """
siesta: Stress tensor (static) (eV/Ang**3):
siesta:    -0.020000    0.001000    0.000000
siesta:     0.001000   -0.030000    0.000000
siesta:     0.000000    0.000000   -0.040000

>> End of run:
"""
)
MOVE = "                        Begin CG opt. move =      0\n"
OTHER = "printed at the end, beside another geometry than that of the step"


@pytest.mark.parametrize(
    ("title", "unit", "z", "c", "same"),
    [
        ("Relaxed atomic", "Ang", 1.5 * BOHR, 4.0, True),
        ("Final (unrelaxed) atomic", "Ang", 1.5 * BOHR, 4.0, True),
        ("Relaxed atomic", "Bohr", 1.5, 4.0, True),
        ("Relaxed atomic", "fractional", 1.5 * BOHR / 4, 4.0, True),
        ("Final (unrelaxed) atomic", "Ang", 1.6 * BOHR, 4.0, False),
        ("Relaxed atomic", "Ang", 1.5 * BOHR, 4.2, False),
        ("Relaxed atomic", "scaled", 1.5, 4.0, False),
    ],
)
def test_siesta_labels_at_the_end_are_of_the_geometry_that_is_printed_with_them(write, title, unit, z, c, same):
    last = AT_END.format(title=title, unit=unit, x="0.00000000", z=f"{z:.8f}") + CELL.format(c=f"{c:.6f}")
    (frame,) = frames(write(HEADER + CELL.format(c="4.000000") + MOVE + SCF.format(n=1) + last + LABELS), "siesta/output")
    assert frame.energy == -31.1 and frame.positions[1, 2] == pytest.approx(1.5 * BOHR) and frame.volume == pytest.approx(64)
    if same:
        assert frame.forces[1, 2] == 0.3 and np.diag(frame.virial) == pytest.approx([1.28, 1.92, 2.56]) and frame.left_out == ()
    else:
        assert frame.forces is None and frame.virial is None
        assert frame.left_out == (f"forces: {OTHER}", f"virial: {OTHER}")


def test_siesta_stress_in_six_components_alone_is_named(write):
    voigt = "Stress-tensor-Voigt (kbar):        0.31        0.29       -0.05       -0.01        0.15       -0.24\n"
    steps = HEADER + CELL.format(c=4.0) + SCF.format(n=1) + voigt
    (frame,) = frames(write(steps + END), "siesta/output")
    assert frame.virial is None and [text.partition(":")[0] for text in frame.left_out] == ["virial"]
    (frame,) = frames(write(steps + LABELS), "siesta/output")
    assert frame.virial is not None and frame.left_out == ()


@pytest.mark.parametrize(
    ("printed", "overflowed", "said"),
    [
        ("siesta:      2    0.000000    0.000000    0.300000", "siesta:      2    0.000000************    0.300000", "nonfinite"),
        ("   -0.030000    0.000000\n", "************    0.000000\n", "nonfinite"),
        ("-31.1000", "********", "nonfinite"),
        ("Atomic number:           1", "Atomic number:          -1", "ghost atoms"),
    ],
)
def test_siesta_steps_that_are_not_known_are_refused(write, printed, overflowed, said):
    text = HEADER + CELL.format(c=4.0) + SCF.format(n=1) + LABELS
    assert printed in text
    assert reasons(read(write(text.replace(printed, overflowed)), "siesta/output")) == [said]


def test_siesta_forces_beside_their_number_are_told_apart(write):
    text = (
        HEADER
        + CELL.format(c=4.0)
        + SCF.format(n=1)
        + LABELS.replace("2    0.000000    0.000000    0.300000", "2-1000.250000    0.000000    0.300000")
    )
    assert frames(write(text), "siesta/output")[0].forces[1].tolist() == [-1000.25, 0.0, 0.3]


def test_siesta_forces_in_a_file_beside_are_named(write):
    text = HEADER.replace(" Species", "reinit: System Label: water        \n Species", 1) + CELL.format(c=4.0) + SCF.format(n=1)
    write("2\n", "water.FA")
    (frame,) = frames(write(text + ">> End of run:\n"), "siesta/output")
    assert frame.left_out == ("forces: those of the last step stand in the .FA file beside it, which is not read",)
    assert frames(write(text + END), "siesta/output")[0].left_out == ()
    assert frames(write(text.replace("water", "ice") + ">> End of run:\n"), "siesta/output")[0].left_out == ()


@pytest.mark.parametrize(("stated", "charge"), [("1.0000", 1), ("-2.0000", -2), ("0.2500", None)])
def test_siesta_states_the_charge(write, stated, charge):
    net = f"redata: Net charge of the system         =     {stated} |e|\n"
    (item,) = read(write(HEADER + net + CELL.format(c=4.0) + SCF.format(n=1) + END), "siesta/output")
    assert getattr(item, "charge", None) == charge


def test_siesta_tables_are_in_the_units_that_their_titles_name(write):
    text = HEADER + CELL.format(c=4.0) + SCF.format(n=1) + LABELS
    changed = (
        text.replace("vectors (Ang)", "vectors (Bohr)")
        .replace("forces (eV/Ang)", "forces (Ry/Bohr)")
        .replace("(eV/Ang**3)", "(Ry/Bohr**3)")
    )
    (frame,) = frames(write(changed), "siesta/output")
    assert frame.volume == pytest.approx(64 * BOHR**3) and frame.forces[1, 2] == pytest.approx(0.3 * RYDBERG / BOHR)
    assert frame.virial[0, 0] == pytest.approx(0.02 * 64 * RYDBERG)
    for known, other in (("vectors (Ang)", "vectors (nm)"), ("(eV/Ang**3)", "(kBar)"), ("forces (eV/Ang)", "forces (nN)")):
        with pytest.raises(SourceError, match="expected"):
            read(write(text.replace(known, other)), "siesta/output")


def test_two_energies_of_one_siesta_step_are_refused(write):
    text = HEADER + CELL.format(c=4.0) + SCF.format(n=1) + "siesta: E_KS(eV) =              -31.9000\n" + END
    assert reasons(read(write(text), "siesta/output")) == ["two energies for one geometry"]


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


def test_castep_searches_for_a_transition_state_print_no_geometries(write):
    """Four energies of which two are of geometries on the path."""
    kind = " type of calculation                            : {}\n"
    text = LATTICE.format(a=5.0) + ATOMS + "".join(FILLED.format(n=n) for n in range(4)) + TIME
    items = read(write(CASTEP + kind.format("transition state search") + text, "x.castep"), "castep/output")
    assert reasons(items) == ["the geometries of a transition state search are not known"] * 4
    assert [item.value for item in items] == [-214.0, -214.1, -214.2, -214.3]
    items = read(write(CASTEP + kind.format("single point energy") + text, "x.castep"), "castep/output")
    assert reasons(items) == ["two energies for one geometry"]


def test_castep_energies_after_the_forces_of_the_only_geometry_are_of_others(write):
    """Displaced atoms of a phonon calculation are not printed."""
    text = LATTICE.format(a=5.0) + ATOMS + FILLED.format(n=1) + FORCES.format(mark="") + FILLED.format(n=2) + FORCES.format(mark="") + TIME
    items = read(write(CASTEP + text, "x.castep"), "castep/output")
    assert [getattr(item, "energy", None) for item in items] == [-214.1, None] and items[0].forces[1, 2] == -0.25
    assert reasons(items) == ["no geometry is printed for this energy"]


def test_castep_cut_offs_on_the_way_to_that_of_the_run_are_passed_over(write):
    start = "Calculating total energy with cut-off of  {}.000 eV.\n"
    loops = "".join(start.format(380 + 10 * n) + FILLED.format(n=n) for n in range(3))
    (frame,) = frames(write(CASTEP + LATTICE.format(a=5.0) + ATOMS + loops + FORCES.format(mark="") + TIME, "x.castep"), "castep/output")
    assert frame.energy == -214.2 and frame.forces is not None


def test_castep_loops_that_reached_their_limit_did_not_converge(write):
    said = "*Warning* max. SCF cycles performed but system has not reached the groundstate.\n"
    path = write(CASTEP + LATTICE.format(a=5.0) + ATOMS + FILLED.format(n=1).replace("Final", said + "Final") + TIME, "x.castep")
    assert reasons(read(path, "castep/output")) == ["unconverged"]


FORCES = """ ************************** Forces **************************
 *           Cartesian components (eV/A)                    *
 * -------------------------------------------------------- *
 *                         x            y            z      *
 * Si              1      0.00000{mark}    0.00000{mark}    0.25000{mark} *
 * Si              2      0.00000{mark}    0.00000{mark}   -0.25000{mark} *
 ************************************************************
"""


def test_castep_forces_of_constrained_atoms_are_named_and_left_out(write):
    head = CASTEP + LATTICE.format(a=5.0) + ATOMS + FILLED.format(n=1)
    (frame,) = frames(write(head + FORCES.format(mark="(cons'd)") + TIME, "x.castep"), "castep/output")
    assert frame.forces is None and frame.left_out == ("forces: those of constrained atoms are not printed",)


@pytest.mark.parametrize(
    ("printed", "overflowed", "label"),
    [
        ("   0.25000 *", "*********** *", "forces"),
        ("*  y      0.000000     -1.000000", "*  y      0.000000*************", "virial"),
        ("-214.1000000000", "***************", "energy"),
        ("0.250000   0.250000   0.250000", "0.250000***********   0.250000", "positions"),
    ],
)
def test_castep_stars_refuse_their_step_and_say_where(write, printed, overflowed, label):
    text = LATTICE.format(a=5.0) + ATOMS + FILLED.format(n=1) + FORCES.format(mark="") + STRESS + TIME
    assert printed in text
    items = read(write(CASTEP + text.replace(printed, overflowed), "x.castep"), "castep/output")
    assert [(item.reason, item.value) for item in items] == [("nonfinite", label)]


@pytest.mark.parametrize(("unit", "factor"), [("GPa", 1.0), ("kBar", 0.1), ("eV/A**3", 1 / GPA)])
def test_castep_stress_is_in_the_unit_that_it_names(write, unit, factor):
    named = STRESS.replace(" *  x", f" *        Cartesian components ({unit})        *\n *  x", 1)
    (frame,) = frames(write(CASTEP + LATTICE.format(a=5.0) + ATOMS + FILLED.format(n=1) + named + TIME, "x.castep"), "castep/output")
    assert frame.virial[0, 0] == pytest.approx(GPA * 125 * factor)
    with pytest.raises(SourceError, match="expected GPa or"):
        read(
            write(CASTEP + LATTICE.format(a=5.0) + ATOMS + FILLED.format(n=1) + named.replace(unit, "furlong") + TIME, "x.castep"),
            "castep/output",
        )


def test_castep_charges_are_whole(write):
    charge = " net charge of system                           :  0.500\n"
    path = write(CASTEP + charge + LATTICE.format(a=5.0) + ATOMS + FILLED.format(n=1) + TIME, "x.castep")
    assert reasons(read(path, "castep/output")) == ["charge is not a whole number"]
