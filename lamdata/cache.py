"""Where this machine keeps what can be had again: `LAM_CACHE_DIR`, else the folder `lam` of the user's cache."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def cached(kind: str, place: str) -> Path:
    """The path of what is kept of one kind for a place: a folder or a URL."""
    cache = os.environ.get("LAM_CACHE_DIR") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "lam")
    where = place if "://" in place else os.path.abspath(place)
    return Path(cache, kind, hashlib.sha256(where.encode()).hexdigest()[:16])
