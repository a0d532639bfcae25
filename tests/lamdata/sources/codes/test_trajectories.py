"""OpenMX, PWmat, n2p2 and LAMMPS dumps."""

import numpy as np
import pytest

from lamdata.errors import SourceError
from lamdata.sources import SourceFile, guess_format, reader
from lamdata.units import BOHR, HARTREE
from tests.lamdata.sources.reading import frames, read, reasons, same_as_dpdata


def guessed(path):
    return guess_format(SourceFile(name=path.name, path=str(path)))


OPENMX = "2\ntime=    {n}.000 (fs) Energy= -8.2{n} (Hartree) Temperature=  300.000 (Given Temp.=  300.000) Cell_Vectors= 10.0 0 0 0 10.0 0 0 0 10.0\n   C    0 0 0   0.1 0 0 1 2 3\n   H   1.{n} 0 0   -0.1 0 0 1 2 3\n"


def test_openmx_energies_are_hartree(write):
    path = write(OPENMX.format(n=0) + OPENMX.format(n=1), "x.md")
    first, second = frames(path, "openmx/md")
    assert second.energy == pytest.approx(-8.21 * HARTREE) and second.positions[1, 0] == 1.1 and guessed(path) == "openmx/md"
    assert first.forces[0, 0] == pytest.approx(0.1 * HARTREE / BOHR) and first.volume == pytest.approx(1000)
    assert reasons(read(write(OPENMX.format(n=0) + OPENMX.format(n=1)[:-30], "x.md"), "openmx/md")) == ["truncated"]
    write(
        "scf.XcType  GGA-PBE\nscf.energycutoff 120.0\nscf.SpinPolarization off\n<Definition.of.Atomic.Species\n H H6.0-s2p1 H_PBE19\nDefinition.of.Atomic.Species>\n",
        "x.dat",
    )
    theory = reader("openmx/md").theory(SourceFile(name="x.md", path=str(path)))
    assert theory == {"code": "OpenMX", "functional": "PBE", "cutoff": 1632.68, "spin": "none", "core": "H6.0-s2p1, H_PBE19"}


PWMAT = """   2 atoms,Iteration (fs) =   -0.1E+01, Etot,Ep,Ek (eV) =   -0.20E+03  -0.21E+03   0.10E+02, SCF =    25
 Lattice vector (Angstrom)
   10.0 0.0 0.0     stress (eV):  0.1 0 0
   0.0 10.0 0.0     stress (eV):  0 0.1 0
   0.0 0.0 10.0     stress (eV):  0 0 0.1
 Position (normalized), move_x, move_y, move_z
   1         0.5 0.4 0.3     1  1  1
   6         0.4 0.4 0.4     1  1  1
 Force (-force, eV/Angstrom)
   1         0.1 0.2 0.3
   6         -0.1 -0.2 -0.3
 ----------------------------------------------END
"""


def test_pwmat_prints_minus_the_forces_and_the_kinetic_energy_apart(write):
    path = write(PWMAT * 2, "MOVEMENT")
    first, _ = frames(path, "pwmat/movement")
    assert first.energy == -210.0 and first.forces[0].tolist() == [-0.1, -0.2, -0.3] and first.positions[0].tolist() == [5, 4, 3]
    assert first.numbers.tolist() == [1, 6] and first.virial is None and guessed(path) == "pwmat/movement"
    assert reasons(read(write(PWMAT + PWMAT.partition(" -----")[0], "MOVEMENT"), "pwmat/movement")) == ["truncated"]


def test_pwmat_labels_that_are_not_read_are_named(write):
    atomic = " Atomic-Energy, Etot(eV),E_nonloc(eV),Q_atom:dE(eV)=  -0.1\n   1 -3.2 0 0\n   6 -4.1 0 0\n"
    bare = "".join(line.partition("stress")[0].rstrip() + "\n" for line in PWMAT.splitlines())
    first, second = frames(write(PWMAT + bare.replace(" -----", atomic + " -----"), "MOVEMENT"), "pwmat/movement")
    assert first.left_out == ("virial: the sign of PWmat's stress is not documented",)
    assert second.left_out == ("energy of each atom: there is no place for it",)


@pytest.mark.parametrize(
    ("old", "new"),
    [("Ek (eV)", "Ek (Hartree)"), ("(Angstrom)", "(bohr)"), ("(normalized)", "(Angstrom)"), ("eV/Angstrom)", "Hartree/bohr)")],
)
def test_a_pwmat_unit_that_is_not_known_is_refused(write, old, new):
    assert old in PWMAT
    with pytest.raises(SourceError, match="expected "):
        read(write(PWMAT.replace(old, new), "MOVEMENT"), "pwmat/movement")


def test_stars_in_place_of_a_pwmat_energy_refuse_its_step(write):
    items = read(write(PWMAT + PWMAT.replace("-0.21E+03", "*********"), "MOVEMENT"), "pwmat/movement")
    assert reasons(items) == ["nonfinite"] and len(items) == 2


def test_openmx_takes_the_charge_and_the_theory_of_its_own_input_alone(write):
    path = write(OPENMX.format(n=0), "x.md")
    table = "<Atoms.SpeciesAndCoordinates\n 1 C 0 0 0 2 2\n 2 H 1 0 0 .5 .5\nAtoms.SpeciesAndCoordinates>\n"
    deck = write(f"System.Name x\nscf.XcType GGA-PBE\nscf.dftD on\nversion.dftD 3\nscf.system.charge 1.0\n{table}", "x.dat")
    file = SourceFile(name="x.md", path=str(path))
    assert frames(path, "openmx/md")[0].charge == 1
    assert reader("openmx/md").theory(file) == {"code": "OpenMX", "functional": "PBE", "dispersion": "D3"}
    deck.write_text(deck.read_text().replace("charge 1.0", "charge 0.5"))
    with pytest.raises(SourceError, match="a charge of 0.5 is not a whole number"):
        read(path, "openmx/md")
    for old, new in (("Name x", "Name y"), (" 2 H", " 2 O")):
        deck.write_text(f"System.Name x\nscf.XcType GGA-PBE\nscf.system.charge 1.0\n{table}".replace(old, new))
        assert frames(path, "openmx/md")[0].charge == 0 and reader("openmx/md").theory(file) == {"code": "OpenMX"}


def test_an_openmx_stress_beside_is_named(write):
    path = write(OPENMX.format(n=0), "x.md")
    write("  Stress tensor (Hartree/bohr^3)\n  0 0 0\n", "x.out")
    assert frames(path, "openmx/md")[0].left_out == ("virial: the stress stands in the .out, which is not read",)


def test_openmx_columns_that_run_together_are_split(write):
    joined = OPENMX.format(n=0).replace("H   1.0 0 0   -0.1 0 0", "H   1.00000-10.00000-12.00000   -0.1 0 0")
    assert frames(write(joined, "x.md"), "openmx/md")[0].positions[1].tolist() == [1.0, -10.0, -12.0]


def test_a_pwmat_structure_has_no_labels(write):
    path = write("  2\n LATTICE\n 10 0 0\n 0 10 0\n 0 0 10\n POSITION\n 1 0.5 0.4 0.3 1 1 1\n 6 0.4 0.4 0.4 1 1 1\n", "atom.config")
    (frame,) = frames(path, "pwmat/movement")
    assert frame.positions[0].tolist() == [5, 4, 3] and frame.energy is None and guessed(path) == "pwmat/movement"
    path.write_text(
        path.read_text().replace("LATTICE", "Lattice vector (Angstrom)").replace("POSITION", "Position, move_x, move_y, move_z")
    )
    assert np.array_equal(frames(path, "pwmat/movement")[0].positions, frame.positions)


N2P2 = "begin\ncomment x\nlattice 10 0 0\nlattice 0 10 0\nlattice 0 0 10\natom 1 0 0 O 0 0 0.1 0 0\natom 0 0 2 H 0 0 -0.1 0 0\nenergy -1.5\ncharge 1.0\nend\n"


def test_n2p2_is_in_atomic_units_unless_the_card_says_otherwise(write):
    path = write(N2P2 * 2, "input.data")
    first, second = frames(path, "n2p2")
    assert first.energy == pytest.approx(-1.5 * HARTREE) and first.positions[1, 2] == pytest.approx(2 * BOHR) and first.charge == 1
    assert first.group != second.group and guessed(path) == "n2p2"
    (frame, _) = frames(path, "n2p2", units={"energy": "eV", "length": "Angstrom", "force": "eV/Angstrom"})
    assert frame.energy == -1.5 and frame.positions[1, 2] == 2.0 and frame.forces[0, 0] == 0.1
    assert reasons(read(write(N2P2 + N2P2[:-4], "input.data"), "n2p2")) == ["truncated"]
    with pytest.raises(SourceError, match="truncated"):
        read(write(N2P2[:-4], "input.data"), "n2p2")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("energy -1.5\n", "energy -1.5\nenergy -1.4\n", "several energies for one geometry"),
        ("charge 1.0", "totalcharge 1.0", "a word of the structure is not known"),
        ("charge 1.0", "charge 0.5", "the charge is not a whole number"),
    ],
)
def test_n2p2_structures_that_are_not_understood_are_rejected_alone(write, old, new, reason):
    items = read(write(N2P2.replace(old, new) + N2P2, "input.data"), "n2p2")
    assert reasons(items) == [reason] and len(items) == 2


def test_an_n2p2_stress_is_named(write):
    stress = "energy -1.5\nstress 1 0 0\nstress 0 1 0\nstress 0 0 1\n"
    (frame,) = frames(write(N2P2.replace("energy -1.5\n", stress), "input.data"), "n2p2")
    assert frame.virial is None and frame.left_out == ("virial: the stress of n2p2 has no documented unit",)


DUMP = "ITEM: TIMESTEP\n{n}\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS{tilt} pp pp ff\n{box}ITEM: ATOMS {columns}\n{rows}"


def dump(columns="id type x y z", rows="2 2 1.5 1 1\n1 1 1 1 1\n", tilt="", box="1 6\n1 6\n1 6\n", n=0):
    return DUMP.format(columns=columns, rows=rows, tilt=tilt, box=box, n=n)


def test_n2p2_zeros_in_place_of_all_labels_are_none(write):
    atom = "atom 0.0 0.0 {z} O 0.0 0.0 {force} 0.0 0.0\n"
    block = "begin\n" + atom + "energy {energy}\ncharge 0.0\nend\n"
    path = write("".join(block.format(z=1.0, force=force, energy=energy) for force, energy in ((0, 0), (0, -1), (0.5, 0))), "input.data")
    none, rest, moving = frames(path, "n2p2")
    assert none.energy is None and none.forces is None
    assert rest.energy < 0 and not rest.forces.any() and moving.energy == 0 and moving.forces.any()


def test_a_dump_names_elements_or_the_card_does(write):
    path = write(dump() + dump(n=10), "traj.dump")
    assert guessed(path) == "lammps/dump"
    with pytest.raises(SourceError, match="names no elements; name them"):
        read(path, "lammps/dump")
    first, _ = frames(path, "lammps/dump", options={"elements": "Fe O"})
    assert first.numbers.tolist() == [26, 8] and first.positions.tolist() == [[0, 0, 0], [0.5, 0, 0]] and first.pbc == (True, True, False)
    with pytest.raises(SourceError, match="has type 2, the card names 1"):
        read(path, "lammps/dump", options={"elements": "Fe"})
    (named,) = frames(write(dump("id element xs ys zs", "1 Fe 0.5 0 0\n2 O 0 0 0.5\n"), "traj.dump"), "lammps/dump")
    assert named.positions.tolist() == [[2.5, 0, 0], [0, 0, 2.5]] and named.numbers.tolist() == [26, 8]


def test_bounds_of_a_tilted_box_enclose_it(write):
    (frame,) = frames(write(dump(tilt=" xy xz yz", box="0 6 1\n0 5 0\n0 5 0\n"), "x.dump"), "lammps/dump", options={"elements": "Fe O"})
    assert frame.cell.tolist() == [[5, 0, 0], [1, 5, 0], [0, 0, 5]]


FEO = {"options": {"elements": "Fe O"}}


def test_a_general_box_is_three_vectors_and_an_origin(write):
    box = "6 0 0 1\n1 5 0 2\n-1 0.5 7 3\n"
    (frame,) = frames(write(dump(tilt=" abc origin", box=box), "x.dump"), "lammps/dump", **FEO)
    assert frame.cell.tolist() == [[6, 0, 0], [1, 5, 0], [-1, 0.5, 7]] and frame.positions[0].tolist() == [0, -1, -2]
    scaled = dump("id element xs ys zs", "1 Fe 0.5 0 0\n2 O 0 0 0.5\n", tilt=" abc origin", box=box)
    assert frames(write(scaled, "x.dump"), "lammps/dump")[0].positions.tolist() == [[3, 0, 0], [-0.5, 0.25, 3.5]]


@pytest.mark.parametrize(
    ("old", "new"),
    [("BOUNDS pp", "BOUNDS abc corner pp"), ("BOUNDS pp pp", "BOUNDS xy xz pp pp"), ("1 6\nITEM", "1 6 0\nITEM"), ("ITEM: ATOMS", "ITEM: ENTRIES 3\nITEM: ATOMS"), ("BOX BOUNDS", "BOX LIMITS")],
)  # fmt: skip
def test_a_dump_with_words_that_are_not_known_is_refused(write, old, new):
    assert old in dump()
    with pytest.raises(SourceError, match="is no part of an atom dump|the box is not written in a way that is known"):
        read(write(dump().replace(old, new, 1), "x.dump"), "lammps/dump", **FEO)


@pytest.mark.parametrize(("style", "factor"), [("metal", 1.0), ("real", 1.0), ("electron", BOHR), ("nano", 10.0), ("si", 1e10)])
def test_the_units_that_a_dump_states_are_honoured(write, style, factor):
    path = write(f"ITEM: UNITS\n{style}\nITEM: TIME\n0.5\n" + dump() + dump(n=1), "x.dump")
    assert [f.cell[0, 0] for f in frames(path, "lammps/dump", **FEO)] == [5 * factor] * 2
    if factor != 1.0:
        with pytest.raises(SourceError, match="the card says Angstrom"):
            read(path, "lammps/dump", units={"length": "Angstrom"}, **FEO)


def test_reduced_units_have_no_length(write):
    with pytest.raises(SourceError, match="states units 'lj'"):
        read(write("ITEM: UNITS\nlj\n" + dump(), "x.dump"), "lammps/dump", **FEO)


def test_forces_of_a_dump_are_named_and_doubled_ids_rejected(write):
    rows = "2 2 1.5 1 1 0 0 1\n1 1 1 1 1 0 0 -1\n"
    path = write(dump("id type x y z fx fy fz", rows), "x.dump")
    assert frames(path, "lammps/dump", **FEO)[0].left_out == ("forces: fx fy fz of a dump are those of a LAMMPS potential",)
    assert reasons(read(write(dump(rows="2 2 1.5 1 1\n2 1 1 1 1\n"), "x.dump"), "lammps/dump", **FEO)) == ["two atoms have one id"]


def test_a_cut_dump_keeps_whole_steps(write):
    items = read(write(dump() + dump()[:-12], "x.dump"), "lammps/dump", options={"elements": "Fe O"})
    assert reasons(items) == ["truncated"] and len(items) == 2
    with pytest.raises(SourceError, match="truncated"):
        read(write(dump()[:-12], "x.dump"), "lammps/dump", options={"elements": "Fe O"})


def test_dpdata_reads_the_same(samples):
    import dpdata

    for path, arg, ours, theirs in (
        ("openmx/openmx/Methane.md", "openmx/openmx/Methane", "openmx/md", "openmx/md"),
        ("pwmat/OUT.MLMD", "pwmat/OUT.MLMD", "pwmat/movement", "pwmat/mlmd"),
        ("n2p2/n2p2/input.data", "n2p2/n2p2/input.data", "n2p2", "n2p2"),
    ):
        same_as_dpdata(frames(samples / path, ours), dpdata.LabeledSystem(str(samples / arg), fmt=theirs))
    path = samples / "lammps/lammps/traj.dump"
    ours, theirs = (
        frames(path, "lammps/dump", options={"elements": "Fe O"}),
        dpdata.System(str(path), fmt="lammps/dump", type_map=["Fe", "O"]),
    )
    assert np.allclose(ours[0].cell, theirs["cells"][0]) and len(ours) == len(theirs)
