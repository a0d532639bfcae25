"""What an energy of Gaussian, ORCA or Psi4 is of: words in any order, states, surroundings, ghosts, and several theories in one file."""

from __future__ import annotations

import numpy as np
import pytest

from lamdata.errors import SourceError
from lamdata.sources.codes.gaussian_route import join_route, route_words
from lamdata.units import HARTREE
from tests.lamdata.sources.codes.test_molecules import (
    END,
    FCHK,
    FORCES,
    ORCA_END,
    PSI4,
    PSI4_GEOMETRY,
    STANDARD_AXES,
    axes,
    psi4_program,
    scf,
)
from tests.lamdata.sources.reading import frames, read, reasons, stated

PSI4_END = "*** Psi4 exiting successfully.\n"


def gaussian(route, *, before=""):
    ruler = " " + "-" * 70 + "\n"
    lines = "".join(f" {route[i : i + 70].rstrip()}\n" for i in range(0, len(route), 70))
    return f" Entering Gaussian System, Link 0=g16\n Gaussian 16:  ES64L-G16RevC.01  3-Jul-2019\n{ruler}{lines}{ruler} Charge =  0 Multiplicity = 1\n{before}"


def excited(energy, *, root=1, spin="Singlet", kind="TD-HF/TD-DFT"):
    return (
        f' Excited State   {root}:      {spin}-A"     7.2500 eV  171.01 nm  f=0.0100  <S**2>=0.000\n'
        f" This state for optimization and/or second-order correction.\n Total Energy, E({kind}) =  {energy:.9f}    \n"
    )


# ---- Gaussian ----------------------------------------------------------------------------------------------------------


def test_an_excited_energy_of_gaussian_comes_with_its_state(write):
    path = write(
        gaussian("#p cam-b3lyp/cc-pvdz td=(nstates=4,root=2)") + axes() + scf(-75.5, "RCAM-B3LYP") + excited(-75.25, root=2) + FORCES + END
    )
    (frame,) = frames(path, "gaussian/log")
    assert frame.energy == pytest.approx(-75.25 * HARTREE) and frame.forces is not None
    assert stated(path)[1]["state"] == "TD root 2 (singlet)" and stated(path)[1]["functional"] == "CAM-B3LYP"


@pytest.mark.parametrize(
    ("route", "kind", "functional", "state"),
    [
        ("# cis(root=3,nstates=5)/sto-3g", "CIS/TDA", "HF", "CIS root 3 (triplet)"),
        ("# rhf/sto-3g cis=(root=3)", "CIS", "HF", "CIS root 3 (triplet)"),
        ("# eomccsd(root=2,nstates=5)/sto-3g", "EOM-CCSD", "EOM-CCSD", "EOM-CCSD root 2"),
    ],
)
def test_each_kind_of_excited_state_is_called_by_its_name(write, route, kind, functional, state):
    path = write(gaussian(route) + axes() + scf(-75.5, "RHF") + excited(-75.125, root=3, spin="Triplet", kind=kind) + END)
    assert frames(path, "gaussian/log")[0].energy == pytest.approx(-75.125 * HARTREE)
    assert (stated(path)[1]["functional"], stated(path)[1]["state"]) == (functional, state)


def test_forces_of_a_state_whose_energy_is_not_there_are_no_label_of_the_ground_state(write):
    path = write(gaussian("# td b3lyp/sto-3g force") + axes() + scf(-75.5, "RB3LYP") + FORCES + END)
    assert reasons(read(path, "gaussian/log")) == ["forces of an excited state whose energy is not printed"]
    path = write(
        gaussian("# cis(d)/sto-3g")
        + axes()
        + scf(-75.5, "RHF")
        + excited(-75.1, kind="CIS")
        + " CIS(D) Total: -0.2D-02   E(CIS(D))=  -75.2\n"
        + END
    )
    assert reasons(read(path, "gaussian/log")) == ["CIS(D) energies, several for one geometry"]


def test_a_second_theory_in_one_file_is_not_taken_for_the_first(write):
    opt = gaussian("# opt b3lyp/6-31g(d)") + axes() + scf(-75.5, "RB3LYP") + FORCES + END
    better = (
        gaussian("# ccsd(t)/cc-pvtz") + axes() + scf(-75.4, "RHF").replace("6-31G(d)", "CC-pVTZ") + " CCSD(T)= -0.75800000000D+02\n" + END
    )
    first, second = read(write(opt + better), "gaussian/log")
    assert first.energy == pytest.approx(-75.5 * HARTREE)
    assert second.reason == "of another theory than the first step of its file" and second.value == "functional CCSD(T) after B3LYP"
    assert stated(write(better))[1] | {"code": ""} == {
        "code": "", "functional": "CCSD(T)", "core": "CC-pVTZ", "spin": "none", "dispersion": "none", "hubbard_u": "none",
    }  # fmt: skip
    td = gaussian("# td b3lyp/6-31g(d)") + axes() + scf(-75.5, "RB3LYP") + excited(-75.2) + END
    assert read(write(opt + td), "gaussian/log")[1].value == "state TD root 1 (singlet) after None"


@pytest.mark.parametrize(
    ("route", "dispersion"),
    [
        ("#p opt b3lyp/6-31g(d) empiricaldispersion=gd3bj scrf=none", "D3(BJ)"),
        ("#p em=gd3 b3lyp 6-31g(d) opt", "D3"),
        ("# opt(tight,maxcycles=200) int=ultrafine EmpiricalDispersion(GD2) 6-31g(d) b3lyp freq", "D2"),
        ("#n 6-31g(d) b3lyp", "none"),
    ],
)
def test_the_words_of_a_route_may_stand_in_any_order(write, route, dispersion):
    found = stated(write(gaussian(route) + axes() + scf(-75.5, "RB3LYP") + FORCES + END))[1]
    assert (found["functional"], found["core"], found["dispersion"]) == ("B3LYP", "6-31G(d)", dispersion) and "state" not in found


@pytest.mark.parametrize(
    ("label", "dispersion"), [("RwB97XD", "D2"), ("RB97D3", "D3(BJ)"), ("RAPFD", "PFD"), ("ROLYP", "none"), ("RM062X", "none")]
)
def test_a_functional_may_have_its_dispersion_in_its_name(write, label, dispersion):
    found = stated(write(gaussian(f"# {label[1:]}/6-31g(d)") + axes() + scf(-75.5, label) + FORCES + END))[1]
    assert (found["functional"], found["dispersion"]) == (label[1:], dispersion)


def test_what_the_log_prints_of_dispersion_outranks_the_route(write):
    printed = " R6Disp:  Grimme-D3(BJ) Dispersion energy=       -0.0123 Hartrees.\n"
    assert (
        stated(write(gaussian("# pbe1pbe/6-31g(d) iop(3/124=40)", before=printed) + axes() + scf(-75.5, "RPBE1PBE") + END))[1]["dispersion"]
        == "D3(BJ)"
    )


def test_a_functional_that_the_route_changes_is_not_called_by_its_old_name(write):
    found = stated(write(gaussian("# blyp/6-31g(d) iop(3/76=1000002000,3/77=0720008000)") + axes() + scf(-75.5, "RB-LYP") + END))[1]
    assert "functional" not in found


@pytest.mark.parametrize(
    ("route", "printed", "state"),
    [
        ("# hf/sto-3g scrf=(smd,solvent=acetonitrile)", "", "SMD acetonitrile"),
        ("# hf/sto-3g scrf", " Solvent              : Water, Eps=  78.355300\n", "PCM Water"),
        (
            "# hf/sto-3g scrf=check geom=check",
            " Atomic radii         : SMD-Coulomb.\n Solvent              : Toluene, Eps=   2.374100\n",
            "SMD Toluene",
        ),
        ("# hf/sto-3g field=z-25", "", "electric field Z-25"),
        ("# hf/sto-3g charge", " Point Charges:\n XYZ= 1.0 2.0 3.0 Q= 0.4\n", "point charges"),
        ("# hf/sto-3g field=x+10 scrf=(cpcm,solvent=water)", "", "CPCM water, electric field X+10"),
    ],
)
def test_what_is_around_the_atoms_is_part_of_the_theory(write, route, printed, state):
    path = write(gaussian(route, before=printed) + axes() + scf(-75.5, "RHF") + FORCES + END)
    assert len(frames(path, "gaussian/log")) == 1 and stated(path)[1]["state"] == state


@pytest.mark.parametrize("listed", [" O(Bq)  0. 0. 0.\n H  0. 0. 0.97\n", " O-Bq  0. 0. 0.\n", " AtZNuc=   0.0000000   1.0000000\n"])
def test_atoms_without_a_nucleus_are_not_atoms(write, listed):
    path = write(gaussian("# hf/sto-3g", before=listed) + axes() + scf(-75.5, "RHF") + FORCES + END)
    assert reasons(read(path, "gaussian/log")) == ["ghost atoms: basis functions without a nucleus"]


def test_an_scf_that_missed_its_criterion_is_not_converged_by_being_done(write):
    missed = " >>>>>>>>>> Convergence criterion not met.\n"
    assert reasons(read(write(gaussian("# hf/sto-3g") + axes() + missed + scf(-75.5, "RHF") + FORCES + END), "gaussian/log")) == [
        "unconverged"
    ]
    (frame,) = frames(
        write(gaussian("# hf/sto-3g scf=xqc") + axes() + missed + scf(-75.5, "RHF") + scf(-75.6, "RHF") + FORCES + END), "gaussian/log"
    )
    assert frame.energy == pytest.approx(-75.6 * HARTREE)


def test_a_job_that_failed_leaves_no_energy_to_the_next(write):
    failed = gaussian("# mp2/6-31g(d)") + axes() + scf(-75.5, "RHF") + " Error termination via Lnk1e in l906.exe\n"
    items = read(write(failed + gaussian("# hf/6-31g(d)") + axes(x=0.1) + scf(-75.4, "RHF") + FORCES + END), "gaussian/log")
    assert reasons(items) == ["its job ended by an error"] and items[1].energy == pytest.approx(-75.4 * HARTREE)


def test_positions_of_an_earlier_geometry_are_not_used_for_a_later_one(write):
    one, moved = axes(STANDARD_AXES, 9.0), axes(STANDARD_AXES, 9.2)
    same = gaussian("# opt hf/sto-3g") + axes() + one + scf(-75.5, "RHF") + one + FORCES
    items = read(write(same + moved + scf(-75.6, "RHF") + FORCES + END), "gaussian/log")
    assert reasons(items) == ["forces without the input orientation"] and items[0].positions[0, 0] == 0.0


def test_a_broken_route_is_put_together():
    route = "#p opt=(calcfc,ts,noeigentest) freq b3lyp/6-311++g(2d,2p) scrf=(smd,solvent=water) nosymm"
    lines = [f" {route[:70].rstrip()}\n", f" {route[70:]}\n"]
    assert join_route(lines) == route
    assert route_words(route)["scrf"] == "smd,solvent=water" and {"b3lyp", "6-311++g", "nosymm"} <= set(route_words(route))


# ---- formatted checkpoints -----------------------------------------------------------------------------------------------


def field(title, values):
    return (
        f"{title:<40}   R   N={len(values):12d}\n"
        + "".join(f"{value:16.8E}" + "\n" * (i % 5 == 4) for i, value in enumerate(values))
        + "\n"
    )


HEADING = "Force     RB3LYP                                                      6-31G(d)"


@pytest.mark.parametrize(
    ("heading", "functional", "core"),
    [
        ("SP        RMP4SDQ-FC                                                  CC-pVTZ", "MP4(SDQ)", "CC-pVTZ"),
        ("SP        UCCSD(T)-FC                                                 STO-3G", "CCSD(T)", "STO-3G"),
        ("Force     RwB97XD                                                     Gen", "wB97XD", None),
    ],
)
def test_a_checkpoint_names_method_and_basis_as_a_log_does(write, heading, functional, core):
    found = stated(write(FCHK.replace(HEADING, heading), "x.fchk"))[1]
    assert (found["functional"], found.get("core"), "state" in found) == (functional, core, False)


@pytest.mark.parametrize("heading", ["SP        RB3LYP TD-FC", "SP        RTD-B3LYP-FC"])
def test_the_state_of_a_checkpoint_is_the_root_that_has_its_energy(write, heading):
    text = FCHK.replace(HEADING, f"{heading:<70}STO-3G").replace("R   N=           6\n  0.0", "R   N=           6\n  0.0")
    states = field("ETran scalars", [2.0, 16.0, 1.0, 10.0, 2.0]) + field("ETran state values", [-75.6, *[0.1] * 15, -75.5, *[0.2] * 15])
    path = write(text + states, "x.fchk")
    assert stated(path)[1]["state"] == "TD root 2" and stated(path)[1]["functional"] == "B3LYP" and len(frames(path, "gaussian/fchk")) == 1
    assert reasons(read(write(text, "x.fchk"), "gaussian/fchk")) == ["the energy of an excited state, and it is not told of which"]


def test_a_checkpoint_says_fields_charges_and_ghosts(write):
    assert stated(write(FCHK + field("External E-field", [0.0, 0.0, 0.0, 2e-3, 0.0]), "x.fchk"))[1]["state"] == "electric field"
    assert "state" not in stated(write(FCHK + field("External E-field", [0.0] * 5), "x.fchk"))[1]
    assert stated(write(FCHK + f"{'Number of point charges in /Mol/':<43}I{3:17d}\n", "x.fchk"))[1]["state"] == "point charges"
    assert reasons(read(write(FCHK + field("Nuclear charges", [8.0, 0.0]), "x.fchk"), "gaussian/fchk")) == [
        "ghost atoms: basis functions without a nucleus"
    ]


def test_a_gradient_of_another_energy_is_left_out_by_name(write):
    (frame,) = frames(write(FCHK + f"{'Grdnt Energy':<40}   R     {-75.1:.15E}\n", "x.fchk"), "gaussian/fchk")
    assert frame.forces is None and frame.left_out == ("forces: the gradient is that of another energy",)


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


def test_nothing_but_numbers_moves_where_nothing_is_said(write):
    """The plain runs of the three programs have no state."""
    assert "state" not in stated(write(PSI4))[1] and np.isfinite(frames(write(PSI4 + PSI4_END), "psi4/output")[0].energy)
