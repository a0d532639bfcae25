"""The AFLOW prototypes that pymatgen ships."""

import json
from pathlib import Path

import numpy as np
import pytest

from lamdata.catalog import SourceSpec
from lamdata.errors import SourceError
from lamdata.frame import Frame
from lamdata.sources import expand, guess_format, read_all
from tests.lamdata.sources.reading import read, reasons

PACKAGED = SourceSpec(path="package://pymatgen/analysis/prototypes/aflow_prototypes.json.gz", format="auto")


def test_the_shipped_file_holds_288_structures_of_69_elements():
    (file,) = expand(PACKAGED, base=Path("."))
    assert guess_format(file) == "aflow/prototypes"
    found = list(read_all(file, PACKAGED))
    assert len(found) == 288 and all(isinstance(item, Frame) for item in found)
    assert len(np.unique(np.concatenate([f.numbers for f in found]))) == 69
    assert all(f.energy is None and f.forces is None and f.pbc == (True,) * 3 for f in found)
    assert found[0].group == "aflow/AB_hP6_154_a_b" and len({f.group for f in found}) == 273  # entries of one prototype stay together


def test_positions_are_those_of_pymatgen():
    from pymatgen.core import Structure

    (file,) = expand(PACKAGED, base=Path("."))
    entries = json.loads(file.text())
    for frame, entry in list(zip(read_all(file, PACKAGED), entries, strict=True))[::40]:
        theirs = Structure.from_dict(entry["snl"])
        assert np.allclose(frame.cell, theirs.lattice.matrix) and frame.numbers.tolist() == list(theirs.atomic_numbers)
        moved = (frame.positions - theirs.cart_coords) @ np.linalg.inv(frame.cell)
        assert np.allclose(moved, np.round(moved), atol=1e-8)


@pytest.mark.parametrize(
    "bad", [{}, {"snl": 3, "tags": {}}, {"snl": {"sites": [], "lattice": {"matrix": []}}, "tags": {"aflow": "x"}}, None]
)
def test_an_entry_that_is_no_prototype_is_rejected_alone(tmp_path, bad):
    site = {"species": [{"element": "Si", "occu": 1.0}], "xyz": [0, 0, 0]}
    good = {"snl": {"lattice": {"matrix": [[5, 0, 0], [0, 5, 0], [0, 0, 5]]}, "sites": [site]}, "tags": {"aflow": "x"}}
    (tmp_path / "p.json").write_text(json.dumps([good, bad, good]))
    items = read(tmp_path / "p.json", "aflow/prototypes")
    assert len(items) == 3 and len(reasons(items)) == 1


@pytest.mark.parametrize("content", ["{}", "[", "[" * 100_000, "nothing"])
def test_a_file_that_is_no_list_is_refused(tmp_path, content):
    (tmp_path / "p.json").write_text(content)
    with pytest.raises(SourceError):
        read(tmp_path / "p.json", "aflow/prototypes")
