"""Files -> cards -> a store of their own, and what is known of each dataset then: sizes, what was refused, copies in the pool, coverage by a model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamdata import Card, ingest, open_card, open_store, write_example
from lamdata.catalog import TaskSpec, open_mixture
from lamdata.errors import ConfigError, ConfigErrors, LamError
from lamdata.located import read_yaml
from lamdata.overlap import OverlapReport, overlap

PROPOSED = "proposed"  # folder with the cards that a person confirms
STORE = "store.zarr"
LABELS = ("energy", "forces", "virial")


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A dataset before it is read: its card, where that stands, and the row that its files suggest."""

    card: Card
    file: Path
    row: TaskSpec | None  # None for a card that was given


def describe(files: Sequence[str], folder: Path, *, name: str | None) -> list[Described]:
    """Cards for the files, proposed into `folder` unless they are there, or the one that was given instead of files.

    Raises ConfigErrors where what was guessed must be confirmed first, by its line.
    """
    if any(is_card(file) for file in files):
        if len(files) > 1 or name is not None:
            found = "a name is of files" if len(files) == 1 else "a card is given alone, without files"
            raise ConfigError(found, where=next(file for file in files if is_card(file)), hint="the card names its dataset and its files")
        return [Described(card=open_card(files[0]), file=Path(files[0]), row=None)]
    place = folder / PROPOSED
    if not (place / "mixture.yaml").exists():  # written last
        for left in place.glob("*.yaml"):
            left.unlink()
        write_example(place, from_files=[Path(file) for file in files], name=name or name_of(files[0]))
    cards = {path: data for path in sorted(place.glob("*.yaml")) if path.name != "mixture.yaml" for data, _ in [read_yaml(path)]}
    try:
        opened = {path: open_card(path) for path in cards}
        mixture, _ = open_mixture(place / "mixture.yaml")
    except ConfigError as err:
        hint = f"look at the cards in {place}, and give the same command again"
        errors = [ConfigError(one.message, where=one.where, hint=one.hint or hint) for one in err.errors]
        raise ConfigErrors(errors) from None
    rows = {row.dataset: row for row in mixture.heads}
    return [Described(card=card, file=path, row=rows.get(card.dataset)) for path, card in opened.items()]


def is_card(file: str) -> bool:
    """Whether a file is a card."""
    if not file.endswith((".yaml", ".yml")) or not Path(file).is_file():
        return False
    data, _ = read_yaml(file)
    return isinstance(data, dict) and next(iter(data), None) == "dataset"


def name_of(file: str) -> str:
    """What the dataset is called: the last part of the path of its first file, folder or glob that has a name."""
    words = (re.sub(r"[^A-Za-z0-9_-]+", "-", part.split(".")[0]).strip("-_") for part in reversed(Path(file).parts))
    return next(filter(None, words), "mine")


def bring_in(one: Described, store: Path, *, quiet: bool) -> dict[str, Any]:
    """Ingest a dataset into a store of its own; return what is in it and what was not taken."""
    report = ingest(one.card, str(store), base=one.file.parent, quiet=quiet)
    dataset = open_store(store)[one.card.dataset]
    train = dataset.select(split="train")
    statistics = dataset.statistics
    return {
        "title": one.card.title,
        "license": one.card.license,
        "theory": one.card.theory.model_dump(mode="json"),
        "frames": {
            "train": report.frames - report.validation_frames - report.test_frames,
            "validation": report.validation_frames,
            "test": report.test_frames,
        },
        "atoms": statistics.atoms,
        "atoms_per_frame": [statistics.smallest, statistics.largest],
        "elements": list(dataset.elements),
        "labels": {label: statistics.labels.get(label, 0) for label in LABELS},
        "isolated_atoms": sorted(report.isolated_atoms),
        "rejected": dict(report.rejected),
        "left_out": {text: seen["frames"] for text, seen in report.left_out.items()},
        "implausible": [finding["text"] for finding in report.implausible],
        "content_hash": train.content_hash,
    }


def copies(name: str, store: Path, pool: str | None, *, quiet: bool) -> dict[str, Any]:
    """Frames that are there twice, in the dataset or in the pool, and training frames of one that the other holds out."""
    place = None if pool is None else pool if "://" in pool else str(Path(pool).absolute())
    report = overlap(str(store), name, place, quiet=quiet)
    return {
        "frames": report.frames[name],
        "copies": report.copies[name],
        "in_pool": {_in_pool(one.second, place): one.first_frames for one in _pairs(report, name)},
        "leaks": [
            {"train": _in_pool(leak.train, place), "held_out": _in_pool(leak.held_out, place), "split": leak.split, "frames": leak.frames}
            for leak in report.leaks
            if name in (leak.train, leak.held_out)
        ],
        "conflicts": sum(any(member.dataset == name for member in found.members) for found in report.conflicts),
    }


def _pairs(report: OverlapReport, name: str) -> list[Any]:
    """What a dataset shares with others, it first."""
    turned = [one if one.first == name else type(one)(first=one.second, second=one.first, first_frames=one.second_frames, second_frames=one.first_frames) for one in report.shared]  # fmt: skip
    return [one for one in turned if one.first == name]


def _in_pool(name: str, place: str | None) -> str:
    return name if place is None else name.removeprefix(f"{place}:")


def coverage(
    model: Path, head: str | None, store: Path, name: str, folder: Path, *, worth: int, device: str, quiet: bool
) -> dict[str, Any]:
    """What `lamtrain cover` says of a dataset, in a folder of its own; where it can say nothing, why."""
    from ...prediction.model import load_model
    from ..cover.run import cover, open_frames

    try:
        source = open_frames([str(store), name], split=None, format="auto", quiet=quiet)
        result = cover(load_model(model, device=device), source, folder / f"cover-{name}", head=head, worth=worth)
    except LamError as err:
        return {"verdict": "not known", "reasons": [" ".join(str(err).split())]}
    return {
        "verdict": result["verdict"],
        "reasons": list(result["reasons"]),
        "frames": {key: result["frames"][key] for key in ("distinct", "beyond")},
        "page": f"cover-{name}/cover.md",
        "worth_labelling": f"cover-{name}/cover.worth.txt",
    }
