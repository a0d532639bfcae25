"""A disk that is really full, or really read-only: one clear line, an intact store, and the same command goes on afterwards."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lamdata import open_store
from lamdata.store.verify import verify
from tests.conftest import command, write_catalog


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 20 MB, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("may not mount a file system here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def ingest(folder: Path, name: str, store: Path) -> subprocess.CompletedProcess[str]:
    args = command("lamdata", "ingest", f"{folder}/{name}.yaml", "-o", str(store), "--quiet")
    return subprocess.run(args, capture_output=True, text=True)


@pytest.mark.parametrize(("trouble", "message"), [("size=0", "disk is full"), ("ro", "read-only")])
def test_an_ingest_that_cannot_write_leaves_the_store_as_it_was(tmp_path: Path, disk: Path, trouble: str, message: str) -> None:
    folder, store = write_catalog(tmp_path, groups=3, frames=20), disk / "s.zarr"
    assert ingest(folder, "cluster", store).returncode == 0
    if trouble == "size=0":
        used = sum(path.stat().st_blocks * 512 for path in disk.rglob("*") if path.is_file())
        trouble = f"size={used + 65536}"
    subprocess.run(["mount", "-o", f"remount,{trouble}", disk], check=True)
    refused = ingest(folder, "bulk", store)
    assert refused.returncode != 0 and message in refused.stderr and len(refused.stderr.strip().splitlines()) == 1
    assert list(open_store(str(store))) == ["cluster"] and not list(verify(str(store)))
    subprocess.run(["mount", "-o", "remount,rw,size=20m", disk], check=True)
    assert ingest(folder, "bulk", store).returncode == 0
    assert sorted(open_store(str(store))) == ["bulk", "cluster"] and not list(verify(str(store)))
    assert [path.name for path in disk.iterdir()] == ["s.zarr"]
