"""ABACUS: a log that stands for itself, a dump that must be of its run, what is not converged or not known."""

import re

import numpy as np
import pytest

from lamdata.errors import SourceError
from lamdata.units import BOHR, KBAR
from tests.lamdata.sources.reading import frames, read, reasons, same_as_dpdata, stated

ABACUS = """                             WELCOME TO ABACUS v3.2
                  lattice constant (Bohr) = 9.44863
 CARTESIAN COORDINATES ( UNIT = 9.44863 Bohr ).
         atom                   x                   y                   z                 mag
      tauc_C1                 0.0                 0.0                 0.0                   0
      tauc_H1                 0.2                 0.0                 0.0                   0

                             Volume (Bohr^3) = 843.542

 Lattice vectors: (Cartesian coordinate: in unit of a_0)
                   +1                  +0                  +0
                   +0                  +1                  +0
                   +0                  +0                  +1
 Read in pseudopotential file is C_ONCV_PBE-1.0.upf
     energy cutoff for wavefunc (unit:Ry) = 100
                                    nspin = 2
"""
ABACUS_STEP = """ STEP OF RELAXATION : {n}
 {scf}
 final etot is -219.{n}49914042766 eV
    TOTAL-FORCE (Ry/Bohr)
       C1      -9.0      -9.0      +9.0
    TOTAL-FORCE (eV/Angstrom)
 ><><><><><><
     atom              x              y              z
       C1      -0.154995      -1.114764      +0.083421
       H1      +0.154995      +1.114764      -0.083421

 TOTAL-STRESS (KBAR)
 ><><><><><><
    +10.0    +1.0    +0.0
    +1.0    +20.0    +0.0
    +0.0    +0.0    +30.0

"""
ABACUS_MOVED = (
    "DIRECT COORDINATES\n    atom                   x                   y                   z\ntaud_C1 0 0 0 0\ntaud_H1 0.3 0 0 0\n\n"
)
ABACUS_GOOD = "charge density convergence is achieved"


def test_an_abacus_log_stands_for_itself(write):
    text = (
        ABACUS
        + ABACUS_STEP.format(n=1, scf=ABACUS_GOOD)
        + ABACUS_MOVED
        + ABACUS_STEP.format(n=2, scf=ABACUS_GOOD)
        + " !FINAL_ETOT_IS -219.2 eV\n"
    )
    first, second = frames(write(text, "running_relax.log"), "abacus/log")
    assert first.cell[0, 0] == pytest.approx(9.44863 * BOHR, abs=1e-12)
    assert (
        second.positions[1, 0] == pytest.approx(0.3 * first.cell[0, 0])
        and second.energy == -219.249914042766
        and first.forces[0, 1] == -1.114764
    )
    assert np.trace(first.virial) == pytest.approx(60 * KBAR * first.volume) and first.numbers.tolist() == [6, 1]


def test_a_constant_of_one_angstrom_is_taken_as_such(write):
    text = ABACUS.replace("9.44863", "1.88973") + ABACUS_STEP.format(n=1, scf=ABACUS_GOOD) + " !FINAL_ETOT_IS\n"
    assert frames(write(text, "running_scf.log"), "abacus/log")[0].positions[1, 0] == 0.2


def test_abacus_steps_that_did_not_converge_are_rejected(write):
    bad = re.sub(r" final etot.*\n", "", ABACUS_STEP.format(n=1, scf="convergence has NOT been achieved!"))
    items = read(
        write(ABACUS + bad + ABACUS_MOVED + ABACUS_STEP.format(n=2, scf=ABACUS_GOOD) + " !FINAL_ETOT_IS\n", "running_relax.log"),
        "abacus/log",
    )
    assert [getattr(item, "reason", None) for item in items] == ["unconverged", None]


DUMP = """MDSTEP:  {n}
LATTICE_CONSTANT: 10.0
LATTICE_VECTORS
 1 0 0
 0 1 0
 0 0 1
VIRIAL (KBAR)
 10.0000001 1 0
 1 20 0
 0 0 30
INDEX    LABEL    POSITIONS    FORCE (eV/Angstrom)
 0 C 0 0 0 -0.1549951 -1.1147641 0.0834212
 1 H 0.1 0 0 0.1549951 1.1147641 -0.0834212


"""


def abacus_md(write, dump, *, steps=5):
    """An md log, and what is dumped beside it."""
    log = write(ABACUS + "".join(ABACUS_STEP.format(n=n, scf=ABACUS_GOOD) for n in range(steps)) + " !FINAL_ETOT_IS\n", "running_md.log")
    if dump:
        write(dump, "MD_dump")
    return log


def test_abacus_md_joins_the_dump_to_the_log(write):
    with pytest.raises(SourceError, match="MD_dump, which is not beside it"):
        read(abacus_md(write, ""), "abacus/log")
    first, second = frames(abacus_md(write, DUMP.format(n=0) + DUMP.format(n=3)), "abacus/log")
    assert (first.energy, second.energy) == (-219.049914042766, -219.349914042766) and first.forces[1, 2] == -0.0834212
    assert first.cell[0, 0] == pytest.approx(10 * BOHR) and first.positions[1, 0] == pytest.approx(BOHR)
    new = DUMP.replace("10.0\n", "10.0 Angstrom\n").format(n=0)
    assert frames(abacus_md(write, new), "abacus/log")[0].positions[1, 0] == pytest.approx(0.1)  # since 3.1.4
    assert reasons(read(abacus_md(write, DUMP.format(n=0) + DUMP.format(n=9)), "abacus/log")) == ["truncated"]


@pytest.mark.parametrize(
    ("mine", "others"),
    [
        ("0 0 30\n", "0 0 31\n"),
        ("1 H 0.1 0 0 0.1549951", "1 H 0.1 0 0 0.2549951"),
        ("1 H", "1 He"),
        (" 1 H 0.1 0 0 0.1549951 1.1147641 -0.0834212\n", ""),
    ],
)
def test_a_dump_of_another_abacus_run_is_refused(write, mine, others):
    assert mine in DUMP
    items = read(abacus_md(write, DUMP.format(n=0) + DUMP.replace(mine, others).format(n=1)), "abacus/log")
    assert [getattr(item, "reason", None) for item in items] == [
        None, "MD_dump is of another run than the log: their atoms, forces or stresses differ",
    ]  # fmt: skip


def test_what_an_abacus_dump_lacks_is_named_or_taken_from_the_log(write):
    bare = re.sub(r"VIRIAL.*\n.*\n.*\n.*\n", "", DUMP)
    (frame,) = frames(abacus_md(write, bare.format(n=0)), "abacus/log")
    assert frame.virial[2, 2] == pytest.approx(30 * KBAR * frame.volume)
    bare = re.sub(r"( [CH] \S+ \S+ \S+) .*", r"\1", DUMP.replace("    FORCE (eV/Angstrom)", ""))
    (frame,) = frames(abacus_md(write, bare.format(n=0)), "abacus/log")
    assert frame.forces is None and frame.left_out == ("forces: printed in the log, not in MD_dump",)
    (item,) = read(abacus_md(write, re.sub(r"VIRIAL.*\n.*\n.*\n.*\n", "", bare).format(n=0)), "abacus/log")
    assert item.reason.startswith("nothing shows that MD_dump and the log are of one run")


def abacus(write, change, **named):
    """Read a single point after a change to its text."""
    text = ABACUS + ABACUS_STEP.format(n=1, scf=ABACUS_GOOD) + " !FINAL_ETOT_IS -219.2 eV\n"
    changed = change(text)
    assert changed != text
    return read(write(changed, "running_scf.log"), "abacus/log", **named)


@pytest.mark.parametrize(
    ("printed", "changed", "reason"),
    [
        ("C1      -0.154995 ", "C1      ********* ", "nonfinite"),
        ("    +1.0    +20.0", "    +1.0*********", "nonfinite"),
        ("etot is -219.149914042766", "etot is ******************", "nonfinite"),
        ("tauc_H1                 0.2 ", "tauc_H1                 *** ", "nonfinite"),
        ("    TOTAL-FORCE (eV", " final etot is -217.0 eV\n    TOTAL-FORCE (eV", "two energies for one geometry"),
        ("    +0.0    +0.0    +30.0\n", "    +0.0    +0.0    +30.0\n TOTAL-PRESSURE: +25.0 KBAR\n", "stress and pressure differ"),
        (
            " STEP OF",
            " SETUP THE ELECTRONS NUMBER\n DONE\n STEP OF",
            "the charge is not known: nelec is set, and the log does not say to what",
        ),
    ],
)
def test_abacus_steps_that_are_not_known_are_refused(write, printed, changed, reason):
    assert reasons(abacus(write, lambda text: text.replace(printed, changed))) == [reason]


def test_abacus_tables_are_in_the_units_that_their_titles_name(write):
    (frame,) = abacus(write, lambda text: re.sub(r"    TOTAL-FORCE \(Ry.*\n.*\n", "", text).replace("(eV/Angstrom)", "(Ry/Bohr)"))
    assert frame.forces is None and frame.left_out == ("forces: printed in Ry/Bohr alone, which is not read",)
    for known, other in (("(eV/Angstrom)", "(nN)"), ("(KBAR)", "(PSI)")):
        with pytest.raises(SourceError, match="expected"):
            abacus(write, lambda text, known=known, other=other: text.replace(known, other))


def test_abacus_knows_a_charge_by_its_electrons(write):
    counted = " SETUP THE ELECTRONS NUMBER\n      total electron number of element C = 4\n      total electron number of element H = 1\n"
    assert abacus(write, lambda text: text.replace(" STEP OF", counted + " STEP OF"))[0].charge == 0
    counted += "  nelec_delta is NOT zero\n                             nelec now:  = 4\n"
    assert abacus(write, lambda text: text.replace(" STEP OF", counted + " STEP OF"))[0].charge == 1


def test_abacus_numbers_that_ran_together_are_told_apart(write):
    (frame,) = abacus(write, lambda text: text.replace("C1      -0.154995      -1.114764 ", "C1      -1000.154995-1000.114764 "))
    assert frame.forces[0].tolist() == [-1000.154995, -1000.114764, 0.083421]


def test_abacus_steps_that_print_no_geometry_are_not_given_the_one_before(write):
    text = ABACUS + "".join(ABACUS_STEP.format(n=n, scf=ABACUS_GOOD) for n in (1, 2)) + " !FINAL_ETOT_IS\n"
    assert [getattr(item, "reason", None) for item in read(write(text, "running_relax.log"), "abacus/log")] == [None, "no positions"]


def test_abacus_states_its_theory(write):
    name, theory = stated(write(ABACUS, "running_scf.log"))
    assert name == "abacus/log"
    assert theory == {"code": "ABACUS 3.2", "core": "C_ONCV_PBE-1.0.upf", "cutoff": 1360.57, "spin": "collinear"}


def test_dpdata_reads_the_same_abacus_runs(samples):
    import dpdata

    for name in ("abacus.md", "abacus.md.newversion", "abacus.md.nostress"):
        folder = samples / "abacus" / name
        same_as_dpdata(frames(next(folder.glob("OUT*/running_md.log")), "abacus/log"), dpdata.LabeledSystem(str(folder), fmt="abacus/md"))
    assert reasons(read(samples / "broken/OUT.ch4fail/running_scf.log", "abacus/log")) == ["unconverged"]
