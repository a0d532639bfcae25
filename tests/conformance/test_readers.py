"""Every structure and database reader through the conformance suite, on frames written in its format."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from suite import check, net_force, read, virial_sign
from writers import emt_frames
from written_formats import WRITERS

from lamdata.catalog import SourceSpec
from lamdata.frame import Frame, Rejection
from lamdata.sources import expand, guess_format, reader

OPTIONS = {"oc20_lmdb": {"energy": "total"}}
ENERGY = {"extxyz", "s2ef", "oc20_lmdb", "pymatgen_json", "mp_task", "aflux"} | {
    n for n in WRITERS if n.startswith(("deepmd", "ase", "parquet", "atompack", "nvalchemi", "chemreporter"))
}
FORCES = ENERGY - {"pymatgen_json", "aflux"}
VIRIAL = FORCES - {"s2ef", "oc20_lmdb"}
TURNED = {"aflux", "cif"}  # formats that keep lengths and angles: orientation is lost


@pytest.fixture(params=sorted(WRITERS))
def written(request, tmp_path):
    """(name, frames, source file, spec, reader) of one format."""
    if request.param == "oc20_lmdb":
        pytest.importorskip("torch")
    write, format_name = WRITERS[request.param]
    frames = emt_frames()
    path = write(frames, tmp_path)
    spec = SourceSpec(path=path.name, options=OPTIONS.get(request.param, {}))
    files = [f for f in expand(spec, base=path.parent) if reader(format_name).guess(f, f.head(8192))]
    assert len(files) == 1
    return request.param, frames, files[0], spec, reader(format_name)


def test_the_format_is_guessed(written):
    name, _, file, _, use = written
    assert guess_format(file) == use.name


def test_what_was_written_is_read(written):
    name, frames, file, spec, use = written
    back = read(use, file, spec)
    assert len(back) == len(frames) and all(isinstance(f, Frame) for f in back)
    for ours, theirs in zip(back, frames, strict=True):
        check_structure(ours, theirs, turned=name in TURNED)
        assert (ours.energy is not None, ours.forces is not None, ours.virial is not None) == (
            name in ENERGY,
            name in FORCES,
            name in VIRIAL,
        )
        if name in ENERGY:
            assert ours.energy == pytest.approx(theirs.energy, abs=1e-8)
        if name in FORCES:
            np.testing.assert_allclose(ours.forces, theirs.forces, atol=1e-8)
        if name in VIRIAL:
            np.testing.assert_allclose(ours.virial, theirs.virial, atol=1e-8)


def check_structure(ours: Frame, theirs: Frame, *, turned: bool) -> None:
    """Same elements, cell and positions, up to a rotation and an order where the format loses them."""
    if not turned:
        np.testing.assert_array_equal(ours.numbers, theirs.numbers)
        np.testing.assert_allclose(ours.cell, theirs.cell, atol=1e-6)
        np.testing.assert_allclose(ours.positions, theirs.positions, atol=1e-6)
        return
    assert sorted(ours.numbers) == sorted(theirs.numbers)
    np.testing.assert_allclose(ours.cell @ ours.cell.T, theirs.cell @ theirs.cell.T, atol=1e-3)
    distances = [np.sort(f.to_ase().get_all_distances(mic=True).ravel()) for f in (ours, theirs)]
    np.testing.assert_allclose(*distances, atol=1e-4)


def test_the_reader_conforms(written):
    _, _, file, spec, use = written
    assert check(use, file, spec) == []
    assert net_force(read(use, file, spec)) < 1e-6


def test_a_turned_virial_is_found():
    """The suite's own check: energies of strained cells tell the sign of the virial."""
    import dataclasses

    frames = [dataclasses.replace(f, group="g") for f in strained_frames()]
    assert virial_sign(frames) is True
    assert virial_sign([dataclasses.replace(f, virial=-f.virial) for f in frames]) is False
    assert virial_sign([Rejection(origin="a#0", reason="x")]) is None


def strained_frames() -> list[Frame]:
    """One cell under growing hydrostatic pressure."""
    from ase.build import bulk
    from ase.calculators.emt import EMT
    from writers import frame_of

    out = []
    for i, scale in enumerate((0.95, 0.955, 0.96)):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell.array * scale, scale_atoms=True)
        atoms.calc = EMT()
        out.append(frame_of(atoms, f"strained#{i}"))
    return out


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_one_bad_frame_costs_only_itself(tmp_path, name):
    if name == "oc20_lmdb":
        pytest.importorskip("torch")
    frames = emt_frames()
    frames[1].positions[0, 0] = np.nan
    write, format_name = WRITERS[name]
    path = write(frames, tmp_path)
    spec = SourceSpec(path=path.name, options=OPTIONS.get(name, {}))
    (file,) = (f for f in expand(spec, base=path.parent) if reader(format_name).guess(f, f.head(8192)))
    assert [type(item) for item in read(reader(format_name), file, spec)] == [Frame, Rejection, Frame]


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".zip"])
def test_an_archive_reads_as_the_folder_does(written, tmp_path, ending):
    _, _, file, spec, use = written
    outside = [digest_of_labels(item) for item in read(use, file, spec)]
    folder = tmp_path / "data"
    contents = list(tmp_path.iterdir())
    folder.mkdir()
    for path in contents:
        path.rename(folder / path.name)
    kind = {".tar": "tar", ".tar.gz": "gztar", ".zip": "zip"}[ending]
    shutil.make_archive(str(tmp_path / "packed"), kind, root_dir=tmp_path, base_dir="data")
    packed = SourceSpec(path=f"packed{ending}", options=spec.options)
    (inside,) = (f for f in expand(packed, base=tmp_path) if use.guess(f, f.head(8192)))
    assert [digest_of_labels(item) for item in read(use, inside, packed)] == outside


def digest_of_labels(frame: Frame) -> tuple:
    """What must not depend on where the file lies."""
    arrays = (frame.positions, frame.cell, frame.forces, frame.virial)
    return frame.energy, tuple(None if a is None else a.tobytes() for a in arrays)


class Eager:
    """A third party's reader that reads all at once, and fails before the first frame."""

    name = "eager"

    def read(self, file, spec):
        return [1 / 0]

    def theory(self, file):
        return {}

    def guess(self, file, head):
        return False


def test_a_reader_that_is_no_generator_fails_with_one_line(tmp_path):
    from lamdata.errors import SourceError
    from lamdata.sources import SourceFile

    (tmp_path / "a").write_text("x")
    with pytest.raises(SourceError, match="ZeroDivisionError"):
        read(Eager(), SourceFile(name="a", path=str(tmp_path / "a")), SourceSpec(path="a"))
