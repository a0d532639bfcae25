"""Crystals: the models of a transfer -> properties of one and the same structure by each, measured once and kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lamdata.frame import Frame

from ...calculator import Calculator
from ...checkpoint import to_json
from ...files import replace_file
from ...prediction.model import load_model
from ...properties.measure import chosen, draw_properties, measure
from .curves import taken

Properties = dict[str, dict[str, dict[str, Any]]]  # model -> structure -> property -> numbers


def models_of(rows: Sequence[Mapping[str, Any]], out: Path, *, parent: Path, source: str | None, head: str) -> dict[str, tuple[Path, str]]:
    """What is measured: the model as it is, and of both arms the run that was chosen with the most frames and the first seed; file and head."""
    found = {} if source is None else {"model as it is": (parent, source)}
    for arm in dict.fromkeys(row["arm"] for row in rows):
        runs = taken(rows, arm=arm, when="converged")
        most = max(runs)
        found[f"{arm}, {most} frames"] = (out / runs[most][0]["run"] / "last.pt", head)
    return found


def measure_models(
    models: Mapping[str, tuple[Path, str]],
    structures: Mapping[str, Frame],
    folder: Path,
    *,
    properties: Sequence[str],
    device: str,
    step: Callable[[], None],
) -> Properties:
    """Measure in float64, and draw `properties.png`. `structures` have names."""
    wanted = chosen(properties)
    found: Properties = {}
    for label, (path, head) in models.items():
        kept = folder / "properties" / f"{label.replace(', ', '-').replace(' ', '-')}.json"
        key = {
            "properties": wanted,
            "structures": {name: frame.positions.tolist() for name, frame in structures.items()},
            "model": str(path),
        }
        known = json.loads(kept.read_text()) if kept.exists() else {}
        if known.get("asked") == key:
            found[label] = known["found"]
            for _ in range(len(wanted) * len(structures)):
                step()
            continue
        model = load_model(path, device=device, dtype="float64", kernels="auto")
        found[label] = {
            name: measure(frame.to_ase(), Calculator(model, head=head), wanted, step=step) for name, frame in structures.items()
        }
        replace_file(kept, to_json({"asked": key, "found": found[label]}).encode())
    rows = {f"{label}: {name}": values for label, crystals in found.items() for name, values in crystals.items()}
    draw_properties(rows, folder / "properties.png")
    return found
