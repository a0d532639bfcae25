"""A command's own YAML file, as one of its own or inside the process's -> what it says, and the files that it names."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from lamdata.located import Places, read_yaml, validate

from .kinds import Config


def check(config: Config, data: Mapping[str, Any], *, name: str, where: str, places: Places) -> BaseModel:
    """Data as the command would read them; raises ConfigError with all that is wrong, each by its place."""
    module, _, word = config.spec.partition(":")
    model: type[BaseModel] = getattr(importlib.import_module(module), word)
    return validate({config.name: name, **data}, model, where=where, places=places)


def read(config: Config, path: Path) -> BaseModel:
    """A file of its own."""
    data, places = read_yaml(path)
    return check(config, data if isinstance(data, dict) else {}, name="", where=str(path), places=places)


def moved(config: Config, spec: BaseModel, move: Callable[[str], str], *, only_said: bool = False) -> dict[str, Any]:
    """Plain data of a config, its relative paths passed through `move`; `only_said` leaves out what is as by default."""
    data: dict[str, Any] = spec.model_dump(mode="json", exclude_defaults=only_said)
    for dotted in config.paths:
        for section, key in _at(data, dotted):
            section[key] = [_moved(one, move) for one in section[key]] if isinstance(section[key], list) else _moved(section[key], move)
    return data


def parts(config: Config, spec: BaseModel) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a config says but for its name and its paths, by dotted key, and the paths, by dotted key."""
    data = spec.model_dump(mode="json")
    data.pop(config.name)
    paths = {dotted: section.pop(key) for dotted in config.paths for section, key in list(_at(data, dotted))}
    return dict(_flat(data, "")), paths


def _at(data: dict[str, Any], dotted: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The section that a dotted key is in, and its last part; nothing where it is not there."""
    *folders, last = dotted.split(".")
    section: Any = data
    for name in folders:
        section = section.get(name) if isinstance(section, dict) else None
    if isinstance(section, dict) and section.get(last) is not None:
        yield section, last


def _moved(name: str, move: Callable[[str], str]) -> str:
    return name if "://" in name or os.path.isabs(name) else move(name)


def _flat(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Dotted keys of nested data."""
    if isinstance(value, dict) and (value or not key):
        for name, part in value.items():
            yield from _flat(part, f"{key}.{name}" if key else name)
    else:
        yield key, value
