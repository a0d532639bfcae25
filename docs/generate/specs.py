"""A pydantic model -> the reference of the YAML file that it checks: every key with its type, default and meaning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from tables import code, table

ROOT = Path(__file__).resolve().parents[2]
RANGES = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
WORDS = {"string": "text", "integer": "integer", "number": "number", "boolean": "true or false", "null": "null", "object": "mapping"}
Schema = dict[str, Any]


def spec_page(kind: str) -> str:
    """The page of `card`, `mixture`, `train`, `distil` or `benchmark`."""
    model, title, example, how = _files()[kind]
    schema = model.model_json_schema()
    parts = [f"# {title}\n", schema["description"] + "\n", how + "\n"]
    parts += [f"```yaml title={json.dumps(example)}\n{(ROOT / example).read_text()}```\n"]
    parts += [f"## {model.__name__}\n", _keys(schema)]
    for name in _in_order(schema):
        definition = schema["$defs"][name]
        parts += [f"## {name}\n", definition.get("description", "") + "\n", _keys(definition)]
    return "\n".join(parts)


def _files() -> dict[str, tuple[type[BaseModel], str, str, str]]:
    from lamdata.catalog import Card, Mixture
    from lamtrain.config import TrainConfig
    from lamtrain.stages.compare.benchmark import Benchmark
    from lamtrain.stages.distil.config import DistilConfig

    shared = "All mistakes of a file are named at once, each with its line and column; a key that is not here is one of them."
    editors = "`lamdata schema {}` prints the JSON schema, for editors."
    return {
        "card": (Card, "Cards", "catalogs/quickstart/cp2k-pade.yaml", f"{shared} {editors.format('card')}"),
        "mixture": (Mixture, "Mixtures", "catalogs/quickstart/mixture.yaml", f"{shared} {editors.format('mixture')}"),
        "train": (
            TrainConfig,
            "Training configs",
            "catalogs/quickstart/train.yaml",
            f"{shared} `lamtrain init` writes one; `lamtrain train FILE --set key.path=value` changes a key for one run.",
        ),
        "distil": (DistilConfig, "Distillations", "docs/distil.yaml", shared),
        "benchmark": (Benchmark, "Benchmarks", "catalogs/benchmarks/mlearn.yaml", shared),
    }


def _in_order(schema: Schema) -> list[str]:
    """Names of the models inside, each after the first that mentions it."""
    found: list[str] = []
    waiting = [schema]
    while waiting:
        for name in _mentioned(waiting.pop(0).get("properties", {})):
            if name not in found:
                found.append(name)
                waiting.append(schema["$defs"][name])
    return [name for name in found if "properties" in schema["$defs"][name]]


def _mentioned(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield _name(value)
        for key, part in value.items():
            yield from _mentioned(part) if key not in ("default", "examples", "discriminator") else ()
    elif isinstance(value, list):
        for part in value:
            yield from _mentioned(part)


def _name(reference: Schema) -> str:
    return str(reference["$ref"].rpartition("/")[2])


def _keys(schema: Schema) -> str:
    required = schema.get("required", [])
    rows = []
    for key, value in schema["properties"].items():
        default = "required" if key in required else _default(value)
        rows.append([code(key), _type(value), default, value.get("description", "")])
    return table(["Key", "Type", "Default", "Meaning"], rows)


def _default(value: Schema) -> str:
    if "$ref" in value:
        return "its own defaults"
    return code("null" if value.get("default") is None else json.dumps(value["default"], ensure_ascii=False))


def _type(value: Schema) -> str:
    """A type in words, with its range."""
    if "$ref" in value:
        return f"[{_name(value)}](#{_name(value).lower()})"
    for several in ("anyOf", "oneOf"):
        if several in value:
            return " or ".join(dict.fromkeys(_type(part) for part in value[several]))
    if "enum" in value or "const" in value:
        return ", ".join(code(choice) for choice in value.get("enum", [value.get("const")]))
    if value.get("type") == "array":
        if "prefixItems" in value:
            return "[" + ", ".join(_type(part) for part in value["prefixItems"]) + "]"
        return f"list of {_type(value.get('items', {}))}"
    if value.get("type") == "object" and isinstance(value.get("additionalProperties"), dict):
        return f"mapping of names to {_type(value['additionalProperties'])}"
    ranges = [f"{sign} {value[name]:g}" for name, sign in RANGES.items() if name in value]
    pattern = [f"like {code(value['pattern'])}"] if "pattern" in value else []
    return ", ".join([WORDS.get(str(value.get("type")), "anything"), *ranges, *pattern])
