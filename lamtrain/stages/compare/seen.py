"""Seen: what models say they were trained on -> how many of the frames that are measured are copies of frames in it.

A dataset is found by the hash of its contents, which a checkpoint records, or else by its name, in the store of the benchmark or in one that
is named for this. Copies are those of `lamdata overlap`: moved, turned, permuted, in another cell. What is not found is said to be unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lamdata import open_store
from lamdata.overlap import compare
from lamdata.store import Dataset

from .exam import Exam
from .submission import Submission, TrainedOn


@dataclass(slots=True, kw_only=True)
class Seen:
    """Of one model."""

    frames: dict[str, int] | None  # task -> measured frames that are copies of its training frames; None where nothing is known of these
    notes: list[str] = field(default_factory=list)


def find_seen(
    exams: Sequence[Exam], submissions: Mapping[str, Submission], stores: Sequence[str], *, quiet: bool = False
) -> dict[str, Seen]:
    """Name of a submission -> what it has seen; every dataset is read once, for all of them together."""
    found: dict[str, Seen] = {}
    wanted: dict[str, dict[str, str]] = {}  # submission -> name of its dataset -> the one that was found
    datasets: dict[str, Dataset] = {}
    known = _known(stores)
    elements = sorted({symbol for exam in exams for symbol in exam.measured.elements})  # a frame with others is no copy: it is not read
    for name, submission in submissions.items():
        if submission.trained_on is None:
            found[name] = Seen(frames=None, notes=["does not say what it was trained on"])
            continue
        found[name], wanted[name] = Seen(frames={}), {}
        for row in submission.trained_on:
            place = _find(row, known)
            if place is None:
                found[name].notes.append(
                    f"{row.dataset}, on which it was trained, is not in {', '.join(stores)}: its frames were not compared"
                )
                continue
            if row.content_hash is None:
                found[name].notes.append(f"{row.dataset}, on which it was trained, was found by its name alone")
            wanted[name][row.dataset] = place
            datasets[place] = known[place].select(split="train", elements=elements)
    copies = _copies(exams, datasets, quiet=quiet)
    for name, places in wanted.items():
        if not places:
            found[name].frames = None
            continue
        found[name].frames = {
            exam.name: len(set().union(*(copies.get((exam.name, place), set()) for place in places.values()))) for exam in exams
        }
        found[name].notes += _own_datasets(exams, known, places)
    return found


def _known(stores: Sequence[str]) -> dict[str, Dataset]:
    """A name for each dataset of some stores -> it."""
    return {f"training: {place}:{name}": dataset for place in stores for name, dataset in open_store(place).items()}


def _find(row: TrainedOn, known: Mapping[str, Dataset]) -> str | None:
    for place, dataset in known.items():
        if dataset.content_hash == row.content_hash or (row.content_hash is None and dataset.name == row.dataset):
            return place
    return None


def _own_datasets(exams: Sequence[Exam], known: Mapping[str, Dataset], places: Mapping[str, str]) -> list[str]:
    """Tasks whose dataset a model was trained on: not a leak where the frames are held out, but no transfer either."""
    hashes = {known[place].content_hash for place in places.values()}
    own = [exam.name for exam in exams if exam.train.whole.content_hash in hashes]
    return [f"trained on the training frames of {', '.join(own)}"] if own else []


def _copies(exams: Sequence[Exam], datasets: Mapping[str, Dataset], *, quiet: bool) -> dict[tuple[str, str], set[int]]:
    """(task, training dataset) -> rows of the measured frames that are in it."""
    found: dict[tuple[str, str], set[int]] = {}
    datasets = {place: dataset for place, dataset in datasets.items() if len(dataset)}
    if not datasets:
        return found
    tasks = {f"task: {exam.name}": exam for exam in exams}
    report = compare({**{name: exam.measured for name, exam in tasks.items()}, **datasets}, quiet=quiet)
    for copied in report.sets:
        trained = {member.dataset for member in copied.members if member.dataset in datasets}
        for member in copied.members:
            if (exam := tasks.get(member.dataset)) is not None and member.index < len(exam.shown):
                for place in trained:
                    found.setdefault((exam.name, place), set()).add(member.index)
    return found
