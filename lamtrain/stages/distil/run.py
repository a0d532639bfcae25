"""`lamtrain distil`: a config -> a folder with a student, the rounds that made it, and what it is worth: distil.json, a page and pictures.

Killed anywhere, the same command goes on, and ends with the same student to the bit; of a trajectory that was being followed nothing is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lamdata import open_dataset, read_frames
from lamdata.errors import ConfigError, DataError
from lamdata.frame import Frame, Rejection
from lamdata.frames import Frames

from ...checkpoint import to_json
from ...cores import usable_threads
from ...files import replace_file, sha256_of
from ...prediction.model import load_model
from ...prediction.source import datasets_of
from ...prediction.structures import refuse
from .config import DistilConfig
from .explore import deal
from .figures import draw_rounds, draw_suite
from .report import write_page
from .rounds import CONVERGED, Bench, Explored, do_rounds, frames_labelled
from .suite import run_suite, verdicts
from .tested import refuse_untestable, test_students

STARTS = 200  # training frames of a dataset at most
FREE = {"distil", "teacher", "structures", "iterations", "test", "accept", "threads"}  # files are compared by content


def distil(config: DistilConfig, *, out: Path, device: str = "auto", quiet: bool = False) -> dict[str, Any]:
    """Distil, and return what distil.json holds; `accepted` is whether the student has converged and passes all checks of the suite.

    Raises ConfigError where `out` holds another distillation; what cannot be done is said before anything is.
    """
    if config.test is not None:
        refuse_untestable(config.test)
    bench = _open(config, out, device=device, quiet=quiet)
    torch.set_num_threads(bench.threads)
    done = do_rounds(bench)
    student = Path(done["student"])
    replace_file(out / "student.pt", student.read_bytes())
    draw_rounds(done["rounds"], out / "rounds.png")
    suite = run_suite(bench, student)
    draw_suite(suite, out / "suite.png")
    errors = {} if config.test is None else test_students(bench, config.test, student, steps=done["steps"])
    checks = verdicts(config.accept, suite, errors=errors, rounds=done["rounds"])
    result = {
        "distil": config.distil,
        "teacher": config.teacher,
        "config": config.model_dump(mode="json"),
        "accepted": done["verdict"] == CONVERGED and all(check.passed for check in checks),
        "checks": [asdict(check) for check in checks],
        "test": None if config.test is None else f"{config.test.dataset} of {config.test.store}",
        "errors": errors,
        "suite": suite,
        "labelled": frames_labelled(bench, done["rounds"]),
        **done,
    }
    replace_file(out / "distil.json", to_json(result).encode())
    write_page(result, out)
    return result


def refuse_if_not_accepted(result: dict[str, Any]) -> None:
    """Raise DataError that says what a student has not passed."""
    if not result["accepted"]:
        reasons = [] if result["verdict"] == CONVERGED else [result["verdict"]]
        reasons += [
            f"{check['name']} {_found(check['value'])}, wanted {check['threshold']:g}" for check in result["checks"] if not check["passed"]
        ]
        hint = "raise `iterations` and run the same command again" if result["verdict"] != CONVERGED else "the report says more"
        raise DataError(f"not accepted: {'; '.join(reasons)}", where=result["distil"], hint=hint, result=result)


def _found(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3g}"


def _open(config: DistilConfig, out: Path, *, device: str, quiet: bool) -> Bench:
    """The teacher, the structures, and a folder that says what was asked of it."""
    teacher = load_model(config.teacher, device=device)
    head = teacher.pick(config.head)
    structures = read_structures(config.structures)
    refuse(Frames.from_list(structures), elements=teacher.elements[head])
    if flat := [frame.origin for frame in structures if not all(frame.pbc)]:
        if any(pressure is not None for pressure in config.pressures):
            raise ConfigError("a pressure needs a cell that is periodic in all directions", where=flat[0], hint="pressures: [null]")
        if any(cells != (1, 1, 1) for cells in config.supercells):
            raise ConfigError("a supercell needs a cell that is periodic in all directions", where=flat[0], hint="leave `supercells` out")
    deal(config, structures, 0)
    path = out / "asked.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    asked = {name: value for name, value in config.model_dump(mode="json").items() if name not in FREE}
    asked |= {"head": head, "teacher": sha256_of(Path(config.teacher)), "structures": _hash_of(structures)}
    if differing := [name for name in asked if known and known.get(name) != asked[name]]:
        hint = "choose another folder with -o, or remove this one"
        raise ConfigError(f"it was begun with another {', '.join(f'`{name}`' for name in differing)}", where=str(out), hint=hint)
    threads = known.get("threads") or config.threads or usable_threads()
    replace_file(path, to_json(asked | {"threads": threads}).encode())
    return Bench(
        config=config, folder=out.resolve(), teacher=teacher, head=head, structures=structures, threads=threads, device=device, quiet=quiet
    )


def read_structures(paths: Sequence[str]) -> list[Frame]:
    """All frames of some files, and of stores STARTS each. Raises DataError for one that is refused, and where there is none."""
    found = []
    for path in paths:
        if names := datasets_of(path):
            found += _starts(path, names)
            continue
        for item in read_frames(path):
            if isinstance(item, Rejection):
                raise DataError(item.reason, where=item.origin)
            found.append(item)
    if not found:
        raise DataError("no structure", where=", ".join(paths))
    return found


def _starts(store: str, names: list[str]) -> list[Frame]:
    """Training frames of the one dataset of a store, evenly over it: it was shuffled when it was written."""
    if len(names) > 1:
        raise ConfigError(
            f"a store of {len(names)} datasets: {', '.join(names)}", where=store, hint="export the one that is meant, and name the file"
        )
    dataset = open_dataset(store, names[0], split="train")
    rows = np.unique(np.linspace(0, len(dataset) - 1, STARTS).astype(int)) if len(dataset) else np.empty(0, int)
    return [dataset[int(row)] for row in rows]


def _hash_of(structures: Sequence[Frame]) -> str:
    text = json.dumps([Explored(paths=["structure"], frames=[one]).hashes()["structure"] for one in structures])
    return hashlib.sha256(text.encode()).hexdigest()
