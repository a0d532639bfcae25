"""OC20: total against adsorption energy, and pickles that are read but never run."""

from __future__ import annotations

import lzma
import os
import pickle

import pytest
from writers import emt_frames, lmdb_file, oc20_lmdb, s2ef

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.sources import SourceFile, read_all, reader
from lamdata.sources.bytes.plain_pickle import Record, Refused, read_pickle
from lamdata.sources.bytes.torch_pickle import read_record


def read(path, name, **options):
    return list(read_all(SourceFile(name=path.name, path=str(path)), SourceSpec(path=path.name, options=options), use=reader(name)))


def test_the_total_energy_is_the_default_and_adsorption_is_less_the_reference(tmp_path):
    path = s2ef(emt_frames(4), tmp_path)
    total, default, adsorption = (read(path, "oc20/s2ef", **o) for o in ({"energy": "total"}, {}, {"energy": "adsorption"}))
    assert [f.energy for f in total] == [f.energy for f in default]
    assert [t.energy - a.energy for t, a in zip(total, adsorption, strict=True)] == pytest.approx([1.0] * 4)


def test_a_relaxation_is_one_group(tmp_path):
    assert [f.group for f in read(s2ef(emt_frames(4), tmp_path), "oc20/s2ef")] == ["random0", "random0", "random1", "random1"]


def test_a_missing_or_short_txt_is_refused(tmp_path):
    path = s2ef(emt_frames(3), tmp_path)
    (tmp_path / "0.txt.xz").write_bytes(lzma.compress(b"random0,frame0,1.0\n"))
    with pytest.raises(SourceError, match="differ in the number of frames"):
        read(path, "oc20/s2ef")
    (tmp_path / "0.txt.xz").unlink()
    with pytest.raises(SourceError, match="references is missing"):
        read(path, "oc20/s2ef")


def test_an_energy_that_stands_twice_and_differs_is_refused(tmp_path):
    path = s2ef(emt_frames(3), tmp_path)
    text = lzma.decompress(path.read_bytes()).decode()
    at = text.rindex(" energy=") + 1
    path.write_bytes(lzma.compress((text[:at] + "energy=-999.0 " + text[at:]).encode()))
    with pytest.raises(SourceError, match="#2: says 'energy' twice, as '-999.0' and "):
        read(path, "oc20/s2ef")


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        ("r0,f0,1.0\nr0,f1,1.5\nr1,f0,1.0\nr1,f1,1.0\n", "r0 has reference energy 1.0 and 1.5"),
        ("r0,f0,-900.0\nr0,f1,-900.0\nr1,f0,1.0\nr1,f1,1.0\n", "an adsorption energy of 9"),
        ("r0,f0,1.0\nr0,f1,1.0\nr0,f2,1.0\nr0,f3,1.0\n", "r0 has composition Au1Cu3 and Cu4"),
    ],
)
def test_a_txt_of_another_extxyz_is_refused(tmp_path, lines, match):
    frames = emt_frames(4)
    frames[3].numbers[:] = 29
    path = s2ef(frames, tmp_path)
    (tmp_path / "0.txt.xz").write_bytes(lzma.compress(lines.encode()))
    with pytest.raises(SourceError, match=match):
        read(path, "oc20/s2ef")


SLAB = """4
Lattice="6 0 0 0 6 0 0 0 20" Properties=species:S:1:pos:R:3:move_mask:L:1:tags:I:1:forces:R:3 energy=-11.5 free_energy=-11.5 pbc="T T T"
Cu 0 0 0 F 0 {}
Cu 2 2 2 F 0 {}
Cu 2 0 4 T 1 0.2 0.0 -0.5
O 2 1 6 T 2 0.0 0.1 0.9
"""


@pytest.mark.parametrize(("fixed", "kept"), [(("-0.1 0.0 -0.3", "-0.1 -0.1 -0.1"), True), (("0.0 0.0 0.0", "0.0 0.0 0.0"), False)])
@pytest.mark.parametrize("masked", [True, False])
def test_forces_of_fixed_atoms_that_were_set_to_zero_are_no_forces(tmp_path, fixed, kept, masked):
    text = SLAB.format(*fixed)
    if not masked:
        text = text.replace("move_mask:L:1:", "").replace(" F 0 ", " 0 ").replace(" T ", " ", 2).replace("pbc= T", "pbc=T")
        text = text.replace('pbc="T T"', 'pbc="T T T"')
        text = "\n".join(" ".join(word for word in line.split() if word != "T") if line[:1] in "CO" else line for line in text.split("\n"))
    (tmp_path / "7.extxyz").write_text(text)
    (tmp_path / "7.txt").write_text("random7,frame3,-10.25\n")
    (frame,) = read(tmp_path / "7.extxyz", "oc20/s2ef", energy="adsorption")
    assert frame.energy == -1.25 and (frame.forces is not None) is kept
    assert frame.left_out == (() if kept else ("forces: those of fixed atoms were set to zero",))


def test_the_lmdb_does_not_say_which_energy_it_holds(tmp_path):
    pytest.importorskip("torch")
    path = oc20_lmdb(emt_frames(), tmp_path)
    with pytest.raises(SourceError, match="total or an adsorption"):
        read(path, "oc20/lmdb")
    assert len(read(path, "oc20/lmdb", energy="adsorption")) == 3


class Bomb:
    """What an attacker would put in place of the data."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_calls_something_is_refused_and_nothing_runs(tmp_path, protocol):
    marker = tmp_path / "ran"
    path = lmdb_file(tmp_path / "a.lmdb", {b"0": pickle.dumps({"pos": Bomb(marker)}, protocol=protocol)})
    with pytest.raises(SourceError, match="system"):
        read(path, "oc20/lmdb", energy="total")
    assert not marker.exists()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x80\x04.",
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x02ctorch_geometric.data.data\nData\nq\x00)\x81q\x01}q\x02(X\x01\x00\x00\x00ah\x05u.",
        b"(" * 200_000 + b".",
        b"\x80\x05\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x02K\x01r\xff\xff\xff\x7f" + b".",
        b"ibuiltins\neval\n.",
    ],
)
def test_malformed_pickles_are_refused(raw):
    with pytest.raises(Refused):
        read_record(raw)


def test_plain_data_comes_through_at_every_protocol():
    value = {"a": [1, 2.5, None, True, "text", b"bytes"], "b": (1, (2, 3), {"c": -(10**12)}), "d": set() or []}
    for protocol in range(6):
        names = {"_codecs encode": lambda text, _: text.encode("latin1"), "__builtin__ set": list}
        assert read_pickle(pickle.dumps(value, protocol=protocol), names)[0] == value


@pytest.mark.parametrize("protocol", range(2, 6))
def test_fields_may_be_numpy_arrays_and_numbers(protocol):
    import numpy as np

    fields = {
        "pos": np.arange(6.0).reshape(2, 3),
        "turned": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "y": np.float64(-1.5),
        "natoms": 2,
    }
    back = read_record(pickle.dumps(fields, protocol=protocol))
    assert back["y"] == -1.5 and back["natoms"] == 2
    assert all(np.array_equal(back[name], fields[name]) for name in ("pos", "turned"))
    with pytest.raises(Refused):
        read_record(pickle.dumps({"pos": np.arange(3.0).astype(">f8")}, protocol=protocol))
    with pytest.raises(Refused):
        read_record(pickle.dumps({"pos": np.array([object()])}, protocol=protocol))


def test_state_may_be_set_only_on_stand_ins():
    raw = b"\x80\x02}(X\x01\x00\x00\x00aK\x01ub."
    with pytest.raises(Refused):
        read_pickle(raw, {"a b": Record})


def test_a_tensor_that_reaches_behind_its_storage_is_refused():
    import numpy as np

    from lamdata.sources.bytes.torch_pickle import tensor

    assert tensor(np.arange(6.0), 1, (2, 2), (2, 1)).tolist() == [[1, 2], [3, 4]]
    for offset, size, stride in ((0, (7,), (1,)), (3, (2, 2), (2, 1)), (-1, (1,), (1,)), (0, (2,), (-1,)), (0, (10**12,), (0,))):
        with pytest.raises(Refused):
            tensor(np.arange(6.0), offset, size, stride)
