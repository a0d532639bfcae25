"""Verify: a store -> every damaged chunk in it, with the frames it holds.

Each object is hashed and compared with its segment's manifest; where a hash differs, the checksums of the chunks say which they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

from ..errors import StoreError
from ..places import Place, open_place
from .codec import CRC, ChecksumError, check, index_bytes, unpack_index
from .layout import COLUMNS
from .named import is_whole, named_objects
from .shard import MANIFEST, SegmentEntry, digest
from .store import Store, open_store

WORKERS = 4  # objects hashed at a time; each is held in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One thing that is not what was written."""

    dataset: str
    segment: str  # path below the store, or the folder of objects that belong to none
    object: str  # path below the segment
    problem: str
    block: int | None = None  # of the segment; None where the object is not made of blocks
    frames: range | None = None  # rows of the segment that are lost with it
    shard: int | None = None

    def __str__(self) -> str:
        frames = "" if self.frames is None else f" (frames {self.frames.start}..{self.frames.stop - 1})"
        block = "" if self.block is None else f": block {self.block}{frames}"
        return f"{self.segment}/{self.object}{block}: {self.problem}"


def verify(store_url: str) -> Iterator[Damage]:
    """Hash everything that the newest commit makes visible, and yield what is damaged."""
    opened = open_store(store_url)
    for name in opened:
        yield from verify_dataset(opened, name)


class Whole(Protocol):
    """Objects of segments that were found whole, each as the segment's hash and its path below the store."""

    def __contains__(self, item: tuple[str, str], /) -> bool: ...
    def add(self, item: tuple[str, str], /) -> None: ...


def verify_dataset(opened: Store, name: str, whole: Whole | None = None) -> Iterator[Damage]:
    """The same of one dataset; where the page is damaged that tells of it, that is all. Objects in `whole` are not read, and those found whole added."""
    place = open_place(opened.url)
    try:
        found = opened.entry(name)
    except StoreError as err:
        folder, _, page = str(err.where).removeprefix(f"{place.url}/").rpartition("/")
        yield Damage(dataset=name, segment=folder, object=page, problem=err.message)
        return
    for entry in found.segments:
        yield from _verify_segment(open_place(f"{place.url}/{entry.path}"), name, entry, set() if whole is None else whole)
    for path in named_objects(found.meta):
        yield from _verify_named(place, name, path)


def _verify_named(place: Place, dataset: str, path: str) -> Iterator[Damage]:
    folder, _, name = path.rpartition("/")
    try:
        problem = None if is_whole(path, place.read(path)) else "does not have the hash that was written"
    except FileNotFoundError:
        problem = "is missing"
    except OSError as err:
        problem = str(err)
    if problem:
        yield Damage(dataset=dataset, segment=folder, object=name, problem=problem)


def _verify_segment(place: Place, dataset: str, entry: SegmentEntry, whole: Whole) -> Iterator[Damage]:
    try:
        manifest = json.loads(place.read(MANIFEST))
        objects = manifest["objects"]
        problem = None if digest(objects) == entry.hash else "does not have the hash that was committed"
    except FileNotFoundError:
        problem = "is missing"
    except (ValueError, KeyError, TypeError):
        problem = "is not JSON"
    if problem:
        yield Damage(dataset=dataset, segment=entry.path, object=MANIFEST, problem=problem)
        return
    left = [(path, expected) for path, (_, expected) in objects.items() if (entry.hash, f"{entry.path}/{path}") not in whole]
    with ThreadPoolExecutor(WORKERS) as pool:
        for (path, _), found in zip(left, pool.map(lambda item: _verify_object(place, dataset, entry, *item), left)):
            yield from found
            if not found:
                whole.add((entry.hash, f"{entry.path}/{path}"))


def _verify_object(place: Place, dataset: str, entry: SegmentEntry, path: str, expected: str) -> list[Damage]:
    whole = Damage(dataset=dataset, segment=entry.path, object=path, problem="is missing")
    try:
        data = place.read(path)
    except FileNotFoundError:
        return _whole_shard(entry, whole)
    except OSError as err:
        return _whole_shard(entry, replace(whole, problem=str(err)))
    if hashlib.sha256(data).hexdigest() == expected:
        return []
    array, *rest = path.split("/")
    if array not in COLUMNS or rest[0] != "c":
        return [replace(whole, problem="does not have the hash that was written")]
    return _damaged_chunks(entry, whole, int(rest[1]), data)


def _damaged_chunks(entry: SegmentEntry, whole: Damage, shard: int, data: bytes) -> list[Damage]:
    plan = entry.plan
    try:
        index = unpack_index(data[: index_bytes(plan.shard_blocks)], plan.shard_blocks).tolist()
    except ChecksumError as err:
        return _whole_shard(entry, replace(whole, problem=str(err)))
    damaged, first = [], shard * plan.shard_blocks
    for block in range(first, min(first + plan.shard_blocks, plan.blocks)):
        offset, length = index[block - first]
        chunk = memoryview(data)[offset : offset + length]
        try:
            check(chunk[:-CRC], chunk[-CRC:])
        except ChecksumError as err:
            frames = range(block * plan.block_frames, min((block + 1) * plan.block_frames, plan.frames))
            damaged.append(replace(whole, problem=str(err), block=block, frames=frames, shard=shard))
    return damaged or [replace(whole, problem="differs outside its chunks", shard=shard)]


def _whole_shard(entry: SegmentEntry, damage: Damage) -> list[Damage]:
    """An object of which nothing can be told apart."""
    array, *rest = damage.object.split("/")
    if array not in COLUMNS or rest[0] != "c":
        return [damage]
    shard = int(rest[1])
    return [replace(damage, shard=shard, frames=entry.plan.shard_frames(shard))]
