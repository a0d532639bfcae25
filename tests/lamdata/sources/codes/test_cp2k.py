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
from lamdata.sources.codes.cp2k_md import deck_cell
from lamdata.units import GPA, HARTREE
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
    with pytest.raises(SourceError, match="unit of"):
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


@pytest.fixture
def md(tmp_path):
    for kind in ("pos", "frc"):
        (tmp_path / f"h2-{kind}-1.xyz").write_bytes((DATA / f"cp2k-md-{kind}-1.xyz").read_bytes())
    (tmp_path / "md.out").write_text(text("md"))
    return tmp_path / "h2-pos-1.xyz"


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


def test_a_trajectory_without_a_cell_or_with_other_steps_is_refused(md):
    (md.parent / "md.out").unlink()
    with pytest.raises(SourceError, match="no cell"):
        read(md, "cp2k/aimd")
    (md.parent / "x.inp").write_text("&CELL\n ABC 4 4 4\n&END CELL\n")
    assert frames(md, "cp2k/aimd")[0].virial is None
    forces = md.parent / "h2-frc-1.xyz"
    forces.write_text(forces.read_text().replace("i =        2", "i =        7"))
    with pytest.raises(SourceError, match="step 7 where the positions have step 2"):
        read(md, "cp2k/aimd")
    forces.unlink()
    md.write_text(md.read_text()[:-60])
    with pytest.raises(SourceError, match="truncated"):
        read(md, "cp2k/aimd")


def test_a_cell_that_changes_is_taken_step_by_step(md):
    rows = "".join(f"  {i}  0.0  4.{i} 0 0  0 4 0  0 0 4  64.0\n" for i in range(4))
    (md.parent / "h2-1.cell").write_text("# Step Time Ax ...\n" + rows)
    assert [round(f.cell[0, 0], 6) for f in frames(md, "cp2k/aimd")] == [4.0, 4.1, 4.2, 4.3]


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("&CELL\n ABC 1 2 3\n&END", (np.diag([1, 2, 3]), (True,) * 3)),
        ("&CELL\n A 1 0 0\n C [angstrom] 0 0 3\n B 0 2 0\n PERIODIC XY\n&END CELL", (np.diag([1, 2, 3]), (True, True, False))),
        ("&CELL\n ABC [bohr] 1 2 3\n&END", None),
        ("&CELL\n ABC 1 2 3\n ALPHA_BETA_GAMMA 60 60 60\n&END", None),
        ("nothing", None),
    ],
)
def test_the_cell_of_an_input_is_read_where_it_is_plain(section, expected):
    found = deck_cell(section)
    assert (found is None) == (expected is None)
    if expected is not None:
        assert np.array_equal(found[0], expected[0]) and found[1] == expected[1]


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
