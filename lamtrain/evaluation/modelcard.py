"""Model card: a checkpoint -> what it is, what it was trained on, under which licences, and what to cite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lamdata.command import table

from ..checkpoint import load

CITE = ("D. Zhang et al., DPA-2: a large atomic model as a multi-task learner, npj Comput. Mater. 10, 293 (2024), arXiv:2312.15492",)


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
        "heads": checkpoint.heads,
        "units": checkpoint.units,
        "lock": checkpoint.lock,
    }


def citations(card: dict[str, Any]) -> list[str]:
    """The model's paper, then each dataset's, once."""
    found = [text for data in card["lock"]["datasets"].values() for text in data["citations"]]
    return list(dict.fromkeys([*CITE, *found]))


def print_card(card: dict[str, Any]) -> None:
    """The same as tables."""
    elements = card["elements"]
    print(f"{card['model']}: step {card['step']:,}, {card['frames_seen']:,} frames seen, {card['values']:,} values")
    print(f"  {len(elements)} elements: {' '.join(elements)}\n  units: {', '.join(f'{k} {v}' for k, v in card['units'].items())}")
    rows = [
        [head, row["task"], row["weight"], ", ".join(row["datasets"]), "; ".join(t["functional"] or "unknown" for t in row["theory"])]
        for head, row in card["heads"].items()
    ]
    table("", ["head", "task", "weight", "datasets", "functional"], rows)
    data = card["lock"]["datasets"]
    table(
        "",
        ["dataset", "train frames", "validation", "test", "licence"],
        [[n, d["train_frames"], d["validation_frames"], d.get("test_frames", 0), d["license"]] for n, d in data.items()],
    )
