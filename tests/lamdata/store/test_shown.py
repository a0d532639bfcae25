"""What a person sees of a store, a dataset, frames and a stream when they type its name."""

import numpy as np

from lamdata.frames import Frames
from lamdata.store import open_dataset, open_store
from lamdata.stream import Stream, StreamHead
from tests.lamdata.stores import make_frames, make_split, write_store


def meta(licence="CC-BY-4.0 <b>&"):
    parts = {"train": {"labels": {"energy": 80, "forces": 80}}, "validation": {"labels": {"energy": 9, "forces": 11}}}
    return {"card": {"dataset": "demo", "license": licence}, "statistics": parts}


def test_a_dataset_says_what_it_is(tmp_path):
    frames = make_frames(1200, largest=4)
    write_store(tmp_path, frames)
    said = repr(open_dataset(tmp_path))
    assert said.startswith("<Dataset demo: frames 1,200; atoms ") and f"atoms {frames.natoms.sum():,};" in said
    assert "H He Li Be B C N O and 81 more" in said and "split all; licence unknown" in said
    assert f"labels energy, forces, virial (of {frames.has_virial.sum():,})" in said and "\n" not in said


def test_a_view_says_what_it_holds(tmp_path):
    frames, split = make_frames(100), make_split(100)
    write_store(tmp_path, frames, meta=meta())
    said = repr(open_dataset(tmp_path, split="test"))
    assert f"frames {(split == 2).sum()}; atoms {frames.natoms[split == 2].sum()};" in said and "split test" in said
    small = repr(open_dataset(tmp_path, natoms=(3, 5)))
    assert (
        "atoms in a frame 3 to 5" in small
        and f"virial (of {frames.has_virial[(frames.natoms >= 3) & (frames.natoms <= 5)].sum()})" in small
    )


def test_tables_are_escaped(tmp_path):
    write_store(tmp_path, make_frames(20), meta=meta())
    for shown in (open_dataset(tmp_path)._repr_html_(), open_store(tmp_path)._repr_html_()):
        assert "CC-BY-4.0 &lt;b&gt;&amp;" in shown and "<b>" not in shown and shown.count("<table>") == shown.count("</table>") == 1


def test_a_store_lists_its_datasets(tmp_path):
    for i in range(10):
        write_store(tmp_path, make_frames(20 + i), name=f"d{i}")
    said, shown = repr(open_store(tmp_path)), open_store(tmp_path)._repr_html_()
    assert "commit 10" in said and "10 datasets: d0, d1" in said and said.endswith("d7, and 2 more>")
    assert shown.count("<tr>") == 11 and '<td class="n">29</td>' in shown


def test_frames_say_how_many_carry_what():
    frames = make_frames(40).with_(numbers=np.repeat([1, 8], [7, len(make_frames(40).numbers) - 7]).astype(np.uint8))
    said = repr(frames)
    assert said.startswith("<Frames: frames 40; atoms ") and "elements H O;" in said and said.endswith("floats float64>")
    assert f"virial (of {frames.has_virial.sum()})" in said and "<td>H O</td>" in frames._repr_html_()
    assert repr(Frames.empty()) == "<Frames: frames 0; atoms 0; elements none; labels none; floats float64>"


def test_a_stream_says_what_it_mixes(tmp_path):
    write_store(tmp_path, make_frames(20))
    heads = [StreamHead(name=name, dataset=open_dataset(tmp_path), weight=weight) for name, weight in (("a", 3), ("b", 1))]
    with Stream(heads, seed=4, batch_atoms=64, rank=1, world=2, position=12, threads=0) as stream:
        assert repr(stream) == "<Stream: heads a 75%, b 25%; batch 64 atoms; position 12; seed 4; rank 1 of 2>"
    with Stream(heads, seed=4, batch_frames=8, batch_atoms=64, threads=0) as stream:
        assert "batch 8 frames, 64 atoms; position 0; seed 4>" in repr(stream)
