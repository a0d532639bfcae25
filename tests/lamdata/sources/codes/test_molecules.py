"""Gaussian, ORCA, Psi4, DFTB+ and sqm: axes, signs of gradients, and energies that forces derive from."""

import numpy as np
import pytest

from lamdata.errors import SourceError
from lamdata.units import BOHR, HARTREE
from tests.lamdata.sources.reading import frames, read, reasons, same_as_dpdata, stated

FORCE = HARTREE / BOHR


# ---- Gaussian ----------------------------------------------------------------------------------------------------------

GAUSSIAN = """ Entering Gaussian System, Link 0=g16
 Gaussian 16, Revision A.03,
 # force mp2/6-31g* empiricaldispersion=gd3bj
 Charge = -1 Multiplicity = 2
"""
RULER = " ---------------------------------------------------------------------\n"
INPUT_AXES = "                          Input orientation:                          \n"
STANDARD_AXES = "                         Standard orientation:                         \n"
TITLES = " Center     Atomic      Atomic             Coordinates (Angstroms)\n Number     Number       Type             X           Y           Z\n"


def axes(title=INPUT_AXES, x=0.0, vectors=""):
    rows = f"      1          8           0        {x:.6f}    0.000000    0.000000\n      2          1           0        0.000000    0.000000    0.970000\n"
    return title + RULER + TITLES + RULER + rows + vectors + RULER


def scf(energy=-75.5, name="UB3LYP"):
    return f" Standard basis: 6-31G(d) (6D, 7F)\n SCF Done:  E({name}) =  {energy:.9f}     A.U. after    8 cycles\n"


FORCES = (
    " Center     Atomic                   Forces (Hartrees/Bohr)\n Number     Number              X              Y              Z\n" + RULER
    + "      1        8           0.000000001-1000.000000002    0.000000794\n      2        1          -0.000000001 1000.000000002   -0.000000794\n" + RULER
)  # fmt: skip
END = " Normal termination of Gaussian 16 at Tue Jun 25 00:14:07 2019.\n"


def test_each_gaussian_step_with_forces_is_read(write):
    path = write(GAUSSIAN + axes() + axes(STANDARD_AXES, 9.0) + scf() + FORCES + axes(x=0.1) + scf(-75.6) + FORCES + END)
    first, second = frames(path, "gaussian/log")
    assert (first.energy, second.energy) == pytest.approx((-75.5 * HARTREE, -75.6 * HARTREE)) and second.positions[0, 0] == 0.1
    assert first.forces[0, 1] == pytest.approx(-1000.000000002 * FORCE)  # ran together in the file
    assert (first.charge, first.multiplicity, first.cell) == (-1, 2, None) and first.numbers.tolist() == [8, 1]


def test_a_correlated_energy_is_taken_with_its_forces(write):
    mp2 = " E2 =    -0.1D+00 EUMP2 =    -0.75700000000000D+02\n"
    assert frames(write(GAUSSIAN + axes() + scf() + mp2 + FORCES + END), "gaussian/log")[0].energy == pytest.approx(-75.7 * HARTREE)
    for better in (
        " E3=       -0.10518803D-01        EUMP3=      -0.75800000000D+02\n",
        " E4(DQ)=   -0.3D-02        UMP4(DQ)=   -0.75750000000D+02\n E4(SDQ)=  -0.3D-02        UMP4(SDQ)=  -0.75800000000D+02\n",
        " DEMP5 =  -0.11048815700D-02 MP5 =  -0.75800000000D+02\n",
        " DE(Corr)= -0.53049212E-01 E(CORR)=     -75.800000000     Delta=-3.16D-08\n",
    ):
        (frame,) = frames(write(GAUSSIAN + axes() + scf() + mp2 + better + FORCES + END), "gaussian/log")
        assert frame.energy == pytest.approx(-75.8 * HARTREE)


def test_an_scf_repeated_for_the_same_geometry_is_one_step(write):
    path = write(GAUSSIAN + axes() + scf(-75.5) + scf(-75.6) + axes(x=0.1) + scf(-75.7) + END)
    assert [frame.energy for frame in frames(path, "gaussian/log")] == pytest.approx([-75.6 * HARTREE, -75.7 * HARTREE])


def test_forces_along_other_axes_than_the_positions_are_rejected(write, samples):
    items = read(write(GAUSSIAN + axes(STANDARD_AXES) + scf() + FORCES + END), "gaussian/log")
    assert reasons(items) == ["forces without the input orientation"]
    # the axes of one job do not hold for the next one of the file
    items = read(write(GAUSSIAN + axes() + scf() + FORCES + END + GAUSSIAN + axes(STANDARD_AXES) + scf() + FORCES + END), "gaussian/log")
    assert [getattr(item, "reason", None) for item in items] == [None, "forces without the input orientation"]
    assert len(reasons(read(samples / "broken/no_input_orient.gaussianlog", "gaussian/log"))) == 1


def test_an_energy_without_forces_is_a_frame_when_the_job_has_ended(write):
    (frame,) = frames(write(GAUSSIAN + axes() + scf() + END), "gaussian/log")
    assert frame.forces is None
    with pytest.raises(SourceError, match="truncated"):
        read(write(GAUSSIAN + axes() + scf()), "gaussian/log")


def test_lattice_vectors_make_a_crystal(write):
    vectors = "".join(
        f"      {i + 3}         -2           0        {'    '.join('5.000000' if i == j else '0.000000' for j in range(3))}\n"
        for i in range(3)
    )
    (frame,) = frames(write(GAUSSIAN + axes(vectors=vectors) + scf() + FORCES + END), "gaussian/log")
    assert np.array_equal(frame.cell, 5 * np.eye(3)) and len(frame.numbers) == 2


def test_an_unconverged_gaussian_scf_is_rejected(write, samples):
    assert reasons(read(write(GAUSSIAN + axes() + scf() + " Convergence failure -- run terminated.\n"), "gaussian/log")) == ["unconverged"]
    assert reasons(read(samples / "gaussian/gaussian/noncoveraged.gaussianlog", "gaussian/log")) == ["unconverged"]


def test_gaussian_states_its_theory(write):
    name, theory = stated(write(GAUSSIAN + axes() + scf()))
    assert name == "gaussian/log"
    expected = {
        "code": "Gaussian 16 A.03",
        "functional": "B3LYP",
        "core": "6-31G(d)",
        "spin": "collinear",
        "dispersion": "D3(BJ)",
        "hubbard_u": "none",
    }
    assert theory == expected


def test_gaussian_states_mp2_and_leaves_better_methods_to_the_card(write):
    mp2 = " E2 =    -0.1D+00 EUMP2 =    -0.75700000000000D+02\n"
    ccsd = " DE(Corr)= -0.53049212E-01 E(CORR)=     -75.800000000     Delta=-3.16D-08\n"
    found = [stated(write(GAUSSIAN + axes() + scf(name="UHF") + beyond + FORCES))[1] for beyond in ("", mp2, mp2 + ccsd)]
    assert [theory.get("functional") for theory in found] == ["HF", "MP2", None]


def test_gaussian_runs_of_layers_are_refused(write):
    with pytest.raises(SourceError, match="layers or fragments"):
        read(write(GAUSSIAN + axes() + " ONIOM: generating point  1 -- low level on model system.\n" + scf() + END), "gaussian/log")


FCHK = """methane
Force     RB3LYP                                                      6-31G(d)
Number of atoms                            I                2
Charge                                     I                1
Multiplicity                               I                3
Atomic numbers                             I   N=           2
           8           1
Current cartesian coordinates              R   N=           6
  0.00000000E+00  0.00000000E+00  0.00000000E+00  0.00000000E+00  0.00000000E+00
  2.00000000E+00
Total Energy                               R     -7.550000000000000E+01
Cartesian Gradient                         R   N=           6
  1.00000000E-03  0.00000000E+00  0.00000000E+00 -1.00000000E-03  0.00000000E+00
  0.00000000E+00
"""


def test_a_checkpoint_holds_gradients_not_forces(write):
    path = write(FCHK, "x.fchk")
    (frame,) = frames(path, "gaussian/fchk")
    assert frame.forces[0, 0] == pytest.approx(-1e-3 * FORCE) and frame.positions[1, 2] == pytest.approx(2 * BOHR)
    assert frame.energy == pytest.approx(-75.5 * HARTREE) and (frame.charge, frame.multiplicity) == (1, 3)
    assert stated(path) == ("gaussian/fchk", {"code": "Gaussian", "functional": "B3LYP", "core": "6-31G(d)"})
    for cut in (FCHK[:-40], FCHK.replace("N=           6", "N=  99999999"), FCHK.partition("Total Energy")[0]):
        with pytest.raises(SourceError, match="has|states"):
            read(write(cut, "x.fchk"), "gaussian/fchk")


def test_a_checkpoint_without_a_gradient_of_its_own_has_no_forces(write):
    zeros = (
        FCHK.partition("Cartesian Gradient")[0]
        + "Cartesian Gradient                         R   N=           6\n"
        + " 0.00000000E+00" * 6
        + "\n"
    )
    energy = "Grdnt Energy                               R     {:.15E}\n"
    assert frames(write(zeros, "x.fchk"), "gaussian/fchk")[0].forces is None
    assert frames(write(FCHK + energy.format(-75.1), "x.fchk"), "gaussian/fchk")[0].forces is None  # of an earlier job
    assert frames(write(FCHK + energy.format(-75.5), "x.fchk"), "gaussian/fchk")[0].forces is not None


def test_dpdata_reads_the_same_gaussian_logs(samples):
    import dpdata

    for name in ("h2pbc", "methane", "methane_reordered", "methane_sub"):
        path = samples / f"gaussian/gaussian/{name}.gaussianlog"
        ours, theirs = frames(path, "gaussian/log"), dpdata.LabeledSystem(str(path), fmt="gaussian/log")
        assert ours[0].energy == pytest.approx(theirs["energies"][0], abs=1e-9) and np.allclose(ours[0].forces, theirs["forces"][0])
    path = samples / "gaussian/gaussian/oxygen.gaussianlog"
    same_as_dpdata(frames(path, "gaussian/log"), dpdata.LabeledSystem(str(path), fmt="gaussian/md"))


# ---- ORCA and Psi4 -----------------------------------------------------------------------------------------------------

ORCA = """                                 * O   R   C   A *
                         Program Version 5.0.3 -  RELEASE  -
|  1> ! B3LYP def2-SVP engrad
---------------------------------
CARTESIAN COORDINATES (ANGSTROEM)
---------------------------------
  O      0.000000    0.000000    0.000000
  H      0.000000    0.000000    0.970000

 Total Charge           Charge          ....    1
 Multiplicity           Mult            ....    3
FINAL SINGLE POINT ENERGY      -75.500000000000
------------------
CARTESIAN GRADIENT
------------------

   1   O   :    0.001000000    0.000000000    0.000000000
   2   H   :   -0.001000000    0.000000000    0.000000000

"""
ORCA_END = "                             ****ORCA TERMINATED NORMALLY****\n"


def test_orca_prints_gradients_not_forces(write):
    (frame,) = frames(write(ORCA + ORCA_END), "orca/output")
    assert frame.forces[0, 0] == pytest.approx(-1e-3 * FORCE) and frame.energy == pytest.approx(-75.5 * HARTREE)
    assert (frame.charge, frame.multiplicity, frame.pbc) == (1, 3, (False,) * 3)


def test_orca_runs_that_did_not_converge_or_end_are_not_read(write):
    bad = ORCA.replace("FINAL SINGLE POINT ENERGY      -75.5", "FINAL SINGLE POINT ENERGY (SCF not fully converged!)  -75.5")
    assert reasons(read(write(bad + ORCA_END), "orca/output")) == ["unconverged"]
    with pytest.raises(SourceError, match="truncated"):
        read(write(ORCA), "orca/output")
    assert [len(frames(write(ORCA * 2 + ORCA_END), "orca/output")), reasons(read(write(ORCA * 2), "orca/output"))] == [2, ["truncated"]]


def test_orca_states_its_theory(write):
    assert stated(write(ORCA)) == ("orca/output", {"code": "ORCA 5.0.3", "functional": "B3LYP", "core": "def2-SVP"})


PSI4_GEOMETRY = """    Geometry (in Bohr), charge = 1, multiplicity = 2:

       Center              X                  Y                   Z               Mass
    ------------   -----------------  -----------------  -----------------  -----------------
         O            0.000000000000     0.000000000000     0.000000000000    15.99
         H            0.000000000000     0.000000000000     2.000000000000     1.00

"""
PSI4 = (
    "                               Psi4 1.6.1 release\n  ==> Geometry <==\n" + PSI4_GEOMETRY + "    Blend: DEF2-SVP\n   => Composite Functional: B3LYP-D3BJ <=\n"
    "  Energy and wave function converged.\n    Total Energy =                        -75.5000000000000000\n" + PSI4_GEOMETRY
    + "  -Total Gradient:\n     Atom            X                  Y                   Z\n    ------   ---\n"
    "       1        0.001000000000     0.000000000000     0.000000000000\n       2       -0.001000000000     0.000000000000     0.000000000000\n\n"
)  # fmt: skip


def test_psi4_prints_gradients_not_forces(write):
    path = write(PSI4 + PSI4.replace("2.000000000000", "2.100000000000") + "*** Psi4 exiting successfully.\n")
    first, second = frames(path, "psi4/output")
    assert first.forces[0, 0] == pytest.approx(-1e-3 * FORCE) and second.positions[1, 2] == pytest.approx(2.1 * BOHR)
    assert (first.charge, first.multiplicity) == (1, 2)
    assert stated(path) == ("psi4/output", {"code": "Psi4 1.6.1", "functional": "B3LYP-D3BJ", "core": "DEF2-SVP", "dispersion": "D3(BJ)"})
    with pytest.raises(SourceError, match="truncated"):
        read(write(PSI4), "psi4/output")


def psi4_program(text=""):
    return f"\n*** tstart() called on here\n{text}\n*** tstop() called on here at noon\n"


@pytest.mark.parametrize(
    "totals",
    [
        "\t MP2 Total Energy (a.u.)            :   -75.61000000000000\n\t MP3 Total Energy (a.u.)            :   -75.70000000000000\n",
        "      * MP2 total energy                      =  -75.610000000000\n      * CCSD total energy      =  -75.700000000000\n",
        "\t Total Energy              =     -75.7000000000000000 [Eh]\n\t SCS Total Energy          =     -75.9000000000000000 [Eh]\n",
    ],
)
def test_psi4_takes_the_energy_of_the_method_that_the_gradient_belongs_to(write, totals):
    head, again, gradient = PSI4.rpartition(PSI4_GEOMETRY)
    path = write(psi4_program(head) + psi4_program(totals) + psi4_program(again + gradient) + "*** Psi4 exiting successfully.\n")
    (frame,) = frames(path, "psi4/output")
    assert frame.energy == pytest.approx(-75.7 * HARTREE) and frame.forces is not None


def test_psi4_states_the_method_beyond_hartree_fock(write):
    head, again, gradient = PSI4.replace("   => Composite Functional: B3LYP-D3BJ <=", "      RHF Reference").rpartition(PSI4_GEOMETRY)
    total = "\t DF-MP3 Total Energy (a.u.)         :   -75.70000000000000\n"
    assert stated(write(psi4_program(head) + psi4_program(total) + again + gradient))[1]["functional"] == "MP3"
    assert stated(write(psi4_program(head) + again + gradient))[1]["functional"] == "HF"


def test_psi4_does_not_take_the_energy_of_the_scf_for_that_of_a_method_it_does_not_know(write):
    scf, _, gradient = PSI4.rpartition(PSI4_GEOMETRY)
    end = "*** Psi4 exiting successfully.\n"
    items = read(write(psi4_program(scf) + psi4_program("  ADC(1)") + end), "psi4/output")
    assert reasons(items) == ["the energy of the method is not recognised"]
    moved = PSI4.replace("2.000000000000", "2.100000000000")
    path = write(psi4_program(scf) + psi4_program("   SCF GRAD\n" + PSI4_GEOMETRY + gradient) + psi4_program(moved) + end)
    assert [frame.energy for frame in frames(path, "psi4/output")] == pytest.approx([-75.5 * HARTREE] * 2)


def test_psi4_geometries_in_another_unit_or_of_the_optimizer_are_no_steps_of_their_own(write):
    angstrom = PSI4_GEOMETRY.replace("(in Bohr)", "(in Angstrom)").replace("2.000000000000", f"{2 * BOHR:.12f}")
    first, again, gradient = PSI4.rpartition(PSI4_GEOMETRY)
    next_one = angstrom.replace("0.000000000000    15.99", "0.100000000000    15.99")
    path = write(first + angstrom + gradient + next_one + "*** Psi4 exiting successfully.\n")
    (frame,) = frames(path, "psi4/output")
    assert frame.forces is not None


def test_dpdata_reads_the_same_orca_and_psi4_runs(samples):
    import dpdata

    for path, ours, theirs in (("orca/orca/orca.spout", "orca/output", "orca/spout"), ("psi4/psi4/psi4.out", "psi4/output", "psi4/out")):
        same_as_dpdata(frames(samples / path, ours), dpdata.LabeledSystem(str(samples / path), fmt=theirs))


# ---- DFTB+ and sqm -----------------------------------------------------------------------------------------------------

DETAILED = """ iSCC Total electronic   Diff electronic      SCC error
Total energy:                       -3.2000000000 H          -87.0764 eV
Total Mermin free energy:           -3.2500000000 H          -88.4370 eV
Force related energy:               -3.2500000000 H          -88.4370 eV

SCC converged

Total Forces
    1      0.016567056203      0.002817951422      0.005634574270
    2     -0.016567056203     -0.002817951422     -0.005634574270
"""
PIN = 'Geometry = GenFormat {\n2 C\nN H\n1     1        0.0 0.0 0.0\n2     2        0.0 0.0 1.0\n}\nHamiltonian = DFTB {\n SlaterKosterFiles = { N-N = "/opt/slko/3ob-3-1/N-N.skf" }\n ThirdOrderFull = Yes\n}\n'


def test_dftb_takes_its_geometry_from_the_input_beside_it(write):
    path = write(DETAILED, "detailed.out")
    with pytest.raises(SourceError, match="dftb_pin.hsd, which is not beside it"):
        read(path, "dftbplus/detailed")
    write(PIN, "dftb_pin.hsd")
    (frame,) = frames(path, "dftbplus/detailed")
    assert (
        frame.energy == pytest.approx(-3.25 * HARTREE)
        and frame.forces[1, 0] == pytest.approx(-0.016567056203 * FORCE)
        and frame.cell is None
    )
    assert stated(path) == ("dftbplus/detailed", {"code": "DFTB+", "functional": "DFTB3", "core": "3ob-3-1"})


def test_dftb_crystals_may_be_fractional(write):
    write(PIN.replace("2 C", "2 F").replace("0.0 0.0 1.0\n", "0.0 0.0 0.5\n0 0 0\n4 0 0\n0 4 0\n0 0 4\n"), "dftb_pin.hsd")
    (frame,) = frames(write(DETAILED, "detailed.out"), "dftbplus/detailed")
    assert frame.positions[1, 2] == 2.0 and frame.volume == pytest.approx(64)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("SCC converged", "SCC is NOT converged", "unconverged"),
        (" iSCC", "Geometry optimization step: 7\n iSCC", "the input has the geometry of the first step alone"),
    ],
)
def test_a_dftb_run_that_did_not_converge_or_has_moved_is_rejected(write, old, new, reason):
    write(PIN, "dftb_pin.hsd")
    assert reasons(read(write(DETAILED.replace(old, new), "detailed.out"), "dftbplus/detailed")) == [reason]
    with pytest.raises(SourceError, match="cut"):
        read(write(DETAILED.rpartition("\n    2")[0], "detailed.out"), "dftbplus/detailed")


def test_what_dftb_prints_as_it_runs_is_not_taken_for_its_results(write):
    write(PIN, "dftb_pin.hsd")
    with pytest.raises(SourceError, match=r"stand in its detailed.out"):
        read(write("|\n|  DFTB+ release 24.1\n" + DETAILED, "run.out"), "dftbplus/detailed")


def test_dpdata_reads_the_same_dftb_and_sqm_runs(samples):
    import dpdata

    folder = samples / "dftbplus/dftbplus"
    theirs = dpdata.LabeledSystem((str(folder / "dftb_pin.hsd"), str(folder / "detailed.out")), fmt="dftbplus")
    same_as_dpdata(frames(folder / "detailed.out", "dftbplus/detailed"), theirs)
    path = samples / "amber/sqm_forces.out"
    # sqm's own kcal/mol, so that forces and energy stay of one scale: 2e-5 of the force
    same_as_dpdata(frames(path, "sqm/output"), dpdata.LabeledSystem(str(path), fmt="sqm/out"), forces=2e-4)
    assert stated(path)[1] == {"code": "AMBER sqm 19", "functional": "DFTB3", "core": "3ob-3-1"}
