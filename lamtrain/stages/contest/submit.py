"""Submit: structures and a model -> the same at rest, each kept as soon as it is, and a folder that can be handed in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lamdata.errors import ConfigError, DataError, LamError
from lamdata.exporting import text_of
from lamdata.frame import Frame, Rejection

from ...checkpoint import to_json
from ...files import replace_file, replace_yaml
from ...prediction.source import Source
from ...properties.crystal import relax
from ..submitted import DESCRIPTION
from .score import answers_of
from .submission import Handed

FMAX = 1e-3  # eV/Å, and eV by atom of the cell: far below what is asked of a submission


def submit(
    source: Source,
    calculator: Callable[[], Any],
    out: Path,
    *,
    name: str,
    model: str,
    checkpoint: str | None = None,
    head: str | None = None,
) -> dict[str, Any]:
    """Relax cells and atoms of every structure with a calculator of ASE of its own; return counts. What does not come to rest is left out, and named.

    A structure that is done is not done again; raises ConfigError where `out` holds those of another model or other structures.
    """
    asked = {"model": checkpoint or model, "head": head, "structures": source.hashes(), "fmax": FMAX}
    _settle(out, asked)
    answer, left, count = answers_of(calculator), list[tuple[str, str]](), 0
    texts: list[str] = []
    for row, item in enumerate(source):
        count += 1
        done = _done(out / "relaxed" / f"{row:06d}.json", item, calculator, answer)
        if "reason" in done:
            left.append((item.origin, done["reason"]))
        else:
            texts.append(done["text"])
    if not count:
        raise DataError("no structure", where=source.said)
    replace_file(out / "structures.extxyz", "".join(texts).encode())
    replace_file(out / "left_out.csv", _csv(left).encode())
    handed = Handed(submission=name, model=model, checkpoint=checkpoint, head=head)
    replace_yaml(out / DESCRIPTION, handed.model_dump(mode="json"))
    return {"submission": name, "structures": count, "relaxed": len(texts), "left_out": [{"origin": o, "reason": why} for o, why in left]}


def _settle(out: Path, asked: dict[str, Any]) -> None:
    path = out / "asked.json"
    known = json.loads(path.read_text()) if path.exists() else asked
    if differing := [key for key in asked if known.get(key) != asked[key]]:
        hint = "choose another folder with -o, or remove this one"
        raise ConfigError(f"it holds structures relaxed with another {', '.join(differing)}", where=str(out), hint=hint)
    replace_file(path, to_json(asked).encode())


def _done(path: Path, item: Frame | Rejection, calculator: Callable[[], Any], answer: Callable[[Frame], Frame]) -> dict[str, str]:
    """The text of a structure at rest, or the reason why there is none; kept in a file."""
    if path.exists():
        found: dict[str, str] = json.loads(path.read_text())
        return found
    found = _relaxed(item, calculator, answer)
    replace_file(path, to_json(found).encode())
    return found


def _relaxed(item: Frame | Rejection, calculator: Callable[[], Any], answer: Callable[[Frame], Frame]) -> dict[str, str]:
    if isinstance(item, Rejection):
        return {"reason": item.reason}
    if not all(item.pbc):
        return {"reason": "it is not periodic in all directions"}
    try:
        bare: Any = item.bare().to_ase()
        moved: Any = relax(bare, calculator(), fmax=FMAX)
        frame = answer(replace(item, positions=moved.positions.copy(), cell=moved.cell[:].copy()))
    except NotImplementedError as err:
        return {"reason": str(err) or "the calculator does not know it"}
    except LamError as err:
        return {"reason": err.message}
    return {"text": text_of(frame, words={})}


def _csv(left: list[tuple[str, str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([("origin", "reason"), *left])
    return out.getvalue()
