"""A file read without a card: what it states of its theory."""

import tarfile
from pathlib import Path

import pytest

from lamdata.errors import ConfigError
from lamdata.reading import theories_of

RAW = Path(__file__).resolve().parents[2] / "catalogs/quickstart/raw"


def test_each_statement_of_the_files_comes_once(tmp_path: Path) -> None:
    with tarfile.open(RAW / "qe-pbe.tar.xz") as archive:
        for name in ("00.out", "01.out"):
            found = next(member for member in archive.getnames() if member.endswith(name))
            (tmp_path / name).write_bytes(archive.extractfile(found).read())
    (stated,) = theories_of(tmp_path / "*.out")
    assert stated["functional"] == "PBE" and stated["code"].startswith("Quantum ESPRESSO")


def test_files_that_are_silent_state_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("1\nProperties=species:S:1:pos:R:3\nH 0 0 0\n")
    assert theories_of(tmp_path / "a.xyz") == theories_of(tmp_path / "a.xyz", format="extxyz") == []
    with pytest.raises(ConfigError):
        theories_of(tmp_path / "a.xyz", format="no/such")
