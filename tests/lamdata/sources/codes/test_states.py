"""The state belongs to the theory: fields, solvents, constrained moments and excited states are named, whatever program was asked for them."""

from __future__ import annotations

import io

import pytest

from lamdata.catalog import SourceSpec
from lamdata.frame import Frame, Rejection
from lamdata.sources import SourceFile, guess_format, read_all, reader
from lamdata.sources.bytes.lines import Lines
from lamdata.sources.codes.abacus import abacus_theory
from lamdata.sources.codes.castep import castep_theory
from lamdata.sources.codes.cp2k_theory import cp2k_theory
from lamdata.sources.codes.fhi_aims import aims_theory
from lamdata.sources.codes.qe_theory import pw_theory
from lamdata.sources.codes.siesta import siesta_theory
from lamdata.sources.codes.vasp_theory import outcar_theory, theory_of
from lamdata.units import HARTREE

from .outcars import HEAD

PW = """     Program PWSCF v.7.2 starts on 1Jan2024
     kinetic-energy cutoff     =      50.0000  Ry
     Exchange-correlation= PBE
     iteration #  1     ecut=    50.00 Ry     beta= 0.70
{line}
     End of self-consistent calculation
!    total energy              =     -19.00000000 Ry
     convergence has been achieved in   8 iterations
"""
CP2K = """ CP2K| version string:                                          CP2K version 2023.1
 FUNCTIONAL| PBE:
 DFT| Spin restricted Kohn-Sham (RKS) calculation                            RKS
 SCF WAVEFUNCTION OPTIMIZATION
  *** SCF run converged in    10 steps ***

  Overlap energy of the core charge distribution:               0.00000005660087
  Self energy of the core charge distribution:                -43.83289054591484
  Core Hamiltonian energy:                                     12.82175605770555
  Hartree energy:                                              17.97395116120845
  Exchange-correlation energy:                                 -4.12745966141354
  Dispersion energy:                                           -0.00100000000000
{line}
  Electronic entropic energy:                                  -0.00000000000000
  Fermi energy:                                                -0.16549329070170

  Total energy:                                               -17.16464215240352

 ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]:              -17.164642152403520
"""


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("     the Fermi energy is     5.0000 ev", None),
        ("     the spin up/dw Fermi energies are     5.0000    4.2000 ev", "moment fixed"),
        ("      constraint energy (Ryd) =      0.00123456", "moments constrained"),
        ("     electric field correction =       0.01000000 Ry", "electric field or dipole correction"),
        ("     Electronic Dipole per cell (Ry a.u.)   0.100", "electric field"),
        ("     electrostatic embedding   =      -0.01000000 Ry", "solvent"),
    ],
)
def test_quantum_espresso(line: str, state: str | None) -> None:
    found = pw_theory(Lines(io.BytesIO(PW.format(line=line).encode())))
    assert found["functional"] == "PBE" and found.get("state") == state


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("", None),
        ("  DFT+U energy:                                   0.01000000000000", None),
        ("  Hartree-Fock Exchange energy:                  -2.01000000000000", None),
        ("  Electric field energy:                         -0.01000000000000", "Electric field"),
        ("  QM/MM Electrostatic energy:                    -0.01000000000000", "QM/MM Electrostatic"),
        ("  QM/MM Electrostatic energy:                     0.00000000000000", None),
        ("  Something that nobody knows energy:             0.10000000000000", "Something that nobody knows"),
    ],
)
def test_cp2k_names_each_term_of_the_energy_that_is_not_of_atoms_alone(line: str, state: str | None) -> None:
    found = cp2k_theory(Lines(io.BytesIO(CP2K.format(line=line).encode())))
    assert found["functional"] == "PBE" and found.get("state") == state
    assert found["hubbard_u"] == ("DFT+U" if "DFT+U" in line else "none")


@pytest.mark.parametrize(
    ("tags", "state"),
    [
        ({"EFIELD_PEAD": "0.00000000 0.00000000 0.00000000"}, None),
        ({"EFIELD_PEAD": "-99999.0 -99999.0 -99999.0"}, None),
        ({"EFIELD_PEAD": "0.0 0.0 0.02"}, "in a field (EFIELD_PEAD = 0.0 0.0 0.02)"),
        ({"EFIELD": "0.05"}, "in a field (EFIELD = 0.05)"),
        ({"I_CONSTRAINED_M": "2", "NUPDOWN": "-1"}, "moments constrained (I_CONSTRAINED_M = 2)"),
        ({"NUPDOWN": "3"}, "moment fixed (NUPDOWN = 3)"),
        ({"LSOL": ".TRUE."}, "implicit solvent (LSOL)"),
    ],
)
def test_vasp(tags: dict[str, str], state: str | None) -> None:
    assert theory_of(tags, [], "6.3.0").get("state") == state
    lines = "".join(f"   {name} = {value}\n" for name, value in tags.items())
    assert outcar_theory(iter((HEAD + lines).splitlines(keepends=True))).get("state") == state


def test_siesta_abacus_castep_and_aims() -> None:
    siesta = ["Siesta Version  : 4.1.5\n", "siesta: DUscf   =         0.1\n", "siesta: DUext   =         {}\n", "siesta: E_KS(eV) = -1\n"]
    assert "state" not in siesta_theory(line.format("0.000000") for line in siesta)
    assert siesta_theory(line.format("-0.004000") for line in siesta)["state"] == "external field"
    abacus = [" E_KohnSham  -16.14  -219.6\n", " {}  -0.01 -0.13\n", " final etot is -219.6 eV\n"]
    assert abacus_theory(line.format("E_vdwD3") for line in abacus) == {"code": "ABACUS", "dispersion": "D3"}
    for name, state in (("E_sol_el", "solvent"), ("E_efield", "electric field or dipole correction"), ("E_gatefield", "charged gate")):
        assert abacus_theory(line.format(name) for line in abacus)["state"] == state
    castep = " CASTEP version 19.11\n {}\n        |  {}  |\n          -----\n SCF loop      Energy\n"
    plain = castep_theory(iter(castep.format("x", "x").splitlines()))
    assert plain["hubbard_u"] == "none" and "state" not in plain
    found = castep_theory(iter(castep.format("|  Hubbard U values are eV       |", "Ni   1   d:    6.0").splitlines()))
    assert found["hubbard_u"] == "DFT+U, Ni d: 6.0"
    aims = ["  FHI-aims version      : 210716\n", "  xc pbe\n", "  {}\n", "  Begin self-consistency loop\n"]
    assert aims_theory(line.format("plus_u 3 d 4.0") for line in aims)["hubbard_u"] == "DFT+U, 3 d 4.0"
    assert aims_theory(line.format("homogeneous_field 0 0 0.1") for line in aims)["state"] == "homogeneous_field 0 0 0.1"


XYZ = "2\n i =        0, time =        0.000, E =       -17.164642152\n H  0.0 0.0 0.0\n H  0.0 0.0 0.74\n"
LOG = """ CP2K| version string:                                          CP2K version 2023.1
 CP2K| Input file name                                                  w.inp
 GLOBAL| Project name                                                       w
 GLOBAL| Run type                                                          MD
 PROGRAM STARTED AT
 ENERGY| Total FORCE_EVAL ( {method} ) energy [a.u.]:              -17.164642152
 PROGRAM ENDED AT
"""
INPUT = "&GLOBAL\n PROJECT w\n RUN_TYPE MD\n&END\n&MOTION\n&MD\nENSEMBLE NVE\n&END\n&END\n&FORCE_EVAL\n&DFT\n{dft}\n&END\n&SUBSYS\n&CELL\nABC 9 9 9\n&END\n&END\n&END\n"


@pytest.mark.parametrize(
    ("dft", "state"),
    [
        ("", None),
        ("&PERIODIC_EFIELD\nINTENSITY 0.01\n&END", "electric field"),
        ("&SCCS\n&END", "solvent"),
        ("&EXCITED_STATES\n&END", "excited state"),
    ],
)
def test_a_trajectory_of_cp2k_takes_its_state_from_the_input_of_its_project(tmp_path, dft: str, state: str | None) -> None:
    (tmp_path / "w-pos-1.xyz").write_text(XYZ)
    (tmp_path / "w.inp").write_text(INPUT.format(dft=dft))
    file = SourceFile(name="w-pos-1.xyz", path=str(tmp_path / "w-pos-1.xyz"))
    assert guess_format(file) == "cp2k/aimd"
    assert reader("cp2k/aimd").theory(file).get("state") == state


@pytest.mark.parametrize(("method", "kept"), [("QS", True), ("FIST", False), ("QMMM", False), ("NNP", False)])
def test_energies_of_another_method_than_quickstep_are_no_frames_of_a_trajectory(tmp_path, method: str, kept: bool) -> None:
    (tmp_path / "w-pos-1.xyz").write_text(XYZ)
    (tmp_path / "w.inp").write_text(INPUT.format(dft=""))
    (tmp_path / "w.log").write_text(LOG.format(method=method))
    file = SourceFile(name="w-pos-1.xyz", path=str(tmp_path / "w-pos-1.xyz"))
    (item,) = read_all(file, SourceSpec(path=file.name), use=reader("cp2k/aimd"))
    assert isinstance(item, Frame) is kept
    assert kept or (
        isinstance(item, Rejection) and (item.reason, item.value) == ("the energy is not of Quickstep alone", f"FORCE_EVAL ( {method} )")
    )


@pytest.mark.parametrize(
    ("old", "new", "positions", "energy"),
    [
        ("H  0.0 0.0 0.74", "H  0.0 100.0000000-123.7400000", [0.0, 100.0, -123.74], -17.164642152),
        ("H  0.0 0.0 0.74", "H  0.0 0.0 ************", None, None),
        ("E =       -17.164642152", "E = ****************", None, None),
    ],
)
def test_numbers_of_a_trajectory_that_run_together_or_overflow(
    tmp_path, old: str, new: str, positions: list[float] | None, energy: float | None
) -> None:
    (tmp_path / "w-pos-1.xyz").write_text(XYZ.replace(old, new) + XYZ.replace("i =        0", "i =        1"))
    (tmp_path / "w.inp").write_text(INPUT.format(dft=""))
    first, second = read_all(
        SourceFile(name="w-pos-1.xyz", path=str(tmp_path / "w-pos-1.xyz")), SourceSpec(path="w-pos-1.xyz"), use=reader("cp2k/aimd")
    )
    assert isinstance(second, Frame)
    if energy is None:
        assert isinstance(first, Rejection) and first.reason == "nonfinite"
    else:
        assert isinstance(first, Frame) and first.positions[1].tolist() == positions and first.energy == pytest.approx(energy * HARTREE)
