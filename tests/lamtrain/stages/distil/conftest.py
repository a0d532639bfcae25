"""A teacher that was trained for a moment, and a distillation that takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from .cases import prepare


@pytest.fixture(scope="session")
def metals(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `teacher.pt`, `start.extxyz`, `distil.yaml` and `small.zarr`."""
    folder = tmp_path_factory.mktemp("metals")
    prepare(folder, small)
    (folder / "small.zarr").symlink_to(small / "small.zarr")
    return folder
