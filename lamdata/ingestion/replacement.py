"""Replacement: what a store has under a name, and what would take its place -> a refusal that shows the difference."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..catalog import Card
from ..errors import ConfigError
from ..places import Place, open_place
from ..statistics import Statistics
from ..store.commits import DatasetEntry, read_index
from ..store.named import sources_in

OURS = re.compile(r"[0-9a-f]{16}(\.json)?")  # a segment, or an object of energies or of a view
SHOWN = 3  # files that are named


def refuse_foreign_folder(store: str) -> None:
    """Refuse to write among files that are not a store's; what an ingest left that was killed is one's own."""
    place = open_place(store)
    if "://" not in store and Path(store).is_file():
        raise ConfigError("this is a file; a store is a folder", where=store, hint="name a new folder with -o")
    if read_index(place) is not None:
        return
    foreign = [name for name in place.list("") if name not in ("commits", "zarr.json") and not _is_of_a_store(place.list(name))]
    if foreign:
        raise ConfigError(
            f"there are files here, and no store: {', '.join(sorted(foreign)[:SHOWN])}", where=place.url, hint="name a new folder with -o"
        )


def _is_of_a_store(names: list[str]) -> bool:
    return bool(names) and all(OURS.fullmatch(name) for name in names)


def committed(store: str, dataset: str) -> DatasetEntry | None:
    """What the store says of a dataset, if it has one of this name."""
    index = read_index(open_place(store))
    return index.entry(dataset) if index is not None and dataset in index.datasets else None


def refuse_to_replace(card: Card, entry: DatasetEntry, store: str, segment: str, hashes: Mapping[str, str], profile: str) -> None:
    """Show how a dataset differs from the one of this name that the store has."""
    frames = sum(Statistics.from_json(part).frames for part in entry.meta["statistics"].values())
    paths = ", ".join(part.path for part in entry.segments)
    raise ConfigError(
        f"{card.dataset} is there already, {frames} frames ({paths}), and would be replaced by {segment}: "
        + ("; ".join(differences(card, entry, hashes, profile, place=open_place(store))) or "its frames are laid out in another way"),
        where=store,
        hint="say --replace if it may be (or `lamdata replace`), or give the card another `dataset:`",
    )


def replaced_by(store: str, dataset: str, segment: str) -> dict[str, int]:
    """Segments that a new one takes the place of -> their bytes."""
    place, old = open_place(store), committed(store, dataset)
    parts = () if old is None else old.segments
    return {part.path: sum(found.size for found in place.objects(part.path)) for part in parts if part.path != segment}


def said_otherwise(card: Card, entry: DatasetEntry) -> tuple[str, ...]:
    """Keys of the card whose words differ from those that the store has."""
    there, here = entry.meta["card"], card.model_dump(mode="json")
    return tuple(name for name in type(card).model_fields if there.get(name) != here.get(name))


def differences(card: Card, entry: DatasetEntry, hashes: Mapping[str, str], profile: str, *, place: Place) -> Iterator[str]:
    """What is different: files, licence, theory, and what else decides."""
    there = Card.model_validate(entry.meta["card"])
    yield from _of_files(sources_in(place, entry.meta), hashes)
    if there.license != card.license:
        yield f"license: {_say(there.license)} there, {_say(card.license)} here"
    yield from (f"{line} here" for line in _of_theory(there, card))
    profiles = sorted({part.plan.profile for part in entry.segments})
    if profiles != [profile]:
        yield f"profile: {', '.join(profiles)} there, {profile} here"
    for name in ("split", "checks", "keep", "sources"):
        if getattr(there, name) != getattr(card, name):
            yield f"`{name}` of the card"


def _of_files(there: Mapping[str, str], here: Mapping[str, str]) -> Iterator[str]:
    changed = sorted(name for name in there.keys() & here.keys() if there[name] != here[name])
    for what, names in (("gone", sorted(there.keys() - here.keys())), ("new", sorted(here.keys() - there.keys())), ("changed", changed)):
        if names:
            yield f"{len(names)} of {len(here) if what == 'new' else len(there)} files {what} ({', '.join(names[:SHOWN])}{', ...' * (len(names) > SHOWN)})"


def _of_theory(there: Card, here: Card) -> Iterator[str]:
    for name, mine in here.theory.model_dump().items():
        theirs = getattr(there.theory, name)
        if theirs != mine:
            yield f"theory.{name}: {_say(theirs)} there, {_say(mine)}"


def _say(value: Any) -> str:
    return "not known" if value is None else str(value)
