"""Real files of VASP, beside what dpdata and ASE read in them."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.sources import expand, read_all, reader
from tests.lamdata.sources.reading import frames, read, reasons, same_as_dpdata


def test_dpdata_and_ase_read_the_same_vaspruns(samples):
    import ase.io
    import dpdata

    for path in sorted(samples.glob("vasprun_xml/*.gz"))[:4] + [samples / "vasprun_xml/vasprun.h2o.md.xml"]:
        ours = frames(path, "vasp/xml")
        theirs = ase.io.read(path, index=":", format="vasp-xml")
        for frame, atoms in zip(ours, theirs, strict=True):
            assert frame.energy == pytest.approx(atoms.calc.results["free_energy"], abs=1e-9)
            assert np.allclose(frame.forces, atoms.get_forces(apply_constraint=False), atol=1e-9)
            assert np.allclose(frame.positions, atoms.positions, atol=1e-8) and np.allclose(frame.cell, atoms.cell[:], atol=1e-9)
    path = samples / "vasprun_xml/vasprun.h2o.md.xml"
    same_as_dpdata(frames(path, "vasp/xml"), dpdata.LabeledSystem(str(path), fmt="vasp/xml"), virial=1e-5)


def test_the_hse06_run_that_dpdata_rejects_is_read(samples):
    import dpdata

    path = samples / "vasprun_xml/vasprun.hse06.xml.gz"
    (frame,) = frames(path, "vasp/xml")
    assert frame.energy == -133.1673823
    local = path.parent / "vasprun.hse06.xml.gz"
    unpacked = gzip.decompress(local.read_bytes())
    assert unpacked.count(b"<scstep>") == 60  # NELM; the last of them changed the energy by 6e-6 eV/atom
    assert dpdata is not None


def test_dpdata_reads_the_same_outcars(samples):
    import dpdata

    for name in ("OUTCAR.h2o.md.10", "OUTCAR.Ge.vdw", "Ti-aimd-nwrite0/OUTCAR"):
        path = samples / "vasp_outcar" / name
        same_as_dpdata(frames(path, "vasp/outcar"), dpdata.LabeledSystem(str(path), fmt="vasp/outcar"), virial=1e-5)


def test_the_ab_initio_steps_of_a_learned_run_are_dpdatas(samples):
    import dpdata

    path = samples / "vasp_outcar/OUTCAR.ch4.ml"
    items, theirs = read(path, "vasp/outcar"), dpdata.LabeledSystem(str(path), fmt="vasp/outcar")
    ours = [item for item in items if hasattr(item, "energy")]
    assert (
        len(items) == 10 and [f.energy for f in ours] == theirs["energies"].tolist()
    )  # its cells are turned, so forces differ in direction
    assert np.allclose([np.linalg.norm(f.forces) for f in ours], np.linalg.norm(theirs["forces"], axis=(1, 2)))


def test_cells_are_not_turned(samples):
    """dpdata turns this cell to lower triangular, with the positions; lengths, energy and pressure stay."""
    import dpdata

    path = samples / "vasp_outcar/OUTCAR_merged_numbers"
    (ours,), theirs = frames(path, "vasp/outcar"), dpdata.LabeledSystem(str(path), fmt="vasp/outcar")
    assert ours.cell[0] == pytest.approx([0.0, 2.327492543, 2.327492543]) and theirs["cells"][0][0, 1] == pytest.approx(0, abs=1e-9)
    assert np.allclose(np.linalg.norm(ours.cell, axis=1), np.linalg.norm(theirs["cells"][0], axis=1))
    assert ours.energy == theirs["energies"][0] and np.trace(ours.virial) == pytest.approx(np.trace(theirs["virials"][0]), abs=1e-6)


def test_an_outcar_and_its_vasprun_agree(samples):
    folder = samples / "vasp_outcar/Ti-aimd-nwrite0"
    from_xml, from_outcar = frames(folder / "vasprun.xml", "vasp/xml"), frames(folder / "OUTCAR", "vasp/outcar")
    assert len(from_xml) == 10 and len(from_outcar) == 2
    for a, b in ((from_xml[0], from_outcar[0]), (from_xml[9], from_outcar[1])):
        assert a.energy == b.energy and np.allclose(a.forces, b.forces, atol=1e-5) and np.allclose(a.virial, b.virial, atol=1e-4)


def test_broken_vasp_files_are_rejected_step_by_step(samples):
    assert reasons(read(samples / "broken/vasprun.unconverged.xml.gz", "vasp/xml")) == ["unconverged"] * 5
    assert reasons(read(samples / "broken/vasprun.dfpt.unconverged.xml.gz", "vasp/xml")) == ["unconverged"]
    assert len(frames(samples / "broken/vasprun.bad_random_seed.xml.gz", "vasp/xml")) == 264
    assert reasons(read(samples / "broken/OUTCAR.ch4.1step", "vasp/outcar")) == ["unconverged"]
    assert len(frames(samples / "broken/OUTCAR_merged_numbers2", "vasp/outcar")) == 1
    with pytest.raises(SourceError, match="10 species out of 16"):
        read(samples / "vasp_outcar/outcar.longit/OUTCAR", "vasp/outcar")


def test_a_loop_that_converges_in_its_last_allowed_step_is_good(samples):
    """The second step of this file ends at NELM with a change of 6e-7 eV, under its EDIFF; the first does not."""
    items = read(samples / "broken/OUTCAR.ch4.unconverged", "vasp/outcar")
    assert [getattr(item, "reason", None) for item in items] == ["unconverged", None, None]


def test_an_enthalpy_under_pstress_is_brought_back_to_an_energy():
    """ASE ships a run at PSTRESS = 1 kbar: the step's energy is E + pV, the last electronic step's is E."""
    spec = SourceSpec(path="package://ase/test/testdata/vasp/vasprun_pstress.xml")
    (file,) = expand(spec, base=Path())
    (frame,) = read_all(file, spec, use=reader("vasp/xml"))
    assert frame.energy == pytest.approx(-20.24695937, abs=2e-7)
