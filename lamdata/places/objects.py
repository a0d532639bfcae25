"""How objects of a bucket are read: by obstore where it knows the scheme and is given credentials, else by fsspec."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from .place import Object

if TYPE_CHECKING:
    from typing_extensions import Buffer

MODIFIED = ("LastModified", "last_modified", "updated", "mtime", "created")  # what listings of fsspec call it
TIMEOUT = "30s"  # of one request; a try that hangs longer is given up and made again

# What obstore calls what fsspec's configuration of s3 may hold
_S3_NAMES = {"key": "aws_access_key_id", "secret": "aws_secret_access_key", "token": "aws_session_token", "endpoint_url": "aws_endpoint"}


class ObjectReader(Protocol):
    """Reads below a URL. A missing object is `FileNotFoundError`."""

    def read(self, path: str) -> bytes:
        """The whole object."""

    def read_range(self, path: str, start: int, stop: int) -> Buffer:
        """Bytes `start:stop`."""

    def list(self, path: str) -> list[str]:
        """Names directly below."""

    def size(self, path: str) -> int:
        """Bytes of an object."""

    def objects(self, path: str) -> Sequence[Object]:
        """All below a path, or the one that it names."""


def object_reader(url: str, files: FsspecFiles) -> ObjectReader:
    """Return the quickest reader of a URL; it answers without fsspec's client, which takes half a second to import."""
    parts = urlsplit(url)
    store = _s3_store(parts.netloc) if parts.scheme in ("s3", "s3a") and "::" not in url else None
    return files if store is None else ObstoreObjects(store, parts.path.strip("/"))


class FsspecFiles:
    """Any scheme of fsspec."""

    def __init__(self, url: str):
        self._url = url

    def _at(self, path: str) -> tuple[Any, str]:
        """File system and full path; fsspec keeps the file systems it has made."""
        import fsspec

        files, full = fsspec.core.url_to_fs(f"{self._url}/{path}" if path else self._url)
        return files, full

    def read(self, path: str) -> bytes:
        files, full = self._at(path)
        data: bytes = files.cat_file(full)
        return data

    def read_range(self, path: str, start: int, stop: int) -> bytes:
        files, full = self._at(path)
        data: bytes = files.cat_file(full, start=start, end=stop)
        return data

    def list(self, path: str) -> list[str]:
        files, full = self._at(path)
        return [name.rstrip("/").rsplit("/", 1)[-1] for name in files.ls(full, detail=False, refresh=True)]

    def size(self, path: str) -> int:
        files, full = self._at(path)
        files.invalidate_cache()
        return int(files.size(full))

    def objects(self, path: str) -> Sequence[Object]:
        files, full = self._at(path)
        files.invalidate_cache()
        root = self._at("")[1].rstrip("/")
        found = files.find(full, detail=True)
        return [Object(name[len(root) :].strip("/"), int(entry["size"]), _seconds(files, name, entry)) for name, entry in found.items()]

    def write(self, path: str, data: bytes) -> None:
        """Put a whole object."""
        files, full = self._at(path)
        files.pipe_file(full, data)

    def create(self, path: str, data: bytes) -> bool:
        """Put a whole object where there is none; say whether it was put."""
        files, full = self._at(path)
        try:
            files.pipe_file(full, data, mode="create")
        except FileExistsError:
            return False
        except OSError as err:  # s3fs gives S3's 412 the number of an invalid argument
            if "precondition" not in str(err).lower().replace("-", ""):
                raise
            return False
        return True

    def remove(self, path: str) -> None:
        """Delete an object, or all below a path."""
        files, full = self._at(path)
        files.rm(full, recursive=True)


class ObstoreObjects:
    """A bucket through obstore (https://developmentseed.org/obstore), compiled and without Python's async machinery."""

    def __init__(self, store: Any, prefix: str):
        import obstore

        self._api, self._store, self._prefix = obstore, store, prefix
        self._missing = obstore.exceptions.NotFoundError

    def _at(self, path: str) -> str:
        return "/".join(part for part in (self._prefix, path) if part)

    def read(self, path: str) -> bytes:
        try:
            return bytes(self._api.get(self._store, self._at(path)).bytes())
        except self._missing as err:
            raise FileNotFoundError(path) from err

    def read_range(self, path: str, start: int, stop: int) -> Buffer:
        try:
            data: Buffer = self._api.get_range(self._store, self._at(path), start=start, end=stop)
            return data
        except self._missing as err:
            raise FileNotFoundError(path) from err

    def list(self, path: str) -> list[str]:
        found = self._api.list_with_delimiter(self._store, self._at(path))
        names = [entry["path"] for entry in found["objects"]] + list(found["common_prefixes"])
        return [name.rstrip("/").rsplit("/", 1)[-1] for name in names]

    def objects(self, path: str) -> Sequence[Object]:
        entries = [entry for some in self._api.list(self._store, self._at(path)) for entry in some]
        if path and not entries:
            with suppress(self._missing):
                entries = [self._api.head(self._store, self._at(path))]
        skip = len(self._prefix) + 1 if self._prefix else 0
        return [Object(entry["path"][skip:], int(entry["size"]), entry["last_modified"].timestamp()) for entry in entries]

    def size(self, path: str) -> int:
        try:
            return int(self._api.head(self._store, self._at(path))["size"])
        except self._missing as err:
            raise FileNotFoundError(path) from err


def _seconds(files: Any, name: str, entry: Mapping[str, Any]) -> float:
    """When an object was last written: of a listing where it says so, else asked for."""
    found = next((entry[key] for key in MODIFIED if entry.get(key)), None) or files.modified(name)
    moment = datetime.fromisoformat(found) if isinstance(found, str) else found
    return float(moment) if isinstance(moment, (int, float)) else moment.timestamp()


def _s3_store(bucket: str) -> Any:
    """An obstore bucket with what fsspec's configuration or the environment gives; `None` where it would have to guess."""
    import fsspec

    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return _make_s3_store(bucket, tuple(sorted({**environment, **_hashable(fsspec.config.conf.get("s3", {}))}.items())))


@cache
def _make_s3_store(bucket: str, settings: tuple[tuple[str, Any], ...]) -> Any:
    """One store, and so one set of connections, for all places of a bucket."""
    try:
        from obstore.store import S3Store
    except ImportError:
        return None
    given = dict(settings)
    config: dict[str, Any] = {theirs: str(given[ours]) for ours, theirs in _S3_NAMES.items() if given.get(ours)}
    endpoint = config.pop("aws_endpoint", None) or given.get("AWS_ENDPOINT_URL_S3") or given.get("AWS_ENDPOINT_URL")
    if endpoint:
        config |= {"aws_endpoint": endpoint, "client_options": {"allow_http": endpoint.startswith("http://"), "timeout": TIMEOUT}}
    known = "aws_access_key_id" in config or "AWS_ACCESS_KEY_ID" in given
    if not known and not given.get("anon"):
        return None  # a profile or a role: botocore knows where to look
    return S3Store(
        bucket,
        **config,
        aws_region=given.get("AWS_REGION") or given.get("AWS_DEFAULT_REGION") or "us-east-1",
        aws_skip_signature=not known,
        retry_config={"max_retries": 0},  # `RemotePlace` tries again, for every scheme alike
    )


def _hashable(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if isinstance(value, (str, bool))}
