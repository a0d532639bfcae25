"""Adopt: DeePMD-kit's input.json and models -> a folder of our configs, or a checkpoint of ours."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from lamdata.errors import ConfigError
from lamtrain.checkpoint import Checkpoint, save

from .inputs import input_json_to_config
from .read import FileInfo, from_deepmd


def adopt_input(path: Path, folder: Path, *, store: str) -> tuple[list[Path], list[str]]:
    """Write cards, mixture.yaml and train.yaml for an input.json into `folder`; return them, and each option without a counterpart."""
    values, left_out = input_json_to_config(path)
    systems, mixture = values.pop("datasets"), values.pop("mixture")
    train = {"train": path.stem.replace(" ", "-"), "mixture": "mixture.yaml", "store": _relative(store, folder)}
    documents: dict[str, Any] = {"mixture.yaml": mixture, "train.yaml": train | values}
    for head, folders in systems.items():
        documents[f"{head}.yaml"] = _card(head, [_relative(str(path.parent / f), folder) for f in folders])
    files = [folder / name for name in documents]
    for file in files:
        if file.exists():
            raise ConfigError("there is such a file already", where=str(file), hint="choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for file, document in zip(files, documents.values(), strict=True):
        with open(file, "w", encoding="utf-8") as stream:
            YAML().dump(document, stream)
    return files, left_out


def _card(head: str, folders: list[str]) -> dict[str, Any]:
    return {
        "dataset": head,
        "title": f"Training data of head {head}",
        "license": None,
        "theory": {"code": None, "functional": None},
        "sources": [{"path": folder, "members": "**/set.*/coord.npy", "format": "deepmd/npy"} for folder in folders],
    }


def _relative(path: str, folder: Path) -> str:
    return path if "://" in path else os.path.relpath(path, folder)


def adopt_model(path: Path, output: Path, *, branch: str | None = None, tebd_of: str | None = None) -> FileInfo:
    """Write a model of DeePMD-kit as a checkpoint of ours; what it was trained on it does not say, so its lock is empty."""
    model, info = from_deepmd(path, branch=branch, tebd_of=tebd_of)
    unknown = {"task": "energy_force", "weight": 1.0, "datasets": [], "theory": [], "references": None}
    checkpoint = Checkpoint(
        model_config=model.config.model_dump(mode="json"),
        model=model.state_dict(),
        heads={head: dict(unknown) for head in model.config.heads},
        lock={"mixture": None, "datasets": {}},
        step=int(info.train_infos.get("step", 0)),
    )
    save(checkpoint, output)
    return info
