"""What an energy of Gaussian is of: words in any order, states, surroundings, ghosts, several theories in one file; logs and checkpoints alike."""

from __future__ import annotations

import pytest

from lamdata.errors import SourceError
from lamdata.sources.codes.gaussian_route import join_route, route_words
from lamdata.units import HARTREE
from tests.lamdata.sources.codes.test_molecules import END, FCHK, FORCES, STANDARD_AXES, axes, scf
from tests.lamdata.sources.reading import frames, read, reasons, stated


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


def test_dummies_in_the_table_of_positions_are_no_atoms(write):
    path = write(
        gaussian("# hf/sto-3g opt=z-matrix")
        + axes().replace("      2          1 ", "      2         -1 ")
        + scf(-75.5, "RHF")
        + FORCES
        + END
    )
    assert reasons(read(path, "gaussian/log")) == ["dummy atoms in the table of positions"]


@pytest.mark.parametrize(("asked", "dispersion"), [("em=gd3bj", "D3(BJ)"), ("", "none")])
def test_the_frequencies_after_an_optimization_are_of_its_theory(write, asked, dispersion):
    """Gaussian writes the route of the second half itself, and leaves the correction out of it."""
    opt = gaussian(f"# opt freq b3lyp/6-31g(d) {asked}") + axes() + scf(-75.5, "RB3LYP") + FORCES + END
    freq = gaussian("#N Geom=AllCheck Guess=TCheck SCRF=Check GenChk RB3LYP/6-31G(d) Freq") + axes() + scf(-75.5, "RB3LYP") + FORCES + END
    assert len(frames(write(opt + freq), "gaussian/log")) == 2 and stated(write(opt + freq))[1]["dispersion"] == dispersion
    assert "dispersion" not in stated(write(freq))[1]  # the half alone does not say


def test_a_hybrid_is_called_by_its_name_in_old_logs(write):
    assert stated(write(gaussian("# rb3lyp/6-31g(d)") + axes() + scf(-75.5, "RB+HF-LYP") + END))[1]["functional"] == "B3LYP"
    assert "functional" not in stated(write(gaussian("# oldhybrid/6-31g(d)") + axes() + scf(-75.5, "RB+HF-LYP") + END))[1]


def test_a_step_in_a_field_of_a_numerical_derivative_is_not_of_the_rest(write):
    second = " The following finite field(s) will be applied:\n An electric field of    0.0019    0.0000    0.0000\n"
    items = read(
        write(
            gaussian("# raman b3lyp/6-31g(d)")
            + axes()
            + scf(-75.5, "RB3LYP")
            + FORCES
            + second
            + axes()
            + scf(-75.6, "RB3LYP")
            + FORCES
            + END
        ),
        "gaussian/log",
    )
    assert (
        reasons(items) == ["of another theory than the first step of its file"]
        and items[1].value == "state electric field 0.0019 0 0 after None"
    )


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


@pytest.mark.parametrize(
    ("heading", "said"),
    [
        ("SP        ONIOM(B3LYP/6-31G(d):UFF)", "a run of layers or fragments"),
        ("Force     RCIS(D)", "not told of which"),
        ("SP        ZINDO", "not told of which"),
        ("SP        SAC-CI", "not told of which"),
    ],
)
def test_a_checkpoint_refuses_the_runs_that_a_log_refuses(write, heading, said):
    path = write(FCHK.replace(HEADING, f"{heading:<70}6-31G(d)"), "x.fchk")
    if "layers" in said:
        with pytest.raises(SourceError, match=said):
            read(path, "gaussian/fchk")
    else:
        (reason,) = reasons(read(path, "gaussian/fchk"))
        assert said in reason


def test_a_number_that_is_too_wide_for_its_column_refuses_its_step_alone(write):
    text = gaussian("# opt b3lyp/6-31g(d)") + axes() + scf(-75.5, "RB3LYP") + FORCES + axes() + scf(-75.6, "RB3LYP") + FORCES + END
    row = FORCES.splitlines()[3]
    starred = FORCES.replace(row, row[:23] + "*" * 15 + row[38:])
    assert starred != FORCES
    items = read(write(text.replace(FORCES, starred, 1)), "gaussian/log")
    assert reasons(items) == ["nonfinite"] and len(items) == 2
