"""What a path holds -> a hash of what matters of it: the weights of a model, the frames of a store, what a YAML file says, bytes of the rest.

A copy has the hash of the original wherever it lies, and a run that was resumed that of one that was left alone.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lamdata.catalog import open_card, open_mixture
from lamdata.errors import DataError, need
from lamdata.located import read_yaml
from lamdata.reading import files_of, hashes_of
from lamdata.store import Store, open_store

from ...config import TrainConfig
from ...files import replace_file, sha256_of

OF_A_MODEL = ("model_config", "model", "heads", "lock", "cover")  # of a checkpoint: what is asked and what is started from


class Contents:
    """Hashes of what lies below a folder, remembered in a file as long as sizes and times of the files stay."""

    def __init__(self, base: Path, memory: Path):
        self.base, self.memory = base, memory
        self._known: dict[str, list[Any]] = {}
        if memory.is_file():
            try:
                self._known = json.loads(memory.read_bytes())
            except ValueError:  # a memory that cannot be read is none
                self._known = {}
        self._new = False

    def save(self) -> None:
        """Write what was learnt."""
        if self._new:
            replace_file(self.memory, json.dumps(self._known, indent=0, sort_keys=True).encode())
            self._new = False

    def of(self, name: str) -> str:
        """The hash of what a file, folder, store, archive or glob (relative to the base) holds; raises DataError where there is nothing."""
        if "://" in name:
            return _digest({name: _datasets(open_store(name), None)})
        path = self.base / name
        if path.is_dir():
            return _digest(_datasets(open_store(path), None)) if (path / "commits").is_dir() else self._of_tree(path)
        if path.is_file() and path.suffix in (".yaml", ".yml"):
            return self._of_yaml(path)
        if path.is_file() and path.suffix == ".pt":
            return self._of_model(path)
        if path.is_file():
            return self._of_file(path)
        if glob.has_magic(name) and (found := sorted(glob.glob(str(path), recursive=True))):
            return _digest({self._relative(one): self._of_file(Path(one)) for one in found if os.path.isfile(one)})
        raise DataError("no such file", where=name)

    def of_training(self, config: TrainConfig) -> dict[str, str]:
        """Hashes of what a training config names, by key: of its store the datasets of its mixture; its paths are absolute."""
        mixture, _ = open_mixture(config.mixture)
        inputs = {"mixture": self._of_mixture(Path(config.mixture))}
        own = sorted({row.view or row.dataset for row in mixture.heads if row.store is None})
        inputs["store"] = _digest(_datasets(open_store(config.store), own)) if own else _digest({})
        if config.start is not None:
            inputs["start.model"] = self._of_model(Path(config.start.model))
        return inputs

    def _of_yaml(self, path: Path) -> str:
        """By its first key: a card with its raw files, a mixture with its cards; else its bytes."""
        data, _ = read_yaml(path)
        kind = next(iter(data), None) if isinstance(data, dict) else None
        if kind == "dataset":
            return self._of_card(path)
        if kind == "mixture":
            return self._of_mixture(path)
        return self._of_file(path)

    def _of_card(self, path: Path) -> str:
        """What it says, but for where its files lie, and what is in them."""
        card = open_card(path)
        said = card.model_dump(mode="json")
        for source in said["sources"]:
            del source["path"]
        files = [self._of_source(spec.path, path.parent) for spec in card.sources]
        lists = [self._of_file(path.parent / name) for name in card.split.lists.values()]
        return _digest([said, files, lists])

    def _of_source(self, name: str, folder: Path) -> Any:
        """Hashes of the files of a source, by their own names; a URL stands for itself, since its files are elsewhere."""
        if "://" in name and not name.startswith("package://"):
            return name
        where = name if "://" in name or name.startswith("$") else str(folder.absolute() / name)
        found = [Path(file) for file in sorted(files_of(where))]

        def of_all() -> str:
            return _digest(sorted([name.rpartition("/")[2], digest] for name, digest in hashes_of(where).items()))

        return self._remembered(f"source {self._relative(where)}", found, of_all)

    def _of_mixture(self, path: Path) -> str:
        """Its rows, the cards that they name, and the datasets that they take from stores of their own."""
        mixture, catalog = open_mixture(path)
        rows = []
        for row in mixture.heads:
            said = row.model_dump(mode="json")
            if row.store is not None:
                place = row.store if "://" in row.store else str(path.parent / row.store)
                said["store"] = _datasets(open_store(place), [row.view or row.dataset])
            rows.append(said)
        cards = {row.dataset: catalog.card(row.dataset).theory.model_dump(mode="json") for row in mixture.heads}
        return _digest([rows, cards])

    def _of_tree(self, path: Path) -> str:
        files = sorted(file for file in path.rglob("*") if file.is_file())
        return _digest({file.relative_to(path).as_posix(): self._of_file(file) for file in files})

    def _of_model(self, path: Path) -> str:
        return self._remembered(f"model {self._relative(path)}", [path], lambda: hash_model(path))

    def _of_file(self, path: Path) -> str:
        return self._remembered(self._relative(path), [path], lambda: sha256_of(path))

    def _remembered(self, key: str, files: Iterable[Path], compute: Callable[[], str]) -> str:
        """A hash that is computed again only where a file's size or time has changed."""
        state = [[found.st_size, found.st_mtime_ns] for found in (os.stat(file) for file in files)]
        known = self._known.get(key)
        if known is None or known[0] != state:
            known = self._known[key] = [state, compute()]
            self._new = True
        return str(known[1])

    def _relative(self, path: str | Path) -> str:
        return os.path.relpath(path, self.base) if os.path.isabs(path) else str(path)


def hash_model(path: Path) -> str:
    """Of a checkpoint its configuration, weights, heads, what it was trained on, and its sketch of that: not how training got there."""
    need("torch", extra="train")
    from ...checkpoint import load

    try:
        checkpoint = load(path)
    except DataError:  # a model of DeePMD-kit
        return sha256_of(path)
    said = {name: getattr(checkpoint, name, None) for name in OF_A_MODEL}
    mixture = checkpoint.lock.get("mixture") or {"heads": []}
    rows = [
        {key: value for key, value in row.items() if key != "store"} for row in mixture["heads"]
    ]  # where frames lay, and, below, a parent
    heads = {name: row | {"start": {**row["start"], "model": None}} if row.get("start") else row for name, row in checkpoint.heads.items()}
    return _digest(said | {"heads": heads, "lock": checkpoint.lock | {"mixture": mixture | {"heads": rows}}})


def _datasets(store: Store, names: list[str] | None) -> dict[str, Any]:
    """What a store says of datasets and views, or of all it has: the hashes of their frames, and what is known of them."""
    views = store.views
    chosen = sorted([*store, *views]) if names is None else names
    found: dict[str, Any] = {}
    for name in chosen:
        if name in views:
            found[name] = {"view": {key: value for key, value in views[name].items() if key != "stale"}}
        entry = store.entry(views[name]["of"] if name in views else name)
        found[name] = found.get(name, {}) | {"frames": entry.content_hash, "meta": dict(entry.meta)}
    return found


def _digest(value: Any) -> str:
    """sha256 of plain data with tensors, whatever the order of keys."""
    digest = hashlib.sha256()
    _feed(digest, value)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, dict):
        digest.update(f"{{{len(value)}".encode())
        for key in sorted(value, key=str):
            _feed(digest, str(key))
            _feed(digest, value[key])
    elif isinstance(value, (list, tuple)):
        digest.update(f"[{len(value)}".encode())
        for part in value:
            _feed(digest, part)
    elif hasattr(value, "detach"):  # a tensor
        import torch

        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(f"tensor {value.dtype} {tuple(value.shape)}".encode())
        digest.update(flat.view(torch.uint8).numpy().tobytes())  # of any type, of bfloat16 too
    else:
        text = repr(value).encode()
        digest.update(f"{len(text)}:".encode() + text)
