"""Ingest on a Dask cluster: real scheduler, real workers, one of them killed in the middle; the store is that of one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from lamdata import ingest, open_card, open_store
from lamdata.errors import SetupError
from lamdata.store.survey import plan_segment
from tests.conftest import tree, write_catalog

SHARDS = 64


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """Address of a scheduler, and its two workers, each a process of its own that nobody restarts."""
    pytest.importorskip("distributed", reason="needs the extra `dask`")
    address_file = tmp_path / "scheduler.json"
    scheduler = _dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(address_file))
    workers = [
        _dask(
            "worker",
            "--scheduler-file",
            str(address_file),
            "--nthreads",
            "1",
            "--no-nanny",
            "--no-dashboard",
            "--local-directory",
            str(tmp_path),
        )
        for _ in range(2)
    ]
    try:
        yield _address(address_file), workers
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


def _dask(kind: str, *args: str) -> subprocess.Popen:
    command = f"from distributed.cli.dask_{kind} import main; main()"
    return subprocess.Popen([sys.executable, "-c", command, *args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _address(file: Path) -> str:
    from distributed import Client

    for _ in range(600):
        if file.exists():
            break
        time.sleep(0.1)
    with Client(scheduler_file=str(file), timeout=60) as client:
        client.wait_for_workers(2, timeout=60)
        return client.scheduler.address


def test_a_killed_worker_changes_no_byte(tmp_path: Path, cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    address, workers = cluster
    monkeypatch.setattr("lamdata.ingestion.run.plan_segment", partial(plan_segment, block_frames=2, shard_blocks=1))
    folder = write_catalog(tmp_path, groups=11, frames=12)
    card = open_card(folder / "bulk.yaml")
    run = partial(ingest, card, base=folder, quiet=True)
    alone = run(str(folder / "alone.zarr"))
    finished: list[int] = []

    def kill() -> None:
        while not finished or finished[-1] < SHARDS // 8:
            finished.append(len(list((folder / "shared.zarr").glob("bulk/*/receipts/*.json"))))
            time.sleep(0.002)
        os.kill(workers[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    shared = run(str(folder / "shared.zarr"), scheduler=address)
    killer.join(timeout=60)
    workers[0].wait(timeout=60)
    assert SHARDS // 8 <= finished[-1] < SHARDS, "the worker was to die in the middle"
    assert shared.segment == alone.segment and tree(folder / "shared.zarr") == tree(folder / "alone.zarr")
    hashes = {open_store(str(folder / name))["bulk"].content_hash for name in ("alone.zarr", "shared.zarr")}
    assert len(hashes) == 1 and len(list((folder / "alone.zarr").glob("bulk/*/positions/c/*"))) >= SHARDS


def test_a_scheduler_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="needs the extra `dask`")
    monkeypatch.setattr("lamdata.ingestion.workers.ANSWERS", 0.5)
    folder = write_catalog(tmp_path, groups=1, frames=2)
    with pytest.raises(SetupError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9.*dask scheduler"):
        ingest(open_card(folder / "bulk.yaml"), str(folder / "s.zarr"), base=folder, quiet=True, scheduler="tcp://127.0.0.1:9")
