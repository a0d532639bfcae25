"""A proposal -> the pool with it: the card, then the frames, then the mixture; each step is done once, and the same command goes on after a kill."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lamdata import ingest, open_card
from lamdata.catalog import TaskSpec, open_mixture
from lamdata.errors import ConfigError

from ...files import replace_file
from .found import PROPOSED, is_card
from .patch import with_rows
from .run import RESULT


def accept(folder: Path, *, quiet: bool = False) -> dict[str, Any]:
    """Bring into the pool what `folder` proposes; return what was written. Raises ConfigError where the pool is not as it was then."""
    result = _read(folder)
    if result["into"] is None:
        raise ConfigError(
            "it was proposed without a pool", where=str(folder), hint="`lamtrain integrate FILES --into MIXTURE --store STORE`"
        )
    into, store = folder / result["into"], result["store"] if "://" in result["store"] else str(folder / result["store"])
    rows = [TaskSpec.model_validate(facts["proposal"]["row"]) for facts in result["datasets"].values()]
    text = into.read_text(encoding="utf-8")
    done = _has(into, rows)
    if not done and hashlib.sha256(text.encode()).hexdigest() != result["into_sha256"]:
        raise ConfigError("the mixture has changed since that was proposed", where=str(into), hint="remove the folder, and integrate again")
    written = {}
    for name in result["datasets"]:
        source = _card_file(folder, name, result)
        target = _place_of_cards(into) / f"{name}.yaml"
        _copy_card(source, target)
        report = ingest(open_card(target), store, base=target.parent, quiet=quiet)
        written[name] = {"card": os.path.normpath(target), "frames": report.frames, "new": report.new}
    if not done:
        replace_file(into, with_rows(text, rows, where=str(into)).encode())
    return {"mixture": os.path.normpath(into), "store": os.path.normpath(store) if "://" not in store else store, "datasets": written}


def _read(folder: Path) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads((folder / RESULT).read_bytes())
    except FileNotFoundError:
        raise ConfigError("holds no proposal", where=str(folder), hint="`lamtrain integrate FILES -o FOLDER` leaves one") from None
    return result


def _has(into: Path, rows: list[TaskSpec]) -> bool:
    """Whether the mixture has the rows, as after a run of this command."""
    mixture, _ = open_mixture(into)
    return all(row in mixture.heads for row in rows)


def _card_file(folder: Path, name: str, result: Mapping[str, Any]) -> Path:
    """The card that was proposed and confirmed, or the one that was given."""
    given = [str(folder / file) for file in result["files"] if is_card(str(folder / file))]
    return Path(given[0]) if given else folder / PROPOSED / f"{name}.yaml"


def _place_of_cards(into: Path) -> Path:
    """Where the pool's other cards stand."""
    mixture, catalog = open_mixture(into)
    return catalog.files[mixture.heads[0].dataset].parent


def _copy_card(source: Path, target: Path) -> None:
    """Write a card at another place, its comments kept and its paths made relative to that; raises ConfigError where another stands there."""
    from ruamel.yaml import YAML

    if source.resolve() == target.resolve():
        return
    yaml, text = YAML(), io.BytesIO()
    yaml.width, yaml.preserve_quotes = 100_000, True
    data = yaml.load(source.read_text(encoding="utf-8"))
    for one in data.get("sources", ()):
        one["path"] = _moved(one["path"], source.parent, target.parent)
    for side in ("validation", "test"):
        if isinstance((data.get("split") or {}).get(side), str):
            data["split"][side] = _moved(data["split"][side], source.parent, target.parent)
    yaml.dump(data, text)
    if target.exists() and target.read_bytes() != text.getvalue():
        raise ConfigError("another card stands there", where=str(target), hint="give the new dataset another name with --name")
    replace_file(target, text.getvalue())


def _moved(path: str, old: Path, new: Path) -> str:
    fixed = "://" in path or path.startswith("$") or os.path.isabs(path)
    return path if fixed else os.path.relpath(old / path, new)
