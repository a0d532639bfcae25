"""Formats of structures without labels: POSCAR, CIF, XSF, CALYPSO, AFLOW, OPTIMADE, AiiDA, MC2D, JARVIS."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from structure_writers import aflux, aiida, aiida_attributes, calypso, cif, jarvis, mc2d, optimade, optimade_entry, poscar, poscar_lines
from writers import emt_frames

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import Frame, Rejection
from lamdata.sources import SourceFile, expand, guess_format, read_all, reader


def read(path, name, **spec):
    return list(read_all(SourceFile(name=path.name, path=str(path)), SourceSpec(path=path.name, **spec), use=reader(name)))


def text(tmp_path, content, name, *, file="POSCAR", **spec):
    (tmp_path / file).write_text(content)
    return read(tmp_path / file, name, **spec)


HEAD = "Cu Au\n2.0\n1 0 0\n0 2 0\n0 0 3\n"


@pytest.mark.parametrize(
    "content",
    [
        HEAD + "Cu Au\n1 1\nDirect\n0 0 0\n.5 .5 .5\n",
        HEAD + "Cu\nAu\n1\n1\nDirect\n0 0 0\n.5 .5 .5\n",
        HEAD + "1 1\ndirect\n0 0 0\n.5 .5 .5\n",
        HEAD.replace("Cu Au", "title") + "1 1\nDirect\n0 0 0 Cu\n.5 .5 .5 Au\n",
        HEAD + "Cu_pv Au\n1 1\nSelective dynamics\nCartesian\n0 0 0 T T F\n.5 1 1.5 F F F\n",
        HEAD + "Cu Au\n1 1\nDirect\n0 0 0\n.5 .5 .5\n\n0.0E+00 0.0E+00 1.0E-03\n0.0E+00 0.0E+00 0.0E+00\n",
        HEAD.replace("2.0", "-48.0") + "Cu Au\n1 1\nDirect\n0 0 0\n.5 .5 .5\n",
        HEAD.replace("2.0", "2 2 2") + "Cu/abc Au ! comment\n1 1\nC\n0 0 0\n.5 1 1.5\n",
    ],
)
def test_every_dialect_of_poscar_is_the_same_structure(tmp_path, content):
    (frame,) = text(tmp_path, content, "vasp/poscar")
    assert frame.numbers.tolist() == [29, 79]
    np.testing.assert_allclose(frame.cell, np.diag([2.0, 4.0, 6.0]), atol=1e-12)
    np.testing.assert_allclose(frame.positions, [[0, 0, 0], [1, 2, 3]], atol=1e-12)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (HEAD + "Cu Au\n1 1\nSelective dynamics\nCartesian\n0 0 0 T T F\n.5 .5 .5 F F\n", "6 columns"),
        (HEAD + "Cu Au\n1 1\nSelective dynamics\nCartesian\n0 0 0 T T F\n.5 .5 .5 F F a\n", "neither T nor F"),
        (HEAD + "Cu Au\n1 2\nDirect\n0 0 0\n.5 .5 .5\n", "3 lines"),
        (HEAD.replace("Cu Au", "x") + "1 1\nDirect\n0 0 0\n.5 .5 .5\n", "names no elements"),
        (HEAD + "Cu Au\n1 1\nsomewhere\n0 0 0\n.5 .5 .5\n", "expected Direct or Cartesian"),
        (HEAD + "Cu Au\n99999999999 1\nDirect\n0 0 0\n", "number of atoms"),
    ],
)
def test_a_broken_poscar_is_one_line(tmp_path, content, match):
    with pytest.raises(SourceError, match=match):
        text(tmp_path, content, "vasp/poscar")


def test_an_xdatcar_of_fixed_cell_gives_every_configuration(tmp_path):
    path = tmp_path / "XDATCAR.md"
    steps = ["0 0 0\n.5 .5 .5\n", "0 0 0\n.5 .5 .25\n", "-0.1-0.2 0\n.5 .5 .5\n", "0 0 0\n.25 .5 .5\n", "0 0 0\n"]
    path.write_text(HEAD + "Cu Au\n1 1\n" + "".join(f"Direct configuration= {i + 1:5d}\n{rows}" for i, rows in enumerate(steps)))
    items = read(path, guess_format(SourceFile(name=path.name, path=str(path))))
    assert [getattr(item, "reason", None) for item in items] == [None, None, "a coordinate is not a number", None, "truncated"]
    assert [item.positions[1].tolist() for item in items[:2]] == [[1, 2, 3], [1, 2, 1.5]] and items[3].positions[1, 0] == 0.5
    assert items[3].origin == "XDATCAR.md#3" and items[3].cell.tolist() == items[0].cell.tolist()


def test_the_grid_of_a_chgcar_is_not_another_structure(tmp_path):
    grid = "\n 2 2 2\n" + " 0.1 0.2 0.3 0.4 0.5\n" * 3 + "augmentation occupancies\n 0.5 0.5\n"
    assert len(text(tmp_path, HEAD + "Cu Au\n1 1\nDirect\n0 0 0\n.5 .5 .5\n" + grid, "vasp/poscar", file="CHGCAR.spin")) == 1
    assert guess_format(SourceFile(name="CHGCAR.spin", path=str(tmp_path / "CHGCAR.spin"))) == "vasp/poscar"


def test_symbols_and_charge_may_come_from_the_card(tmp_path):
    content = HEAD.replace("Cu Au", "x") + "1 1\nDirect\n0 0 0\n.5 .5 .5\n"
    (frame,) = text(tmp_path, content, "vasp/poscar", options={"symbols": "Na Cl", "charge": -1})
    assert frame.numbers.tolist() == [11, 17] and frame.charge == -1


def test_real_poscars_agree_with_pymatgen(samples):
    from pymatgen.io.vasp import Poscar

    for path in sorted((samples / "poscar").iterdir()):
        (ours,) = read(path, "vasp/poscar")
        theirs = Poscar.from_file(str(path), check_for_potcar=False).structure
        assert ours.numbers.tolist() == list(theirs.atomic_numbers), path.name
        np.testing.assert_allclose(ours.positions, theirs.cart_coords, atol=1e-8)


CIF = """data_x
_cell_length_a 4\n_cell_length_b 4\n_cell_length_c 4
_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n_atom_site_occupancy{extra}
"""


@pytest.mark.parametrize(
    ("extra", "rows", "reason"),
    [
        ("", "Cu1 Cu 0 0 0 0.5", "disorder: occupancy"),
        ("", "Cu1 Cu 0 0 0 0.5\nAu1 Au 0 0 0 0.5", "disorder: occupancy"),
        ("\n_atom_site_disorder_group", "Cu1 Cu 0 0 0 1.0 1\nAu1 Au .5 .5 .5 1.0 2", "disorder groups 1, 2"),
        ("", "N1 NH3 0 0 0 1.0", "a group of atoms"),
        ("", "X1 Xx 0 0 0 1.0", "a group of atoms"),
        ("", "Cu1 Cu 0 0 0 1.0\nQ1 ?? .5 .5 .5 1.0", "leaves out a site"),
    ],
)
def test_a_cif_that_is_not_one_ordered_structure_is_rejected(tmp_path, extra, rows, reason):
    (found,) = text(tmp_path, CIF.format(extra=extra) + rows + "\n", "cif", file="a.cif")
    assert isinstance(found, Rejection) and reason in found.reason


def test_an_ordered_cif_is_read(tmp_path):
    (found,) = text(tmp_path, CIF.format(extra="") + "Cu1 Cu 0 0 0 1\nAu1 Au .5 .5 .5 .\n", "cif", file="a.cif")
    assert isinstance(found, Frame) and found.numbers.tolist() == [29, 79]


def test_a_magnetic_cif_is_a_cif(tmp_path):
    path = cif(emt_frames(1), tmp_path).rename(tmp_path / "a.mcif")
    path.write_text(path.read_text().replace("data_image0", "#made by hand\ndata_image0"))
    assert guess_format(SourceFile(name="a.mcif", path=str(path))) == "cif"


def test_each_data_block_is_read_for_itself(tmp_path):
    path = cif(emt_frames(3), tmp_path)
    path.write_text(path.read_text().replace("_cell_length_b", "_cell_length_x", 1))
    assert [type(item) for item in read(path, "cif")] == [Rejection, Frame, Frame]


def calypso_file(tmp_path, frames=None):
    path = calypso(frames or emt_frames(3), tmp_path)
    return next(f for f in expand(SourceSpec(path="results"), base=tmp_path) if f.basename == path.name), path


def test_an_enthalpy_is_no_energy_unless_the_card_says_zero_pressure(tmp_path):
    frames = emt_frames(3)
    file, _ = calypso_file(tmp_path, frames)
    spec = SourceSpec(path="results")
    assert {f.energy for f in read_all(file, spec, use=reader("calypso"))} == {None}
    taken = read_all(file, SourceSpec(path="results", options={"energy": "enthalpy"}), use=reader("calypso"))
    assert [f.energy for f in taken] == pytest.approx([f.energy for f in frames], abs=1e-8)


def test_an_enthalpy_under_pressure_is_never_an_energy(tmp_path):
    file, _ = calypso_file(tmp_path)
    first = next(iter(read_all(file, SourceSpec(path="results"), use=reader("calypso"))))
    assert first.left_out == ("energy: the enthalpy is E + pV; `options: {energy: enthalpy}` takes it for a search at zero pressure",)
    (tmp_path / "input.dat").write_text("NameOfAtoms = Au Cu\nNumberOfAtoms = 1 3\nPSTRESS = 200\n")
    with pytest.raises(SourceError, match="the search is at 200 kbar"):
        list(read_all(file, SourceSpec(path="results", options={"energy": "enthalpy"}), use=reader("calypso")))


def test_structures_of_another_search_are_rejected(tmp_path):
    file, _ = calypso_file(tmp_path)
    (tmp_path / "input.dat").write_text("NameOfAtoms = Au Cu\nNumberOfAtoms = 2 3\n")
    items = list(read_all(file, SourceSpec(path="results"), use=reader("calypso")))
    assert {i.reason for i in items} == {"not of the composition that input.dat states"}
    (tmp_path / "input.dat").write_text("NameOfAtoms = Au Cu\nNumberOfAtoms = 2 3\nVSC = T\n")
    assert all(isinstance(i, Frame) for i in read_all(file, SourceSpec(path="results"), use=reader("calypso")))


XSF = "# total energy = -3.2 eV\n\nATOMS\nH 0 0 0 0.1 0 0\nH 0 0 0.8 -0.1 0 0\n"


def test_what_an_xsf_may_label_is_named(tmp_path):
    (frame,) = text(tmp_path, XSF, "xsf", file="a.xsf")
    assert frame.energy is None and frame.forces is None and [said.partition(":")[0] for said in frame.left_out] == ["forces", "energy"]
    (bare,) = text(tmp_path, "ATOMS\nH 0 0 0\nH 0 0 0.8\n", "xsf", file="a.xsf")
    assert bare.left_out == ()


def test_an_xsf_of_aenet_has_its_labels_where_the_card_says_so(tmp_path):
    (frame,) = text(tmp_path, XSF.replace("eV", "eV "), "xsf", file="a.xsf", options={"labels": "aenet"})
    assert frame.energy == -3.2 and frame.forces.tolist() == [[0.1, 0, 0], [-0.1, 0, 0]] and frame.left_out == ()
    (bare,) = text(tmp_path, "# total energy = 1e2 eV\nATOMS\nH 0 0 0\nH 0 0 0.8\n", "xsf", file="a.xsf", options={"labels": "aenet"})
    assert bare.energy == 100.0 and bare.forces is None


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (XSF.replace("eV", "Ha"), "0 lines `# total energy = ... eV` and 1 structures, expected one of each"),
        (XSF.replace("# total energy = -3.2 eV", ""), "0 lines"),
        ("# total energy = -1 eV\n" + XSF, "2 lines"),
        (XSF.replace("-3.2", "-3.2x"), "the total energy '-3.2x' is no number"),
    ],
)
def test_an_xsf_that_is_not_of_aenet_is_refused_where_the_card_says_so(tmp_path, written, message):
    with pytest.raises(SourceError, match=message.replace("...", r"\.\.\.")):
        text(tmp_path, written, "xsf", file="a.xsf", options={"labels": "aenet"})


def test_a_failed_relaxation_is_rejected(tmp_path):
    file, path = calypso_file(tmp_path)
    lines = path.read_text().splitlines()
    lines[0] = "   610612509.000000"
    path.write_text("\n".join(lines) + "\n")
    items = list(read_all(file, SourceSpec(path="results"), use=reader("calypso")))
    assert [type(i) for i in items] == [Rejection, Frame, Frame] and "610612509" in items[0].reason


def test_the_symbols_are_in_input_dat(tmp_path):
    file, _ = calypso_file(tmp_path)
    (tmp_path / "input.dat").unlink()
    with pytest.raises(SourceError, match="NameOfAtoms"):
        list(read_all(file, SourceSpec(path="results"), use=reader("calypso")))


def test_initial_structures_have_no_enthalpy_line(tmp_path):
    (tmp_path / "pso_ini_1").write_text("\n".join(line for f in emt_frames(2) for line in poscar_lines(f, names=False)))
    assert len(read(tmp_path / "pso_ini_1", "calypso", options={"symbols": "Au Cu"})) == 2


def test_a_skew_cell_multiplies_from_the_right(tmp_path):
    """Early CALYPSO-kit files had scaled @ cell.T: the fractional coordinates are what counts."""
    frame = emt_frames(1)[0]
    (back,) = read(poscar([frame], tmp_path), "vasp/poscar")
    assert abs(frame.cell - frame.cell.T).max() > 1e-3
    np.testing.assert_allclose(back.positions, frame.positions, atol=1e-8)


def test_an_aflux_page_without_geometry_says_what_to_ask_for(tmp_path):
    page = {"1 of 1": {"compound": "Be1O1", "auid": "aflow:1", "Egap": "6.8"}}
    (found,) = text(tmp_path, json.dumps(page), "aflow/aflux", file="a.json")
    assert "ask AFLUX" in found.reason


def test_aflux_numbers_may_be_text_or_lists(tmp_path):
    path = aflux(emt_frames(1), tmp_path)
    page = json.loads(path.read_text())
    entry = page["1 of 1"]
    entry["geometry"] = [float(x) for x in entry["geometry"].split(",")]
    entry["species"], entry["composition"] = entry["species"].split(","), [int(x) for x in entry["composition"].split(",")]
    path.write_text(json.dumps([entry]))
    assert read(path, "aflow/aflux")[0].numbers.tolist() == [29, 29, 29, 79]


def change_species(attributes, **changes):
    attributes["species"][0] |= changes


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: change_species(a, chemical_symbols=["vacancy"]), "vacancy"),
        (lambda a: change_species(a, chemical_symbols=["Au", "vacancy"], concentration=[0.9, 0.1]), "vacancy"),
        (lambda a: change_species(a, chemical_symbols=["Au", "Ag"], concentration=[0.5, 0.5]), "disorder"),
        (lambda a: change_species(a, concentration=[0.5]), "disorder"),
        (lambda a: change_species(a, chemical_symbols=["X"]), "stands for a group"),
        (lambda a: a.update(structure_features=["disorder"]), "disorder"),
        (lambda a: a.update(assemblies=[{"sites_in_groups": [[0], [1]]}]), "assemblies"),
        (lambda a: a["cartesian_site_positions"][0].__setitem__(0, None), "unknown positions"),
        (lambda a: a["cartesian_site_positions"].pop(), "differ in number"),
        (lambda a: a["species_at_sites"].__setitem__(0, "Zz"), "not described"),
        (lambda a: a.update(structure_features=["implicit_atoms"]), "implicit atoms"),
        (lambda a: a["lattice_vectors"].__setitem__(0, None), "no lattice vector"),
    ],
)
def test_an_optimade_structure_with_disorder_is_rejected(tmp_path, change, reason):
    entry = optimade_entry(emt_frames(1)[0], "id")
    change(entry["attributes"])
    (found,) = text(tmp_path, json.dumps({"data": [entry]}), "optimade", file="a.json")
    assert isinstance(found, Rejection) and reason in found.reason


@pytest.mark.parametrize(
    "wrap", [lambda e: {"data": e}, lambda e: {"data": [e]}, lambda e: [e], lambda e: e, lambda e: [e["attributes"] | {"id": "id"}]]
)
def test_optimade_comes_as_one_document_or_many(tmp_path, wrap):
    entry = optimade_entry(emt_frames(1)[0], "id")
    (found,) = text(tmp_path, json.dumps(wrap(entry)), "optimade", file="a.json")
    assert isinstance(found, Frame) and found.group == "id" and found.energy is None


def test_a_providers_energy_is_named_by_the_card(tmp_path):
    frames = emt_frames(2)
    back = read(optimade(frames, tmp_path), "optimade", keys={"energy": "_mcloud_total_energy"})
    assert [f.energy for f in back] == [f.energy for f in frames]


def test_a_slab_of_optimade_has_no_third_vector(tmp_path):
    entry = optimade_entry(emt_frames(1)[0], "id")
    entry["attributes"]["dimension_types"] = [1, 1, 0]
    entry["attributes"]["lattice_vectors"][2] = [None] * 3
    (found,) = text(tmp_path, json.dumps({"data": [entry]}), "optimade", file="a.json")
    assert found.pbc == (True, True, False) and found.volume > 0


def test_an_aiida_group_chooses_structures(tmp_path):
    path = aiida(emt_frames(3), tmp_path)
    assert len(read(path, "aiida")) == 3
    assert [f.group for f in read(path, "aiida", options={"group": "relaxed"})] == ["uuid-0"]


def test_an_aiida_kind_with_a_vacancy_is_rejected(tmp_path):
    attributes = aiida_attributes(emt_frames(1)[0])
    attributes["kinds"][0]["weights"] = [0.9]
    path = old_aiida(tmp_path, attributes, "Node", node_type="data.core.structure.StructureData.")
    assert "disorder" in read(path, "aiida")[0].reason


def old_aiida(tmp_path, attributes, nodes, **stated):
    """An archive with `data.json`."""
    data = {"export_data": {nodes: {"1": {"uuid": "u"} | stated}}, "node_attributes": {"1": attributes}}
    with zipfile.ZipFile(tmp_path / "old.aiida", "w") as archive:
        archive.writestr("data.json", json.dumps(data))
    return tmp_path / "old.aiida"


def test_the_first_aiida_archives_call_their_nodes_otherwise(tmp_path):
    (expected,) = emt_frames(1)
    name, kind = "aiida.backends.djsite.db.models.DbNode", "data.structure.StructureData."
    (frame,) = read(old_aiida(tmp_path, aiida_attributes(expected), name, type=kind), "aiida")
    assert frame.group == "u" and np.array_equal(frame.positions, expected.positions)


def test_an_aiida_database_that_unpacks_too_large_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.aiida", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("db.sqlite3", bytes(50 << 20))
    with pytest.raises(SourceError, match="unpacks to|damaged"):
        read(tmp_path / "bomb.aiida", "aiida")


def test_mc2d_takes_the_element_and_not_the_numbered_kind(tmp_path):
    assert read(mc2d(emt_frames(1), tmp_path), "mc2d")[0].numbers.tolist() == [79, 29, 29, 29]
    assert read(tmp_path / "structures.json", "mc2d")[0].pbc == (True, True, False)


def test_mc2d_properties_without_coordinates_say_where_they_are(tmp_path):
    (found,) = text(tmp_path, json.dumps([{"relaxed_2D_structure_uuid": "u", "be_df2": 7.8}]), "mc2d", file="a.json")
    assert "UUID" in found.reason


def test_jarvis_energies_are_read_only_by_name(tmp_path):
    path = jarvis(emt_frames(1), tmp_path)
    entries = json.loads(path.read_text())
    entries[0]["optb88vdw_total_energy"] = -2.5
    path.write_text(json.dumps(entries))
    key = {"energy": "optb88vdw_total_energy"}
    assert read(path, "jarvis")[0].energy is None
    assert read(path, "jarvis", keys=key)[0].energy == -2.5
    assert read(path, "jarvis", keys=key, options={"energy": "per_atom"})[0].energy == -10.0
    entries[0]["optb88vdw_total_energy"] = "na"
    path.write_text(json.dumps(entries))
    assert isinstance(read(path, "jarvis", keys=key)[0], Rejection)
