"""What an energy of ORCA or Psi4 is of: words known by themselves, roots told by their energies, surroundings, ghosts, several theories in one file."""

from __future__ import annotations

import numpy as np
import pytest

from lamdata.errors import SourceError
from lamdata.units import HARTREE
from tests.lamdata.sources.codes.test_molecules import ORCA_END, PSI4, PSI4_GEOMETRY, psi4_program
from tests.lamdata.sources.reading import frames, read, reasons, stated

PSI4_END = "*** Psi4 exiting successfully.\n"


# ---- ORCA --------------------------------------------------------------------------------------------------------------


def orca(*lines, energy=-75.5, between="", coordinates=None):
    rows = coordinates or "  N      0.000000    0.000000    0.000000\n  H      0.000000    0.000000    1.030000\n"
    echo = "".join(f"|{i:3d}> {line}\n" for i, line in enumerate(lines, 1))
    return (
        "                                 * O   R   C   A *\n                         Program Version 6.0.1 -  RELEASE  -\n" + echo
        + "---------------------------------\nCARTESIAN COORDINATES (ANGSTROEM)\n---------------------------------\n" + rows
        + f"\n{between}FINAL SINGLE POINT ENERGY      {energy:.12f}\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "functional", "core", "dispersion"),
    [
        ("! Opt B3LYP def2-SVP TightSCF D3BJ", "B3LYP", "def2-SVP", "D3(BJ)"),
        ("! UKS RIJCOSX def2/J D4 TightOpt def2-TZVP(-f) PBE0 PAL8 Freq", "PBE0", "def2-TZVP(-f)", "D4"),
        ("!NoSym def2-TZVP/C DLPNO-CCSD(T) cc-pVTZ cc-pVTZ/C NormalPNO", "DLPNO-CCSD(T)", "cc-pVTZ", None),
        ("! ma-def2-TZVP wB97X-D3 RIJCOSX SlowConv", "wB97X-D3", "ma-def2-TZVP", "D3"),
        ("! r2SCAN-3c Opt", "r2SCAN-3c", None, "D4"),
        ("! RHF 6-31+G(d,p) EnGrad", "HF", "6-31+G(d,p)", None),
        ("! UHF MP2 aug-cc-pVDZ aug-cc-pVDZ/C", "MP2", "aug-cc-pVDZ", None),
        ("! UKS NewFunctionalOfNextYear def2-SVP", None, "def2-SVP", None),
        ("! B3LYP PBE0 def2-SVP", None, "def2-SVP", None),
        ("! Opt TightSCF # B3LYP STO-3G", None, None, None),
    ],
)
def test_words_of_orca_are_known_by_what_they_are(write, line, functional, core, dispersion):
    found = stated(write(orca(line) + ORCA_END))[1]
    assert (found.get("functional"), found.get("core"), found.get("dispersion")) == (functional, core, dispersion)
    assert "" not in found.values()


def test_orca_says_functional_and_basis_in_blocks_too(write):
    found = stated(write(orca("! UKS TightSCF", "%method", "  functional BP86", "end", '%basis basis "def2-SVP" end') + ORCA_END))[1]
    assert (found["functional"], found["core"]) == ("BP86", "def2-SVP")
    own = stated(write(orca("! BP86 def2-SVP", "%basis", ' newgto H "def2-TZVP" end', "end") + ORCA_END))[1]
    assert "core" not in own  # the hydrogens have another


ROOTS = "    E(SCF)  =    -75.500000000 Eh\n    DE(TDDFT) =      0.250000000 Eh (Root  {root})\n    E(tot)  =    -75.250000000 Eh\n"


def test_the_energy_of_orca_may_be_that_of_a_root(write):
    path = write(orca("! PBE0 def2-SVP", "%tddft nroots 3 iroot 2 end", energy=-75.25, between=ROOTS.format(root=2)) + ORCA_END)
    assert frames(path, "orca/output")[0].energy == pytest.approx(-75.25 * HARTREE) and stated(path)[1]["state"] == "TD root 2"
    lists = "TD-DFT EXCITED STATES (SINGLETS)\nSTATE  1:  E=   0.310000 au\nTD-DFT EXCITED STATES (TRIPLETS)\nSTATE  1:  E=   0.250000 au\n"
    triplet = write(orca("! PBE0 def2-SVP", "%tddft triplets true end", energy=-75.25, between=lists + ROOTS.format(root=1)) + ORCA_END)
    assert stated(triplet)[1]["state"] == "TD root 1 (triplet)"
    ground = write(orca("! PBE0 def2-SVP", "%tddft nroots 3 end", energy=-75.5, between=ROOTS.format(root=1)) + ORCA_END)
    assert "state" not in stated(ground)[1]
    dispersed = ROOTS.format(root=1) + "Dispersion correction           -0.010000000\n"
    assert stated(write(orca("! PBE0 D4 def2-SVP", energy=-75.26, between=dispersed) + ORCA_END))[1]["state"] == "TD root 1"
    untold = write(orca("! ADC2 def2-SVP", energy=-75.3, between="IROOT=  1:  0.250000 au     6.803 eV   54868.6 cm**-1\n") + ORCA_END)
    assert reasons(read(untold, "orca/output")) == ["the energy of an excited state, and it is not told of which"]


def test_roots_that_did_not_converge_spoil_their_own_energy_alone(write):
    roots = "E(TOT)                                     ...    -75.500000000\n--- The EOM iterations have NOT converged ---\nIROOT=  1:  0.250000 au\n"
    assert reasons(read(write(orca("! EOM-CCSD def2-SVP", energy=-75.25, between=roots) + ORCA_END), "orca/output")) == ["unconverged"]
    path = write(orca("! EOM-CCSD def2-SVP", energy=-75.5, between=roots) + ORCA_END)
    assert len(frames(path, "orca/output")) == 1 and stated(path)[1]["functional"] == "CCSD"


@pytest.mark.parametrize(
    ("lines", "printed", "state"),
    [
        (("! HF STO-3G CPCM(Water)",), "CPCM SOLVATION MODEL\n  Epsilon                                         ...      80.4000\n", "CPCM water"),
        (("! HF STO-3G CPCM",), "  Epsilon                                         ...       7.2500\n", "CPCM epsilon 7.25"),
        (("! HF STO-3G", "%cpcm smd true", "end"), "  Epsilon                                         ...       2.3741\nSolvent:                                          ... TOLUENE\nSMD-CDS solvent descriptors:\n", "SMD toluene"),
        (("! HF STO-3G", '%pointcharges "charges.pc"'), "", "point charges"),
        (("! HF STO-3G", "%scf", " EField 0.0, 0.0, 0.01", "end"), "", "electric field"),
        (("! UKS PBE STO-3G", "%scf BrokenSym 1,1 end"), "", "broken symmetry"),
        (("! DeltaSCF PBE STO-3G",), "", "DeltaSCF"),
        (("! UKS PBE STO-3G", "%scf SmearTemp 5000 end"), "", "fractional occupation"),
        (("! PBE STO-3G Opt", "%geom", " Potentials", "  {C 0 1 4.0}", " end", "end"), "", "added potentials"),
    ],
)  # fmt: skip
def test_what_is_around_the_atoms_of_orca_is_part_of_the_theory(write, lines, printed, state):
    assert stated(write(orca(*lines, between=printed) + ORCA_END))[1]["state"] == state


def test_ghosts_of_orca_are_not_atoms(write):
    ghost = ["ghost atoms: basis functions without a nucleus"]
    assert reasons(read(write(orca("! HF STO-3G", "* xyz 0 1", " N 0 0 0", " H : 0 0 1.03", "*") + ORCA_END), "orca/output")) == ghost
    for row in ("  H :    0.000000    0.000000    1.030000\n", "  H:     0.000000    0.000000    1.030000\n"):
        path = write(orca("! HF STO-3G", coordinates="  N      0.000000    0.000000    0.000000\n" + row) + ORCA_END)
        assert reasons(read(path, "orca/output")) == ghost
    bohr = (
        "CARTESIAN COORDINATES (A.U.)\n----\n  NO LB      ZA    FRAG     MASS         X           Y           Z\n"
        "   0 N     7.0000    0    14.007    0.0 0.0 0.0\n   1 H     0.0000    0     1.008    0.0 0.0 1.9\n\n"
    )
    assert reasons(read(write(orca("! HF STO-3G", between=bohr) + ORCA_END), "orca/output")) == ghost


def test_effective_cores_of_orca_are_no_ghosts(write):
    bohr = "CARTESIAN COORDINATES (A.U.)\n----\n  NO LB      ZA    FRAG\n   0 N    17.0000*   0    14.007    0.0 0.0 0.0\n   1 H     1.0000    0     1.008    0.0 0.0 1.9\n\n"
    heading = "Dispersion correction            ... done\n"
    assert len(frames(write(orca("! HF STO-3G", between=bohr + heading) + ORCA_END), "orca/output")) == 1


def test_the_charge_of_orca_holds_for_all_steps_of_a_job(write):
    charged = " Total Charge           Charge          ....   -1\n Multiplicity           Mult            ....    2\n"
    later = orca("! PBE STO-3G Opt", energy=-75.6).partition("*\n")[2].partition("---")[2]
    path = write(orca("! PBE STO-3G Opt", between=charged) + "---" + later + ORCA_END)
    assert [(frame.charge, frame.multiplicity) for frame in frames(path, "orca/output")] == [(-1, 2)] * 2


def test_two_energies_of_one_geometry_are_refused(write):
    path = write(orca("! PBE STO-3G") + "FINAL SINGLE POINT ENERGY      -75.700000000000\n" + ORCA_END)
    assert reasons(read(path, "orca/output")) == ["two energies for one geometry"]


def test_a_second_job_of_orca_has_a_theory_of_its_own(write):
    lines = ("! PBE def2-SVP", "* xyz 0 1", "*", "$new_job", "! DLPNO-CCSD(T) def2-TZVP", "* xyz 0 1", "*")
    second = orca(energy=-75.9).partition("RELEASE  -\n")[2]
    text = orca(*lines).replace("---------------------------------\nCART", "JOB NUMBER  1\n---------------------------------\nCART")
    items = read(write(text + "$$$ JOB NUMBER  2 $$$\n" + second + ORCA_END), "orca/output")
    assert items[0].energy == pytest.approx(-75.5 * HARTREE) and items[1].value == "functional DLPNO-CCSD(T) after PBE"


def test_orca_runs_of_layers_are_refused(write):
    with pytest.raises(SourceError, match="layers"):
        read(write(orca("! QM/XTB PBE def2-SVP") + ORCA_END), "orca/output")


# ---- Psi4 --------------------------------------------------------------------------------------------------------------


def test_ghosts_of_psi4_are_not_atoms(write):
    path = write(PSI4.replace("         H            0.", "         Gh(H)        0.") + PSI4_END)
    assert reasons(read(path, "psi4/output")) == ["ghost atoms: basis functions without a nucleus"]


def test_forces_beside_excited_states_of_psi4_are_refused(write):
    head, again, gradient = PSI4.rpartition(PSI4_GEOMETRY)
    states = "\tEOM State 1    0.2500    6.80   54868.   -75.2500\n"
    path = write(
        psi4_program(head) + psi4_program("      * CCSD total energy      =  -75.500000000000\n" + states) + again + gradient + PSI4_END
    )
    assert reasons(read(path, "psi4/output")) == ["forces beside excited states, which may be of one of them"]


def test_two_functionals_of_psi4_for_one_geometry_are_refused(write):
    head = PSI4.rpartition(PSI4_GEOMETRY)[0]
    other = head.partition("release\n")[2].replace("B3LYP-D3BJ", "PBE").replace("-75.5", "-75.4")
    assert reasons(read(write(head + other + PSI4_END), "psi4/output")) == ["two energies for one geometry"]


def test_the_energy_of_a_double_hybrid_of_psi4_is_its_own(write):
    head, again, gradient = PSI4.replace("B3LYP-D3BJ", "B2PLYP").rpartition(PSI4_GEOMETRY)
    mp2 = (
        psi4_program("\t Total Energy              =     -75.9000000000000000 [Eh]\n")
        + "    @Final double-hybrid DFT total energy =   -75.7000000000000000\n"
    )
    path = write(psi4_program(head) + mp2 + again + gradient + PSI4_END)
    assert frames(path, "psi4/output")[0].energy == pytest.approx(-75.7 * HARTREE) and stated(path)[1]["functional"] == "B2PLYP"


def test_another_basis_later_in_a_psi4_run_is_another_theory(write):
    moved = PSI4.replace("2.000000000000", "2.100000000000").replace("DEF2-SVP", "DEF2-TZVP")
    first, second = read(write("*** tstart() called on here\n" + PSI4 + "*** tstart() called on here\n" + moved + PSI4_END), "psi4/output")
    assert first.forces is not None and second.value == "core DEF2-TZVP after DEF2-SVP"


def test_what_is_around_the_atoms_of_psi4_is_part_of_the_theory(write):
    head, again, gradient = PSI4.rpartition(PSI4_GEOMETRY)
    for printed, state in (
        ("    PCM Polarization Energy =              -0.01\n", "PCM"),
        ("  ==> External Potential Field <==\n", "external potential"),
    ):
        assert stated(write(head.replace("  Energy and", printed + "  Energy and") + again + gradient + PSI4_END))[1]["state"] == state


def test_older_words_of_psi4_are_known(write):
    old = PSI4.replace("Psi4 1.6.1 release", "PSI 4.0.0-beta5 Driver").replace(
        "=> Composite Functional: B3LYP-D3BJ <=", "=> B3LYP Composite Functional <="
    )
    old = "          PSI4: An Open-Source Ab Initio Electronic Structure Package\n" + old.replace(
        "    Blend: DEF2-SVP", "  Basis Set: DEF2-SVP\n  Basis Set: DEF2-SVP-JKFIT"
    )
    vacuum = old.replace("  Energy and", "    PCM Polarization Energy =               0.0000000000000000\n  Energy and")
    expected = {"code": "Psi4 4.0.0-beta5", "functional": "B3LYP", "core": "DEF2-SVP"}
    assert stated(write(vacuum + "*** PSI4 exiting successfully.\n")) == ("psi4/output", expected)


def test_nothing_but_numbers_moves_where_nothing_is_said(write):
    """The plain runs of the three programs have no state."""
    assert "state" not in stated(write(PSI4))[1] and np.isfinite(frames(write(PSI4 + PSI4_END), "psi4/output")[0].energy)
