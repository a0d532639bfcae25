"""Lets tests import the modules beside them, which are also run as scripts, and finds the samples where there are some."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


@pytest.fixture(scope="session")
def samples_folder() -> Path:
    """The folder of real files, beside the repository."""
    folder = HERE.parents[1].parent / "shared" / "samples"
    if not (folder / "MANIFEST.tsv").is_file():
        pytest.skip("../shared/samples is not there")
    return folder
