"""pw.x and cp.x: every ionic step, energies that forces derive from, and nothing from a run that did not converge.

The files in data/ are small pw.x 6.7 runs of two silicon atoms made for this test, with their inputs.
"""

import lzma
import tarfile

import numpy as np
import pytest

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import Frame
from lamdata.sources import expand, guess_format, read_all, reader
from lamdata.units import BOHR, GPA, KBAR, RYDBERG
from tests.lamdata.sources.reading import DATA, frames, read, reasons, same_as_dpdata


def text(name):
    return lzma.decompress((DATA / f"qe-{name}.out.xz").read_bytes()).decode()


def test_vc_relax_gives_each_step_and_the_last_scf_in_the_new_cell():
    steps = frames(DATA / "qe-vc-relax-done.out.xz", "qe/pw")
    energies = [-15.50935281, -15.55433272, -15.56175056, -15.57122732, -15.56498755]
    assert [f.energy / RYDBERG for f in steps] == pytest.approx(energies, abs=1e-10)
    assert [round(f.volume / BOHR**3, 2) for f in steps[1:3]] == [278.79, 272.02]  # as pw.x prints it
    assert np.allclose(steps[1].cell[0], np.array([-0.489079584, -0.028577649, 0.488958704]) * 10.4 * BOHR)
    assert steps[0].forces[0, 0] == pytest.approx(0.07236049 * RYDBERG / BOHR)
    assert all(f.group == "qe-vc-relax-done.out.xz" and f.converged and f.charge == 0 for f in steps)


def test_virial_is_positive_when_compressed():
    step = frames(DATA / "qe-vc-relax-done.out.xz", "qe/pw")[2]
    assert np.trace(step.virial) / 3 / step.volume / KBAR == pytest.approx(101.41, abs=0.01)  # "P= 101.41"


def test_md_forces_are_derivatives_of_the_energy():
    """Along the run dE = -sum F.dx, by the trapezoid rule."""
    steps = frames(DATA / "qe-md.out.xz", "qe/pw")
    assert len(steps) == 3
    for a, b in zip(steps, steps[1:]):
        work = np.sum((a.forces + b.forces) / 2 * (b.positions - a.positions))
        assert b.energy - a.energy == pytest.approx(-work, abs=2e-5)


def test_the_digits_of_the_input_are_taken_where_it_agrees(write):
    run = write(text("md"))
    (deck,) = [write((DATA / "qe-md.in").read_text(), "run.in")]
    assert frames(run, "qe/pw")[0].positions[1, 0] == 0.27 * 10.4 * BOHR
    deck.write_text(deck.read_text().replace("0.27", "0.28"))
    assert frames(run, "qe/pw")[0].positions[1, 0] == pytest.approx(0.27 * 10.4 * BOHR, abs=1e-6)
    deck.write_text("no deck at all")
    assert len(frames(run, "qe/pw")) == 3


def test_an_unconverged_scf_is_rejected():
    assert reasons(read(DATA / "qe-unconverged.out.xz", "qe/pw")) == ["unconverged"]


def test_a_cut_file_keeps_whole_steps_and_says_what_it_lost(write):
    whole = text("md")
    second = whole.index("Entering Dynamics:    iteration =     2")
    items = read(write(whole[:second]), "qe/pw")
    assert len(items) == 2 and reasons(items) == ["truncated"]
    with pytest.raises(SourceError, match="truncated"):
        read(write(whole[: whole.index("Forces acting")]), "qe/pw")
    with pytest.raises(SourceError, match="no frame"):
        read(write(whole[:1500]), "qe/pw")


def test_a_run_that_was_started_again_into_its_file_costs_only_what_was_cut(write):
    whole = text("md")
    items = read(write(whole[: whole.index("!    total energy")] + whole), "qe/pw")
    assert reasons(items) == ["truncated"] and items[0].origin.endswith("#0")
    assert [frame.energy for frame in items[1:]] == [frame.energy for frame in frames(DATA / "qe-md.out.xz", "qe/pw")]


def test_a_file_cut_within_a_table_loses_that_step_alone(write):
    whole = text("md")
    cut = whole.rindex("force =") + 20
    items = read(write(whole[:cut]), "qe/pw")
    assert len(items) == 3 and reasons(items) == ["truncated"]


def test_a_step_whose_geometry_was_left_out_costs_itself(write):
    first = text("vc-relax-done")
    table = first.index("   Cartesian axes")
    items = read(write(first[:table] + first[first.index("     number of k points", table) :]), "qe/pw")
    assert len(items) == 5 and reasons(items) == ["no positions"] and isinstance(items[1], Frame)


def test_warnings_before_the_forces_are_passed_over(write):
    title = "(cartesian axes, Ry/au):\n"
    noisy = text("md").replace(title, title + "\n\n     negative rho (up, down):  2.052E-03 1.758E-03")
    for one, other in zip(frames(write(noisy), "qe/pw"), frames(DATA / "qe-md.out.xz", "qe/pw"), strict=True):
        assert np.array_equal(one.forces, other.forces)


def test_outputs_of_several_programs_in_one_file_are_refused(write):
    row = "         2           Si  tau(   2) ="
    with pytest.raises(SourceError, match="sites cannot be read .*several programs"):
        read(write(text("md").replace(row, " cryst.   s(12) = (  0  0  1 )\n" + row)), "qe/pw")


def test_an_error_names_the_line(write):
    broken = write(text("md").replace("force =     0.07", "force =     0.x7", 1))
    with pytest.raises(SourceError, match=r"run.out:\d+: forces cannot be read \(ValueError: not a number: '0.x7"):
        read(broken, "qe/pw")


def test_a_number_too_wide_for_its_column_refuses_its_step(write):
    items = read(write(text("md").replace("   0.07236049    0.02445617", "**************    0.02445617", 1)), "qe/pw")
    assert reasons(items) == ["nonfinite"] and len(items) == 3


def test_theory_is_what_the_output_states():
    spec = SourceSpec(path=str(DATA / "qe-spin.out.xz"))
    (file,) = expand(spec, base=DATA)
    assert guess_format(file) == "qe/pw"
    assert reader("qe/pw").theory(file) == {
        "code": "Quantum ESPRESSO 6.7",
        "functional": "PBE",
        "core": "Si.pbe-rrkj.UPF",
        "cutoff": 136.06,
        "spin": "collinear",
        "dispersion": "D3",
        "hubbard_u": "none",
    }


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ("     Simplified LDA+U calculation (l_max = 2) with parameters (eV):\n     atomic species    L          U    alpha       J0     beta\n"
         "        Fe1            2     4.3000   0.0000   0.0000   0.0000\n\n", "DFT+U, U(Fe1) = 4.3"),
        ("     Hubbard projectors: atomic\n     Hubbard parameters of DFT+U (Dudarev formulation) in eV:\n     U(Fe-3d)  =  4.3000\n\n", "DFT+U, U(Fe-3d) = 4.3000"),
    ],
)  # fmt: skip
def test_hubbard_u_is_read_as_either_version_prints_it(write, stated, expected):
    run = write(
        text("spin")
        .replace("     No symmetry found", stated + "     No symmetry found", 1)
        .replace("     crystal axes", stated + "     crystal axes", 1)
    )
    (file,) = expand(SourceSpec(path=str(run)), base=run.parent)
    assert reader("qe/pw").theory(file)["hubbard_u"] == expected


def test_a_charged_cell_is_known_by_its_electrons(write):
    run = write(text("spin").replace("number of electrons       =         8.00", "number of electrons       =         7.00"))
    assert frames(run, "qe/pw")[0].charge == 1


def test_an_element_is_known_by_its_label_where_the_pseudopotential_names_none(write):
    run = write(text("md").replace("28.08550     Si( 1.00)", "28.08550     xy( 1.00)"))
    assert frames(run, "qe/pw")[0].numbers.tolist() == [14, 14]


def test_ase_reads_the_same(samples):
    from ase.io import read as ase_read

    for name in ("02.out", "03.out", "Al.out"):
        (ours,), theirs = (
            frames(samples / "qe_pw_scf/qe.scf" / name, "qe/pw"),
            ase_read(samples / "qe_pw_scf/qe.scf" / name, format="espresso-out"),
        )
        # ASE's constants are of CODATA 2006: 9e-7 of the energy, which is 26 meV here
        assert ours.energy == pytest.approx(theirs.get_potential_energy(), rel=1e-6)
        assert np.allclose(ours.forces, theirs.get_forces(), atol=1e-5)
        assert np.allclose(ours.positions, theirs.positions, atol=1e-4)
        if ours.virial is not None:
            assert np.allclose(ours.virial, -theirs.get_volume() * theirs.get_stress(voigt=False), atol=2e-2)  # kbar with 2 decimals


def test_constants_of_one_year_are_used(samples):
    (water,) = frames(samples / "qe_pw_scf/qe.scf/02.out", "qe/pw")
    assert water.energy == pytest.approx(-30007.65210264, abs=1e-7)  # -2205.52174971 Ry; dpdata's test has 0.25 meV less, ASE 26 meV


def test_the_quickstart_archive_reads_as_its_card_says():
    from pathlib import Path

    card = Path(__file__).parents[4] / "catalogs/quickstart"
    archive = card / "raw/qe-pbe.tar.xz"
    if not archive.exists():
        pytest.skip("raw/qe-pbe.tar.xz is not there")
    spec = SourceSpec(path="raw/qe-pbe.tar.xz", members="*/00.out", format="qe/pw", group="folder")
    files = expand(spec, base=card)
    with tarfile.open(archive) as tar:
        assert len(files) == sum(name.endswith("/00.out") for name in tar.getnames())
    items = [item for file in files[:4] for item in read_all(file, spec)]
    assert len({item.group for item in items}) == 4 and abs(items[0].forces.sum(0)).max() < 1e-3


EXX = """
     EXX: now go back to refine exchange calculation

     Self-consistent Calculation

     iteration #  1     ecut=    10.00 Ry     beta= 0.70

     convergence has been achieved in   3 iterations

     total energy              =     -15.61000000 Ry
     est. exchange err (dexx)  =       0.00200000 Ry

     EXX: now go back to refine exchange calculation

     Self-consistent Calculation

     iteration #  1     ecut=    10.00 Ry     beta= 0.70

     convergence has been achieved in   2 iterations

!!   total energy              =     -15.62000000 Ry
     Harris-Foulkes estimate   =     -15.62000000 Ry
     est. exchange err (dexx)  =       0.00000001 Ry

     EXX self-consistency reached
"""


def with_exchange(whole: str, exchange: str) -> str:
    """The first step of a run, as it goes on with exact exchange."""
    done = whole.index("convergence has been achieved")
    line = whole.index("\n", done) + 1
    return whole[:line] + exchange + whole[line:]


def test_loops_of_exact_exchange_are_one_step_with_the_last_energy(write):
    plain, hybrid = frames(DATA / "qe-md.out.xz", "qe/pw"), frames(write(with_exchange(text("md"), EXX)), "qe/pw")
    assert len(hybrid) == len(plain) and hybrid[0].energy == pytest.approx(-15.62 * RYDBERG, abs=1e-10)
    assert np.array_equal(hybrid[0].forces, plain[0].forces) and hybrid[1].energy == plain[1].energy
    undone = EXX.replace("EXX self-consistency reached", "EXX convergence NOT achieved after  100 iterations: stopping").replace("!!", "  ")
    assert reasons(read(write(with_exchange(text("md"), undone)), "qe/pw")) == ["unconverged"]
    stopped = EXX[: EXX.index("!!")]
    assert reasons(read(write(with_exchange(text("md"), stopped)), "qe/pw")) == ["truncated"]


def test_two_energies_for_one_geometry_are_refused(write):
    whole = text("md")
    start = whole.index("!    total energy")
    line = whole[start : whole.index("\n", start) + 1]
    assert len(frames(write(whole.replace(line, line * 2, 1)), "qe/pw")) == 3
    other = line.replace("-15.5", "-15.6")
    assert other != line
    assert reasons(read(write(whole.replace(line, line + other, 1)), "qe/pw")) == ["two energies for one geometry"]
    each = f"{other}     iteration #  9     ecut=    10.00 Ry     beta= 0.70\n{line}"  # as with iverbosity = 1
    assert [f.energy for f in frames(write(whole.replace(line, each, 1)), "qe/pw")] == [
        f.energy for f in frames(DATA / "qe-md.out.xz", "qe/pw")
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("-15.50935281 Ry", "-15.50935281 eV", "expected an energy in Ry"),
        ("(cartesian axes, Ry/au)", "(cartesian axes, eV/A)", "expected forces in Ry/bohr"),
        ("total   stress  (Ry/bohr**3)", "total   stress  (Ha/bohr**3)", "expected a stress in"),
        ("CELL_PARAMETERS (alat=", "CELL_PARAMETERS (inch=", "a unit that is not known"),
        ("ATOMIC_POSITIONS (alat)", "ATOMIC_POSITIONS (crystal_sg)", "a unit that is not known"),
    ],
)
def test_a_printed_unit_that_is_not_known_is_refused(write, old, new, said):
    whole = text("vc-relax-done")
    assert old in whole
    with pytest.raises(SourceError, match=said):
        read(write(whole.replace(old, new)), "qe/pw")


def test_a_stress_in_two_units_that_differ_refuses_its_step(write):
    whole = text("vc-relax-done")
    row = whole.index("\n", whole.index("total   stress")) + 1
    line = whole[row : whole.index("\n", row)]
    words = line.split()
    items = read(write(whole.replace(line, line.replace(words[3], f"{float(words[3]) + 1:.2f}"), 1)), "qe/pw")
    assert reasons(items) == ["the stress in Ry/bohr**3 and that in kbar differ"] and len(items) == 5


def test_a_charge_that_is_not_whole_is_refused(write):
    run = write(text("spin").replace("number of electrons       =         8.00", "number of electrons       =         7.50"))
    assert reasons(read(run, "qe/pw")) == ["charge is not a whole number"]


def test_what_else_an_energy_is_of_is_named(write):
    term = "     one-electron contribution"
    run = write(text("spin").replace(term, f"     electric field correction =       0.01 Ry\n{term}", 1))
    (file,) = expand(SourceSpec(path=str(run)), base=run.parent)
    assert reader("qe/pw").theory(file)["state"] == "electric field or dipole correction"


CP = {
    "si.in": "&control\n/\n&system\nibrav=1, celldm(1)=10.0, nat=2, ntyp=1, tot_charge=-1\n/\nATOMIC_SPECIES\nSi 28 x\nATOMIC_POSITIONS bohr\nSi 0 0 0 ! first\nSi 1 1 1\n",
    "si.pos": "  20 0.1\n 0 0 0\n 1 2 3\n  30 0.2\n 0 0 1\n 1 2 4\n",
    "si.for": "  20 0.1\n 0 0 0.5\n 0 0 -.5\n  30 0.2\n 0 0 1\n 0 0 -1\n",
    "si.evp": "# nfi time(ps) ekinc T_cell Tion etot\n 20 0.1 0 0 0 -4.0\n 30 0.2 0 0 0 -5.0\n",
    "si.cel": "  20 0.1\n 10 1 0\n 0 10 0\n 0 0 10\n  30 0.2\n 10 1 0\n 0 10 0\n 0 0 10\n",
    "si.str": "  20 0.1\n 1 0 0\n 0 1 0\n 0 0 1\n  30 0.2\n 1 0 0\n 0 1 0\n 0 0 1\n",
}


@pytest.fixture
def cp(tmp_path):
    for name, content in CP.items():
        (tmp_path / name).write_text(content)
    return tmp_path / "si.pos"


def test_cp_files_of_one_prefix_belong_together(cp):
    first, second = frames(cp, "qe/cp")
    assert second.energy == pytest.approx(-5 * 2 * RYDBERG) and second.forces[0, 2] == pytest.approx(2 * RYDBERG / BOHR)
    assert np.allclose(first.cell[1], np.array([1, 10, 0]) * BOHR)  # .cel holds columns
    assert np.trace(first.virial) > 0 and first.charge == -1
    (cp.parent / "si.cel").unlink()
    assert np.allclose(frames(cp, "qe/cp")[0].cell, np.eye(3) * 10 * BOHR)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [("si.str", "30", "40"), ("si.str", " 0 0 1\n", " 0 0 1\n 40 0.3\n 1 0 0\n 0 1 0\n 0 0 1\n"), ("si.evp", " 30", " 40"), ("si.for", " 0 0 -1\n", ""), ("si.pos", "1 2 4", "1 2 x")],
)  # fmt: skip
def test_cp_files_that_disagree_are_refused(cp, name, old, new):
    content = new.join(CP[name].rpartition(old)[::2])
    (cp.parent / name).write_text(content)
    with pytest.raises(SourceError, match=r"si\.\w+: "):
        read(cp, "qe/cp")


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("si.for", "30 0.2", "30 0.3", "step 30 is at 0.3 ps, and at 0.2 ps in si.pos"),
        ("si.evp", "30 0.2", "30 0.3", "step 30 is at 0.3 ps"),
        ("si.evp", "etot", "energy", "the header names no `etot`"),
        ("si.evp", " 30 0.2", " 20 0.1 0 0 0 -4.5\n 30 0.2", "step 20 is there twice"),
        ("si.in", "tot_charge=-1", "tot_charge=-0.5", "tot_charge is -0.5"),
    ],
)
def test_cp_files_of_other_runs_are_refused(cp, name, old, new, said):
    assert old in CP[name]
    (cp.parent / name).write_text(CP[name].replace(old, new))
    with pytest.raises(SourceError, match=said):
        read(cp, "qe/cp")


FULL = "# nfi time(ps) ekinc T_cell(K) Tion(K) etot enthal econs econt Volume Pressure(GPa)\n 20 0.1 0 0 {T} -4.0 -4 -4 -4 {V} {P}\n 30 0.2 0 0 0 -5.0 -5 -5 -5 1000.0 1.0\n"


def test_cp_volume_and_pressure_prove_the_cell_and_the_stress(cp):
    evp = cp.parent / "si.evp"
    evp.write_text(FULL.format(T=0, V=1000.0, P=1.0))
    assert len(frames(cp, "qe/cp")) == 2
    evp.write_text(FULL.format(T=0, V=1100.0, P=1.0))
    with pytest.raises(SourceError, match="step 20 has the volume 1100.0 bohr.3, its cell 1000.00"):
        read(cp, "qe/cp")
    evp.write_text(FULL.format(T=0, V=1000.0, P=1.5))
    with pytest.raises(SourceError, match="step 20 has the pressure 1.5 GPa, its stress 1.00000"):
        read(cp, "qe/cp")


def test_a_cp_stress_with_moving_nuclei_is_left_out_and_said(cp):
    (cp.parent / "si.evp").write_text(FULL.format(T=300.0, V=1000.0, P=1.0))
    moving, resting = frames(cp, "qe/cp")
    assert moving.virial is None and moving.left_out == ("virial: the .str holds the motion of the nuclei too",)
    assert np.trace(resting.virial) == pytest.approx(3 * 1000 * BOHR**3 * GPA) and resting.left_out == ()


def test_cp_energies_without_a_header_show_their_order_by_their_times(cp):
    evp = cp.parent / "si.evp"
    rows = FULL.format(T=0, V=1000.0, P=1.0).partition("\n")[2]
    evp.write_text(rows)
    assert frames(cp, "qe/cp")[0].energy == pytest.approx(-8 * RYDBERG)
    evp.write_text(" 20 0.0 0.0 300.0 -4.0 -4 -4 1000.0 1.0 0.1\n 30 0.0 0.0 300.0 -5.0 -5 -5 1000.0 1.0 0.2\n")  # before 5.1
    with pytest.raises(SourceError, match="step 20 is at 0.0 ps, and at 0.1 ps in the positions"):
        read(cp, "qe/cp")


def test_a_cp_cell_that_moves_needs_its_file(cp):
    (cp.parent / "si.cel").unlink()
    (cp.parent / "si.in").write_text(CP["si.in"].replace("&control", "&control\ncalculation='vc-cp'"))
    with pytest.raises(SourceError, match="the cell needs the .cel file"):
        read(cp, "qe/cp")


def test_cp_theory_is_what_its_input_states(cp):
    (cp.parent / "si.in").write_text(
        CP["si.in"]
        .replace("ntyp=1", "ntyp=1, ecutwfc=25.0, input_dft='pbe', nspin=2, vdw_corr='grimme-d3'")
        .replace("Si 28 x", "Si 28 Si.upf")
    )
    (file,) = expand(SourceSpec(path=str(cp)), base=cp.parent)
    assert reader("qe/cp").theory(file) == {
        "code": "Quantum ESPRESSO", "functional": "PBE", "core": "Si.upf", "cutoff": 340.14, "spin": "collinear", "dispersion": "D3", "hubbard_u": "none",
    }  # fmt: skip


def test_cp_atoms_in_an_order_that_versions_differ_on_are_refused(cp):
    mixed = CP["si.in"].replace("nat=2", "nat=3").replace("Si 1 1 1", "O 1 1 1\nSi 2 2 2")
    (cp.parent / "si.in").write_text(mixed)
    with pytest.raises(SourceError, match="do not stand together"):
        read(cp, "qe/cp")


def test_dpdata_reads_the_same_cp_run(samples):
    import dpdata

    for prefix in ("oh-md", "si/si"):
        path = samples / "qe_cp_traj/qe.traj" / prefix
        same_as_dpdata(frames(path.with_suffix(".pos"), "qe/cp"), dpdata.LabeledSystem(str(path), fmt="qe/cp/traj"))
    with pytest.raises(SourceError, match="has step 40"):
        read(samples / "broken/si.wrongstr/si.pos", "qe/cp")


@pytest.mark.parametrize(
    ("row", "z"),
    [
        ("Si       0.100000000   0.200000000-123.456789012", -123.456789012),
        ("Si       0.100000000-100.200000000-123.456789012", -123.456789012),
        ("Si       0.100000000   0.200000000 123.456789012   0   0   1", 123.456789012),
        ("Si       0.100000000   0.200000000-123.456789012   0   1   1", -123.456789012),
        ("Si       0.100000000   0.200000000 *************", None),
        ("Si       0.100000000   0.200000000 *************   0   1   1", None),
    ],
)
def test_positions_that_run_together_are_parted_and_stars_are_not_finite(write, row, z):
    whole = text("md")
    start = whole.index("ATOMIC_POSITIONS")
    after = whole.index("\n", start) + 1
    old = whole[after : whole.index("\n", after)]
    items = read(write(whole[:after] + row + whole[after + len(old) :]), "qe/pw")
    if z is None:
        assert [type(item).__name__ for item in items] == ["Frame", "Rejection", "Frame"] and reasons(items) == ["nonfinite"]
    else:
        unit = np.linalg.norm(items[1].positions[0]) / np.linalg.norm([0.1, -100.2 if "-100.2" in row else 0.2, z])
        assert items[1].positions[0, 2] == pytest.approx(z * unit) and 0.5 < unit < 10
