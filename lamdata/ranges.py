"""How a range of bytes is fetched from an object store: by obstore where it knows the scheme and the credentials, else by fsspec."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

RangeReader = Callable[[str, int, int], Any]  # (path as fsspec has it, first byte, end) -> bytes-like

TIMEOUT = "30s"  # of one request; a try that hangs longer is given up and made again

# fsspec's names of what obstore needs, by scheme
_S3 = {"key": "aws_access_key_id", "secret": "aws_secret_access_key", "token": "aws_session_token", "endpoint_url": "aws_endpoint"}


def range_reader(url: str, fs: Any) -> RangeReader:
    """Return the quickest reader of ranges for a URL whose fsspec file system is `fs`."""
    scheme = urlsplit(url).scheme
    make = {"s3": _s3, "s3a": _s3}.get(scheme) if "::" not in url else None
    reader = make(url, fs) if make else None
    return reader or (lambda path, start, stop: fs.cat_file(path, start=start, end=stop))


def _s3(url: str, fs: Any) -> RangeReader | None:
    """obstore with the credentials that fsspec's configuration or the environment gives; `None` where it must not guess them."""
    try:
        from obstore import get_range
        from obstore.store import S3Store
    except ImportError:
        return None
    config = {theirs: str(value) for ours, theirs in _S3.items() if (value := getattr(fs, ours, None) or fs.storage_options.get(ours))}
    config |= {k: str(v) for k, v in (fs.storage_options.get("client_kwargs") or {}).items() if k in ("endpoint_url", "region_name")}
    endpoint = config.pop("endpoint_url", None) or config.get("aws_endpoint") or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = config.pop("region_name", None) or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    known = "aws_access_key_id" in config or "AWS_ACCESS_KEY_ID" in os.environ
    if not known and not getattr(fs, "anon", False):
        return None  # a profile, a role: botocore knows where to look
    bucket = urlsplit(url).netloc
    store = S3Store(
        bucket,
        **config | ({"aws_endpoint": endpoint} if endpoint else {}),
        aws_region=region,
        aws_skip_signature=not known,
        client_options={"allow_http": bool(endpoint and endpoint.startswith("http://")), "timeout": TIMEOUT},
        retry_config={"max_retries": 0},  # ours does it, for every scheme alike
    )
    return lambda path, start, stop: get_range(store, path.removeprefix(f"{bucket}/"), start=start, end=stop)
