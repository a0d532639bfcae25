"""Extended XYZ: keys, units, signs, and what is refused."""

from __future__ import annotations

import resource

import numpy as np
import pytest
from writers import emt_frames, extxyz_text

from lamdata import units
from lamdata.catalog import SourceSpec
from lamdata.errors import ConfigError, SourceError
from lamdata.frame import Frame, Rejection
from lamdata.sources import SourceFile, read_all, reader

CELL = 'Lattice="2 0 0 0 2 0 0 0 2"'
COLUMNS = "Properties=species:S:1:pos:R:3:forces:R:3"


def read(tmp_path, text, **spec):
    path = tmp_path / "a.xyz"
    path.write_text(text)
    return list(read_all(SourceFile(name="a.xyz", path=str(path)), SourceSpec(path="a.xyz", **spec), use=reader("extxyz")))


def one(tmp_path, comment, *, forces="1 2 3", **spec):
    return read(tmp_path, f"1\n{comment}\nH 0 0 0 {forces}\n", **spec)[0]


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


def test_a_key_that_the_card_names_must_be_there(tmp_path):
    with pytest.raises(SourceError, match="no key 'E0' for energy"):
        one(tmp_path, f"{CELL} {COLUMNS} energy=-1.5", keys={"energy": "E0"})


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
    both = one(tmp_path, f'{CELL} {COLUMNS} {stress} virial="1 0 0 0 2 0 0 0 3"')
    np.testing.assert_allclose(both.virial, np.diag([1.0, 2.0, 3.0]))


def test_voigt_is_xx_yy_zz_yz_xz_xy(tmp_path):
    virial = one(tmp_path, f'{CELL} {COLUMNS} virial="1 2 3 4 5 6"').virial
    np.testing.assert_allclose(virial, [[1, 6, 5], [6, 2, 4], [5, 4, 3]])


@pytest.mark.parametrize("unit", ["hartree", "Ha", "au", "a.u."])
def test_units_in_the_comment_are_heeded(tmp_path, unit):
    frame = one(tmp_path, f'{CELL} {COLUMNS} energy=-0.5 energy-unit={unit} force-unit=hartree/bohr virial="1 0 0 0 1 0 0 0 1"')
    assert frame.energy == pytest.approx(-0.5 * units.HARTREE)
    np.testing.assert_allclose(frame.forces[0], np.array([1, 2, 3]) * units.HARTREE / units.BOHR)
    np.testing.assert_allclose(frame.virial, np.eye(3) * units.HARTREE)


@pytest.mark.parametrize(("unit", "factor"), [("GPa", units.GPA), ("kbar", units.KBAR), ("eV/A^3", 1.0)])
def test_stress_units(tmp_path, unit, factor):
    frame = one(tmp_path, f'{CELL} {COLUMNS} stress="1 0 0 0 1 0 0 0 1" stress_unit={unit}')
    np.testing.assert_allclose(frame.virial, -8 * factor * np.eye(3))


def test_units_of_the_card(tmp_path):
    frame = one(tmp_path, f"{CELL} {COLUMNS} energy=1", units={"energy": "kcal/mol", "force": "kcal/mol/Angstrom"})
    assert frame.energy == pytest.approx(units.KCAL_PER_MOL) and frame.forces[0, 0] == pytest.approx(units.KCAL_PER_MOL)


@pytest.mark.parametrize(
    ("comment", "spec", "match"),
    [
        (f"{COLUMNS} energy=1 energy-unit=nonsense", {}, "unknown energy unit"),
        (f"{COLUMNS} energy=1 energy-unit=Ha", {}, "energies have a unit, forces have none"),
        (f"{COLUMNS} energy=1 energy-unit=Ha force-unit=Ha/bohr", {"units": {"energy": "eV"}}, "the file says energy in Hartree"),
        ("Properties=species:S:1:pos:R:2 energy=1", {}, "no pos:R:3"),
        ("Properties=pos:R:3:forces:R:3 energy=1", {}, "neither species nor Z"),
    ],
)
def test_doubtful_units_and_columns_are_refused(tmp_path, comment, spec, match):
    with pytest.raises(SourceError, match=match):
        one(tmp_path, comment, **spec)


def test_a_guessed_unit_must_be_confirmed():
    with pytest.raises(ValueError, match="a guess to be confirmed"):
        SourceSpec(path="a", units={"energy": "eV?"})


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
