"""Damaged texts give what Python alone gives, and the scanner never steps outside a buffer."""

import pytest

from lamdata.sources.bytes import scan
from tests import sanitized
from tests.lamdata.sources.bytes import scan_fuzz
from tests.lamdata.sources.bytes.scan_fuzz import TEXTS, any_bytes, damaged, read

compiled = pytest.mark.skipif(scan.compiled is None, reason="_scan.c could not be compiled at installation")


@compiled
@pytest.mark.parametrize("name", TEXTS)
def test_a_damaged_text_gives_the_same_with_the_scanner_and_without(name):
    damaged(3, 12, [name])


@compiled
@pytest.mark.parametrize("name", TEXTS)
def test_a_whole_text_gives_the_same_without_the_scanner(name, monkeypatch):
    file, reader, text, choices = TEXTS[name]
    found = read(text().encode(), file, reader, choices)
    monkeypatch.setattr(scan, "compiled", None)
    assert found and not isinstance(found, str) and read(text().encode(), file, reader, choices) == found


@compiled
@pytest.mark.parametrize(
    ("path", "reader", "choices"),
    [
        ("vasp_outcar/OUTCAR.h2o.md.10", "vasp/outcar", {}),
        ("vasp_outcar/OUTCAR_merged_numbers", "vasp/outcar", {}),
        ("vasprun_xml/vasprun.h2o.md.xml", "vasp/xml", {}),
        ("extxyz/ethanol_reduced_100.xyz", "extxyz", {}),
        ("lammps/lammps/traj.dump", "lammps/dump", {"options": {"elements": "Fe O"}}),
    ],
)
def test_a_sample_gives_the_same_without_the_scanner(samples, path, reader, choices, monkeypatch):
    data = (samples / path).read_bytes()
    found = read(data, path.rpartition("/")[2], reader, choices)
    monkeypatch.setattr(scan, "compiled", None)
    assert found and read(data, path.rpartition("/")[2], reader, choices) == found


@compiled
def test_any_bytes_are_answered():
    any_bytes(1, 3000)


@pytest.mark.slow  # builds the scanner with a sanitizer, and reads thousands of texts under it
@pytest.mark.skipif(sanitized.libraries() is None, reason="needs gcc and its sanitizer of addresses")
def test_the_scanner_reads_and_writes_nothing_outside_its_buffers():
    assert sanitized.run([scan_fuzz.__file__, "7", "3000"]) == 0
