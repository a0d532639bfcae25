"""Registry: datasets and models under NAME@VERSION in any folder or bucket, found, fetched and verified by others.

index/NAME@VERSION.json     created once, last: the version is whole; names the list of its files by hash
NAME@VERSION/               card.yaml README.md index.html files.json SHA256SUMS
    store/ croissant.json                          of a dataset: a store of it alone
    model.pt model.safetensors model.json          of a model
index.json index.html       all of them, made of the folder `index`, for servers that cannot list and for people
"""

from __future__ import annotations

from ..places.published import check_name, check_version, registry_url
from .dataset import draft_dataset
from .draft import Draft
from .entry import Entry
from .fetch import fetch, model_file
from .licences import PROBLEMS, accepted_of, licences_of_parent, problems_of
from .publish import publish
from .search import search

__all__ = [
    "PROBLEMS",
    "Draft",
    "Entry",
    "accepted_of",
    "check_name",
    "check_version",
    "draft_dataset",
    "fetch",
    "licences_of_parent",
    "model_file",
    "problems_of",
    "publish",
    "registry_url",
    "search",
]
