"""Publishing and fetching, killed before or after any write: the same call again ends with the bytes of one that was left alone."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from lamdata.places.local import LocalPlace
from lamdata.registry import draft_dataset, fetch, publish
from tests.conftest import tree
from tests.forked import start
from tests.lamdata.registry.made import make_store

Work = Callable[[Path, Path], None]


def put(source: Path, target: Path) -> None:
    publish(draft_dataset(str(source), "demo", version="1.0.0"), str(target), quiet=True)


def get(source: Path, target: Path) -> None:
    fetch("demo@1.0.0", str(source), str(target), quiet=True)


def killed(work: Work, source: Path, target: Path, write: int, before: bool) -> None:
    """Do the work, and die at the n-th write of the process."""
    count = 0

    def dying(real):
        def call(place, path, data):
            nonlocal count
            count += 1
            mine = count
            if before and mine == write:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(place, path, data)
            if mine == write:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    LocalPlace.write, LocalPlace.create = dying(LocalPlace.write), dying(LocalPlace.create)  # type: ignore[method-assign]
    work(source, target)


def check_kills(work: Work, source: Path, folder: Path, *, count: int, seed: int) -> None:
    """Some trials, among them a kill at the first writes and at the last ones."""
    work(source, folder / "whole")
    expected, rng = tree(folder / "whole"), random.Random(seed)
    writes = len(expected)  # each file is written once
    instants = [1, writes, writes - 1, writes - 2, *(rng.randrange(2, writes) for _ in range(count))][:count]
    for number, write in enumerate(instants):
        target = folder / f"trial-{number}"
        process = start(killed, work, source, target, write, rng.random() < 0.5)
        process.join()
        assert process.exitcode == -signal.SIGKILL, f"write {write} of {writes} did not come"
        entry = target / "index/demo@1.0.0.json"
        assert not entry.exists() or {**tree(target / "demo@1.0.0")} == tree(folder / "whole/demo@1.0.0")  # what is listed is whole
        work(source, target)
        assert tree(target) == expected, f"killed at write {write} of {writes}"
        shutil.rmtree(target)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("made") / "store.zarr")


@pytest.fixture(scope="module")
def registry(store: Path) -> Path:
    put(store, store.parent / "registry")
    return store.parent / "registry"


def test_a_killed_publication_ends_with_the_same_bytes(store: Path, tmp_path: Path) -> None:
    check_kills(put, store, tmp_path, count=5, seed=1)


def test_a_killed_fetch_ends_with_the_same_bytes(registry: Path, tmp_path: Path) -> None:
    check_kills(get, registry, tmp_path, count=5, seed=2)


@pytest.mark.slow  # a minute or two: each trial starts a process and copies the dataset twice
def test_thirty_kills_of_each(store: Path, registry: Path, tmp_path: Path) -> None:
    check_kills(put, store, tmp_path / "put", count=30, seed=3)
    check_kills(get, registry, tmp_path / "get", count=30, seed=4)
