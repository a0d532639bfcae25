"""What a structure's record states beside its sites: formulas, counts and shares agree with them or refuse it, labels that are not read are named."""

from __future__ import annotations

import json

import pytest
from structure_writers import aflux, aiida, jarvis, mc2d, optimade_entry
from writers import emt_frames

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import Frame, Rejection
from lamdata.sources import SourceFile, guess_format, read_all, reader
from lamdata.sources.build import Unusable
from lamdata.sources.stated import check_formula, check_record, parse_formula, says_converged, unread_labels

DIFFERS = "composition differs from the formula that is stated"


def read(path, name, **spec):
    return list(read_all(SourceFile(name=path.name, path=str(path)), SourceSpec(path=path.name, **spec), use=reader(name)))


def text(tmp_path, content, name, *, file="a.json", **spec):
    (tmp_path / file).write_text(content)
    return read(tmp_path / file, name, **spec)


@pytest.mark.parametrize(
    ("formula", "atoms"),
    [
        ("Cu S O5 H2", {"Cu": 1, "S": 1, "O": 5, "H": 2}),
        ("Fe2O3", {"Fe": 2, "O": 3}),
        ("'C26 H16 Be N2 O2 S2'", {"C": 26, "H": 16, "Be": 1, "N": 2, "O": 2, "S": 2}),
        ("D2 O", {"H": 2, "O": 1}),
        ("H1.5 D.5 O", {"H": 2.0, "O": 1}),
        ("(Sr0.7 Y0.3) Co O2.62", None),
        ("C12 H22 O11, H2 O", None),
        ("Q2 O", None),
        ("?", None),
        ("", None),
        ("O0", None),
    ],
)
def test_a_formula_is_understood_whole_or_not_at_all(formula, atoms):
    assert parse_formula(formula) == atoms


def test_a_formula_holds_for_any_number_of_units():
    assert check_formula("Fe2 O3", [26] * 4 + [8] * 6) == 2.0
    assert check_formula("C0.333 N0.667", [6] * 1 + [7] * 2) == pytest.approx(3.0)
    assert check_formula(None, [1]) is None and check_formula("a polymer", [1]) is None
    large = [6] * 296 + [1] * 252
    assert check_formula("C74 H63", large) == 4.0
    with pytest.raises(Unusable):
        check_formula("C74 H63", large[:-1])  # one hydrogen of 252
    for numbers in ([26] * 4 + [8] * 5, [26, 26], [26, 26, 8, 8, 8, 1]):
        with pytest.raises(Unusable, match="composition differs") as raised:
            check_formula("Fe2 O3", numbers)
        assert "Fe2 O3 stated, " in str(raised.value.value)


def test_labels_are_known_by_their_usual_names():
    record = {
        "total_energy": 1.0,
        "atom_forces": [[0]],
        "stress_tensor": [1],
        "formation_energy_peratom": 1,
        "Ecut": 3,
        "energy_cutoff": 2,
        "efermi": 1,
    }
    assert unread_labels(record) == (
        "energy: `total_energy` is not read",
        "forces: `atom_forces` is not read",
        "virial: `stress_tensor` is not read",
    )
    assert unread_labels(record, given=("energy", "virial")) == ("forces: `atom_forces` is not read",)
    assert unread_labels({"formation_energy": 1, "hull_energy": 2, "fermi_energy": 3, "energy": None, "forces": "na"}) == ()
    assert unread_labels(record) is unread_labels(dict(record))  # one tuple for all frames of a kind


# ---- CIF -----------------------------------------------------------------------------------------------------------------

CIF = """data_salt
_cell_length_a 5\n_cell_length_b 5\n_cell_length_c 5
_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90
{stated}
loop_
_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z{columns}
{rows}
"""
ROWS = ("Na1 Na 0 0 0", "O1 O .5 .5 .5", "H1 H .5 .5 .7")
P1 = "_symmetry_space_group_name_H-M 'P 1'"


def cif(tmp_path, *, stated=P1, columns="", rows=ROWS):
    (found,) = text(tmp_path, CIF.format(stated=stated, columns=columns, rows="\n".join(rows)), "cif", file="a.cif")
    return found


@pytest.mark.parametrize("formula", ["'Na O H'", "'H2 Na2 O2'", "'Na (O H)'", "?", "'H1.00 Na1.00 O0.99'"])
def test_a_cif_whose_sites_are_those_of_its_formula_is_read(tmp_path, formula):
    found = cif(tmp_path, stated=f"{P1}\n_chemical_formula_sum {formula}")
    assert isinstance(found, Frame) and sorted(found.numbers.tolist()) == [1, 8, 11] and found.left_out == ()


@pytest.mark.parametrize("formula", ["'Na O H3'", "'Na O'", "'Na O H Cl'", "'K O H'"])
def test_a_cif_of_another_composition_than_its_formula_is_rejected_with_both(tmp_path, formula):
    found = cif(tmp_path, stated=f"{P1}\n_chemical_formula_sum {formula}")
    assert found.reason == DIFFERS and found.value == f"{formula.strip(chr(39))} stated, H1 Na1 O1 found"


@pytest.mark.parametrize("name", ["_atom_site_attached_hydrogens", "_atom_site_Attached_Hydrogens"])
def test_hydrogens_that_are_counted_at_an_atom_have_no_site(tmp_path, name):
    with_hydrogen = ("Na1 Na 0 0 0 0", "O1 O .5 .5 .5 1")
    assert cif(tmp_path, columns=f"\n{name}", rows=with_hydrogen).reason == "hydrogens without a site"
    without = ("Na1 Na 0 0 0 .", "O1 O .5 .5 .5 0")
    assert isinstance(cif(tmp_path, columns=f"\n{name}", rows=without), Frame)


def test_a_dummy_site_is_no_atom(tmp_path):
    found = cif(tmp_path, columns="\n_atom_site_calc_flag", rows=("Na1 Na 0 0 0 d", "O1 O .5 .5 .5 dum"))
    assert found.reason == "a dummy site, which is no atom"


def test_a_space_group_that_is_not_understood_is_not_taken_for_p1(tmp_path):
    found = cif(tmp_path, stated="_symmetry_space_group_name_H-M 'Q 99/z'")
    assert found.reason == "a space group that pymatgen does not know, and no operations" and "Q 99/z" in found.value
    units = "_chemical_formula_sum 'Na O H'\n_cell_formula_units_Z "
    assert isinstance(cif(tmp_path, stated=units + "1"), Frame) and isinstance(cif(tmp_path, stated=""), Frame)
    doubled = ("_chemical_formula_sum 'Na2 O2 H2'\n_cell_formula_units_Z 4", "4 formula units stated, 0.5 found")
    assert cif(tmp_path, stated=doubled[0]).value == doubled[1]


def test_what_pymatgen_warns_of_is_a_reason_unless_the_formula_clears_it(tmp_path):
    odd = ("Na1 Na 0 0 0", "O1 O .5 .5 .5", "CL1 CL1 .5 0 0")  # a label where an element should be
    found = cif(tmp_path, rows=odd)
    assert isinstance(found, Rejection) and found.reason == "pymatgen warns" and "parsed as" in found.value
    assert isinstance(cif(tmp_path, stated=f"{P1}\n_chemical_formula_sum 'Na O Cl'", rows=odd), Frame)


def test_an_energy_in_a_cif_is_named(tmp_path):
    assert cif(tmp_path, stated=f"{P1}\n_tcod_total_energy -12.5").left_out == ("energy: `_tcod_total_energy` is not read",)


def test_one_bad_block_of_a_cif_costs_itself_alone(tmp_path):
    good = CIF.format(stated=P1, columns="", rows="\n".join(ROWS))
    bad = CIF.format(stated=f"{P1}\n_chemical_formula_sum 'Na O'", columns="", rows="\n".join(ROWS)).replace("data_salt", "data_two")
    items = text(tmp_path, good + bad + good.replace("data_salt", "data_three"), "cif", file="a.cif")
    assert [type(item) for item in items] == [Frame, Rejection, Frame] and items[1].origin == "a.cif#1"


# ---- JSON collections ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"nsites": 4, "nelements": 2, "chemical_formula_reduced": "AuCu3", "elements": ["Au", "Cu"], "elements_ratios": [0.25, 0.75]},
            None,
        ),
        ({"nsites": 5}, "nsites differs from what is stated"),
        ({"nelements": 3}, "nelements differs from what is stated"),
        ({"chemical_formula_reduced": "AuCu2"}, DIFFERS),
        ({"chemical_formula_hill": "Au2Cu2"}, DIFFERS),
        ({"chemical_formula_descriptive": "Cu3Au H2"}, DIFFERS),
        ({"elements": ["Au", "Cu"], "elements_ratios": [0.5, 0.5]}, "shares of the elements differ from what is stated"),
    ],
)
def test_an_optimade_entry_agrees_with_itself(tmp_path, change, reason):
    entry = optimade_entry(emt_frames(1)[0], "id")
    entry["attributes"].update(change)
    (found,) = text(tmp_path, json.dumps({"data": [entry]}), "optimade")
    assert getattr(found, "reason", None) == reason


def test_a_providers_labels_are_named_until_the_card_asks_for_them(tmp_path):
    entry = optimade_entry(emt_frames(1)[0], "id")
    entry["attributes"]["_odbx_forces"] = [[0.0] * 3] * 4
    page = json.dumps({"data": [entry]})
    energy = "energy: `_mcloud_total_energy` is not read without `keys: {energy: _mcloud_total_energy}`, where it is an energy"
    forces = "forces: `_odbx_forces` is not read without `keys: {forces: _odbx_forces}`, where it is an energy"
    assert text(tmp_path, page, "optimade")[0].left_out == (energy, forces)
    assert text(tmp_path, page, "optimade", keys={"energy": "_mcloud_total_energy"})[0].left_out == (forces,)
    assert text(tmp_path, page, "optimade", keys={"energy": ""})[0].left_out == (forces,)


def change_first(path, **changes):
    entries = json.loads(path.read_text())
    (next(iter(entries.values())) if isinstance(entries, dict) else entries[0]).update(changes)
    path.write_text(json.dumps(entries))
    return path


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"formula": "Cu3Au", "nat": 4}, None), ({"formula": "CuAu3"}, DIFFERS), ({"nat": 8}, "nat differs from what is stated")],
)
def test_a_jarvis_entry_agrees_with_itself(tmp_path, change, reason):
    (found,) = read(change_first(jarvis(emt_frames(1), tmp_path), **change), "jarvis")
    assert getattr(found, "reason", None) == reason


def test_a_jarvis_energy_is_named(tmp_path):
    path = change_first(jarvis(emt_frames(1), tmp_path), optb88vdw_total_energy=-2.5, formation_energy_peratom=-0.1)
    (found,) = read(path, "jarvis")
    assert (
        found.energy is None and len(found.left_out) == 1 and found.left_out[0].startswith("energy: `optb88vdw_total_energy` is not read")
    )
    assert read(path, "jarvis", keys={"energy": "optb88vdw_total_energy"}, options={"energy": "per_atom"})[0].left_out == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"natoms": "4", "nspecies": "2", "compound": "Au1Cu3", "stoichiometry": "0.75,0.25"}, None),
        ({"natoms": "8"}, "natoms differs from what is stated"),
        ({"nspecies": "3"}, "nspecies differs from what is stated"),
        ({"compound": "Au3Cu1"}, DIFFERS),
        ({"stoichiometry": "0.5,0.5"}, "shares of the elements differ from what is stated"),
        ({"composition": "3.5,0.5"}, "composition is not a whole number"),
    ],
)
def test_an_aflux_entry_agrees_with_itself(tmp_path, change, reason):
    (found,) = read(change_first(aflux(emt_frames(1), tmp_path), **change), "aflow/aflux")
    assert getattr(found, "reason", None) == reason


def test_labels_of_aflux_that_are_not_read_are_named(tmp_path):
    """A cell of lengths and angles is turned against the one of the calculation: forces would not be along its axes."""
    why = "is not read (of forces and stress the axes are not known)"
    path = change_first(
        aflux(emt_frames(1), tmp_path), enthalpy_cell="-3.2", stress_tensor="0,0,0,0,0,0,0,0,0", forces="0,0,1;0,0,0;0,0,0;0,0,-1"
    )
    (found,) = read(path, "aflow/aflux")
    assert found.forces is None and found.left_out == (f"forces: `forces` {why}", f"virial: `stress_tensor` {why}")
    (found,) = read(change_first(path, energy_cell=""), "aflow/aflux")
    assert found.energy is None and found.left_out[0] == f"energy: `enthalpy_cell` {why}"


@pytest.mark.parametrize(("flag", "read_as"), [(True, 0.25), (1, 0.25), (False, 1.0), (0, 1.0), ("yes", None)])
def test_the_coordinates_of_jarvis_are_what_the_entry_says(tmp_path, flag, read_as):
    atoms = {"lattice_mat": [[4, 0, 0], [0, 4, 0], [0, 0, 4]], "coords": [[0.25, 0, 0]], "elements": ["Cu"], "cartesian": flag}
    (found,) = text(tmp_path, json.dumps([{"jid": "J", "atoms": atoms}]), "jarvis")
    assert found.reason.startswith("`cartesian`") if read_as is None else found.positions[0, 0] == read_as


def test_an_mc2d_entry_agrees_with_its_formula(tmp_path):
    path = change_first(mc2d(emt_frames(1), tmp_path), formula="AuCu3")
    assert isinstance(read(path, "mc2d")[0], Frame)
    assert read(change_first(path, formula="Au2Cu2"), "mc2d")[0].reason == DIFFERS


def test_what_says_nothing_and_is_no_structure_is_rejected_by_name(tmp_path):
    entry = optimade_entry(emt_frames(1)[0], "id")
    others = [{"type": "references", "id": "r"}, {"type": "structures", "id": "s"}, None, {"id": "t"}]
    items = text(tmp_path, json.dumps({"data": [entry, *others]}), "optimade")
    assert [type(item) for item in items] == [Frame, Rejection, Rejection, Rejection] and items[1].origin == "a.json#2"


# ---- POSCAR ----------------------------------------------------------------------------------------------------------------

HEAD = "a title\n1.0\n4 0 0\n0 4 0\n0 0 4\n"


POSCAR = HEAD + "{names}1 1\nDirect\n0 0 0 {one}\n.5 .5 .5 {two}\n"


@pytest.mark.parametrize(
    ("names", "one", "two", "options"),
    [("Cu Au\n", "Cu", "Au", {}), ("D O\n", "H", "O", {}), ("Cu Au\n", "Au!", "x", {}), ("", "", "", {"symbols": "Au Cu"})],
)
def test_the_elements_of_a_poscar_may_be_stated_twice(tmp_path, names, one, two, options):
    (found,) = text(tmp_path, POSCAR.format(names=names, one=one, two=two), "vasp/poscar", file="POSCAR", options=options)
    assert isinstance(found, Frame)


@pytest.mark.parametrize(
    ("names", "two", "options", "reason"),
    [
        ("Cu Au\n", "Ag", {}, "elements above the counts are not those after the coordinates"),
        ("Cu Au\n", "", {"symbols": "Au Cu"}, "elements option symbols are not those above the counts"),
        ("", "", {"symbols": "Au Qq"}, "option symbols names what is no element"),
    ],
)
def test_two_statements_of_the_elements_of_a_poscar_that_differ_are_refused(tmp_path, names, two, options, reason):
    with pytest.raises(SourceError, match=reason):
        text(tmp_path, POSCAR.format(names=names, one="Cu" if two else "", two=two), "vasp/poscar", file="POSCAR", options=options)


def test_a_broken_structure_among_several_costs_itself_alone(tmp_path):
    good = HEAD + "Cu\n1\nDirect\n0 0 0\n"
    broken = HEAD + "Cu\n2\nDirect\n0 0 0\n"
    items = text(tmp_path, good + broken + good, "vasp/poscar", file="POSCAR")
    assert [type(item) for item in items] == [Frame, Rejection, Frame] and [item.origin for item in items] == [
        "POSCAR#0",
        "POSCAR#1",
        "POSCAR#2",
    ]


# ---- guesses -----------------------------------------------------------------------------------------------------------------


def test_an_archive_of_aiida_is_known_by_what_is_in_it(tmp_path):
    path = aiida(emt_frames(1), tmp_path).rename(tmp_path / "structures.bin")
    assert guess_format(SourceFile(name=path.name, path=str(path))) == "aiida"


@pytest.mark.parametrize(
    ("name", "content", "format"),
    [
        ("structure.txt", CIF.format(stated=P1, columns="", rows="\n".join(ROWS)), "cif"),
        ("with-comments.dat", "# from somewhere\n#\n\n" + CIF.format(stated=P1, columns="", rows="\n".join(ROWS)), "cif"),
        ("slab.txt", HEAD + "Cu Au\n1 1\nSelective dynamics\nDirect\n0 0 0 T T T\n.5 .5 .5 F F F\n", "vasp/poscar"),
        ("POSCAR", HEAD + "1\nCartesian\n0 0 0\n", "vasp/poscar"),
    ],
)
def test_a_format_is_known_by_its_content(tmp_path, name, content, format):
    (tmp_path / name).write_text(content)
    assert guess_format(SourceFile(name=name, path=str(tmp_path / name))) == format


@pytest.mark.parametrize(
    ("name", "content"), [("notes.cif", "no structure here\n"), ("x.fchk", "not a checkpoint\n"), ("POSCAR", "a title\n1.0\nno vectors\n")]
)
def test_a_name_alone_is_no_format(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match="not recognised"):
        guess_format(SourceFile(name=name, path=str(tmp_path / name)))


# Without a formula the multiplicities of the sites and the moieties say what there must be.


@pytest.mark.parametrize(("words", "kept"), [("1 1 1", True), ("1 3 1", False), ("? 3 1", True)])
def test_multiplicities_that_the_sites_do_not_make_are_a_reason(tmp_path, words, kept):
    rows = [f"{row} {word}" for row, word in zip(ROWS, words.split())]
    found = cif(tmp_path, columns="\n_atom_site_symmetry_multiplicity", rows=rows)
    assert isinstance(found, Frame) is kept
    assert kept or (found.reason.startswith("the number of atoms") and found.value == "5 stated, 3 found")
    formula = f"{P1}\n_chemical_formula_sum 'Na O H'"
    assert isinstance(cif(tmp_path, stated=formula, columns="\n_atom_site_symmetry_multiplicity", rows=rows), Frame)


@pytest.mark.parametrize(("moiety", "kept"), [("'Na +, O H -'", True), ("'Na +, O H -, 2(C H4 O)'", False), ("?", True)])
def test_an_element_of_a_moiety_that_has_no_site_is_a_reason(tmp_path, moiety, kept):
    found = cif(tmp_path, stated=f"{P1}\n_chemical_formula_moiety {moiety}")
    assert isinstance(found, Frame) is kept
    assert kept or (found.reason == DIFFERS and found.value.endswith("no C found"))


@pytest.mark.parametrize(("factor", "kept"), [(1.0, True), (1.01, True), (2.0, False), (0.5, False)])
def test_a_cell_has_the_volume_that_is_stated(tmp_path, factor, kept):
    plain = cif(tmp_path)
    found = cif(tmp_path, stated=f"{P1}\n_cell_volume {plain.volume * factor:.3f}(12)")
    assert isinstance(found, Frame) is kept
    assert kept or found.reason == "the volume of the cell differs from what is stated"


RECORD = {"nsites": 3, "nelements": 2, "formula_pretty": "H2O", "composition": {"H": 2.0, "O": 1.0}}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"formula_pretty": None, "composition": None}, None),
        ({"composition": {"H": 2, "O2-": 1, "@module": "pymatgen"}}, None),
        ({"composition_reduced": {"H": 4, "O": 2}, "formula": "H4 O2"}, None),
        ({"nsites": 6}, "nsites differs"),
        ({"natoms": "4"}, "natoms differs"),
        ({"nelements": 3}, "nelements differs"),
        ({"formula_pretty": "HO"}, "formula that is stated"),
        ({"chemical_formula": "H2O2"}, "formula that is stated"),
        ({"composition": {"H": 4, "O": 2}}, "0.5 times|composition differs from the one"),
        ({"composition": {"D": 2, "S": 1}}, "formula that is stated"),
    ],
)
def test_a_record_has_the_atoms_that_it_states(change, said):
    if said is None:
        check_record(RECORD | change, [1, 8, 1])
    else:
        with pytest.raises(Unusable, match=said):
            check_record(RECORD | change, [1, 8, 1])


@pytest.mark.parametrize(
    ("record", "converged"),
    [({}, None), ({"converged": "F"}, False), ({"converged": True}, True), ({"scf_converged": 0}, False), ({"converged": "maybe"}, None),
     ({"converged": True, "electronic_converged": False}, False), ({"is_converged": "1.0"}, True), ({"converged": None}, None)],
)  # fmt: skip
def test_what_a_record_says_of_its_convergence_is_heeded(record, converged):
    assert says_converged(record) is converged


def test_extxyz_rows_of_ase_and_entries_heed_what_they_say_of_themselves(tmp_path):
    from ase import Atoms
    from ase.db import connect

    columns = "Properties=species:S:1:pos:R:3"
    words = ("converged=F", "scf_converged=True", "", "natoms=3", "formula=H2O")
    comments = [f"2\n{columns} energy=-1 {word}\nO 0 0 0\nH 0 0 1\n" for word in words]
    found = text(tmp_path, "".join(comments), "extxyz", file="a.xyz")
    assert [item.converged if isinstance(item, Frame) else item.reason.split()[0] for item in found] == [
        False,
        True,
        None,
        "natoms",
        "composition",
    ]
    with connect(tmp_path / "a.db") as out:
        for pairs in ({"converged": False}, {"natoms_": 1}):
            out.write(Atoms("OH", [[0, 0, 0], [0, 0, 1]]), key_value_pairs=pairs)
    file = SourceFile(name="a.db", path=str(tmp_path / "a.db"))
    assert [frame.converged for frame in read_all(file, SourceSpec(path="a.db"), use=reader("ase/db"))] == [False, None]
