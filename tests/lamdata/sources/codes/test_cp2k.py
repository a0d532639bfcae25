"""CP2K: the layouts of its versions, molecules without a cell, and trajectories beside their logs.

The files in data/ are CP2K 2023.1 runs of H2+ in a skew cell made for this test: a single point and three steps of md.
"""

import lzma
import re
from pathlib import Path

import numpy as np
import pytest

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.sources import expand, guess_format, read_all, reader
from lamdata.sources.codes.cp2k_input import cell_of, parse_input
from lamdata.units import BOHR, GPA, HARTREE
from tests.lamdata.sources.reading import DATA, frames, read, reasons, same_as_dpdata

TRACE = 3 * -4.00283183486 * GPA  # eV/Å^3, as printed: positive when compressed


def text(name):
    return lzma.decompress((DATA / f"cp2k-{name}.out.xz").read_bytes()).decode()


def test_a_single_point_has_all_labels():
    (frame,) = frames(DATA / "cp2k-one.out.xz", "cp2k/output")
    assert frame.energy == pytest.approx(-0.786489594216389 * HARTREE, abs=1e-12)
    assert frame.numbers.tolist() == [1, 1] and frame.pbc == (True, True, True) and (frame.charge, frame.multiplicity) == (1, 2)
    assert np.trace(frame.virial) == pytest.approx(TRACE * frame.volume)
    assert frame.cell[1] == pytest.approx([1.235, 3.9, 0], abs=1e-3) and np.linalg.norm(frame.cell[1]) == pytest.approx(4.090738, abs=1e-6)


def old_layout(new: str) -> str:
    """As versions before 8 print the stress and the energy."""
    rows = re.findall(r"STRESS\| +([xyz]) +(\S+) +(\S+) +(\S+)", new)[:3]
    table = " STRESS TENSOR [GPa]\n\n            X               Y               Z\n"
    table += "".join(f"  {row[0].upper()} {float(row[1]):16.8f}{float(row[2]):16.8f}{float(row[3]):16.8f}\n" for row in rows)
    new = re.sub(r"( STRESS\|.*\n)+", table, new, count=1)
    return new.replace("energy [a.u.]:", "energy (a.u.):").replace("ATOMIC COORDINATES IN ANGSTROM", " ATOMIC COORDINATES IN angstrom")


def layout_of_2025(new: str) -> str:
    """As versions since 2024 print the energy, the forces and the stress (in bar)."""
    rows = re.findall(r"^ +(\d) +1 +H +(\S+) +(\S+) +(\S+)$", new.partition("ATOMIC FORCES")[2], re.MULTILINE)
    table = " FORCES| Atomic forces [hartree/bohr]\n FORCES| Atom     x               y               z               |f|\n"
    table += (
        "".join(f" FORCES|    {i} {float(x):.8E} {float(y):.8E} {float(z):.8E} 1.0E+00\n" for i, x, y, z in rows)
        + " FORCES| Sum   0.0 0.0 0.0 0.0\n"
    )
    new = re.sub(r" ATOMIC FORCES in.*?SUM OF ATOMIC FORCES.*?\n", lambda _: table, new, flags=re.DOTALL)
    new = re.sub(
        r"(STRESS\| +[xyz]) +(\S+) +(\S+) +(\S+)", lambda m: " ".join([m[1], *(f"{float(v) * 1e4:.11E}" for v in m.groups()[1:])]), new
    )
    return new.replace("tensor [GPa]", "tensor [bar]").replace("energy [a.u.]:", "energy [hartree]")


def test_a_skew_cell_has_the_digits_of_its_lengths_and_angles():
    (frame,) = frames(DATA / "cp2k-one.out.xz", "cp2k/output")
    assert frame.volume == pytest.approx(63.96, abs=1e-5)  # the vectors alone make 63.958


@pytest.mark.parametrize("layout", [old_layout, layout_of_2025])
def test_layouts_of_other_versions_read_the_same(write, layout):
    changed = layout(text("one"))
    assert changed != text("one")
    (ours,), (other,) = frames(DATA / "cp2k-one.out.xz", "cp2k/output"), frames(write(changed), "cp2k/output")
    assert (
        ours.energy == other.energy
        and np.allclose(ours.forces, other.forces, atol=1e-9)
        and np.allclose(ours.virial, other.virial, atol=1e-6)
    )


def test_a_unit_that_is_not_known_is_refused(write):
    with pytest.raises(SourceError, match="the unit 'mmHg' of the stress is not known"):
        read(write(text("one").replace("tensor [GPa]", "tensor [mmHg]")), "cp2k/output")


@pytest.mark.parametrize(("stated", "pbc"), [("NONE", (False,) * 3), ("XY", (True, True, False))])
def test_a_run_without_periodicity_is_a_molecule(write, stated, pbc):
    (frame,) = frames(write(re.sub(r"( CELL\| Periodicity +)XYZ", rf"\g<1>{stated}", text("one"))), "cp2k/output")
    assert frame.pbc == pbc and (frame.cell is None) == (stated == "NONE") and (frame.virial is None) == (stated == "NONE")


def test_older_versions_state_periodicity_with_the_poisson_solver(write):
    old = re.sub(r" CELL\| Periodicity.*\n", "", text("one"))
    assert frames(write(old), "cp2k/output")[0].pbc == (True,) * 3
    assert frames(write(re.sub(r"(POISSON\| Periodicity +)XYZ", r"\g<1>NONE", old)), "cp2k/output")[0].pbc == (False,) * 3


@pytest.mark.parametrize(
    "warning", [" *** WARNING in qs_scf.F:601 :: SCF run NOT converged ***", "  outer SCF loop FAILED to converge after   2 iterations"]
)
def test_an_unconverged_scf_is_rejected(write, warning):
    assert reasons(read(write(re.sub(r" +\*\*\* SCF run converged.*", warning, text("one"))), "cp2k/output")) == ["unconverged"]


def test_inner_loops_may_end_early_if_the_outer_converges(write):
    outer = re.sub(
        r" +\*\*\* SCF run converged.*",
        "  Leaving inner SCF loop after reaching  20 steps.\n  outer SCF loop converged in   3 iterations",
        text("one"),
    )
    assert frames(write(outer), "cp2k/output")[0].converged


def test_a_cut_output_is_refused(write):
    for mark in ("PROGRAM ENDED", "ATOMIC FORCES", "SCF WAVEFUNCTION"):
        with pytest.raises(SourceError, match="truncated"):
            read(write(text("one").partition(mark)[0]), "cp2k/output")


def test_an_md_log_sends_its_reader_to_the_trajectory():
    with pytest.raises(SourceError, match="read it as `format: cp2k/aimd`"):
        read(DATA / "cp2k-md.out.xz", "cp2k/output")


def test_theory_is_what_the_output_states():
    (file,) = expand(SourceSpec(path=str(DATA / "cp2k-one.out.xz")), base=DATA)
    assert guess_format(file) == "cp2k/output"
    assert reader("cp2k/output").theory(file) == {
        "code": "CP2K 2023.1",
        "functional": "PBE",
        "core": "SZV-MOLOPT-SR-GTH, GTH-PBE",
        "cutoff": 2040.85,
        "spin": "collinear",
        "dispersion": "D3",
        "hubbard_u": "none",
    }


def md_run(folder: Path) -> Path:
    """A trajectory with its log and its forces beside it."""
    for kind in ("pos", "frc"):
        (folder / f"h2-{kind}-1.xyz").write_bytes((DATA / f"cp2k-md-{kind}-1.xyz").read_bytes())
    (folder / "md.out").write_text(text("md"))
    return folder / "h2-pos-1.xyz"


@pytest.fixture
def md(tmp_path):
    return md_run(tmp_path)


def test_a_trajectory_takes_its_labels_from_the_files_beside_it(md):
    steps = frames(md, "cp2k/aimd")
    assert len(steps) == 4 and [f.converged for f in steps] == [True] * 4 and steps[0].charge == 1
    assert np.trace(steps[0].virial) == pytest.approx(TRACE * steps[0].volume)
    for a, b in zip(steps, steps[1:]):  # forces and energies belong together
        work = np.sum((a.forces + b.forces) / 2 * (b.positions - a.positions))
        assert b.energy - a.energy == pytest.approx(-work, abs=3e-4)
    (md.parent / "h2-frc-1.xyz").unlink()
    from_log = frames(md, "cp2k/aimd")
    assert all(np.allclose(a.forces, b.forces, atol=1e-5) for a, b in zip(steps, from_log))


def test_a_step_whose_scf_did_not_converge_is_rejected(md):
    log = text("md").split("*** SCF run converged")
    (md.parent / "md.out").write_text(
        "*** SCF run NOT converged".join(["*** SCF run converged".join(log[:3]), "*** SCF run converged".join(log[3:])])
    )
    items = read(md, "cp2k/aimd")
    assert [getattr(item, "reason", None) for item in items] == [None, None, "unconverged", None]


INPUT = """&GLOBAL
 PROJECT h2
 RUN_TYPE MD
&END GLOBAL
&MOTION
 &MD
  ENSEMBLE NVE ! the cell stays
 &END MD
 &PRINT
  &TRAJECTORY
  &END TRAJECTORY
  &FORCES
  &END FORCES
  &CELL
   &EACH
    MD 1
   &END EACH
  &END CELL
 &END PRINT
&END MOTION
&FORCE_EVAL
 &DFT
  CHARGE 1
 &END DFT
 &SUBSYS
  &CELL
   A 4.0 0.0 0.0
   B 1.2351 3.9 0.0
   C 0.0 0.3 4.1
  &END CELL
 &END SUBSYS
&END FORCE_EVAL
"""
NOWHERE = "the cell of this step is stated nowhere: it needs the .cell file, or a log that prints it"


def test_a_trajectory_without_a_cell_is_rejected_step_by_step(md):
    (md.parent / "md.out").unlink()
    assert reasons(read(md, "cp2k/aimd")) == [NOWHERE] * 4
    (md.parent / "x.inp").write_text(INPUT)
    first = frames(md, "cp2k/aimd")[0]
    assert first.virial is None and first.cell[1, 0] == 1.2351 and first.charge == 1
    (md.parent / "x.inp").write_text(INPUT.replace("PROJECT h2", "PROJECT other"))
    assert reasons(read(md, "cp2k/aimd")) == [NOWHERE] * 4
    (md.parent / "x.inp").write_text(INPUT.replace("NVE", "NPT_I"))
    assert reasons(read(md, "cp2k/aimd")) == [NOWHERE] * 4
    md.write_text(md.read_text()[:-60])
    with pytest.raises(SourceError, match="truncated"):
        read(md, "cp2k/aimd")


def test_a_cell_that_changes_is_taken_step_by_step(md):
    rows = "".join(f"  {i}  {0.3 * i:.3f}  4.{i} 0 0  1.2352 3.9 0  0 0.3 4.1  64.0\n" for i in range(4))
    cells = md.parent / "h2-1.cell"
    cells.write_text("#   Step   Time [fs]       Ax [Angstrom]\n" + rows)
    assert [round(f.cell[0, 0], 6) for f in frames(md, "cp2k/aimd")] == [4.0, 4.1, 4.2, 4.3]
    in_bohr = "#   Step   Time [fs]       Ax [bohr]\n"
    cells.write_text(in_bohr + rows)
    items = read(md, "cp2k/aimd")
    assert reasons(items) == ["the .cell file and the log have two cells for this step"]  # the first, of which the log prints the cell
    assert items[1].cell[0, 0] == pytest.approx(4.1 * BOHR)
    cells.write_text("#   Step   Time [fs]       Ax [Angstrom]\n" + rows[: rows.index("  3  0.9")])
    (md.parent / "md.out").write_text(text("md").replace("    NVE\n", "  NPT_F\n"))
    assert reasons(read(md, "cp2k/aimd")) == [NOWHERE]


def npt(log: str, *, lengths: str, angles: str = "", first: str = "") -> str:
    """A log as NPT prints it, with the lines of lengths and angles that a version has."""
    log = re.sub(
        r"( MD\| Step number +(\d)\n)", lambda m: m[1] + lengths.format(*(np.array(LENGTHS) * (1 + 0.01 * int(m[2])))) + angles, log
    )
    return re.sub(r" MD_INI\| Cell angles.*\n", first, log).replace("    NVE\n", "  NPT_I\n")


LENGTHS = (4.0, 4.090738, 4.110961)
NEW = " MD| Cell lengths [ang]       {:.8E}  {:.8E}  {:.8E}\n"
OLD = " CELL LNTHS[bohr]             =    {:.7E}   {:.7E}   {:.7E}\n AVE. CELL LNTHS[bohr]        =    1.0 1.0 1.0\n"


def test_a_cell_file_that_the_log_contradicts_refuses_its_step(md):
    (md.parent / "md.out").write_text(npt(text("md"), lengths=NEW))
    rows = "".join(
        f"  {i}  {0.3 * i:.3f}  {4 * (1 + 0.01 * i):.4f} 0 0  {1.2352 * (1 + 0.01 * i):.4f} {3.9 * (1 + 0.01 * i):.4f} 0  0 {0.3 * (1 + 0.01 * i):.4f} {4.1 * (1 + 0.01 * i):.4f}  0\n"
        for i in range(4)
    )
    cells = md.parent / "h2-1.cell"
    cells.write_text(rows)
    assert len(frames(md, "cp2k/aimd")) == 4
    cells.write_text(rows.replace("4.0800", "4.1800"))
    assert reasons(read(md, "cp2k/aimd")) == ["the .cell file and the log have two cells for this step"]


def test_atoms_that_are_not_those_of_the_log_are_refused(md):
    md.write_text(md.read_text().replace("  H   ", " He   "))
    with pytest.raises(SourceError, match="atom 1 is He, and of number 1 in its log"):
        read(md, "cp2k/aimd")


def test_the_log_states_the_cell_of_each_step(md):
    log = md.parent / "md.out"
    log.write_text(npt(text("md"), lengths=NEW))
    steps = frames(md, "cp2k/aimd")
    assert [round(f.volume / 63.96, 5) for f in steps] == [1.0, 1.0303, 1.06121, 1.09273]
    assert steps[2].cell[1] == pytest.approx([1.2352 * 1.02, 3.9 * 1.02, 0], abs=2e-3)
    virial = steps[3].virial
    log.write_text(text("md"))
    assert np.allclose(virial, frames(md, "cp2k/aimd")[3].virial * 1.03**3, rtol=1e-5)
    log.write_text(npt(text("md"), lengths=OLD))
    in_bohr = frames(md, "cp2k/aimd")
    assert in_bohr[1].volume == pytest.approx(63.96 * 1.01**3 * BOHR**3, rel=1e-5)
    log.write_text(npt(text("md"), lengths="").replace("NVE", "NPT_I"))
    assert reasons(read(md, "cp2k/aimd")) == [NOWHERE] * 3  # the first is the start


def test_angles_are_read_in_the_order_that_the_start_shows(md):
    now = " MD| Cell angles [deg]        {}  {}  {}\n"
    starts = " MD_INI| Cell angles [deg]        {}  {}  {}\n"
    log = md.parent / "md.out"
    found = []
    for order in (slice(None), slice(None, None, -1)):
        angles, first = (87.0, 90.0, 73.0)[order], (86.0105369, 90.0, 72.4346164)[order]
        log.write_text(npt(text("md"), lengths=NEW, angles=now.format(*angles), first=starts.format(*first)))
        found.append(frames(md, "cp2k/aimd")[1].cell)
    assert np.array_equal(found[0], found[1])
    a, b, c = found[0]
    assert np.degrees(np.arccos(b @ c / np.linalg.norm(b) / np.linalg.norm(c))) == pytest.approx(87.0)
    assert np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))) == pytest.approx(73.0)
    log.write_text(npt(text("md"), lengths=NEW, angles=now.format(87.0, 90.0, 73.0)))
    assert "the order of the cell's angles is not known: it needs the .cell file" in reasons(read(md, "cp2k/aimd"))


def test_forces_are_found_by_their_steps_whatever_their_name(md):
    table = md.parent / "h2-frc-1.xyz"
    expected = frames(md, "cp2k/aimd")
    (md.parent / "md.out").write_text(re.sub(r" ATOMIC FORCES in.*?SUM OF ATOMIC FORCES.*?\n", "", text("md"), flags=re.DOTALL))
    table.rename(md.parent / "h2-all.force-frc-1.xyz")
    found = frames(md, "cp2k/aimd")
    assert all(np.array_equal(a.forces, b.forces) for a, b in zip(found, expected, strict=True))
    (md.parent / "copy.frc.xyz").write_text((md.parent / "h2-all.force-frc-1.xyz").read_text())
    assert {f.left_out for f in frames(md, "cp2k/aimd")} == {("forces: copy.frc.xyz and h2-all.force-frc-1.xyz both have its steps",)}


def test_what_stands_beside_may_be_packed(md):
    plain = frames(md, "cp2k/aimd")
    for file in list(md.parent.iterdir()):
        file.with_name(f"{file.name}.xz").write_bytes(lzma.compress(file.read_bytes()))
        file.unlink()
    packed = frames(md.with_name("h2-pos-1.xyz.xz"), "cp2k/aimd")
    assert len(packed) == 4 and all(
        np.array_equal(a.virial, b.virial) and np.array_equal(a.forces, b.forces) for a, b in zip(plain, packed)
    )


def test_forces_of_another_run_are_left_out_and_said(md):
    table = md.parent / "h2-frc-1.xyz"
    whole = table.read_text()
    log = re.sub(r" ATOMIC FORCES in.*?SUM OF ATOMIC FORCES.*?\n", "", text("md"), flags=re.DOTALL)
    (md.parent / "md.out").write_text(log)
    table.write_text(whole.replace("i =        2", "i =        7"))
    steps = frames(md, "cp2k/aimd")
    assert [f.forces is None for f in steps] == [False, False, True, False]
    assert steps[2].left_out == ("forces: h2-frc-1.xyz has not this step of these atoms",) and steps[1].left_out == ()
    table.write_text(whole.replace("E =        -0.78", "E =        -0.91"))
    assert all(f.forces is None and "by number and energy" in f.left_out[0] for f in frames(md, "cp2k/aimd"))


def test_two_tables_of_forces_that_differ_refuse_their_step(md):
    table = md.parent / "h2-frc-1.xyz"
    table.write_text(table.read_text().replace("-0.0120919480", "-0.0220919480"))
    assert reasons(read(md, "cp2k/aimd")) == ["the forces of the log and of h2-frc-1.xyz differ"]


def test_the_units_of_the_input_are_honoured_or_refused(md):
    (md.parent / "md.out").unlink()
    plain = md.parent / "x.inp"
    plain.write_text(INPUT)
    usual = frames(md, "cp2k/aimd")[1]
    units = INPUT.replace("&TRAJECTORY\n", "&TRAJECTORY\n   UNIT bohr\n", 1).replace("&FORCES\n", "&FORCES\n   UNIT eV*angstrom^-1\n", 1)
    plain.write_text(units)
    other = frames(md, "cp2k/aimd")[1]
    assert np.allclose(other.positions, usual.positions * BOHR) and np.allclose(other.forces, usual.forces * BOHR / HARTREE)
    assert other.energy == usual.energy
    plain.write_text(units.replace("bohr", "furlong"))
    with pytest.raises(SourceError, match="the unit 'furlong' of the length is not known"):
        read(md, "cp2k/aimd")
    (md.parent / "y.inp").write_text(INPUT)
    plain.write_text(units)
    with pytest.raises(SourceError, match="x.inp and y.inp are both inputs of project h2, and differ"):
        read(md, "cp2k/aimd")


def test_a_log_of_another_run_gives_nothing(md):
    (md.parent / "x.inp").write_text(INPUT)
    other = text("md").replace("-0.78", "-0.79")
    (md.parent / "md.out").write_text(
        other.replace("Project name                                                         h2", "Project name h2")
    )
    steps = frames(md, "cp2k/aimd")
    assert all(f.virial is None and f.converged is None for f in steps)
    assert steps[0].left_out == ("virial: md.out has none of its energies",)
    (md.parent / "md.out").write_text(re.sub(r"(Project name +)h2", r"\1h3", text("md")))
    assert {f.left_out for f in frames(md, "cp2k/aimd")} == {("virial: md.out has its energies, and is of project h3",)}
    (md.parent / "md.out").write_text(re.sub(r"(Project name +)h2", r"\1h3", other))
    assert {f.left_out for f in frames(md, "cp2k/aimd")} == {()}


def test_a_log_in_ev_belongs_to_its_trajectory(md):
    """CP2K's own factor is of 2006."""
    in_ev = re.sub(r"energy \[a.u.\]: +(\S+)", lambda m: f"energy [eV]: {float(m[1]) * 27.2113838565563:.12f}", text("md"))
    plain = frames(md, "cp2k/aimd")
    (md.parent / "md.out").write_text(in_ev)
    steps = frames(md, "cp2k/aimd")
    assert [f.energy for f in steps] == [f.energy for f in plain] and all(f.virial is not None for f in steps)


def test_positions_in_a_unit_that_no_input_states_are_refused(md):
    lines = md.read_text().splitlines()
    rows = [f"{w[0]} " + " ".join(f"{float(x) / BOHR:.10f}" for x in w[1:]) if len(w := line.split()) == 4 else line for line in lines]
    md.write_text("\n".join(rows) + "\n")
    with pytest.raises(SourceError, match="its positions are 1.8897 times those of its log: a UNIT"):
        read(md, "cp2k/aimd")
    (md.parent / "x.inp").write_text(INPUT.replace("&TRAJECTORY\n", "&TRAJECTORY\n   UNIT bohr\n", 1))
    assert frames(md, "cp2k/aimd")[0].positions[1] == pytest.approx([0.3, 0.2, 0.9])


def test_each_step_finds_itself_in_any_of_several_logs(md):
    whole = text("md")
    second = whole.index(" MD| Step number                                                               1")
    (md.parent / "md.out").write_text(whole[:second])
    assert [f.virial is None for f in frames(md, "cp2k/aimd")] == [False, False, True, True]
    assert frames(md, "cp2k/aimd")[3].left_out == ("virial: the log has a stress, but not for this step",)
    header = whole.index(" Number of orbital functions")
    (md.parent / "part2.out").write_text(whole[:header] + whole[second:])
    assert [f.virial is None for f in frames(md, "cp2k/aimd")] == [False] * 4


def test_the_stress_with_the_motion_of_the_nuclei_is_not_taken(md):
    (md.parent / "md.out").unlink()
    (md.parent / "x.inp").write_text(INPUT)
    (md.parent / "h2-1.stress").write_text("#   Step   Time [fs]            xx [bar]\n 0 0.000 1 0 0 0 1 0 0 0 1\n")
    step = frames(md, "cp2k/aimd")[0]
    assert step.virial is None and step.left_out == ("virial: the .stress beside it holds the motion of the nuclei too",)


@pytest.mark.parametrize(
    ("printed", "factor"),
    [("[eV]", 1.0), ("[hartree]", HARTREE), ("(a.u.)", HARTREE), ("[Ry]", HARTREE / 2), ("[kcalmol]", 0.0433641)],
)
def test_the_printed_unit_of_the_energy_is_honoured(write, printed, factor):
    (frame,) = frames(write(text("one").replace("energy [a.u.]:", f"energy {printed}:")), "cp2k/output")
    assert frame.energy == pytest.approx(-0.786489594216389 * factor, rel=1e-6)


def test_an_energy_in_a_unit_that_is_not_known_is_refused(write):
    with pytest.raises(SourceError, match="the unit 'wavenumber_e' of the energy is not known"):
        read(write(text("one").replace("energy [a.u.]:", "energy [wavenumber_e]:")), "cp2k/output")


def test_a_cell_in_bohr_is_read_in_bohr(write):
    (frame,) = frames(write(re.sub(r"( CELL\| Vector . )\[angstrom\]", r"\1[bohr]    ", text("one"))), "cp2k/output")
    assert frame.volume == pytest.approx(63.96 * BOHR**3, rel=1e-4)


def test_several_energies_for_one_geometry_are_refused(write):
    line = " ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]:               -0.786489594216389\n"
    whole = text("one")
    assert line in whole
    assert len(frames(write(whole.replace(line, line * 2)), "cp2k/output")) == 1
    assert reasons(read(write(whole.replace(line, line + line.replace("0.7864", "0.7865"))), "cp2k/output")) == [
        "several energies for one geometry"
    ]
    assert reasons(read(write(whole.replace(line, line.replace("QS", "QMMM"))), "cp2k/output")) == ["the energy is not of Quickstep alone"]


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("&CELL\n ABC 1 2 3\n&END", np.diag([1, 2, 3])),
        ("&CELL\n A 1 0 0\n C [angstrom] 0 0 3\n B 0 2 0\n PERIODIC XY\n&END CELL", np.diag([1, 2, 3])),
        ("&CELL\n ABC [bohr] 1 2 3\n&END", np.diag([1, 2, 3]) * BOHR),
        ("&CELL\n ABC [mile] 1 2 3\n&END", None),
        ("&CELL\n ABC 1 2 3\n ALPHA_BETA_GAMMA 60 60 60\n&END", None),
        ("&CELL\n ABC 1 2 3\n MULTIPLE_UNIT_CELL 2 2 2\n&END", None),
        ("nothing", None),
    ],
)
def test_the_cell_of_an_input_is_read_where_it_is_plain(section, expected):
    found = cell_of(parse_input(section).at("CELL"))
    assert (found is None) == (expected is None) and (expected is None or np.allclose(found, expected, rtol=1e-15))


def test_dpdata_reads_the_same(samples):
    import dpdata

    for name in ("cp2k_normal_output/cp2k_output", "cp2k_element_replace/cp2k_output_element_replace"):
        path = samples / "cp2k" / name
        # dpdata's cell has 3 decimals, ours is scaled to the lengths
        same_as_dpdata(frames(path, "cp2k/output"), dpdata.LabeledSystem(str(path), fmt="cp2k/output"), virial=2e-4)
    assert reasons(read(samples / "broken/cp2k_nocon_output", "cp2k/output")) == ["unconverged"]
    (frame,) = frames(samples / "cp2k/aimd_stress/DPGEN-pos-1.xyz", "cp2k/aimd")
    stored = samples / "cp2k/aimd_stress/deepmd/set.000"
    assert frame.energy == pytest.approx(np.load(stored / "energy.npy")[0], abs=1e-6)
    assert np.allclose(frame.virial.ravel(), np.load(stored / "virial.npy")[0], atol=1e-6)


def test_a_kind_named_after_another_element_keeps_its_own(samples):
    """Kind `Al` of this run has ELEMENT Co (an antiferromagnetic lattice); dpdata calls it aluminium."""
    (frame,) = frames(samples / "cp2k/cp2k_element_replace/cp2k_output_element_replace", "cp2k/output")
    assert 13 not in frame.numbers and (frame.numbers == 27).sum() == 80


def test_the_quickstart_archive_reads_as_its_card_says():
    card = Path(__file__).parents[4] / "catalogs/quickstart"
    if not (card / "raw/cp2k-pade.tar.xz").exists():
        pytest.skip("raw/cp2k-pade.tar.xz is not there")
    spec = SourceSpec(path="raw/cp2k-pade.tar.xz", members="h2o-[ns]*/0[01].out", format="cp2k/output", group="folder")
    items = [item for file in expand(spec, base=card) for item in read_all(file, spec)]
    assert reasons(items) == ["unconverged"] and "h2o-not-converged" in next(item.origin for item in items if not hasattr(item, "energy"))
    assert all(f.cell is None and abs(f.forces.sum(0)).max() < 0.05 for f in items if hasattr(f, "energy"))
