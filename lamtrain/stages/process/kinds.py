"""Kinds of stages: which command each runs, which of its options name what is read, and what it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A command's own YAML file, which may stand in the process's."""

    key: str  # argument that names the file
    spec: str  # its model, as "module:class"
    name: str  # key that names the run in it, filled in by that of the stage
    paths: tuple[str, ...]  # dotted keys that name files, folders or stores


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A command as a stage. Keys of a stage are the command's arguments and options, by name."""

    command: str  # as "lamtrain train"
    number: int = 1  # raised when the same inputs give other results
    reads: tuple[str, ...] = ()  # keys that name files, folders or stores: what is in them counts, not where they lie
    writes: Mapping[str, str] = field(default_factory=dict)  # options that say where results go; {out} is the folder for them
    leaves: Mapping[str, str] = field(default_factory=dict)  # name of a result -> where it is in that folder
    config: Config | None = None
    resumes: bool = False  # goes on from what an interrupted run of it left; else it begins in an empty folder
    judges: bool = False  # exit code 1 with every result there is a verdict, and no failure


KINDS: dict[str, Kind] = {
    "ingest": Kind(
        command="lamdata ingest", reads=("cards",), writes={"output": "{out}/store.zarr"}, leaves={"store": "store.zarr"}, resumes=True
    ),
    "overlap": Kind(command="lamdata overlap", reads=("store", "other")),
    "integrate": Kind(
        command="lamtrain integrate",
        reads=("files", "into", "store", "model"),
        writes={"output": "{out}"},
        leaves={"alone": "alone.yaml", "mixture": "mixture.yaml", "store": "store.zarr", "proposal": "integrate.json"},
        resumes=True,
    ),
    "init": Kind(
        command="lamtrain init",
        reads=("mixture", "store", "from", "replay"),
        writes={"output": "{out}/train.yaml"},
        leaves={"config": "train.yaml"},
    ),
    "train": Kind(
        command="lamtrain train",
        config=Config(key="config", spec="lamtrain.config:TrainConfig", name="train", paths=("mixture", "store", "start.model")),
        writes={"runs": "{out}", "name": "run"},
        leaves={"best": "run/best.pt", "last": "run/last.pt"},
        resumes=True,
    ),
    "test": Kind(
        command="lamtrain test", reads=("model", "store", "structures"), writes={"output": "{out}"}, leaves={"errors": "test.json"}
    ),
    "predict": Kind(
        command="lamtrain predict",
        reads=("model", "inputs", "refit-references"),
        writes={"output": "{out}/predicted.extxyz"},
        leaves={"frames": "predicted.extxyz", "summary": "predicted.json"},
    ),
    "label": Kind(command="lamtrain label", reads=("model", "inputs"), writes={"into": "{out}/store.zarr"}, leaves={"store": "store.zarr"}),
    "cover": Kind(
        command="lamtrain cover",
        reads=("model", "inputs", "training"),
        writes={"output": "{out}"},
        leaves={"cover": "cover.json"},
        judges=True,
    ),
    "transfer": Kind(
        command="lamtrain transfer",
        reads=("model", "to", "structures"),
        writes={"output": "{out}"},
        leaves={"transfer": "transfer.json"},
        resumes=True,
    ),
    "compare": Kind(
        command="lamtrain compare",
        reads=("models", "on", "store", "training"),
        writes={"output": "{out}"},
        leaves={"compare": "compare.json"},
        resumes=True,
    ),
    "distil": Kind(
        command="lamtrain distil",
        config=Config(
            key="config", spec="lamtrain.stages.distil.config:DistilConfig", name="distil", paths=("teacher", "structures", "test.store")
        ),
        writes={"output": "{out}"},
        leaves={"best": "student.pt", "distil": "distil.json"},
        resumes=True,
        judges=True,
    ),
    "compress": Kind(
        command="lamtrain compress", reads=("model", "inputs"), writes={"output": "{out}/compressed.pt"}, leaves={"model": "compressed.pt"}
    ),
    "export": Kind(command="lamtrain export", reads=("model", "store"), writes={"output": "{out}/model.pt"}, leaves={"model": "model.pt"}),
    "import": Kind(command="lamtrain import", reads=("file",), writes={"output": "{out}/model.pt"}, leaves={"model": "model.pt"}),
    "publish": Kind(command="lamtrain publish", reads=("model",), resumes=True),
}
