"""Extended XYZ: keys, signs, and what is refused; units have a file of their own."""

from __future__ import annotations

import resource

import numpy as np
import pytest
from writers import emt_frames, extxyz_text

from lamdata import read_frames
from lamdata.catalog import SourceSpec
from lamdata.errors import ConfigError, LamError, SourceError
from lamdata.frame import Frame, Rejection
from lamdata.sources import SourceFile, read_all, reader

from .extxyz_lines import CELL, COLUMNS, one, read


@pytest.mark.parametrize("key", ["energy", "Energy", "free_energy", "REF_energy", "energies", "dft_energy"])
def test_the_usual_names_of_the_energy_are_known(tmp_path, key):
    assert one(tmp_path, f"{CELL} {COLUMNS} {key}=-1.5").energy == -1.5


def test_commas_between_the_numbers_of_a_lattice_are_read(tmp_path):
    found = one(tmp_path, f'Lattice="2, 0, 0 0, 2, 0 0, 0, 2" {COLUMNS}')
    assert found.cell.tolist() == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]


def test_an_unknown_key_is_no_label_until_the_card_names_it(tmp_path):
    comment = f"{CELL} {COLUMNS} my_energy=-1.5"
    assert one(tmp_path, comment).energy is None
    assert one(tmp_path, comment, keys={"energy": "my_energy"}).energy == -1.5


def test_another_key_does_not_stand_in_for_one_that_the_card_names(tmp_path):
    found = one(tmp_path, f"{CELL} {COLUMNS} energy=-1.5", keys={"energy": "E0"})
    assert found.energy is None and "energy: its key 'E0' is not there" in found.left_out


def test_a_prediction_beside_a_reference_is_ambiguous(tmp_path):
    comment = f"{CELL} {COLUMNS} energy=-1.4 REF_energy=-1.5"
    with pytest.raises(SourceError, match="both 'energy' and 'REF_energy' could be energy"):
        one(tmp_path, comment)
    assert one(tmp_path, comment, keys={"energy": "REF_energy"}).energy == -1.5


def test_rivals_that_are_equal_in_the_first_frame_only_are_still_found(tmp_path):
    same, other = (f"1\n{CELL} {COLUMNS} energy=-1.5 REF_energy={e}\nH 0 0 0 1 2 3\n" for e in (-1.5, -1.6))
    assert len(read(tmp_path, same)) == 1
    with pytest.raises(SourceError, match="#1: both 'energy'"):
        read(tmp_path, same + other)


def test_two_columns_of_forces_are_ambiguous(tmp_path):
    text = "1\nProperties=species:S:1:pos:R:3:forces:R:3:REF_forces:R:3\nH 0 0 0 1 2 3 4 5 6\n"
    with pytest.raises(SourceError, match="could be forces"):
        read(tmp_path, text)
    assert read(tmp_path, text, keys={"forces": "REF_forces"})[0].forces.tolist() == [[4, 5, 6]]


def test_a_line_with_a_column_too_many_is_refused(tmp_path):
    with pytest.raises(SourceError, match="8 columns"):
        one(tmp_path, f"{CELL} {COLUMNS} energy=1", forces="1 2 3 4")


def test_stress_has_the_sign_of_ase_and_virial_wins(tmp_path):
    stress = 'stress="0.1 0 0 0 0.2 0 0 0 0.3"'
    np.testing.assert_allclose(one(tmp_path, f"{CELL} {COLUMNS} {stress}").virial, -8 * np.diag([0.1, 0.2, 0.3]))
    np.testing.assert_allclose(
        one(tmp_path, f"{CELL} {COLUMNS} {stress}", options={"stress": "pressure"}).virial, 8 * np.diag([0.1, 0.2, 0.3])
    )
    both = one(tmp_path, f'{CELL} {COLUMNS} {stress} virial="-0.8001 0 0 0 -1.6 0 0 0 -2.4"')
    np.testing.assert_allclose(both.virial, np.diag([-0.8001, -1.6, -2.4]))


def test_voigt_is_xx_yy_zz_yz_xz_xy(tmp_path):
    virial = one(tmp_path, f'{CELL} {COLUMNS} virial="1 2 3 4 5 6"').virial
    np.testing.assert_allclose(virial, [[1, 6, 5], [6, 2, 4], [5, 4, 3]])


@pytest.mark.parametrize("pbc", ["F F F", "[False, False, False]", "0 0 0"])
def test_pbc_false_is_a_molecule_although_there_is_a_lattice(tmp_path, pbc):
    frame = one(tmp_path, f'{CELL} {COLUMNS} energy=1 pbc="{pbc}" stress="1 0 0 0 1 0 0 0 1"')
    assert frame.cell is None and frame.virial is None


def test_no_lattice_is_a_molecule_and_a_slab_keeps_its_flags(tmp_path):
    assert one(tmp_path, f"{COLUMNS} energy=1").pbc == (False,) * 3
    assert one(tmp_path, f'{CELL} {COLUMNS} energy=1 pbc="T T F"').pbc == (True, True, False)


def test_charge_comes_from_a_key_or_from_the_card(tmp_path):
    assert one(tmp_path, f"{COLUMNS} charge=-1.0").charge == -1
    assert one(tmp_path, f"{COLUMNS} q=2", keys={"charge": "q"}).charge == 2
    assert one(tmp_path, f"{COLUMNS}", options={"charge": -1}).charge == -1
    assert isinstance(one(tmp_path, f"{COLUMNS} charge=0.5"), Rejection)


def test_columns_stand_where_properties_say(tmp_path):
    frame = read(tmp_path, "1\nProperties=force:R:3:pos:R:3:Z:I:1:species:S:1 energy=1\n1 2 3 4 5 6 1 H\n")[0]
    np.testing.assert_allclose([frame.forces[0], frame.positions[0]], [[1, 2, 3], [4, 5, 6]])


def test_a_comment_and_blank_lines_between_frames_are_passed_over(tmp_path):
    text = extxyz_text(emt_frames(1))
    assert len(read(tmp_path, f"# made by hand\n\n{text}\n\n# more\n{text}")) == 2


def test_plain_xyz_is_a_structure_without_labels(tmp_path):
    frame = read(tmp_path, "2\nwater\nO 0 0 0\nH 0 0 1\n")[0]
    assert isinstance(frame, Frame) and frame.energy is None and frame.forces is None


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_label_that_is_not_finite_refuses_its_frame(tmp_path, value):
    assert one(tmp_path, f"{COLUMNS} energy={value}").reason == "nonfinite"
    assert one(tmp_path, f"{COLUMNS} energy=1", forces=f"{value} 0 0").reason == "nonfinite"


@pytest.mark.parametrize("text", ["2\nenergy=1\nH 0 0 0\n", "99999999999\nx\n", "3\n", "H 0 0 0\n", "1\nx\nH 0 0\n"])
def test_counts_that_do_not_hold_are_one_line(tmp_path, text):
    with pytest.raises(SourceError) as err:
        read(tmp_path, text)
    assert "\n" not in str(err.value)


def test_an_unknown_option_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="stres"):
        one(tmp_path, f"{COLUMNS} energy=1", options={"stres": "ase"})


ROW = "2\n{}\nH 0 0 0 1 2 3\nH 0 0 1 -1 -2 -3\n"
SKEWED = [[3.0, 0, 0], [0.5, 4.0, 0], [0.25, -0.75, 5.0]]


@pytest.mark.parametrize(
    "lattice",
    [
        '"3 0 0 0.5 4 0 0.25 -0.75 5"',
        "[[3, 0, 0], [0.5, 4, 0], [0.25, -0.75, 5]]",
        "[[3.,0,0],[.5,4.0,0],[2.5D-1,-7.5d-1,5e0]]",
        '"[[3, 0, 0], [0.5, 4, 0], [0.25, -0.75, 5]]"',
        '"_JSON [[3.0, 0, 0], [0.5, 4, 0], [0.25, -0.75, 5]]"',
        "_JSON [[3.0,0,0],[0.5,4,0],[0.25,-0.75,5]]".replace("_JSON ", ""),
        "{3 0 0 0.5 4 0 0.25 -0.75 5}",
        "'3 0 0 0.5 4 0 0.25 -0.75 5'",
        "[3, 0, 0, 0.5, 4, 0, 0.25, -0.75, 5]",
        '"3, 0, 0, 0.5, 4, 0, 0.25, -0.75, 5"',
    ],
)
def test_a_lattice_is_the_same_in_every_form_of_an_array(tmp_path, lattice):
    frame = one(tmp_path, f"Lattice={lattice} {COLUMNS} energy = -2.5 pbc=[T, T, T]")
    assert frame.cell.tolist() == SKEWED and frame.energy == -2.5 and frame.pbc == (True,) * 3


@pytest.mark.parametrize("key", ["virial", "REF_virial", "virials"])
@pytest.mark.parametrize(
    "value", ['"_JSON [[1, 2, 3], [2, 5, 6], [3, 6, 9]]"', "[[1, 2, 3], [2, 5, 6], [3, 6, 9]]", "{1 5 9 6 3 2}", '"1 2 3 2 5 6 3 6 9"']
)
def test_a_virial_is_the_same_in_every_form_of_an_array(tmp_path, key, value):
    assert one(tmp_path, f"{CELL} {COLUMNS} {key}={value} energy=1").virial.tolist() == [[1, 2, 3], [2, 5, 6], [3, 6, 9]]


def test_a_stress_that_ase_wrote_as_json_is_read(tmp_path):
    from ase import Atoms
    from ase.io import write

    stress = np.array([[0.01, 0.002, 0], [0.002, 0.03, 0], [0, 0, -0.04]])
    atoms = Atoms("H", cell=[2, 2, 2], pbc=True, info={"REF_stress": stress, "REF_energy": -3.5, "note": {"a": [1, 2]}})
    atoms.arrays["REF_forces"] = np.array([[1.0, 2, 3]])
    write(tmp_path / "ase.xyz", atoms)
    assert "_JSON" in (tmp_path / "ase.xyz").read_text()
    frame = read(tmp_path, (tmp_path / "ase.xyz").read_text())[0]
    np.testing.assert_allclose(frame.virial, -8 * stress)
    assert frame.energy == -3.5 and frame.forces.tolist() == [[1, 2, 3]]


def test_quotes_inside_quotes_and_equal_signs_do_not_end_a_value(tmp_path):
    frame = one(tmp_path, rf'{CELL} {COLUMNS} note="energy=-9 \"virial=1\"" energy=-1.25')
    assert frame.energy == -1.25 and frame.virial is None


@pytest.mark.parametrize("value", ["None", "null", '"_JSON null"'])
def test_a_label_that_is_written_as_none_is_missing(tmp_path, value):
    assert one(tmp_path, f"{CELL} {COLUMNS} energy={value}").energy is None


def test_three_numbers_are_the_lengths_of_a_cell_and_six_are_refused(tmp_path):
    assert one(tmp_path, f'Lattice="3 4 5" {COLUMNS}').cell.tolist() == np.diag([3, 4, 5]).tolist()
    assert one(tmp_path, f'cell=[[3, 0, 0], [0, 4, 0], [0, 0, 5]] {COLUMNS} pbc="T T T"').cell.tolist() == np.diag([3, 4, 5]).tolist()
    assert "neither 9 nor 3" in one(tmp_path, f'Lattice="3 4 5 90 90 90" {COLUMNS}').reason


def test_periodic_without_a_cell_is_no_molecule(tmp_path):
    assert "no cell" in one(tmp_path, f'{COLUMNS} pbc="T T T" energy=1').reason


@pytest.mark.parametrize("other", ["free_energy", "REF_energy", "total_energy"])
def test_two_energies_that_differ_are_a_question_to_the_card(tmp_path, other):
    comment = f"{CELL} {COLUMNS} energy=-1.5 {other}=-1.75"
    with pytest.raises(SourceError, match=f"both 'energy' and '{other}' could be energy: -1.5 and -1.75"):
        one(tmp_path, comment)
    assert one(tmp_path, comment, keys={"energy": other}).energy == -1.75
    frame = one(tmp_path, f"{CELL} {COLUMNS} energy=-1.5 {other}=-1.50")
    assert frame.energy == -1.5 and frame.left_out == ()


def test_labels_that_are_not_read_are_named(tmp_path):
    text = (
        f"1\n{CELL} Properties=species:S:1:pos:R:3:MACE_forces:R:3:magmoms:R:1 MACE_energy=-1 myStress={{1 0 0 0 1 0 0 0 1}} "
        'dipole="1 2 3" energy_weight=2 max_force=3 config_type=bulk E=-3\nH 0 0 0 1 2 3 0.5\n'
    )
    frame = read(tmp_path, text)[0]
    assert (frame.energy, frame.forces, frame.virial) == (None, None, None)
    assert sorted(said.partition(":")[0] for said in frame.left_out) == [
        "dipole",
        "energy",
        "energy",
        "forces",
        "magnetic moments",
        "virial",
    ]
    assert "forces: 'MACE_forces' is not read" in frame.left_out
    chosen = read(tmp_path, text, keys={"forces": "MACE_forces", "energy": "E"})[0]
    assert "energy: 'MACE_energy' is not read, 'E' is" in chosen.left_out and not [t for t in chosen.left_out if t.startswith("forces")]
    off = read(tmp_path, text, keys={"forces": "", "energy": "", "virial": ""})[0]
    assert {said.partition(":")[0] for said in off.left_out} == {"dipole", "magnetic moments"}


def test_a_stress_of_a_molecule_is_named(tmp_path):
    assert one(tmp_path, f'{COLUMNS} energy=1 stress="1 0 0 0 1 0 0 0 1"').left_out == ("virial: the frame is not periodic",)


@pytest.mark.parametrize(("label", "key"), [("forces", "F_dft"), ("energy", "E_dft"), ("virial", "W"), ("stress", "S"), ("group", "run")])
def test_a_key_of_the_card_is_said_of_each_frame_that_lacks_it(tmp_path, label, key):
    has, lacks = f"{CELL} {COLUMNS} energy=-1.5 {key}='1 0 0 0 1 0 0 0 1'", f"{CELL} {COLUMNS} energy=-1.5"
    frames = read(
        tmp_path, ROW.format(lacks) + ROW.format(has.replace("'1 0 0 0 1 0 0 0 1'", "7") if label == "energy" else has), keys={label: key}
    )
    said = f"{label}: its key {key!r} is not there"
    assert [said in found.left_out for found in frames] == [True, label == "forces"]  # forces are a column


@pytest.mark.parametrize(("moved", "kept"), [("F T T", True), ("F F T", False)])
def test_forces_of_fixed_atoms_that_were_set_to_zero_are_no_forces(tmp_path, moved, kept):
    columns = "Properties=species:S:1:pos:R:3:move_mask:L:1:REF_forces:R:3"
    first, second, third = moved.split()
    text = f"3\n{CELL} {columns} energy=-3\nH 0 0 0 {first} {'-0.2 0 0' if kept else '0 0 0'}\nH 1 0 0 {second} 0 0 0\nH 1 1 1 {third} 0.2 0 0\n"
    (frame,) = read(tmp_path, text)
    assert (frame.forces is not None) is kept
    assert frame.left_out == (() if kept else ("forces: those of fixed atoms were set to zero",))


def test_a_key_of_the_card_that_some_frames_lack_is_said_of_these(tmp_path):
    text = ROW.format(f"{CELL} {COLUMNS} E_dft=-1.5") + ROW.format(f"{CELL} {COLUMNS} energy=-2")
    first, second = read(tmp_path, text, keys={"energy": "E_dft"})
    assert first.energy == -1.5 and first.left_out == ()
    assert second.energy is None and "energy: its key 'E_dft' is not there" in second.left_out


def test_a_key_that_only_another_span_has_is_not_missing(tmp_path):
    from dataclasses import replace

    use, path = reader("extxyz"), tmp_path / "a.xyz"
    path.write_text(20 * ROW.format(f"{CELL} {COLUMNS} energy=-1") + ROW.format(f"{CELL} {COLUMNS} E_dft=-1.5"))
    file = SourceFile(name="a.xyz", path=str(path))
    spans = use.spans(file, 400)
    assert len(spans) > 2
    spec = SourceSpec(path="a.xyz", keys={"energy": "E_dft"})
    energies = [frame.energy for span in spans for frame in read_all(replace(file, span=span), spec, use=use)]
    assert energies == [None] * 20 + [-1.5]


@pytest.mark.parametrize(
    ("stress", "reason"),
    [
        ("0.1 0 0 0 0.2 0 0 0 0.3", "opposite signs"),
        ("-16.0218 0 0 0 -32.0435 0 0 0 -48.0653", "looks like GPa"),
        ("160.218 0 0 0 320.435 0 0 0 480.653", "looks like kbar of the other sign"),
        ("0.3 0 0 0 -0.2 0 0 0 0.1", "disagree"),
    ],
)
def test_a_virial_and_a_stress_that_disagree_are_refused(tmp_path, stress, reason):
    found = one(tmp_path, f'{CELL} {COLUMNS} stress="{stress}" virial="0.8 0 0 0 1.6 0 0 0 2.4"')
    assert isinstance(found, Rejection) and reason in found.reason


def test_a_pressure_agrees_with_its_virial_once_the_card_says_so(tmp_path):
    comment = f'{CELL} {COLUMNS} stress="0.1 0 0 0 0.2 0 0 0 0.3" virial="0.8 0 0 0 1.6 0 0 0 2.4"'
    np.testing.assert_allclose(one(tmp_path, comment, options={"stress": "pressure"}).virial, np.diag([0.8, 1.6, 2.4]))


@pytest.mark.parametrize(
    ("name", "text", "known"),
    [("water.dat", "3\nwater\nO 0 0 0.1\nH 0 .7 -.4\nH 0 -.7 -.4\n", True), ("a.xyz", "3\nx\nno atoms here 1\n", False)],
)
def test_a_format_is_known_by_what_is_in_the_file(tmp_path, name, text, known):
    assert reader("extxyz").guess(SourceFile(name=name, path="-"), text.encode()) is known


def test_the_survey_finds_groups_and_a_published_split(tmp_path):
    frames = [
        f"{CELL} {COLUMNS} energy=-1 traj_id=t{i // 2} uid={i} set=s{i} split={'train' if i < 4 else 'test'} energy_weight=1"
        for i in range(6)
    ]
    atom = f"1\n{COLUMNS} energy=-13 config_type=IsolatedAtom split=train\nH 0 0 0 0 0 0\n"
    (tmp_path / "a.xyz").write_text("".join(map(ROW.format, frames)) + atom)
    survey = reader("extxyz").survey(SourceFile(name="a.xyz", path=str(tmp_path / "a.xyz")))
    assert (survey.frames, survey.groups, survey.splits) == (7, {"traj_id": 3}, {"split": {"train": 5, "test": 2}})


def test_memory_does_not_grow_with_the_file(tmp_path):
    path = tmp_path / "big.xyz"
    text = extxyz_text(emt_frames(50))
    with open(path, "w") as out:
        for _ in range(200):  # 10,000 frames
            out.write(text)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    count = sum(1 for _ in read_all(SourceFile(name="big.xyz", path=str(path)), SourceSpec(path="big.xyz"), use=reader("extxyz")))
    assert count == 10_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


# ---- a file that ends without a line break ---------------------------------------------------------------------------------

ENDS = '2\nLattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3:forces:R:3\nH 0 0 0 0.5 0 {first}\nO 0 0 1 -0.5 0 {last}'


@pytest.mark.parametrize("last", ["0.1", "0.12", "0.", "0.1250"])
def test_a_last_number_that_may_be_cut_refuses_its_frame(tmp_path, last):
    """0.1 of 0.125 is a number too."""
    (item,) = read(tmp_path, ENDS.format(first="0.125", last=last))
    assert isinstance(item, Rejection) and item.value == last
    assert item.reason == "the file ends without a line break: its last word may be cut"


@pytest.mark.parametrize(("first", "last"), [("0.125", "0.250"), ("0.125", "0.1\n"), ("-1e-3", "-1e-3"), ("0", "0")])
def test_a_last_number_of_the_form_of_its_column_is_whole(tmp_path, first, last):
    (frame,) = read(tmp_path, ENDS.format(first=first, last=last))
    assert frame.forces[1, 2] == float(last)


def test_a_weight_that_the_card_names_goes_along_and_one_that_is_none_refuses_its_frame(tmp_path):
    for text, weight in (("2.5", 2.5), ("0", 0.0)):
        (frame,) = read(tmp_path, f"1\n{COLUMNS} energy=-1 w={text}\nH 0 0 0 1 2 3\n", keys={"weight": "w"})
        assert frame.weight == weight
    for text in ("-1", "inf", "nan", "x"):
        try:
            (item,) = read(tmp_path, f"1\n{COLUMNS} energy=-1 w={text}\nH 0 0 0 1 2 3\n", keys={"weight": "w"})
        except LamError as err:
            assert "weight" in str(err)
        else:
            assert isinstance(item, Rejection)


def test_frames_of_positions_alone_stay_what_they_are_when_the_next_are_taken(tmp_path):
    """A table with no other column than them is not copied on the way, and the room for it is used again."""
    rng = np.random.default_rng(0)
    places, sides = rng.uniform(0, 9, (2500, 2, 3)).round(6), rng.uniform(9, 12, 2500).round(6)
    text = "".join(
        f'2\nLattice="{a} 0 0 0 {a} 0 0 0 {a}" Properties=species:S:1:pos:R:3 pbc="T T T"\n'
        + "".join(f"C {x} {y} {z}\n" for x, y, z in xyz)
        for a, xyz in zip(sides.tolist(), places.tolist())
    )
    (tmp_path / "many.xyz").write_text(text)
    found = list(read_frames(tmp_path / "many.xyz"))
    assert np.array_equal([frame.positions for frame in found], places)
    assert np.array_equal([frame.cell[0, 0] for frame in found], sides)


@pytest.mark.parametrize("pair", ["no\0te=3", 'note="a\0b"', "energy_\0unit=eV"])
def test_a_zero_byte_in_a_comment_is_of_no_account(tmp_path, pair):
    """Many frames with it are read as one is."""
    path = tmp_path / "a.xyz"
    path.write_text("".join(f"1\n{CELL} {COLUMNS} energy=-{n}.5 {pair}\nH 0 0 0 0 0 0\n" for n in range(4)))
    assert [frame.energy for frame in read_frames(path)] == [-0.5, -1.5, -2.5, -3.5]


@pytest.mark.parametrize(
    ("comment", "said"),
    [
        (f"{CELL} {COLUMNS} energy=-1 energy=-2", "says 'energy' twice, as '-1' and '-2'"),
        (f"{CELL} {COLUMNS} energy=-1 energy='-2'", "says 'energy' twice, as '-1' and '-2'"),
        (f'{CELL} {COLUMNS} energy=-1 Lattice="9 0 0 0 9 0 0 0 9"', "says 'Lattice' twice"),
        (f"{CELL} Properties=species:S:1:pos:R:3:pos:R:3 energy=-1", "Properties names 'pos' twice"),
        (f"{CELL} {COLUMNS} energy=-1 kind=a kind=b", "says 'kind' twice, as 'a' and 'b'"),
    ],
)
def test_what_stands_twice_and_differs_is_refused(tmp_path, comment, said):
    path = tmp_path / "a.xyz"
    fine = f"1\n{CELL} {COLUMNS} energy=-1 kind=a\nH 0 0 0 0 0 0\n"
    path.write_text(2 * fine + f"1\n{comment}\nH 0 0 0 1 1 1\n")
    spec = SourceSpec(path=path.name, keys={"group": "kind"})
    with pytest.raises(SourceError, match=rf"a\.xyz#2: {said}"):
        list(read_all(SourceFile(name=path.name, path=str(path)), spec, use=reader("extxyz")))


def test_what_stands_twice_and_is_the_same_or_of_no_account_is_read(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text(3 * f"1\n{CELL} {COLUMNS} energy=-1 energy=-1 remark=a remark=b\nH 0 0 0 0 0 0\n")
    assert [frame.energy for frame in read_frames(path)] == [-1.0, -1.0, -1.0]
