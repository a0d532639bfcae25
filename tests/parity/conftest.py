"""Tests marked `deepmd` need DeePMD-kit's interpreter in LAM_DEEPMD_PYTHON; without it they are skipped."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the modules beside the tests, which also DeePMD-kit's interpreter imports


def pytest_collection_modifyitems(items):
    missing = pytest.mark.skip(reason="set LAM_DEEPMD_PYTHON, see tests/parity/README.md")
    for item in items:
        if item.get_closest_marker("deepmd") and not os.environ.get("LAM_DEEPMD_PYTHON"):
            item.add_marker(missing)
