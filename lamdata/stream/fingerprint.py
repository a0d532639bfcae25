"""Fingerprint: what decides which frames a stream gives, as plain JSON; two of them -> what changed between them, by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from ..augment import AugmentSpec
from ..frames import Frames
from ..store import Dataset

OF_STREAM = ("seed", "batch_frames", "batch_atoms", "buffer_blocks")
HASH, HASH_SHOWN = 64, 12  # characters of a sha256, and of what is said of it
OF_HEAD = {"dataset": "dataset", "frames": "number of frames", "content_hash": "content"}

Augment = AugmentSpec | Callable[[Frames], Frames]


def of_head(name: str, dataset: Dataset, *, weight: float, augment: Augment | None, run: int = 1) -> dict[str, Any]:
    """What a head of a mixture adds: all that its frames depend on. A run of one is not said."""
    said = {} if run == 1 else {"run": run}
    return {
        "name": name,
        "weight": weight,
        "dataset": dataset.name,
        "filter": dataset.filter.to_json(),
        "frames": len(dataset),
        "content_hash": dataset.content_hash,
        "augment": _said(augment),
    } | said


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say what differs between two fingerprints of streams, one line for each thing; nothing where they give the same batches.

    >>> differences({"seed": 1, "heads": []}, {"seed": 2, "heads": []})
    ['seed: 1 before, 2 now']
    """
    lines = [_changed(key, before.get(key), now.get(key)) for key in OF_STREAM if before.get(key) != now.get(key)]
    old, new = _by_name(before["heads"]), _by_name(now["heads"])
    lines += [f"head `{name}` is gone" for name in old if name not in new]
    lines += [f"head `{name}` is new" for name in new if name not in old]
    if list(old) != list(new) and old.keys() == new.keys():
        lines.append(_changed("order of the heads", ", ".join(old), ", ".join(new)))
    for name in new:
        if name in old:
            lines += _head_differences(name, old[name], new[name])
    if old.keys() == new.keys() and _shares(old) != _shares(new):
        lines += [
            _changed(f"weight of head `{x}`", old[x]["weight"], new[x]["weight"]) for x in new if old[x]["weight"] != new[x]["weight"]
        ]
    return lines


def _head_differences(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for key, word in OF_HEAD.items():
        if old[key] != new[key]:
            yield _changed(f"{word} of head `{name}`", old[key], new[key])
    if old.get("run", 1) != new.get("run", 1):
        yield _changed(f"frames of a draw of head `{name}`", old.get("run", 1), new.get("run", 1))
    for part in ("filter", "augment"):
        before, now = dict(_flat(old[part])), dict(_flat(new[part]))
        keys = [key for key in before | now if before.get(key) != now.get(key)]
        yield from (_changed(f"{part} of head `{name}`, {key}", before.get(key), now.get(key)) for key in keys)


def _by_name(heads: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Heads by name, in order; the second of a name is told apart."""
    seen: Counter[str] = Counter()
    found = {}
    for head in heads:
        seen[head["name"]] += 1
        found[head["name"] if seen[head["name"]] == 1 else f"{head['name']} ({seen[head['name']]})"] = head
    return found


def _shares(heads: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Weights that are all multiplied by one number deal the same slots."""
    total = sum(head["weight"] for head in heads.values())
    return {name: head["weight"] / total for name, head in heads.items()}


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested keys joined by dots, `None` left out: it is the same as not said."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    elif value is not None:
        yield prefix or "function", value


def _changed(what: str, before: Any, now: Any) -> str:
    return f"{what}: {_word(before)} before, {_word(now)} now"


def _word(value: Any) -> str:
    """As one word; of a hash its beginning."""
    return "none" if value is None else str(value)[:HASH_SHOWN] if len(str(value)) == HASH else str(value)


def _said(augment: Augment | object | None) -> Any:
    """An augmentation as plain JSON. A spec says it all; a function is known by its name, and by the arguments of a `partial`."""
    if augment is None or isinstance(augment, (str, int, float, bool)):
        return augment
    if isinstance(augment, AugmentSpec):
        return augment.model_dump(mode="json")
    if isinstance(augment, partial):
        given = {str(i): _said(value) for i, value in enumerate(augment.args)} | {name: _said(x) for name, x in augment.keywords.items()}
        return {"function": _said(augment.func), **given}
    kind = augment if hasattr(augment, "__qualname__") else type(augment)
    return f"{kind.__module__}.{kind.__qualname__}"
