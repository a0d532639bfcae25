"""SIESTA, FHI-aims and CASTEP: signs of the stress, steps of runs, what is not converged or not DFT."""

from pathlib import Path

import numpy as np
import pytest

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.sources import Reader, SourceFile, expand, reader
from lamdata.sources.codes.steps import Step, TextReader, marks
from lamdata.units import GPA
from tests.lamdata.sources.reading import frames, read, reasons, same_as_dpdata, stated


def test_every_title_has_its_method():
    for name in (
        "qe/pw",
        "vasp/outcar",
        "siesta/output",
        "fhi_aims/output",
        "castep/output",
        "abacus/log",
        "gaussian/log",
        "orca/output",
        "psi4/output",
    ):
        found = reader(name)
        assert isinstance(found, TextReader)
        assert all(title and hasattr(found.run, f"on_{method}") for title, method in found.run.marks.items())
    assert marks(a="^x", b=("y", "z")) == {"\nx": "a", "y": "b", "z": "b"}


class Two:
    """Steps of another kind of file than a text: any object that has them will do."""

    def __init__(self, file, spec):
        self.name = file.name

    def steps(self):
        step = Step(["H"], np.zeros((1, 3)), complete=True, left_out=("forces: of another run", "charge: not stated"))
        step.state_energy(-1.0)
        step.state_energy(-1.000001)
        yield step
        yield Step(["H"], np.zeros((1, 3)), complete=True, energy=-1.0, forces=np.ones((1, 3)), left_out=step.left_out)
        step.state_energy(-2.0)
        yield step


def test_a_reader_of_steps_is_data(write):
    found = TextReader(name="two", run=Two, states=lambda file: {}, signs=(b"one", (b"two", b"parts")), endings=(".a", ".b"))
    (file,) = expand(SourceSpec(path=str(write("x", "x.a"))), base=Path())
    assert isinstance(found, Reader) and found.guess(file, b"the one") and found.guess(file, b"parts, two")
    assert not found.guess(file, b"two") and not found.guess(SourceFile(name="x.c", path="x.c"), b"the one")
    both, third = found.read(file, SourceSpec(path="x"))
    first, second = both
    assert first.left_out == ("forces: of another run", "charge: not stated") and second.left_out == ("charge: not stated",)
    assert third.reason == "two energies for one geometry" and third.origin == f"{file.name}#2"


# ---- SIESTA ------------------------------------------------------------------------------------------------------------

SIESTA = """Siesta Version  : v4.0.2
XC.authors             PBE
Reading pseudopotential information in formatted form from H.psf
 Species number:            1  Label: H Atomic number:           1
redata: SpinPolarized (Up/Down) run      =     F
InitMesh: Mesh cutoff (required, used) =   300.000   305.906 Ry
"""
SIESTA_STEP = """                            Begin MD step =      {n}
outcoor: Atomic coordinates (Ang):
    0.00000000    0.00000000    0.00000000   1       1  H
    0.{n}0000000    0.00000000    0.74000000   1       2  H

outcell: Unit cell vectors (Ang):
        5.000000    0.000000    0.000000
        0.000000    5.000000    0.000000
        0.000000    0.000000    5.000000

{scf}
siesta: E_KS(eV) =              -31.{n}000

siesta: Atomic forces (eV/Ang):
     1    0.100000    0.000000   -0.300000
     2   -0.100000    0.000000    0.300000
----------------------------------------
   Tot    0.000000    0.000000    0.000000

Stress-tensor-Voigt (kbar):       99.00       99.00       99.00       99.00       99.00       99.00
siesta: Stress tensor (static) (eV/Ang**3):
        -0.001000    0.000200    0.000000
         0.000200   -0.002000    0.000000
         0.000000    0.000000   -0.003000

siesta: Stress tensor (total) (eV/Ang**3):
        -9.0 -9.0 -9.0
"""
GOOD = "SCF cycle converged after   12 iterations"


def test_siesta_virial_has_the_sign_of_all_others(write):
    """SIESTA prints P = -tr/3; dpdata 1.1.0 takes +V times it."""
    path = write(SIESTA + SIESTA_STEP.format(n=1, scf=GOOD) + SIESTA_STEP.format(n=2, scf=GOOD) + ">> End of run:\n")
    first, second = frames(path, "siesta/output")
    assert np.trace(first.virial) == pytest.approx(0.006 * 125) and first.virial[0, 1] == pytest.approx(-0.0002 * 125)
    assert (first.energy, second.energy) == (-31.1, -31.2) and second.positions[1, 0] == 0.2 and second.forces[1, 2] == 0.3


def test_siesta_steps_that_did_not_converge_or_were_cut_are_rejected(write):
    bad = SIESTA_STEP.format(n=2, scf="WARNING: SCF_NOT_CONV: SCF did not converge in maximum number of steps")
    cut = SIESTA_STEP.format(n=3, scf=GOOD).partition("siesta: Stress")[0]
    items = read(write(SIESTA + SIESTA_STEP.format(n=1, scf=GOOD) + bad + cut), "siesta/output")
    assert [getattr(item, "reason", None) for item in items] == [None, "unconverged", "truncated"]


def test_siesta_states_its_theory(write):
    name, theory = stated(write(SIESTA + SIESTA_STEP.format(n=1, scf=GOOD)))
    assert name == "siesta/output"
    assert theory == {"code": "SIESTA 4.0.2", "functional": "PBE", "core": "H.psf", "cutoff": 4081.71, "spin": "none"}


def test_dpdata_reads_the_same_siesta_runs_but_for_the_sign(samples):
    import dpdata

    for name, fmt in (("scf/siesta_output", "siesta/output"), ("aimd/output", "siesta/aimd_output")):
        path = samples / "siesta/siesta" / name
        ours, theirs = frames(path, "siesta/output"), dpdata.LabeledSystem(str(path), fmt=fmt)
        theirs.data["virials"] *= -1
        same_as_dpdata(ours, theirs)


# ---- FHI-aims ----------------------------------------------------------------------------------------------------------

AIMS = """          Invoking FHI-aims ...
          Version 180126
    xc                 pbe
    spin               none
  #  Suggested "tight" defaults for B atom (to be pasted into control.in file)
  Input geometry:
  | Unit cell:
  |        4.00000000        0.00000000        0.00000000
  |        0.00000000        4.00000000        0.00000000
  |        0.00000000        0.00000000        4.00000000
  | Atomic structure:
  |       Atom                x [A]            y [A]            z [A]
  |    1: Species B1            0.00000000        0.00000000        0.00000000
  |    2: Species N             0.90000000        0.90000000        0.90000000

"""
AIMS_STEP = """          Begin self-consistency loop: {kind}.
  | Electronic free energy        :         -10.00000000 Ha         -272.11386246 eV
  {scf}
  | Total energy uncorrected      :         -0.27200000{n}000000E+03 eV
  | Total energy corrected        :         -0.272000009000000E+03 eV
  | Electronic free energy        :         -0.27200001{n}000000E+03 eV

  Total atomic forces (unitary forces cleaned) [eV/Ang]:
  |    1          0.10000000000000E+00         0.200000000000000E+00         0.300000000000000E+00
  |    2         -0.10000000000000E+00        -0.200000000000000E+00        -0.300000000000000E+00

"""
AIMS_GOOD = "Self-consistency cycle converged."


def test_aims_energy_is_the_free_energy_unless_asked(write):
    path = write(AIMS + AIMS_STEP.format(kind="Initialization", scf=AIMS_GOOD, n=1) + "          Have a nice day.\n")
    (frame,) = frames(path, "fhi_aims/output")
    assert frame.energy == -272.000011 and frame.forces[0, 2] == 0.3 and frame.numbers.tolist() == [5, 7]
    assert frames(path, "fhi_aims/output", options={"energy": "total"})[0].energy == -272.000001


def test_aims_md_prints_the_geometry_after_its_labels(write):
    moved = "  Atomic structure (and velocities) as used in the preceding time step:\n                      x [A]\n   atom 0.1 0 0  B1\n     velocity 1 1 1\n   atom 0.9 0.9 0.8  N\n     velocity 1 1 1\n-----\n"
    first = AIMS_STEP.format(kind="Initialization", scf=AIMS_GOOD, n=1)
    second = AIMS_STEP.format(kind="Re-initialization", scf=AIMS_GOOD, n=2)
    items = frames(write(AIMS + first + second + moved + "          Have a nice day.\n"), "fhi_aims/output")
    assert [f.positions[1, 2] for f in items] == [0.9, 0.8] and items[1].positions[0, 0] == 0.1


def test_aims_relaxation_prints_the_geometry_before_its_labels(write):
    updated = "  Updated atomic structure:\n                         x [A]\n  lattice_vector 5 0 0\n  lattice_vector 0 5 0\n  lattice_vector 0 0 5\n\n            atom 0 0 0  B1\n            atom_frac 0.1 0.1 0.1  N\n\n"
    stress = "  |  Analytical stress tensor - Symmetrized  |\n  |  x  -0.01 0 0 |\n  |  y  0 -0.01 0 |\n  |  z  0 0 -0.01 |\n"
    second = AIMS_STEP.format(kind="Re-initialization", scf=AIMS_GOOD, n=2) + stress
    items = frames(
        write(AIMS + AIMS_STEP.format(kind="Initialization", scf=AIMS_GOOD, n=1) + updated + second + " Have a nice day.\n"),
        "fhi_aims/output",
    )
    assert items[1].volume == pytest.approx(125) and items[1].positions[1].tolist() == [0.5, 0.5, 0.5]
    assert items[0].virial is None and np.trace(items[1].virial) == pytest.approx(0.03 * 125)


def test_aims_steps_that_did_not_converge_are_rejected(write):
    items = read(
        write(AIMS + AIMS_STEP.format(kind="Initialization", scf="Self-consistency cycle not converged.", n=1) + " Have a nice day.\n"),
        "fhi_aims/output",
    )
    assert reasons(items) == ["unconverged"]
    with pytest.raises(SourceError, match="truncated"):
        read(write(AIMS + AIMS_STEP.format(kind="Initialization", scf=AIMS_GOOD, n=1)), "fhi_aims/output")


@pytest.mark.parametrize(
    ("printed", "changed", "reason"),
    [
        ("  0.200000000000000E+00 ", "  ********************* ", "nonfinite"),
        ("E+03 eV", "E+03 eV", None),
        ("-0.272000011000000E+03 eV", "********************* eV", "nonfinite"),
        ("2: Species N ", "2: Empty   N ", "ghost atoms"),
        ("0.90000000        0.90000000        0.90000000", "0.90000000        **********        0.90000000", "nonfinite"),
    ],
)
def test_aims_steps_that_are_not_known_are_refused(write, printed, changed, reason):
    text = AIMS + AIMS_STEP.format(kind="Initialization", scf=AIMS_GOOD, n=1) + " Have a nice day.\n"
    items = read(write(text.replace(printed, changed)), "fhi_aims/output")
    assert [getattr(item, "reason", None) for item in items] == [reason]


def test_aims_loops_whose_geometry_is_not_printed_have_none(write):
    """A stress by differences strains the cell, and prints no cell."""
    loops = [AIMS_STEP.format(kind="Re-initialization", scf=AIMS_GOOD, n=n) for n in range(3)]
    items = read(write(AIMS + "".join(loops) + " Have a nice day.\n"), "fhi_aims/output")
    assert [getattr(item, "reason", None) for item in items] == [None, "no positions", "no positions"]


@pytest.mark.parametrize(("stated", "charge"), [("1.000000E+00: Charged system requested.", 1), ("-0.500000E+00: Charged system", None)])
def test_aims_states_the_charge(write, stated, charge):
    head = AIMS.replace("  Input geometry:", f"  Charge =   {stated}\n  Input geometry:")
    (item,) = read(write(head + AIMS_STEP.format(kind="Initialization", scf=AIMS_GOOD, n=1) + " Have a nice day.\n"), "fhi_aims/output")
    assert getattr(item, "charge", None) == charge


def test_aims_units_that_are_not_known_stop_the_file(write):
    text = AIMS + AIMS_STEP.format(kind="Initialization", scf=AIMS_GOOD, n=1).replace("[eV/Ang]", "[Ha/bohr]") + " Have a nice day.\n"
    with pytest.raises(SourceError, match="expected eV/A"):
        read(write(text), "fhi_aims/output")


def test_aims_states_its_theory(write):
    name, theory = stated(write(AIMS))
    assert (
        name == "fhi_aims/output"
        and theory["code"] == "FHI-aims 180126"
        and theory["functional"] == "PBE"
        and theory["core"].startswith("tight")
    )


def test_dpdata_reads_the_same_aims_runs(samples):
    import dpdata

    for kind in ("scf", "md"):
        path = samples / "fhi_aims/fhi_aims" / f"out_{kind}"
        same_as_dpdata(
            frames(path, "fhi_aims/output", options={"energy": "total"}), dpdata.LabeledSystem(str(path), fmt=f"fhi_aims/{kind}")
        )


# ---- CASTEP ------------------------------------------------------------------------------------------------------------

CASTEP = """ |      CCC   AA    SSS  TTTTT  EEEEE  PPPP        |
 | Welcome to Academic Release CASTEP version 25.1 |
 using functional                               : Perdew Burke Ernzerhof
 DFT+D: Semi-empirical dispersion correction    : off
 plane wave basis set cut-off                   :   150.0000   eV
 net charge of system                           :  1.000
 treating system as non-spin-polarized
        Real Lattice(A)                      Reciprocal Lattice(1/A)
     5.0000000     0.0000000     0.0000000        1.2  0.0 0.0
     0.0000000     5.0000000     0.0000000        0.0  1.2 0.0
     0.0000000     0.0000000     5.0000000        0.0  0.0 1.2
"""
CASTEP_STEP = """            x  Element    Atom        Fractional coordinates of atoms    x
            x            Number           u          v          w        x
            x------------------------------------------------------------x
            x   Si         1          0.000000   0.000000   0.000000     x
            x   Si         2          0.250000   0.250000   0.25{n}000     x
            xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
SCF loop      Energy           Fermi           Energy gain       Timer   <-- SCF
Final energy, E             =  -855.{n}000000000     eV
Final free energy (E-TS)    =  -855.{n}200000000     eV
NB est. 0K energy (E-0.5TS)      =  -855.{n}100000000     eV

 ************************************** Forces **************************************
 *                           Cartesian components (eV/A)                            *
 * -------------------------------------------------------------------------------- *
 *                         x                    y                    z              *
 * Si              1     -0.24389             -0.33040              0.32266         *
 * Si              2      0.24389              0.33040             -0.32266         *
 ************************************************************************************
 ***************** Stress Tensor *****************
 *          Cartesian components (GPa)           *
 *  x     -1.000000      0.500000      0.000000  *
 *  y      0.500000     -2.000000      0.000000  *
 *  z      0.000000      0.000000     -3.000000  *
 *************************************************
"""


def test_castep_energy_is_the_free_energy_unless_asked(write):
    path = write(CASTEP + CASTEP_STEP.format(n=1) + CASTEP_STEP.format(n=2) + "Total time          =     21.18 s\n", "x.castep")
    first, second = frames(path, "castep/output")
    assert (first.energy, second.energy) == (-855.12, -855.22) and second.positions[1, 2] == pytest.approx(1.26) and first.charge == 1
    assert first.forces[1, 2] == -0.32266 and np.trace(first.virial) == pytest.approx(6 * GPA * 125)
    assert [frames(path, "castep/output", options={"energy": name})[0].energy for name in ("sigma0", "total")] == [-855.11, -855.1]


def test_castep_pair_potentials_are_no_dft(samples):
    assert reasons(read(samples / "castep/pp-md.castep", "castep/output")) == ["pair potential"]


def test_castep_states_its_theory(write):
    name, theory = stated(write(CASTEP))
    assert name == "castep/output"
    assert theory == {
        "code": "CASTEP 25.1",
        "functional": "PBE",
        "cutoff": 150.0,
        "dispersion": "none",
        "spin": "none",
        "hubbard_u": "none",
    }


def test_ase_reads_the_same_castep_run(samples):
    import ase.io

    path = samples / "castep/si8-md.castep"
    ours, theirs = frames(path, "castep/output", options={"energy": "sigma0"}), ase.io.read(path, index=":", format="castep-castep")
    for frame, atoms in zip(ours, theirs, strict=True):
        assert frame.energy == pytest.approx(atoms.calc.results["energy"]) and np.allclose(frame.forces, atoms.get_forces())
        assert np.allclose(frame.positions, atoms.positions)
