"""What a file says of a frame beside its labels: its split, and that it is a free atom."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io import write

from lamdata.catalog import SourceSpec
from lamdata.frame import Frame
from lamdata.frames import Parsed
from lamdata.sources import expand, read_all


def atoms(symbols: str, energy: float, **pairs: str) -> Atoms:
    out = Atoms(symbols, positions=[[1.7 * i, 0.0, 0.0] for i in range(len(symbols))], info=dict(pairs))
    out.calc = SinglePointCalculator(out, energy=energy)
    return out


IMAGES = [
    ("H", -0.41, {"config_type": "IsolatedAtom", "part": "train"}),
    ("HF", -7.25, {"config_type": "IsolatedAtom", "part": "train"}),  # the mark is not believed: it has two atoms
    ("F", -3.5, {"config_type": "isolated_atom", "part": "val"}),
    ("F", -3.25, {"config_type": "liquid", "part": "test"}),
]


def written(folder: Path, kind: str) -> Path:
    path = folder / f"a.{kind}"
    images = [(atoms(symbols, energy, **pairs), pairs) for symbols, energy, pairs in IMAGES]
    if kind == "xyz":
        write(path, [image for image, _ in images], format="extxyz")
    else:
        with connect(path) as database:
            for image, pairs in images:
                database.write(image, **pairs)
    return path


@pytest.mark.parametrize("kind", ["xyz", "db"])
def test_the_split_is_read_by_its_key_and_a_free_atom_by_its_mark(tmp_path: Path, kind: str) -> None:
    spec = SourceSpec(path=str(written(tmp_path, kind)), keys={"split": "part"})
    (file,) = expand(spec, base=tmp_path)
    frames = [frame for frame in read_all(file, spec) if isinstance(frame, Frame)]
    assert [frame.split for frame in frames] == ["train", "train", "val", "test"]
    assert [frame.isolated for frame in frames] == [True, False, True, False]
    stacked = Parsed.concatenate([Parsed.from_list(frames[1:2]), Parsed.from_list(frames[2:])])
    assert list(stacked.isolated) == [False, True, False] and list(stacked.splits) == ["train", "val", "test"]
    assert [(one.split, one.isolated) for one in stacked] == [("train", False), ("val", True), ("test", False)]


def test_a_key_that_the_card_does_not_name_is_no_split(tmp_path: Path) -> None:
    spec = SourceSpec(path=str(written(tmp_path, "xyz")))
    (file,) = expand(spec, base=tmp_path)
    assert {frame.split for frame in read_all(file, spec) if isinstance(frame, Frame)} == {""}
