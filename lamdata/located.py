"""YAML files whose errors know their line: text -> plain data with positions -> a validated pydantic model.

YAML 1.2, data only: no tags, no anchors (so no expansion bombs), no duplicate keys. All errors of a file are raised at once.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from .errors import ConfigError, ConfigErrors

if TYPE_CHECKING:
    from ruamel.yaml import YAML, Node, ScalarNode

MAX_BYTES = 4 << 20  # a config is written by a person; more is a mistake or an attack
MOST_LISTED = 60  # choices that an error lists
LONGEST_SHOWN = 80  # characters of a value that an error repeats
Place = tuple[int, int] | str  # line and column in the file, 1-based; or where else it was said, as "--set steps=3"
KeyPath = tuple[str | int, ...]
Places = dict[KeyPath, Place]
Model = TypeVar("Model", bound=BaseModel)


class Spec(BaseModel):
    """Base of everything that YAML can say: immutable, and no key passes unread."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)
    later: ClassVar[tuple[str, ...]] = ()  # fields that are written only where they say something: older files keep their bytes

    @model_serializer(mode="wrap")
    def _write(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        plain = [name for name in self.later if getattr(self, name) == type(self).model_fields[name].get_default(call_default_factory=True)]
        return {name: value for name, value in data.items() if name not in plain}


def read_yaml(path: str | Path) -> tuple[Any, Places]:
    """Return the plain data of a YAML file and the place of each key path."""
    path = Path(path)
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8")
    except FileNotFoundError:
        raise ConfigError("no such file", where=str(path), hint=_nearest_file(path)) from None
    except UnicodeDecodeError as err:
        raise ConfigError(f"not UTF-8 text (byte {err.start})", where=str(path)) from None
    except OSError as err:
        raise ConfigError(err.strerror or "cannot be read", where=str(path)) from None
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{len(raw)} bytes; a config has at most {MAX_BYTES}", where=str(path))
    return parse_yaml(text, where=str(path))


def parse_yaml(text: str, *, where: str) -> tuple[Any, Places]:
    """Parse YAML text; `where` names it in errors."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    loader = YAML(typ="safe", pure=True)
    try:
        node = loader.compose(text)
        places: Places = {}
        return (None if node is None else _plain(node, loader, (), places, where)), places
    except MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        spot = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        raise ConfigError(f"not YAML: {err.problem or err.context}", where=spot) from None
    except YAMLError as err:
        raise ConfigError(f"not YAML: {' '.join(str(err).split())}", where=where) from None
    except RecursionError:
        raise ConfigError("nested too deeply", where=where) from None


def _plain(node: Node, loader: YAML, path: KeyPath, places: Places, where: str) -> Any:
    from ruamel.yaml import MappingNode, ScalarNode, SequenceNode

    place = (node.start_mark.line + 1, node.start_mark.column + 1)
    places.setdefault(path, place)
    spot = f"{where}:{place[0]}:{place[1]}"
    if node.anchor:
        raise ConfigError("anchors and aliases are not allowed; write the value out", where=spot)
    if isinstance(node, ScalarNode):
        return _scalar(node, loader, spot)
    if str(node.tag) not in COLLECTIONS:
        raise ConfigError(f"tag {node.tag} is not allowed", where=spot)
    if isinstance(node, SequenceNode):
        return [_plain(child, loader, (*path, i), places, where) for i, child in enumerate(node.value)]
    assert isinstance(node, MappingNode)
    out: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = key_node.value if isinstance(key_node, ScalarNode) else None
        key_place = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
        if key is None or key in out:
            raise ConfigError(f"key {key!r} appears twice" if key else "a key must be text", where=f"{where}:{key_place[0]}:{key_place[1]}")
        places[(*path, key)] = key_place
        out[key] = _plain(value_node, loader, (*path, key), places, where)
    return out


COLLECTIONS = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
SCALARS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null")}


def _scalar(node: ScalarNode, loader: YAML, spot: str) -> Any:
    if str(node.tag) == "tag:yaml.org,2002:timestamp":  # a date is text to us: no field holds one
        return node.value
    if str(node.tag) not in SCALARS:
        raise ConfigError(f"tag {node.tag} is not allowed", where=spot)
    try:
        return loader.constructor.construct_object(node)
    except (ValueError, ArithmeticError):  # a number of thousands of digits, a fraction over zero
        raise ConfigError(f"not a number: {_short(node.value)}", where=spot) from None


def validate(data: Any, model: type[Model], *, where: str, places: Places) -> Model:
    """Check plain data against `model`; each error names its place in the file."""
    if not isinstance(data, dict):
        raise ConfigError(f"expected keys and values, found {'nothing' if data is None else type(data).__name__}", where=where)
    try:
        return model.model_validate(data)
    except ValidationError as err:
        raise ConfigErrors(_joined([_located(e, model, where, places) for e in err.errors()])) from None


def _joined(errors: list[ConfigError]) -> list[ConfigError]:
    """One error a place and key, where several are about what a value might have been."""
    found: dict[tuple[str | None, str], ConfigError] = {}
    for error in errors:
        key, _, message = error.message.partition(": ")
        known = found.setdefault((error.where, key if message else error.message), error)
        if known is not error and message:
            known.message += f", or {message}"
    return list(found.values())


def _located(error: Any, model: type[BaseModel], where: str, places: Places) -> ConfigError:
    loc = tuple(error["loc"])
    known = _known_prefix(loc, places)
    spot = spot_of(known, places, where=where)
    dotted = ".".join(str(part) for part in ((*known, loc[-1]) if error["type"] == "missing" else known or loc))
    if error["type"] == "extra_forbidden":
        return ConfigError(f"unknown key {str(loc[-1])!r}", where=spot, hint=did_you_mean(str(loc[-1]), _keys(model, loc[:-1])))
    if error["type"] == "missing":
        return ConfigError(f"key {str(loc[-1])!r} is missing", where=spot, hint=f"add `{dotted}`")
    if error["type"] == "union_tag_invalid":
        choices = [choice.strip(" '") for choice in error["ctx"]["expected_tags"].split(",")]
        return ConfigError(f"`{dotted}` has no type {error['ctx']['tag']!r}", where=spot, hint=did_you_mean(error["ctx"]["tag"], choices))
    message = error["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:] if message[:1].isupper() and message[1:2].islower() else message
    found = error["input"]
    if isinstance(found, (str, int, float, bool)) or found is None:
        return ConfigError(f"`{dotted}` is {_short(found)}: {message}", where=spot)
    return ConfigError(f"`{dotted}`: {message}" if dotted else message, where=spot)


def spot_of(path: KeyPath, places: Places, *, where: str) -> str:
    """Where the key at `path` was said, as `file:line:column`; `where` alone for data that stand in no file."""
    place = places.get(path, (1, 1) if places else where)
    return place if isinstance(place, str) else f"{where}:{place[0]}:{place[1]}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _known_prefix(loc: KeyPath, places: Places) -> KeyPath:
    """The longest part of an error's location that the file has (pydantic adds union members to it)."""
    path: KeyPath = ()
    for part in loc:
        if (*path, part) in places:
            path = (*path, part)
    return path


def _keys(model: Any, path: KeyPath) -> list[str]:
    """The keys allowed at `path` below `model`."""
    models = [model]
    for part in path:
        step = [field for m in models if (field := m.model_fields.get(part)) is not None]
        if step:
            models = [m for field in step for m in _models(field.annotation)]
        else:  # a place in a list, or which of several types it is
            models = [m for m in models if "type" in m.model_fields and part in get_args(m.model_fields["type"].annotation)] or models
    return [name for m in models for name in m.model_fields]


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, list, dict, tuple) or get_args(annotation):
        return [m for arg in get_args(annotation) for m in _models(arg)]
    return []


def did_you_mean(word: str, choices: list[str]) -> str:
    """A hint for a misspelt name: the nearest one whatever its case, or all there are."""
    if not choices:
        return "there is none"
    folded = {choice.casefold(): choice for choice in choices}
    close = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    if close:
        return f"did you mean {folded[close[0]]!r}?"
    known = sorted(set(choices))
    return f"one of: {', '.join(known)}" if len(known) <= MOST_LISTED else f"of the {len(known)} that are known none is like it"


def _nearest_file(path: Path) -> str | None:
    if not path.parent.is_dir():
        return f"the folder {path.parent} does not exist"
    close = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], n=1)
    return f"did you mean {path.parent / close[0]}?" if close else None
