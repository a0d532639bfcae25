"""Rounds: explore, judge, label, train, until the student has converged or may train no more.

Each trajectory, each judgement, each dataset and each training stays in the folder once it is whole, and is the same however often it was interrupted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamdata import open_dataset
from lamdata.elements import SYMBOLS
from lamdata.errors import DataError
from lamdata.frame import Frame
from lamdata.frames import Frames
from lamdata.progress import Progress, track

from ...calculator import Calculator
from ...checkpoint import to_json
from ...files import replace_file
from ...prediction.label import label
from ...prediction.model import Model, load_model
from ...prediction.source import Source
from ...training.stop import Interrupted, Stop
from .config import DistilConfig
from .deviation import choose, compare, judge
from .explore import Condition, Trajectory, deal, follow
from .students import steps_of, train_student

CONVERGED, AT_THE_LIMIT, STUCK = "converged", "stopped at the limit", "nothing left to learn from"
FOUND = "round.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all rounds work with."""

    config: DistilConfig
    folder: Path
    teacher: Model
    head: str
    structures: Sequence[Frame]
    threads: int
    device: str = "auto"
    quiet: bool = False

    @property
    def store(self) -> str:
        """Of the frames that were labelled."""
        return str(self.folder / "store.zarr")

    def round(self, number: int) -> Path:
        """The folder of a round."""
        return self.folder / name_of(number)


def name_of(number: int) -> str:
    """Of a round: of its folder, its dataset and its groups."""
    return f"round-{number:02d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explored(Source):
    """Frames of a round that were chosen, to be labelled as a dataset."""

    frames: Sequence[Frame]

    def __iter__(self) -> Iterator[Frame]:
        return iter(track(self.frames, f"labelling {self.paths[0]}", total=len(self.frames), unit="frames", quiet=self.quiet))

    @property
    def said(self) -> str:
        """What they are, for the card."""
        return f"{self.paths[0]} of a distillation, {len(self.frames)} frames that dynamics came to or began with"

    def hashes(self) -> dict[str, str]:
        """Of all that decides the dataset."""
        digest = hashlib.sha256()
        for frame in self.frames:
            digest.update(f"{frame.origin} {frame.split} {frame.pbc}".encode())
            for array in (frame.numbers, frame.positions, np.zeros(0) if frame.cell is None else frame.cell):
                digest.update(np.ascontiguousarray(array).tobytes())
        return {self.paths[0]: digest.hexdigest()}


def do_rounds(bench: Bench) -> dict[str, Any]:
    """{"verdict", "student": the checkpoint that was judged last, "trainings", "steps", "rounds": a row each}."""
    rows: list[dict[str, Any]] = []
    student: Path | None = None
    while True:
        row = do_round(bench, len(rows), student=student, before=rows)
        rows.append(row)
        if row["verdict"] is not None:
            break
        student = bench.round(row["round"]) / "student/run/best.pt"
    trainings = sum(bool(row.get("trained")) for row in rows)
    return {
        "verdict": rows[-1]["verdict"],
        "student": str(student),
        "trainings": trainings,
        "steps": steps_of(bench.config, trainings),
        "rounds": rows,
    }


def do_round(bench: Bench, number: int, *, student: Path | None, before: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What was found in a round; `verdict` is None where another is to follow, with the student that this one trained."""
    folder = bench.round(number)
    if (folder / FOUND).exists():
        row: dict[str, Any] = json.loads((folder / FOUND).read_text())
        if row["verdict"] != AT_THE_LIMIT or number >= bench.config.iterations:
            return row
    dealt = deal(bench.config, bench.structures, number)
    row = {"round": number, "verdict": None, "driver": "teacher" if student is None else bench.config.explore.driver}
    trajectories = explore(bench, number, dealt, driver=bench.teacher if row["driver"] == "teacher" else _open(bench, student))
    frames = [frame for place, one in enumerate(trajectories) for frame in one.frames(_group(number, place), split=_split(dealt[place][1]))]
    row |= _of_trajectories(dealt, trajectories)
    worth = np.arange(len(frames))
    usable = worth
    if student is not None:
        judged, worth, usable = _judge(bench, frames, student, before, lost=row["planned"] - len(frames))
        row |= judged
    row["verdict"] = CONVERGED if row.get("converged") else AT_THE_LIMIT if number >= bench.config.iterations else None
    if row["verdict"] is None:
        given = _given(bench) if student is None else []
        row |= _learn(bench, number, frames, given=given, worth=worth, usable=usable, student=student, before=before)
        if student is None:
            _refuse_untrained(bench, row)
        row["verdict"] = None if row["trained"] else STUCK
    replace_file(folder / FOUND, to_json(row).encode())
    return row


def _given(bench: Bench) -> list[Frame]:
    """The structures that dynamics start from, without their labels: the first student learns from the teacher what they are, too."""
    rows = choose(np.arange(len(bench.structures)), bench.config.keep.frames, seed=[bench.config.seed])
    out = []
    for row in np.sort(rows).tolist():
        one, name = bench.structures[row], f"given-{row:04d}"
        out.append(Frame(numbers=one.numbers, positions=one.positions, cell=one.cell, pbc=one.pbc, group=name, origin=name, split="train"))
    return out


def _open(bench: Bench, student: Path | None) -> Model:
    assert student is not None
    return load_model(student, device=bench.device)


def _group(number: int, place: int) -> str:
    return f"{name_of(number)}/trajectory-{place:03d}"


def _split(held_out: bool) -> str:
    return "validation" if held_out else "train"


def explore(bench: Bench, number: int, dealt: Sequence[tuple[Condition, bool]], *, driver: Model) -> list[Trajectory]:
    """The trajectories of a round; those that are there are not run again."""
    config, out = bench.config, []
    total = len(dealt) * config.explore.steps
    with Progress(f"exploring, round {number}", total=total, unit="steps", quiet=bench.quiet) as bar, Stop() as stop:

        def step() -> None:
            bar.advance()
            refuse_to_go_on(stop)

        for place, (condition, _) in enumerate(dealt):
            path = bench.round(number) / f"trajectory-{place:03d}.npz"
            if not path.exists():
                atoms: Any = bench.structures[condition.structure].to_ase()
                seed = [config.seed, number, place]
                calculator = Calculator(driver, head=bench.head)
                follow(atoms * condition.supercell, calculator, condition, config.explore, seed=seed, step=step).save(path)
            out.append(Trajectory.load(path))
            bar.note = f"({sum(bool(one.stopped) for one in out)} blown up)"
    return out


def refuse_to_go_on(stop: Stop) -> None:
    """Raise Interrupted where the process was told to stop: what is whole is on disk."""
    if stop.asked:
        raise Interrupted(stop.reason or "stopped", hint="the same command goes on from there")


def _of_trajectories(dealt: Sequence[tuple[Condition, bool]], trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    rows = [
        asdict(condition)
        | {"held_out": out, "atoms": len(one.numbers), "frames": len(one), "steps": one.steps, "stopped": one.stopped or None}
        for (condition, out), one in zip(dealt, trajectories)
    ]
    return {
        "trajectories": rows,
        "frames": sum(map(len, trajectories)),
        "planned": sum(one.planned for one in trajectories),
        "blown_up": sum(bool(one.stopped) for one in trajectories),
    }


def _judge(
    bench: Bench, frames: Sequence[Frame], student: Path, before: Sequence[dict[str, Any]], *, lost: int
) -> tuple[dict[str, Any], NDArray[np.int64], NDArray[np.int64]]:
    """What teacher and student make of the frames; rows that are worth training on, and rows of structures of the system."""
    keep = bench.config.keep
    with Progress("judging", total=len(frames), unit="frames", quiet=bench.quiet) as bar:
        compared = compare(bench.teacher, _open(bench, student), bench.head, Frames.from_list(frames), step=bar.advance)
    deviations = compared.deviations(keep.deviation)
    judged = judge(deviations, keep, lost=lost, lows=[row["low"] for row in before if "low" in row])
    counts = {"accurate": judged.accurate, "candidates": len(judged.candidates), "failed": judged.failed, "lost": judged.lost}
    found = {
        "deviation": keep.deviation,
        "low": judged.low,
        "high": keep.high,
        "share_accurate": judged.share,
        "converged": judged.converged,
        "force_rmse_mev_per_angstrom": None if compared.force_rmse is None else 1000 * compared.force_rmse,
        "deviations": [float(x) if np.isfinite(x) else None for x in deviations],
    }
    return counts | found, judged.candidates, np.flatnonzero(deviations < keep.high)


def _learn(
    bench: Bench,
    number: int,
    frames: Sequence[Frame],
    *,
    given: Sequence[Frame],
    worth: NDArray[np.int64],
    usable: NDArray[np.int64],
    student: Path | None,
    before: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Label what is given, what is worth it of the trajectories that are trained on, and all that is usable of the held-out ones; train with all rounds so far."""
    config, seed = bench.config, [bench.config.seed, number]
    training = np.array([frame.split == "train" for frame in frames], bool)
    rows = choose(worth[training[worth]], config.keep.frames, seed=seed)
    held = choose(usable[~training[usable]], config.keep.frames, seed=seed)
    kept = {"kept": len(rows), "held_out": len(held), "refused": 0, "trained": False}
    if not len(rows):
        return kept
    some = [*given, *(frames[row] for row in np.sort(np.concatenate([rows, held])).tolist())]
    source = Explored(paths=[name_of(number)], frames=some, quiet=bench.quiet)
    done = label(bench.teacher, source, bench.store, dataset=name_of(number), head=bench.head)
    left = done["frames"] - done["validation_frames"] - done["test_frames"]
    kept |= {"kept": left, "held_out": done["validation_frames"], "refused": sum(done["rejected"].values())}
    if not left:
        return kept
    datasets = {name_of(row["round"]): row["kept"] for row in before} | {name_of(number): left}
    train_student(
        config,
        bench.round(number) / "student",
        store=bench.store,
        datasets=datasets,
        head=bench.head,
        steps=config.student.steps if student is None else config.student.further,
        threads=bench.threads,
        start=student,
        device=bench.device,
        quiet=bench.quiet,
    )
    return kept | {"trained": True}


def _refuse_untrained(bench: Bench, row: dict[str, Any]) -> None:
    """Raise DataError where the first student was not shown all elements, and would know nothing of the structures that have others."""
    wanted = {SYMBOLS[z] for frame in bench.structures for z in frame.numbers.tolist()}
    shown = open_dataset(bench.store, name_of(0), split="train").elements if row["trained"] else []
    if missing := sorted(wanted - set(shown)):
        why = next((one["stopped"] for one in row["trajectories"] if one["stopped"]), "the checks of the store refused them")
        hint = "it may know nothing of these structures, temperatures or pressures"
        raise DataError(
            f"the teacher's own dynamics left no frame with {', '.join(missing)} to train on: {why}", where=bench.teacher.path, hint=hint
        )


def frames_labelled(bench: Bench, rounds: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Of all rounds, on both sides."""
    names = [name_of(row["round"]) for row in rounds if row.get("trained")]
    return {split: sum(len(open_dataset(bench.store, name, split=split)) for name in names) for split in ("train", "validation")}
