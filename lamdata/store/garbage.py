"""Garbage: segments, views, pages and objects by name (energies, sources) that no kept commit names -> gone, and how many bytes that frees.

A segment that is being written has no name yet either. Three rules keep it: one with an object younger than `grace` stays, a writer
makes what it finds finished young again, and names are read once more before a segment goes. A writer would have to stand still for
the whole grace between its last object and its commit to lose one; it is then told so by its commit, and the same command writes it again.
A kill leaves some of the garbage, which the next `gc` finds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..errors import ConfigError, StoreError
from ..notebook import size_of
from ..places import Place, open_place
from . import named, pages, views
from .commits import KEPT, kept_commits, named_paths, prune, read_index
from .layout import COLUMNS
from .metadata import block_arrays
from .shard import LEDGER, MANIFEST, RECEIPTS

GRACE = 24 * 3600.0  # s
PARTS = {*COLUMNS, *block_arrays(1), "zarr.json", MANIFEST, RECEIPTS, LEDGER}  # of a segment, whole or begun

_bytes = partial(size_of, smallest="bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A folder of a segment, or one object by name, of a view or of a page: its path below the store, what it takes, and when it was last written to."""

    path: str
    size: int  # bytes
    objects: int
    modified: float  # s since 1970


@dataclass(frozen=True, slots=True, kw_only=True)
class GarbageReport:
    """What a `gc` did, or would do."""

    store: str
    dry_run: bool
    freed: tuple[Segment, ...]  # that no kept commit names
    young: tuple[Segment, ...]  # neither, but somebody may be writing them
    held: tuple[Segment, ...]  # that older commits name, the newest not

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        kinds = {"freed": self.freed, "young": self.young, "held": self.held}
        rows = {kind: [{"segment": x.path, "bytes": x.size, "objects": x.objects} for x in found] for kind, found in kinds.items()}
        return {"store": self.store, "dry_run": self.dry_run, "bytes": sum(x.size for x in self.freed), **rows}

    def text(self) -> str:
        """As lines for a person."""
        verb = "would free" if self.dry_run else "freed"
        lines = [f"{verb} {segment.path}: {_bytes(segment.size)}" for segment in self.freed]
        lines.append(f"{verb} {_bytes(sum(x.size for x in self.freed))} in {len(self.freed)} segments")
        if self.young:
            lines.append(
                f"{len(self.young)} segments ({_bytes(sum(x.size for x in self.young))}) may be in the hands of a writer; see --grace"
            )
        if self.held:
            lines.append(
                f"{len(self.held)} segments ({_bytes(sum(x.size for x in self.held))}) are of older commits; --keep 1 lets them go"
            )
        return "\n".join(lines)


def gc(store_url: str, *, keep: int = KEPT, grace: float = GRACE, dry_run: bool = False) -> GarbageReport:
    """Delete the segments that none of the newest `keep` commits names, but for those with an object younger than `grace` seconds.

    Fewer commits free more: a dataset that was removed or replaced is still in the older ones, where a reader may be.
    """
    if keep < 1 or grace < 0:
        raise ConfigError("gc keeps at least one commit, and its grace is not negative")
    place = open_place(store_url)
    if read_index(place) is None:
        raise StoreError("there is no store here", where=place.url)
    numbers, known = kept_commits(place), dict[str, set[str]]()
    named, newest = named_paths(place, numbers[-keep:], known), named_paths(place, numbers[-1:], known)
    if not dry_run:
        prune(place, keep=keep)
    freed, young, held = [], [], []
    for segment in (*_segments(place), *_objects(place)):
        if segment.path in newest:
            continue
        if segment.path in named:
            held.append(segment)
        elif time.time() - segment.modified < grace:
            young.append(segment)
        elif dry_run or _remove(place, segment, known, grace=grace):
            freed.append(segment)
    return GarbageReport(store=store_url, dry_run=dry_run, freed=tuple(freed), young=tuple(young), held=tuple(held))


def _segments(place: Place) -> Iterator[Segment]:
    """Folders of folders that hold nothing but parts of a segment; what else lies in a store is none of ours."""
    for dataset in place.list(""):
        for name in place.list(dataset) if dataset != "commits" else ():
            path = f"{dataset}/{name}"
            parts = place.list(path)
            if PARTS.issuperset(parts):
                found = _look(place, path)
                if found is not None:
                    yield found


def _objects(place: Place) -> Iterator[Segment]:
    """What is one object."""
    patterns = dict.fromkeys(named.FOLDERS, named.OBJECT) | {views.FOLDER: views.OBJECT, pages.FOLDER: pages.OBJECT}
    for folder, pattern in patterns.items():
        for found in place.objects(folder):
            if pattern.fullmatch(found.path):
                yield Segment(path=found.path, size=found.size, objects=1, modified=found.modified)


def _look(place: Place, path: str) -> Segment | None:
    objects = place.objects(path)
    if not objects or (objects[0].path == path and objects[0].size):  # nothing, or a file
        return None
    return Segment(path=path, size=sum(x.size for x in objects), objects=len(objects), modified=max(x.modified for x in objects))


def _remove(place: Place, segment: Segment, known: dict[str, set[str]], *, grace: float) -> bool:
    """Delete a segment that is still nobody's: first what says that it, or a shard of it, is finished, then the rest."""
    again = place.objects(segment.path)
    if not again or time.time() - max(x.modified for x in again) < grace or segment.path in named_paths(place, kept_commits(place), known):
        return False
    single = again[0].path == segment.path and again[0].size
    parts = () if single else (f"{segment.path}/{MANIFEST}", f"{segment.path}/{RECEIPTS}")
    for path in (*parts, segment.path):
        place.remove(path)
    return True
