"""A stage -> what its results depend on: contents of its inputs, its keys, the version of the code; and how that differs from another time."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lamdata import __version__
from lamdata.errors import DataError
from lamdata.fields import NAME

from ...config import TrainConfig
from . import configs
from .contents import Contents
from .spec import Stage

LONGEST = 40  # characters of a value that a reason repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What decides the results of a stage."""

    kind: str
    code: str  # version of the package, and number of the stage's own
    keys: dict[str, Any]  # dotted key -> plain value
    inputs: dict[str, Any]  # key -> hash, or a list of them

    @property
    def digest(self) -> str:
        """One hash of it all."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Identity:
        """Of plain data."""
        return Identity(kind=data["kind"], code=data["code"], keys=data["keys"], inputs=data["inputs"])


def identify(stage: Stage, contents: Contents, *, base: Path) -> Identity:
    """Look at all inputs of a stage, which must be there; raises LamError where one is not."""
    keys: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    for key, value in stage.values.items():
        if stage.how.config is not None and key == stage.how.config.key:
            said, named = _of_config(stage, contents, base=base)
            keys |= {f"{key}.{name}": one for name, one in said.items()}
            inputs |= {f"{key}.{name}": digest for name, digest in named.items()}
        elif key in stage.how.reads or stage.refers[key]:
            inputs[key] = [_of(contents, one, key) for one in value] if isinstance(value, list) else _of(contents, value, key)
        else:
            keys[key] = value
    return Identity(kind=stage.kind, code=f"{__version__}/{stage.how.number}", keys=keys, inputs=inputs)


def _of_config(stage: Stage, contents: Contents, *, base: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the config of a command says, and hashes of what it names; of a training config only the datasets of its mixture count."""
    config = stage.how.config
    assert config is not None, "asked of a stage with a config"
    file = base / str(stage.values[config.key])
    spec = stage.inside if stage.inside is not None else configs.read(config, file)
    folder = base if stage.inside is not None else file.parent
    placed = type(spec).model_validate(configs.moved(config, spec, lambda name: str(folder / name)))
    said, paths = configs.parts(config, placed)
    if isinstance(placed, TrainConfig):
        return said, contents.of_training(placed)
    hashes = {
        key: [_of(contents, one, key) for one in path] if isinstance(path, list) else _of(contents, path, key)
        for key, path in paths.items()
    }
    return said, hashes


def _of(contents: Contents, value: Any, key: str) -> str:
    """The hash of what is there; a bare word that names nothing there, as a dataset of the store beside it, is itself."""
    try:
        return contents.of(str(value))
    except DataError as err:
        if re.fullmatch(NAME, str(value)):
            return str(value)
        raise DataError(f"`{key}`: {err.message}", where=err.where, hint=err.hint) from None


def differences(before: Identity, now: Identity) -> list[str]:
    """What is another than before, a line each."""
    lines = []
    if before.kind != now.kind:
        lines.append(f"kind {before.kind} -> {now.kind}")
    if before.code != now.code:
        lines.append(f"code {before.code} -> {now.code}")
    for key in dict.fromkeys([*before.keys, *now.keys]):
        old, new = before.keys.get(key), now.keys.get(key)
        if old != new or (key in before.keys) != (key in now.keys):
            lines.append(f"{key}: {_short(old)} -> {_short(new)}")
    for key in dict.fromkeys([*before.inputs, *now.inputs]):
        if before.inputs.get(key) != now.inputs.get(key):
            lines.append(f"{key} holds something else")
    return lines


def _short(value: Any) -> str:
    text = "none" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
