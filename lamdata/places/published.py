"""Published: `registry://NAME@VERSION` -> the place of that version's store, in the registry that the environment names; it is read, never written."""

from __future__ import annotations

import os
import re
from functools import cache

from ..errors import ConfigError, StoreError
from ..fields import NAME
from .local import LocalPlace
from .remote import RemotePlace

VARIABLE = "LAM_REGISTRY"
SCHEME = "registry://"
VERSION = r"(?:0|[1-9][0-9]{0,8})(?:\.(?:0|[1-9][0-9]{0,8})){2}"
ADDRESS = re.compile(rf"({NAME[1:-1]})@({VERSION})")
INDEX, STORE = "index", "store"  # folder of what is published; folder of a version that holds a dataset


def registry_url(given: str | None = None) -> str:
    """The registry that was named, or that of the environment."""
    found = given or os.environ.get(VARIABLE)
    if not found:
        raise ConfigError("no registry is named", hint=f"`export {VARIABLE}=FOLDER-OR-URL`, or give --registry")
    return found.rstrip("/")


def parse_address(text: str) -> tuple[str, str]:
    """Name and version of NAME@VERSION."""
    found = ADDRESS.fullmatch(text)
    if found is None:
        raise ConfigError(f"{text!r} is no NAME@VERSION", hint="as qe-pbe@1.0.0; `lamdata search` lists what there is")
    return found[1], found[2]


def check_version(text: str) -> str:
    """Refuse what is no version."""
    if re.fullmatch(VERSION, text) is None:
        raise ConfigError(f"{text!r} is no version", hint="three numbers, as 1.0.0")
    return text


def check_name(text: str) -> str:
    """Refuse what is no name."""
    if re.fullmatch(NAME[1:-1], text) is None:
        raise ConfigError(f"{text!r} is no name", hint="letters, digits and . _ + ( ) -, at most 100")
    return text


def entry_path(address: str) -> str:
    """Where a registry says that a version is whole."""
    return f"{INDEX}/{address}.json"


def open_published(url: str) -> PublishedFolder | PublishedPrefix:
    """The store, or a place below it, that a `registry://` URL names; a version that is not in the registry is an error."""
    address, _, rest = url.removeprefix(SCHEME).partition("/")
    parse_address(address)
    if ".." in rest.split("/"):
        raise ConfigError("is no place in a version", where=url)
    registry = registry_url()
    _check_is_there(registry, address)
    place = f"{registry}/{address}/{STORE}" + (f"/{rest}" if rest else "")
    return PublishedPrefix(place) if "://" in place or "::" in place else PublishedFolder(place)


@cache
def _check_is_there(registry: str, address: str) -> None:
    """Asked until it is there: what is published stays."""
    place = RemotePlace(registry) if "://" in registry or "::" in registry else LocalPlace(registry)
    if place.size(entry_path(address)) is None:
        raise StoreError(f"has no {address}", where=registry, hint=f"`lamdata search --registry {registry}` lists what it has")


class _OnlyRead:
    """What a place refuses where it holds what was published."""

    url: str

    def write(self, path: str, data: bytes) -> None:
        raise _unchanging(self.url, path)

    def create(self, path: str, data: bytes) -> bool:
        raise _unchanging(self.url, path)

    def remove(self, path: str) -> None:
        raise _unchanging(self.url, path)


class PublishedFolder(_OnlyRead, LocalPlace):
    """A folder that is only read."""


class PublishedPrefix(_OnlyRead, RemotePlace):
    """A prefix of a bucket, or of a web server, that is only read."""


def _unchanging(url: str, path: str) -> StoreError:
    hint = "`lamdata fetch` it and change the copy, or publish another version"
    return StoreError("a published version does not change", where=f"{url}/{path}", hint=hint)
