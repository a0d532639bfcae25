"""Publishing: what a version holds, what the same command does twice, and what is refused."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lamdata.catalog import Card
from lamdata.cli import app
from lamdata.errors import ConfigError, DataError, StoreError
from lamdata.located import parse_yaml
from lamdata.registry import draft_dataset, publish
from lamdata.store import open_store
from lamdata.store.verify import verify
from tests.conftest import tree
from tests.lamdata.registry.made import make_store, published


def put(store: Path, registry: Path, version: str = "1.0.0", **options):
    return publish(draft_dataset(str(store), "demo", version=version, **options), str(registry), quiet=True)


def test_a_version_holds_a_store_of_the_dataset_alone_and_all_that_is_said_of_it(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store.zarr")
    make_store(tmp_path / "store.zarr", name="other", seed=1)
    put(store, tmp_path / "registry")
    folder = tmp_path / "registry/demo@1.0.0"
    inside = open_store(folder / "store")
    assert list(inside) == ["demo"] and list(verify(str(folder / "store"))) == []
    assert inside["demo"].content_hash == open_store(store)["demo"].content_hash
    names = {"card.yaml", "README.md", "croissant.json", "index.html", "files.json", "SHA256SUMS", "store"}
    assert {path.name for path in folder.iterdir()} == names
    said, _ = parse_yaml((folder / "card.yaml").read_text(), where="card.yaml")
    assert Card.model_validate(said["card"]).license == "CC-BY-4.0" and said["content"] == inside["demo"].content_hash


def test_the_list_has_the_size_and_hash_of_every_file_and_the_entry_those_of_the_list(tmp_path: Path) -> None:
    registry = published(tmp_path)
    files = tree(registry / "demo@1.0.0")
    listed = json.loads(files.pop("files.json"))
    assert listed == {path: [len(data), hashlib.sha256(data).hexdigest()] for path, data in files.items()}
    data = (registry / "demo@1.0.0/files.json").read_bytes()
    entry = json.loads((registry / "index/demo@1.0.0.json").read_text())
    assert entry["listed"] == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=registry / "demo@1.0.0").returncode == 0


def test_the_same_command_again_changes_nothing_and_mends_what_a_kill_left_out(tmp_path: Path) -> None:
    registry = published(tmp_path)
    before = tree(registry)
    (registry / "index.json").write_text("{")
    (registry / "index.html").unlink()
    again = put(tmp_path / "store.zarr", registry)
    assert not again.new and again.written == 0 and tree(registry) == before


def test_an_existing_version_is_not_changed(tmp_path: Path) -> None:
    registry = published(tmp_path)
    before = tree(registry)
    other = make_store(tmp_path / "other.zarr", seed=3)
    with pytest.raises(ConfigError, match="demo@1.0.0 is there already, with other content; a version does not change: choose another"):
        put(other, registry)
    assert tree(registry) == before
    assert put(other, registry, "1.1.0").new


def test_a_version_that_was_begun_with_other_content_is_refused(tmp_path: Path) -> None:
    registry = published(tmp_path)
    (registry / "index/demo@1.0.0.json").unlink()
    with pytest.raises(ConfigError, match="demo@1.0.0 was begun with other content; choose another version"):
        put(make_store(tmp_path / "other.zarr", seed=3), registry)
    assert put(tmp_path / "store.zarr", registry).new


def test_a_damaged_store_is_not_published(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store.zarr")
    path = next(store.glob("demo/*/energy/c/0"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match="energy/c/0: does not have the hash that the list says"):
        put(store, tmp_path / "registry")
    assert not (tmp_path / "registry/index").exists()


@pytest.mark.parametrize(
    ("licence", "said", "flags"),
    [
        (None, "demo is not known", "--accept unknown"),
        ("ask me", "demo is 'ask me', which is none that is known", "--accept unknown"),
        ("CC BY-NC-ND 4.0", "demo is 'CC BY-NC-ND 4.0', non-commercial and without derivatives", "--accept NC --accept ND"),
    ],
)
def test_a_licence_that_is_not_known_or_not_free_is_refused_unless_it_is_accepted(tmp_path: Path, licence, said: str, flags: str) -> None:
    store = make_store(tmp_path / "store.zarr", license=licence)
    with pytest.raises(DataError) as caught:
        put(store, tmp_path / "registry")
    assert said in str(caught.value) and f"`{flags}`" in str(caught.value)
    assert not (tmp_path / "registry").exists()
    words = flags.replace("--accept", "").split()
    assert put(store, tmp_path / "registry", accept=[*words, "NC"]).entry.accepted == words


@pytest.mark.parametrize("version", ["1", "1.0", "v1.0.0", "1.0.0/../x", "01.0.0", "1.0.0\n"])
def test_a_version_is_three_numbers(tmp_path: Path, version: str) -> None:
    store = make_store(tmp_path / "store.zarr")
    with pytest.raises(ConfigError, match=r"is no version; three numbers, as 1\.0\.0"):
        put(store, tmp_path / "registry", version)


def test_the_commands_in_one_line_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, runner = make_store(tmp_path / "store.zarr"), CliRunner()
    args = ["publish", str(store), "--version", "1.0.0", "--json", "--quiet"]
    monkeypatch.delenv("LAM_REGISTRY", raising=False)
    nowhere = runner.invoke(app, args)
    assert "no registry is named; `export LAM_REGISTRY=FOLDER-OR-URL`, or give --registry" in str(nowhere.exception)
    monkeypatch.setenv("LAM_REGISTRY", str(tmp_path / "registry"))
    odd = runner.invoke(app, [*args, "--accept", "all"])
    assert "--accept: 'all' is nothing that can be accepted; one of unknown, NC, ND" in str(odd.exception)
    done = runner.invoke(app, args)
    assert json.loads(done.stdout)["address"] == "demo@1.0.0" and json.loads(done.stdout)["new"]
    found = runner.invoke(app, ["search", "pbe", "--json"])
    assert [row["name"] for row in json.loads(found.stdout)] == ["demo"]
    assert "demo@1.0.0" in runner.invoke(app, ["search"]).stdout
    got = runner.invoke(app, ["fetch", "demo@1.0.0", "-o", str(tmp_path / "got"), "--json", "--quiet"])
    assert json.loads(got.stdout)["path"] == f"{tmp_path}/got/demo@1.0.0/store"
