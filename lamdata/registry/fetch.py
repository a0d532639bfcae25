"""Fetch: a version of a registry -> a folder, verified; whole, or the part of a dataset that holds one split. The folder is a registry too."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cache import cached
from ..errors import ConfigError
from ..places import open_place
from ..places.published import ADDRESS, SCHEME, STORE, parse_address, registry_url
from ..store import open_store
from ..store.layout import COLUMNS, SPLITS
from .entry import Entry, Listed, commit, find_entry, read_entry, read_index, refuse_other
from .files import LIST, Stored, copy, read_list, read_listed

MODEL = "model.pt"
SHARD = re.compile(rf"{STORE}/(.+)/({'|'.join(COLUMNS)})/c/([0-9]+)(?:/0)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What a fetch did."""

    entry: Entry
    path: str  # of the store or of the checkpoint
    files: int
    bytes: int
    written: int  # bytes, now
    split: str | None

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        names = ("path", "files", "bytes", "written", "split")
        return {"address": self.entry.address} | {name: getattr(self, name) for name in names}

    def text(self) -> str:
        """As a line for a person."""
        part = "" if self.split is None else f", what holds its {self.split} frames"
        return f"{self.path}: {self.entry.address}{part}, {self.files} files, {self.bytes / 1e6:.3g} MB, verified"


def fetch(address: str, registry: str, folder: str, *, split: str | None = None, quiet: bool = False) -> Fetched:
    """Bring NAME@VERSION into `folder`/NAME@VERSION; what is there and intact is not brought again.

    With a split, only the objects of a dataset that hold frames of it, which hold others too: their size is 32,768 frames. Such a part is no
    version: it is not listed in the folder, and the same call without a split completes it. Raises StoreError for what is not as listed.
    """
    source, target = open_place(registry), open_place(folder)
    _say_versions(registry, address)
    entry = read_entry(source, address)
    if split is not None and entry.kind != "dataset":
        raise ConfigError(f"{address} is a {entry.kind}, and has no splits", hint="leave --split out")
    refuse_other(target, entry)
    files = read_list(source, entry)
    assert entry.listed is not None, "an entry that was read has one"
    files[LIST] = entry.listed

    def bring(some: Mapping[str, Listed]) -> int:
        def read(path: str) -> bytes:
            return read_listed(Stored(source, f"{address}/{path}", some[path]))

        return copy(some, read, target, address, title=f"fetching {address}", quiet=quiet)

    if split is None:
        written, wanted = bring(files), files
        commit(target, entry)
    else:
        wanted = {path: file for path, file in files.items() if SHARD.fullmatch(path) is None}
        written = bring(wanted)
        shards = _shards_of(f"{folder}/{address}/{STORE}", split)
        part = {path: file for path, file in files.items() if _is_in(path, shards)}
        written, wanted = written + bring(part), wanted | part
    path = f"{folder}/{address}/{MODEL if entry.kind == 'model' else STORE}"
    size = sum(file.bytes for file in wanted.values())
    return Fetched(entry=entry, path=path, files=len(wanted), bytes=size, written=written, split=split)


def _say_versions(registry: str, address: str) -> None:
    """Help where somebody gives a name alone."""
    if ADDRESS.fullmatch(address) is None:
        found = [entry.address for entry in read_index(open_place(registry)) if entry.name == address]
        if found:
            raise ConfigError(f"{address} has {len(found)} versions", where=registry, hint=f"name one of {', '.join(found)}")
        parse_address(address)


def _shards_of(store: str, split: str) -> dict[str, set[int]]:
    """Path of each segment -> numbers of its shards that hold a frame of the split."""
    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}", hint=f"one of {', '.join(SPLITS)}")
    found = {}
    for dataset in open_store(store).values():
        for segment in dataset.segments:
            blocks = segment.statistics().splits[:, SPLITS.index(split)].nonzero()[0]
            found[segment.entry.path] = set((blocks // segment.entry.plan.shard_blocks).tolist())
    return found


def _is_in(path: str, shards: Mapping[str, Collection[int]]) -> bool:
    found = SHARD.fullmatch(path)
    return found is not None and int(found[3]) in shards.get(found[1], ())


def model_file(model: str | Path) -> Path:
    """The checkpoint that a path or `registry://NAME@VERSION` names; one of a registry is fetched once, and verified each time."""
    if not (isinstance(model, str) and model.startswith(SCHEME)):
        return Path(model)
    registry, address = registry_url(), model.removeprefix(SCHEME)
    parse_address(address)
    folder = cached("registry", registry)
    entry = find_entry(open_place(folder), address)
    path = folder / address / MODEL
    if entry is None or not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != entry.content:
        entry = fetch(address, registry, str(folder), quiet=True).entry
    if entry.kind != "model":
        raise ConfigError(f"{address} is a {entry.kind}", where=registry, hint="`lamdata search --kind model` lists models")
    return path
