"""VASP: the free energy, cells as they are, convergence by what changed last, and learned labels kept apart."""

import numpy as np
import pytest

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.sources import expand, guess_format, reader
from lamdata.sources.codes.vasp_labels import settled
from lamdata.sources.codes.vasp_theory import theory_of
from lamdata.units import KBAR
from tests.lamdata.sources.codes.outcars import HEAD, learned, step
from tests.lamdata.sources.reading import frames, read, reasons


@pytest.fixture
def outcar(tmp_path):
    def _write(*parts, head=HEAD):
        (tmp_path / "OUTCAR").write_text(head + "".join(parts))
        return tmp_path / "OUTCAR"

    return _write


def test_an_outcar_gives_free_energies_forces_and_virials(outcar):
    path = outcar(step(1), step(2, energy=-15.0))
    first, second = frames(path, "vasp/outcar")
    assert (first.energy, second.energy) == (-14.0, -15.0) and first.numbers.tolist() == [8, 1, 1] and first.charge == 0
    assert first.forces[1].tolist() == [-0.25, 0.25, -1000.25]  # ran together in the file
    assert first.cell[1].tolist() == [1, 5, -10] and first.positions[2].tolist() == [0, 1, 0]
    pressure = np.array([[10, 1, 3], [1, 20, 2], [3, 2, 30]])  # kbar, positive when compressed: XX YY ZZ XY YZ ZX
    assert np.allclose(first.virial, pressure * KBAR * first.volume)
    assert frames(path, "vasp/outcar", options={"energy": "sigma0"})[0].energy == pytest.approx(-14.05)


def test_steps_of_a_learned_force_field_are_rejected(outcar):
    path = outcar(learned(), step(1), learned(), learned(), learned(), step(4, energy=-15.0), learned())
    items = read(path, "vasp/outcar")
    assert [getattr(item, "energy", None) for item in items] == [-14.0, None, None, -15.0, None]
    assert set(reasons(items)) == {"machine-learned"} and np.allclose(items[0].virial[0, 0], 10 * KBAR * items[0].volume)


def test_steps_without_positions_are_rejected(outcar):
    head = "\n".join(line for line in HEAD.split("\n") if "VRHFIN" not in line)  # NWRITE=0 leaves them out
    items = read(outcar(step(1), step(2, positions=False), step(3), head=head), "vasp/outcar")
    assert [getattr(item, "reason", None) for item in items] == [None, "no positions", None]
    assert items[0].numbers.tolist() == [8, 1, 1]


def test_a_dispersion_correction_adds_columns_and_words(outcar):
    (frame,) = frames(outcar(step(1, vdw=True)), "vasp/outcar")
    assert frame.energy == -14.0 and frame.forces[2, 2] == 2000.75
    assert frames(outcar(step(1, vdw=True)), "vasp/outcar", options={"energy": "sigma0"})[0].energy == pytest.approx(-14.05)


def forces_last(text):
    """A step as VASP up to 5.2 prints it: the energies before the stress and the forces."""
    start, end = text.index("  in kB"), text.index("  free  energy   TOTEN")
    return text[:start] + text[end:] + text[start:end]


def test_energies_before_or_after_the_forces_belong_to_them(outcar):
    """VASP up to 5.2 prints them before: each would otherwise go with the forces of the step before."""
    steps = step(1), step(2, energy=-15.0).replace("0.500000     -0.5", "0.750000     -0.5"), step(3, energy=-16.0, positions=False)
    new = read(outcar(*steps), "vasp/outcar")
    old = read(outcar(*map(forces_last, steps)), "vasp/outcar")
    assert [item.energy for item in old[:2]] == [-14.0, -15.0] and [item.forces[0, 0] for item in old[:2]] == [0.5, 0.75]
    assert all(np.array_equal(a.virial, b.virial) and a.converged for a, b in zip(new[:2], old[:2], strict=True))
    assert reasons(old) == reasons(new) == ["no positions"]


def test_a_linear_response_after_the_step_is_no_step_cut_short(outcar):
    response = " Linear response to external field, progress :\n" + 2 * "----------- Iteration      1(   1)  ----------\n"
    assert reasons(read(outcar(step(1), response), "vasp/outcar")) == ["truncated"]
    assert reasons(read(outcar(step(1), response, " General timing and accounting informations for this job:\n"), "vasp/outcar")) == []


@pytest.mark.parametrize(("loops", "change", "good"), [(2, 1.0, True), (3, 1.0, False), (3, 5e-5, True), (3, -5e-2, False)])
def test_convergence_is_judged_by_the_last_change_when_nelm_is_reached(outcar, loops, change, good):
    items = read(outcar(step(1, loops=loops, change=change)), "vasp/outcar")
    assert reasons(items) == ([] if good else ["unconverged"])


def test_a_cut_outcar_keeps_whole_steps(outcar):
    items = read(outcar(step(1), step(2)[:200]), "vasp/outcar")
    assert len(items) == 2 and reasons(items) == ["truncated"]
    with pytest.raises(SourceError, match="truncated"):
        read(outcar(step(1)[:300]), "vasp/outcar")
    within = step(1)[: step(1).index("2000.75")]  # the table of forces
    assert reasons(read(outcar(step(1), within), "vasp/outcar")) == ["truncated"]
    with pytest.raises(SourceError, match="truncated"):
        read(outcar(within), "vasp/outcar")
    with pytest.raises(SourceError, match=r"OUTCAR:\d+: forces cannot be read"):
        read(outcar(within + "\n", step(2)), "vasp/outcar")


def test_more_species_than_vasp_prints_need_the_poscar(outcar):
    path = outcar(step(1), head=HEAD.replace("=               1   2", "=               1"))
    with pytest.raises(SourceError, match="1 species out of 2; put the POSCAR beside it"):
        read(path, "vasp/outcar")
    (path.parent / "POSCAR").write_text("x\n1\n1 0 0\n0 1 0\n0 0 1\nO H\n1 2\n")
    assert frames(path, "vasp/outcar")[0].numbers.tolist() == [8, 1, 1]
    (path.parent / "POSCAR").write_text("x\n1\n1 0 0\n0 1 0\n0 0 1\nO H\n2 1\n")  # of another run: its counts are not those printed
    with pytest.raises(SourceError, match="1 species out of 2; put the POSCAR beside it"):
        read(path, "vasp/outcar")


def test_a_charged_cell_is_known_by_its_electrons(outcar):
    assert frames(outcar(step(1), head=HEAD.replace("8.0000  ", "9.0000  ")), "vasp/outcar")[0].charge == -1


def test_columns_that_ran_together_are_told_apart_by_their_decimals(outcar):
    """A cell longer than 100 Å fills its column."""
    long = step(1).replace("0.000000000  0.000000000  5.000000000 ", "0.000000000  0.000000000213.500000125 ")
    assert frames(outcar(long), "vasp/outcar")[0].cell[2].tolist() == [0.0, 0.0, 213.500000125]
    glued = step(1).replace("0.500000     -0.500000", "0.500000123456.500000")
    assert frames(outcar(glued), "vasp/outcar")[0].forces[0].tolist() == [0.5, 123456.5, -1000.5]


@pytest.mark.parametrize(
    ("printed", "overflowed", "label"),
    [
        ("    10.00000    20.00000", "************    20.00000", "virial"),
        ("    10.00000    20.00000", "************************", "virial"),
        ("  0.000000000  5.000000000     0.0", "  0.000000000*************     0.0", "cell"),
        ("     0.500000     -0.5", "**************    -0.5", "forces"),
        ("  free  energy   TOTEN  =         -14.00000000", "  free  energy   TOTEN  =   ******************", "energy"),
    ],
)
def test_stars_refuse_their_step_and_say_where(outcar, printed, overflowed, label):
    assert printed in step(1)
    items = read(outcar(step(1), step(1).replace(printed, overflowed), step(3)), "vasp/outcar")
    assert [(getattr(item, "reason", None), getattr(item, "value", None)) for item in items] == [
        (None, None),
        ("nonfinite", label),
        (None, None),
    ]


def test_components_of_the_stress_are_in_the_order_that_the_table_names(outcar):
    header = "  Direction    XX          YY          ZZ          {}\n"
    usual, turned = (frames(outcar(header.format(order) + step(1)), "vasp/outcar")[0] for order in ("XY  YZ  ZX", "YZ  ZX  XY"))
    assert usual.virial[0, 1] == turned.virial[1, 2] == pytest.approx(KBAR * usual.volume)
    assert usual.virial[1, 2] == turned.virial[0, 2] == pytest.approx(2 * KBAR * usual.volume)
    with pytest.raises(SourceError, match="the stress has components"):
        read(outcar(header.format("XY  YZ  YZ") + step(1), step(2)), "vasp/outcar")


@pytest.mark.parametrize(("share", "reason"), [(1.0, None), (1.01, "virial and stress differ"), (-1.0, "virial and stress differ")])
def test_the_virial_that_is_printed_is_compared_with_the_stress(outcar, share, reason):
    volume = frames(outcar(step(1)), "vasp/outcar")[0].volume
    total = "  Total " + "".join(f"{value * KBAR * volume * share:12.5f}" for value in (10, 20, 30, 1, 2, 3)) + "\n"
    items = read(outcar(step(1).replace("  in kB", total + "  in kB"), step(2)), "vasp/outcar")
    assert [getattr(item, "reason", None) for item in items] == [reason, None]


def test_a_loop_that_says_it_did_not_converge_is_believed(outcar):
    said = "----- aborting loop EDIFF was not reached (unconverged) -----\n"
    items = read(outcar(step(1, loops=2, change=1e-9).replace("  in kB", said + "  in kB"), step(2)), "vasp/outcar")
    assert [getattr(item, "reason", None) for item in items] == ["unconverged", None]
    believed = "----- aborting loop because EDIFF is reached -----\n"  # VASP 5 says so at NELM too
    items = read(outcar(step(1, loops=3, change=0.5).replace("  in kB", believed + "  in kB")), "vasp/outcar")
    assert reasons(items) == ["unconverged"]


def test_energies_over_a_fixed_density_are_refused(outcar, vasprun):
    head = HEAD + "   ICHARG =     11    charge: 1-file 2-atom 10-const\n"
    tag = '<i name="ICHARG" type="int"> 11</i>'
    for items in (read(outcar(step(1), head=head), "vasp/outcar"), read(vasprun(calculation(), incar=tag), "vasp/xml")):
        assert reasons(items) == ["the charge density is that of a file: not self-consistent"]


@pytest.mark.parametrize(("electrons", "charge"), [(9.0, -1), (6.0, 2), (8.0004, 0), (7.5, None)])
def test_both_outputs_know_the_charge(outcar, vasprun, electrons, charge):
    head = HEAD.replace("8.0000  ", f"{electrons:.4f}  ")
    tag = f'<i name="NELECT">{electrons:.8f}</i>'
    for items in (read(outcar(step(1), head=head), "vasp/outcar"), read(vasprun(calculation(), incar=tag), "vasp/xml")):
        assert [getattr(item, "charge", None) for item in items] == [charge]
        assert reasons(items) == ([] if charge is not None else ["charge is not a whole number"])


def test_a_charge_that_cannot_be_told_is_named(outcar):
    head = "\n".join(line for line in HEAD.split("\n") if "ZVAL" not in line)
    assert frames(outcar(step(1), head=head), "vasp/outcar")[0].left_out == (
        "charge: NELECT is stated, the valences of the species are not",
    )
    short = head + "   ZVAL   =   6.00  1.00\n"  # what NWRITE=0 prints
    frame = frames(outcar(step(1), head=short.replace("8.0000  ", "9.0000  ")), "vasp/outcar")[0]
    assert frame.charge == -1 and frame.left_out == ()


# ---- a small vasprun.xml -----------------------------------------------------------------------------------------------


def calculation(energy=-14.0, loops=2, change=1e-5, stars=False):
    energies = [energy - change * (loops - 1 - i) for i in range(loops)]
    block = '<energy><i name="e_fr_energy">{0:.8f}</i><i name="e_wo_entrp">0.0</i><i name="e_0_energy">{1}</i></energy>'
    first = "**************" if stars else "0.5"
    return (
        "<calculation>" + "".join("<scstep>" + block.format(e, e - 0.05) + "</scstep>" for e in energies)
        + '<structure><crystal><varray name="basis"><v>5 0 0</v><v>1 5 -10</v><v>0 0 5</v></varray></crystal>'
        + '<varray name="positions"><v>0 0 0</v><v>0.2 0 0</v><v>0.1 0.5 0.25</v></varray></structure>'
        + f'<varray name="forces"><v>{first} 0 0</v><v>-0.25 0 0</v><v>-0.25 0 0</v></varray>'
        + '<varray name="stress"><v>10 1 3</v><v>1 20 2</v><v>3 2 30</v></varray>'
        + block.format(energy, "0.0") + "<dos><total><array><set><r>1 2</r></set></array></total></dos></calculation>"
    )  # fmt: skip


def xml(*calculations, incar="", end="</modeling>"):
    atoms = "".join(f"<rc><c>{s} </c><c> {t}</c></rc>" for s, t in (("O", 1), ("H", 2), ("H", 2)))
    types = "".join(
        f"<rc><c>{n}</c><c>{s}</c><c>1</c><c>{z}</c><c> PAW_PBE {s} 08Apr2002</c></rc>" for n, s, z in ((1, "O", 6), (2, "H", 1))
    )
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling><generator><i name="program" type="string">vasp </i><i name="version" type="string">6.3.0  </i></generator>'
        + f'<incar><i name="ENCUT"> 400.0</i>{incar}</incar><parameters><separator name="electronic"><i name="NELM" type="int"> 3</i>'
        + '<i name="EDIFF">0.00010000</i><i name="ENMAX"> 400.0</i><i name="ISPIN" type="int"> 2</i></separator></parameters>'
        + f'<atominfo><array name="atoms"><set>{atoms}</set></array><array name="atomtypes"><set>{types}</set></array></atominfo>'
        + "".join(calculations) + end
    )  # fmt: skip


@pytest.fixture
def vasprun(tmp_path):
    def _write(*arguments, **named):
        (tmp_path / "vasprun.xml").write_text(xml(*arguments, **named))
        return tmp_path / "vasprun.xml"

    return _write


def test_a_vasprun_keeps_its_cell_and_its_axes(vasprun):
    """dpdata turns cells to lower triangular, and forces with them."""
    path = vasprun(calculation(), calculation(energy=-15.0))
    first, second = frames(path, "vasp/xml")
    assert first.cell[1].tolist() == [1, 5, -10] and first.positions[2] == pytest.approx([1.0, 2.5, -3.75])
    assert (first.energy, second.energy) == (-14.0, -15.0) and first.forces[0, 0] == 0.5
    assert np.allclose(first.virial, np.array([[10, 1, 3], [1, 20, 2], [3, 2, 30]]) * KBAR * first.volume)


def test_sigma0_is_taken_from_the_electronic_step(vasprun):
    """The ionic step's own e_0_energy is wrong in many versions."""
    assert frames(vasprun(calculation()), "vasp/xml", options={"energy": "sigma0"})[0].energy == pytest.approx(-14.05)


def test_chained_loops_are_good_and_unsettled_ones_are_not(vasprun):
    assert len(frames(vasprun(calculation(loops=6, change=1e-5)), "vasp/xml")) == 1
    items = read(vasprun(calculation(loops=3, change=-0.2)), "vasp/xml")
    assert reasons(items) == ["unconverged"] and items[0].value == pytest.approx(-0.2)


@pytest.mark.parametrize(("printed", "meant"), [("X ", 54), ("r ", 40)])
def test_a_symbol_that_lost_a_letter_is_known(vasprun, printed, meant):
    path = vasprun(calculation())
    path.write_text(path.read_text().replace("<c>O </c>", f"<c>{printed}</c>"))
    assert frames(path, "vasp/xml")[0].numbers.tolist() == [meant, 1, 1]


@pytest.mark.parametrize(("loops", "change", "later"), [(2, 1e-5, 5.0), (3, -0.2, 0.0)])
def test_electronic_steps_of_a_response_say_nothing_of_the_step(vasprun, loops, change, later):
    """LEPSILON, LCALCEPS and displacements print theirs after the structure, in the same <calculation>."""
    energies = '<scstep><energy><i name="e_fr_energy">{}</i><i name="e_0_energy">7.0</i></energy></scstep>'
    response = "".join(energies.format(later * i) for i in range(9))
    path = vasprun(calculation(loops=loops, change=change).replace("<dos>", response + "<dos>"))
    items = read(path, "vasp/xml", options={"energy": "sigma0"})
    assert [getattr(item, "energy", None) for item in items] == ([pytest.approx(-14.05)] if loops == 2 else [None])


def test_stars_refuse_their_step_alone(vasprun):
    items = read(vasprun(calculation(), calculation(stars=True), calculation()), "vasp/xml")
    assert [getattr(item, "reason", None) for item in items] == [None, "nonfinite", None]


def test_a_step_whose_energy_overflowed_is_rejected(vasprun):
    head, name, tail = calculation().rpartition('<i name="e_fr_energy">')
    items = read(vasprun(head + name + "*****************" + tail[tail.index("<") :]), "vasp/xml")
    assert reasons(items) == ["no energy"]


def test_steps_without_an_scf_in_a_learned_run_are_rejected(vasprun):
    items = read(vasprun(calculation(), calculation(loops=0), incar='<i name="ML_LMLFF" type="logical"> T </i>'), "vasp/xml")
    assert reasons(items) == ["machine-learned"]


def test_a_cut_xml_keeps_whole_steps(vasprun):
    items = read(vasprun(calculation(), calculation()[:400], end=""), "vasp/xml")
    assert len(items) == 2 and reasons(items) == ["truncated"]
    with pytest.raises(SourceError, match="not whole XML"):
        read(vasprun(calculation()[:400], end=""), "vasp/xml")


def test_an_entity_bomb_is_refused(tmp_path):
    bomb = (
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi")) + "]>"
    )
    (tmp_path / "vasprun.xml").write_text(xml(calculation()).replace("<modeling>", bomb + "<modeling>&i;"))
    with pytest.raises(SourceError, match="document type"):
        read(tmp_path / "vasprun.xml", "vasp/xml")


def test_deep_nesting_is_refused(vasprun):
    with pytest.raises(SourceError, match="nested too deeply"):
        read(vasprun("<a>" * 1000), "vasp/xml")


def test_memory_does_not_grow_with_bands_and_projections(vasprun):
    import tracemalloc

    heavy = "<projected><array><set>" + ("<set>" + "<r>0.1 0.2 0.3</r>" * 500 + "</set>") * 200 + "</set></array></projected>"
    path = vasprun(*[calculation().replace("<dos>", heavy + "<dos>")] * 3)
    tracemalloc.start()
    assert len(frames(path, "vasp/xml")) == 3
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < path.stat().st_size / 2


@pytest.mark.parametrize(("choice", "energy"), [("free", -14.0), ("sigma0", -14.05)])
def test_under_pstress_the_energy_is_without_pv(vasprun, choice, energy):
    path = vasprun(calculation(), incar='<i name="PSTRESS"> 25.0</i>')
    volume = frames(path, "vasp/xml")[0].volume
    assert frames(path, "vasp/xml", options={"energy": choice})[0].energy == pytest.approx(energy - 25.0 * KBAR * volume)


def test_a_table_of_xml_that_ran_together_is_told_apart(vasprun):
    path = vasprun(calculation().replace("<v>0.5 0 0</v>", "<v>0.50000000-100000.125000003.00000000</v>"), calculation())
    assert frames(path, "vasp/xml")[0].forces[0].tolist() == [0.5, -100000.125, 3.0]
    path = vasprun(calculation().replace("<v>0.5 0 0</v>", "<v>0.5 0</v>"), calculation())
    assert [getattr(item, "reason", None) for item in read(path, "vasp/xml")] == [
        "a table cannot be read (rows of [2, 3] numbers in varray[@name='forces'])", None,
    ]  # fmt: skip


# ---- theory ------------------------------------------------------------------------------------------------------------


def test_both_outputs_state_the_same_theory(outcar, vasprun):
    states = []
    for path, name in ((outcar(step(1)), "vasp/outcar"), (vasprun(calculation()), "vasp/xml")):
        (file,) = expand(SourceSpec(path=str(path)), base=path.parent)
        assert guess_format(file) == name
        states.append(reader(name).theory(file))
    assert states[0] == {
        "code": "VASP 5.4.4", "functional": "PBE", "core": "PAW_PBE H 15Jun2001, PAW_PBE O 08Apr2002",
        "cutoff": 400.0, "spin": "none", "hubbard_u": "none", "dispersion": "none",
    }  # fmt: skip
    assert states[1] == states[0] | {"code": "VASP 6.3.0", "core": "PAW_PBE H 08Apr2002, PAW_PBE O 08Apr2002", "spin": "collinear"}


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"LHFCALC": "T", "HFSCREEN": "0.2"}, {"functional": "HSE06"}),
        ({"LHFCALC": "T"}, {"functional": "PBE0"}),
        ({"METAGGA": "R2scan"}, {"functional": "r2SCAN"}),
        ({"GGA": "PS"}, {"functional": "PBEsol"}),
        ({"GGA": "RP"}, {"functional": "RPBE"}),
        ({"IVDW": "12"}, {"dispersion": "D3(BJ)"}),
        ({"LUSE_VDW": "T"}, {"dispersion": "nonlocal"}),
        ({"LNONCOLLINEAR": "T"}, {"spin": "noncollinear"}),
        ({"GGA": "ZZ", "LEXCH": "PE"}, {"functional": "GGA = ZZ"}),
        ({"NUPDOWN": "2.0", "EFIELD": "0.0"}, {"state": "moment fixed (NUPDOWN = 2)"}),
        ({"EFIELD": "0.05", "NUPDOWN": "-1.0000"}, {"state": "in a field (EFIELD = 0.05)"}),
        ({"ISMEAR": "-2"}, {"state": "occupations fixed (ISMEAR = -2)"}),
        (
            {"LDAU": "T", "LDAUL": "2 -1", "LDAUU": "5.30000000 0.0", "LDAUJ": "0.0 0.0"},
            {"hubbard_u": "DFT+U, L = 2 -1; U = 5.3 0; J = 0 0"},
        ),
    ],
)
def test_tags_say_the_functional_and_its_corrections(tags, expected):
    assert expected.items() <= theory_of(tags, ["PAW_PBE Fe 06Sep2000"], "6.3.0").items()


def test_settled_has_a_scale_per_atom():
    assert settled(60, 60, 7e-5, 1e-6, 12) and not settled(60, 60, 7e-5, 1e-6, 1) and settled(59, 60, None, 1e-6, 1)
