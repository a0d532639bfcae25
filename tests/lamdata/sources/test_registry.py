"""The registry: names, guesses, and the rules that all readers share."""

import subprocess
import sys
from importlib.metadata import EntryPoint

import numpy as np
import pytest

import lamdata.sources as sources
from lamdata.catalog import SourceSpec
from lamdata.errors import ConfigError, SourceError
from lamdata.frame import Frame, Rejection
from lamdata.sources import Reader, SourceFile, guess_format, read_all, read_theory, reader, readers


class Toy:
    """One frame for each number in the file."""

    name = "toy"
    options = {"energy": ("free", "total")}
    open_units = ()
    open_keys = ()

    def read(self, file, spec):
        for index, word in enumerate(file.text().split()):
            if word == "reject":
                yield Rejection(origin=f"{file.name}#{index}", reason="unconverged")
            else:
                position = np.array([[float(word), 0, 0]])
                yield Frame(
                    numbers=np.array([1], np.uint8),
                    positions=position,
                    energy=1.0,
                    forces=position,
                    origin=f"{file.name}#{index}",
                    group="g",
                )

    def theory(self, file):
        return {"code": file.text()[100]}

    def guess(self, file, head):
        return head.startswith(b"toy")


def toy(tmp_path, text, **choices):
    (tmp_path / "a").mkdir(exist_ok=True)
    (tmp_path / "a/x.toy").write_text(text)
    file = SourceFile(name="a/x.toy", path=str(tmp_path / "a/x.toy"))
    return list(read_all(file, SourceSpec(path="x", **choices), use=Toy()))


def test_every_reader_is_what_the_protocol_asks_for():
    for name, found in readers().items():
        assert isinstance(found, Reader) and found.name == name


def test_a_misspelt_format_is_told_the_right_one():
    with pytest.raises(ConfigError, match="did you mean 'qe/pw'"):
        reader("qe/pv")


@pytest.fixture
def fresh():
    """Entry points are looked up once in a process: forget them before and after."""
    sources._entry_points.cache_clear()
    yield
    sources._entry_points.cache_clear()


def test_a_third_party_reader_is_found_by_its_entry_point(monkeypatch, fresh):
    monkeypatch.setattr(sources, "entry_points", lambda group: [EntryPoint("toy", "test_registry:Toy", group)])
    monkeypatch.setattr(sources, "_loaded", {})
    monkeypatch.setitem(sys.modules, "test_registry", sys.modules[__name__])
    assert isinstance(reader("toy"), Toy)
    sources._entry_points.cache_clear()
    monkeypatch.setattr(sources, "entry_points", lambda group: [EntryPoint("bad", "no_such_module:Toy", group)])
    with pytest.raises(ConfigError, match="does not load"):
        reader("bad")


def test_no_heavy_library_is_imported_with_the_package():
    code = "import sys, lamdata.sources; print([m for m in ('ase', 'dpdata', 'pymatgen', 'torch', 'fsspec', 'h5py') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_groups_are_as_the_card_says(tmp_path):
    group = {choice: toy(tmp_path, "1 2", group=choice)[1].group for choice in ("reader", "file", "folder", "frame")}
    assert group == {"reader": "g", "file": "a/x.toy", "folder": "a", "frame": "a/x.toy#1"}


def test_a_label_that_the_card_switches_off_is_not_read(tmp_path):
    (frame,) = toy(tmp_path, "1", keys={"energy": ""})
    assert frame.energy is None and frame.forces is not None


def test_a_number_that_is_not_finite_refuses_its_frame_alone(tmp_path):
    items = toy(tmp_path, "1 nan 2 reject")
    assert [getattr(item, "reason", None) for item in items] == [None, "nonfinite", None, "unconverged"]


def test_any_failure_of_a_reader_is_one_line_with_the_file(tmp_path):
    with pytest.raises(SourceError, match=r"^a/x.toy: not readable as toy \(ValueError: could not convert string to float: 'x'\)"):
        toy(tmp_path, "1 x")
    with pytest.raises(SourceError, match="holds no frame"):
        toy(tmp_path, "")
    file = SourceFile(name="x", path=str(tmp_path / "a/x.toy"))
    with pytest.raises(SourceError, match="IndexError"):
        read_theory(file, use=Toy())


def test_a_choice_that_would_not_be_heeded_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no option 'enrgy'; did you mean 'energy'"):
        toy(tmp_path, "1", options={"enrgy": "free"})
    with pytest.raises(ConfigError, match="one of: free, total"):
        toy(tmp_path, "1", options={"energy": "sigma0"})
    with pytest.raises(ConfigError, match="fixes its units"):
        toy(tmp_path, "1", units={"energy": "eV"})
    with pytest.raises(ConfigError, match="fixes its keys"):
        toy(tmp_path, "1", keys={"energy": "REF_energy"})


def test_a_file_of_no_known_format_is_told_so(tmp_path):
    (tmp_path / "x").write_bytes(bytes(range(256)))
    with pytest.raises(SourceError, match="not recognised"):
        guess_format(SourceFile(name="x", path=str(tmp_path / "x")))
