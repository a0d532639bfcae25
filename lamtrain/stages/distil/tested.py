"""Tested: DFT test data -> errors of the teacher, of the student, and of a student that was trained on the DFT data alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lamdata import open_dataset
from lamdata.errors import DataError

from ...checkpoint import to_json
from ...evaluation.report import test_model
from ...files import replace_file, sha256_of
from .config import DftSpec
from .rounds import Bench
from .students import train_student


def refuse_untestable(test: DftSpec) -> None:
    """Raise DataError, before anything is done, where there is nothing to measure on or to train on."""
    for split, wanted in (("test", True), ("train", test.alone)):
        if wanted and not len(open_dataset(test.store, test.dataset, split=split)):
            hint = "give the card a `split.test` and ingest again" if split == "test" else "or set `test.alone: false`"
            raise DataError(f"dataset {test.dataset} has no {split} frames", where=test.store, hint=hint)


def test_students(bench: Bench, test: DftSpec, student: Path, *, steps: int) -> dict[str, Any]:
    """{"teacher", "student", "alone"} -> the row of test.json; pictures and tables are in `tested/`. What was measured is not measured again."""
    models = {"teacher": Path(bench.teacher.path), "student": student}
    if test.alone:
        models["alone"] = train_student(
            bench.config,
            bench.folder / "alone" / f"{test.dataset}-{steps}-steps",
            store=test.store if "://" in test.store else str(Path(test.store).resolve()),
            datasets={test.dataset: 1},
            head=bench.head,
            steps=steps,
            threads=bench.threads,
            device=bench.device,
            quiet=bench.quiet,
        )
    frames = open_dataset(test.store, test.dataset)
    rows = {}
    for name, path in models.items():
        out = bench.folder / "tested" / name
        asked = {"model": sha256_of(path), "frames": frames.content_hash}
        known = json.loads((out / "found.json").read_text()) if (out / "found.json").exists() else {}
        if known.get("asked") != asked:
            result = test_model(
                path, test.store, output=out, head=bench.head, dataset=test.dataset, device=bench.teacher.device, quiet=bench.quiet
            )
            known = {"asked": asked, "row": result["heads"][bench.head]}
            replace_file(out / "found.json", to_json(known).encode())
        rows[name] = known["row"]
    return rows
