"""`registry://NAME@VERSION` where a store is asked for: read like any store, never written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamdata.errors import ConfigError, StoreError
from lamdata.places import open_place
from lamdata.registry import draft_dataset, publish
from lamdata.store import commit, open_dataset, open_store, remove
from tests.conftest import tree
from tests.lamdata.registry.made import make_store, published


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = published(tmp_path)
    monkeypatch.setenv("LAM_REGISTRY", str(found))
    return found


def test_a_published_dataset_opens_by_its_address(registry: Path) -> None:
    there, here = open_dataset("registry://demo@1.0.0", split="test"), open_dataset(registry / "demo@1.0.0/store", split="test")
    assert there.content_hash == here.content_hash and not there.distant
    np.testing.assert_array_equal(there.frames().forces, here.frames().forces)


def test_nothing_is_written_to_what_is_published(registry: Path) -> None:
    before, place = tree(registry), open_place("registry://demo@1.0.0/demo")
    for write in (lambda: place.write("x", b""), lambda: place.create("x", b""), lambda: place.remove("segment-0")):
        with pytest.raises(StoreError, match="a published version does not change; `lamdata fetch` it and change the copy"):
            write()
    with pytest.raises(StoreError, match="does not change"):
        remove("registry://demo@1.0.0", "demo")
    entry = open_store("registry://demo@1.0.0").entry("demo")
    with pytest.raises(StoreError, match="does not change"):
        commit("registry://demo@1.0.0", "other", entry.segments, entry.meta)
    assert tree(registry) == before


def test_an_address_that_leads_nowhere_says_what_to_do(registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match=f"{registry}: has no demo@2.0.0; `lamdata search --registry {registry}` lists what it has"):
        open_store("registry://demo@2.0.0")
    publish(draft_dataset(str(make_store(tmp_path / "two.zarr", seed=2)), "demo", version="2.0.0"), str(registry), quiet=True)
    assert list(open_store("registry://demo@2.0.0")) == ["demo"]
    for wrong in ("registry://demo", "registry://../demo@1.0.0", "registry:///demo@1.0.0"):
        with pytest.raises(ConfigError, match="is no NAME@VERSION"):
            open_store(wrong)
    monkeypatch.delenv("LAM_REGISTRY")
    with pytest.raises(ConfigError, match="no registry is named; `export LAM_REGISTRY=FOLDER-OR-URL`"):
        open_store("registry://demo@1.0.0")


def test_a_version_that_is_not_whole_is_not_there(registry: Path) -> None:
    (registry / "index/demo@1.0.0.json").unlink()
    with pytest.raises(StoreError, match="has no demo@1.0.0"):
        open_store("registry://demo@1.0.0")


def test_a_path_that_climbs_out_of_a_version_is_no_place_in_it(registry: Path) -> None:
    with pytest.raises(ConfigError, match="is no place in a version"):
        open_place("registry://demo@1.0.0/../../other")
