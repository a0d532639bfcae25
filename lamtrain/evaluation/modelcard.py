"""Model card: a checkpoint -> what it is, what it was trained on, under which licences, and what to cite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lamdata.command import table

from ..checkpoint import Checkpoint, load

CITE = {  # by the type of the descriptor
    "dpa1": "D. Zhang et al., Pretraining of attention-based deep learning potential model for molecular simulation, npj Comput. Mater. 10, 94 (2024), arXiv:2208.08236",
    "dpa2": "D. Zhang et al., DPA-2: a large atomic model as a multi-task learner, npj Comput. Mater. 10, 293 (2024), arXiv:2312.15492",
}


def describe(model: Path) -> dict[str, Any]:
    """Everything a checkpoint says of itself, without its numbers."""
    checkpoint = load(model)
    parameters = sum(value.numel() for value in checkpoint.model.values())
    return {
        "model": str(model),
        "step": checkpoint.step,
        "frames_seen": checkpoint.position,
        "values": parameters,
        "elements": checkpoint.model_config["elements"],
        "descriptor": _descriptor(checkpoint),
        "heads": checkpoint.heads,
        "units": checkpoint.units,
        "lock": checkpoint.lock,
        "compressed": checkpoint.compressed,
    }


def citations(card: dict[str, Any]) -> list[str]:
    """The model's paper, then each dataset's, once."""
    return _cited(card["descriptor"], card["lock"])


def cited_by(checkpoint: Checkpoint) -> list[str]:
    """The same of a checkpoint in hand."""
    return _cited(_descriptor(checkpoint), checkpoint.lock)


def _cited(descriptor: str, lock: dict[str, Any]) -> list[str]:
    found = [text for data in lock["datasets"].values() for text in data["citations"]]
    return list(dict.fromkeys([CITE[descriptor], *found]))


def _descriptor(checkpoint: Checkpoint) -> str:
    return str(checkpoint.model_config["descriptor"].get("type", "dpa2"))


def parameters_of(model: Path) -> dict[str, list[int]]:
    """Name of each parameter -> its shape, as `start.train` and `start.lr_scale` name them."""
    return {name: list(parameter.shape) for name, parameter in load(model).build().named_parameters()}


def print_card(card: dict[str, Any]) -> None:
    """The same as tables."""
    elements = card["elements"]
    print(f"{card['model']}: step {card['step']:,}, {card['frames_seen']:,} frames seen, {card['values']:,} values")
    print(f"  {len(elements)} elements: {' '.join(elements)}\n  units: {', '.join(f'{k} {v}' for k, v in card['units'].items())}")
    if compressed := card["compressed"]:
        off = compressed["chosen"]
        print(
            f"  compressed from {compressed['model']} (sha256 {compressed['sha256'][:12]}), off by up to {off['energy']:.1e} eV/atom, "
            f"{off['forces']:.1e} eV/Å, {off['virial']:.1e} eV/atom on {compressed['frames']['of']}"
        )
    rows = [
        [
            f"{head} (stale)" if row.get("stale") else head,
            row["task"],
            row["weight"],
            ", ".join(row["datasets"]),
            "; ".join(t["functional"] or "unknown" for t in row["theory"]),
        ]
        for head, row in card["heads"].items()
    ]
    table("", ["head", "task", "weight", "datasets", "functional"], rows)
    data = card["lock"]["datasets"]
    table(
        "",
        ["dataset", "train frames", "validation", "test", "licence"],
        [[n, d["train_frames"], d["validation_frames"], d.get("test_frames", 0), d["license"]] for n, d in data.items()],
    )
