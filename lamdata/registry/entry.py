"""Entry: what a registry says of one version <-> JSON; read from the index, created there once, and listed for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import Field, ValidationError

from ..errors import ConfigError, StoreError
from ..fields import Name
from ..located import Spec, did_you_mean
from ..places import Place
from ..places.published import ADDRESS, INDEX, VERSION, entry_path, parse_address
from .page import front_page

ATTEMPTS = 8  # to list what no other has added to meanwhile
LARGEST, LARGEST_INDEX = 1 << 22, 1 << 28  # bytes of an entry, and of the list of all: more is damage or an attack


class Listed(Spec):
    """A file, or the list of all files."""

    bytes: int = Field(ge=0)
    """Its size."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Its content."""


class Entry(Spec):
    """What is known of a version without opening it."""

    format: Literal[1] = 1
    """Of this file."""
    kind: Literal["dataset", "model"]
    """What it is."""
    name: Name
    """Its name."""
    version: str = Field(pattern=f"^{VERSION}$")
    """MAJOR.MINOR.PATCH."""
    published: str = Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
    """The day, UTC."""
    title: str = Field(max_length=1000)
    """One line for people."""
    license: str | None = None
    """Of the data, or of the weights."""
    licenses: dict[str, str | None] = {}
    """Dataset -> its licence, of all that is in it or that it was trained on."""
    accepted: list[Literal["unknown", "NC", "ND"]] = []
    """What is wrong with these licences, and was published all the same."""
    elements: list[str] = []
    """Symbols."""
    theory: list[str] = []
    """How labels were computed, in a few words each."""
    frames: dict[str, int] = {}
    """Split -> frames, of a dataset."""
    atoms: int = 0
    """Of all its frames, of a dataset."""
    labels: dict[str, int] = {}
    """Label -> frames that have it, of a dataset."""
    heads: dict[str, str] = {}
    """Head -> kind of task, of a model."""
    parents: list[str] = []
    """Models that it was made from."""
    data: dict[str, str] = {}
    """Dataset -> hash of its content, of all that is in it or that it was trained on."""
    content: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Hash of the dataset's content, or sha256 of the checkpoint."""
    citations: list[str] = []
    """What to cite."""
    listed: Listed | None = None
    """The list of its files."""

    later = ("listed",)

    @property
    def address(self) -> str:
        """NAME@VERSION."""
        return f"{self.name}@{self.version}"

    @property
    def order(self) -> tuple[str, tuple[int, ...]]:
        """By name, then from the oldest version to the newest."""
        return self.name, tuple(map(int, self.version.split(".")))

    def to_bytes(self) -> bytes:
        """As a file."""
        return (json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n").encode()


def find_entry(place: Place, address: str) -> Entry | None:
    """What a registry says of a version; None where it has none. A file that is no entry, or is of another version, is an error."""
    where = f"{place.url}/{entry_path(address)}"
    size = place.size(entry_path(address))
    if size is None:
        return None
    if size > LARGEST:
        raise StoreError(f"{size:,} bytes; an entry has at most {LARGEST:,}", where=where)
    return _parse(place.read(entry_path(address)), address, where=where)


def read_entry(place: Place, address: str) -> Entry:
    """The same where there must be one; an error says which versions there are."""
    name, _ = parse_address(address)
    found = find_entry(place, address)
    if found is None:
        entries = read_index(place)
        versions = [entry.address for entry in entries if entry.name == name]
        hint = f"it has {', '.join(versions)}" if versions else did_you_mean(name, sorted({entry.name for entry in entries}))
        raise ConfigError(f"has no {address}", where=place.url, hint=hint)
    return found


def _parse(data: bytes, address: str, *, where: str) -> Entry:
    try:
        entry = Entry.model_validate_json(data)
    except ValidationError as err:
        first = err.errors()[0]
        said = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise StoreError(f"not an entry of a registry ({said})", where=where, hint="upgrade lam, or ask who published it") from None
    if entry.address != address or entry.listed is None:
        raise StoreError(f"is the entry of {entry.address}, not of {address}", where=where)
    return entry


def read_index(place: Place) -> list[Entry]:
    """All versions, by name and number; those that a listing has, or where a place cannot list, those of `index.json`."""
    known = _read_all(place)
    there = _listed(place) or list(known)
    if not there:
        raise StoreError("there is no registry here", where=place.url, hint="`lamdata publish` makes one")
    return _entries(place, there, known)


def _entries(place: Place, addresses: Iterable[str], known: Mapping[str, Entry]) -> list[Entry]:
    """What is not known is read."""
    found = (known.get(address) or find_entry(place, address) for address in addresses)
    return sorted((entry for entry in found if entry is not None), key=lambda entry: entry.order)


def _listed(place: Place) -> list[str]:
    names = (name.removesuffix(".json") for name in place.list(INDEX) if name.endswith(".json"))
    return [name for name in names if ADDRESS.fullmatch(name)]


def _read_all(place: Place) -> dict[str, Entry]:
    size = place.size("index.json")
    if size is None:
        return {}
    where = f"{place.url}/index.json"
    if size > LARGEST_INDEX:
        raise StoreError(f"{size:,} bytes; an index has at most {LARGEST_INDEX:,}", where=where)
    try:
        entries = [Entry.model_validate(row) for row in json.loads(place.read("index.json"))["entries"]]
    except (ValueError, KeyError, TypeError):
        raise StoreError("not an index of a registry", where=where, hint="the next publication writes it anew") from None
    return {entry.address: entry for entry in entries}


def commit(place: Place, entry: Entry) -> None:
    """Make a whole version visible, at once or never, and list it."""
    if not place.create(entry_path(entry.address), entry.to_bytes()):
        refuse_other(place, entry)
    refresh(place)


def refuse_other(place: Place, entry: Entry) -> bool:
    """Whether the version is there already; an error where it is there with other content."""
    there = find_entry(place, entry.address)
    if there is None:
        return False
    if there != entry:
        hint = "a version does not change: choose another"
        raise ConfigError(f"{entry.address} is there already, with other content", where=place.url, hint=hint)
    return True


def refresh(place: Place) -> None:
    """Write `index.json` and `index.html` anew from the entries; of writers that meet, the last to list lists all."""
    for _ in range(ATTEMPTS):
        names = _listed(place)
        try:
            known = _read_all(place)
        except StoreError:
            known = {}
        entries = _entries(place, names, known)
        body = {"format": 1, "entries": [entry.model_dump(mode="json") for entry in entries]}
        place.write("index.json", (json.dumps(body, indent=1, ensure_ascii=False) + "\n").encode())
        place.write("index.html", front_page([entry.model_dump() for entry in entries]).encode())
        if _listed(place) == names:
            return
