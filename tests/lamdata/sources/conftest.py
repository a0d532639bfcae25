"""Lets the readers' tests use the writers of the conformance suite, and finds the samples where there are some."""

import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(REPO / "tests" / "conformance"))


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of real files, beside the repository."""
    folder = REPO.parent / "shared" / "samples"
    if not (folder / "MANIFEST.tsv").is_file():
        pytest.skip("../shared/samples is not there")
    return folder


@pytest.fixture
def write(tmp_path):
    """Write a text into a file of the test's own folder, and return its path."""

    def _write(content: str, name: str = "run.out") -> Path:
        (tmp_path / name).write_text(content)
        return tmp_path / name

    return _write
