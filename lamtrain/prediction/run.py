"""`lamtrain predict`: a model and structures -> extended XYZ or a store with energies, forces and virials, and beside it errors and a ledger."""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from lamdata import open_store, store_frames
from lamdata.elements import SYMBOLS
from lamdata.errors import ConfigError, DataError
from lamdata.exporting import quoted, text_of
from lamdata.frame import Frame, Rejection

from ..checkpoint import to_json
from ..evaluation.figures import draw_points, draw_worst
from .answers import Answer, Tally, answers
from .beside import Beside
from .label import NO_CHECKS, card_of_predictions, sources_of
from .model import Model
from .scores import COLUMNS, Scored, Scores
from .shift import Differences, Shift, fit_shift
from .source import Source
from .structures import content_of

SUFFIXES = (".rejected.jsonl", ".frames.csv", ".groups.csv", ".worst.extxyz", ".parity.png", ".worst.png", ".json")
DRAWN = 8  # of the worst frames
DATASET = "predictions"  # of a store that holds nothing else
UNITS = {"energy": "eV", "length": "Angstrom", "force": "eV/Angstrom", "virial": "eV, -volume x stress"}


def predict_files(
    model: Model, source: Source, output: Path, *, head: str | None = None, refit: Source | None = None, worst: int = 10
) -> dict[str, Any]:
    """Write what `head` says of every frame to `output`, in the order of the source; return the summary, which stands beside it too.

    Where frames have labels, errors and the `worst` frames are written as well. `refit` are frames with energies that shift those of the
    model by element; frames that are among them are predicted and not scored. Nothing is written unless all is.
    """
    chosen = model.pick(head)
    _check_output(output, [source, refit])
    shift, fitted = (None, frozenset[bytes]()) if refit is None else _fit(model, chosen, refit)
    tally, scores = Tally(), Scores(_references(model, chosen), worst=worst)
    with Beside(output) as beside:
        predicted = _scored(answers(model, chosen, source, tally), shift, fitted, beside, tally, scores)
        if output.suffix == ".zarr":
            _write_store(predicted, beside, model, chosen, source, refit)
        else:
            for frame, columns in predicted:
                beside.text().write(_text(frame, model, chosen, columns))
        if not tally.frames:
            raise _nothing(source, tally, beside)
        summary = _summary(model, chosen, source, output, tally, scores)
        if shift is not None and refit is not None:
            summary["refit"] = {"source": list(refit.paths), **shift.to_json(known=model.elements[chosen])}
        _write_scores(beside, scores, summary, model)
        beside.text(".json").write(to_json(summary))
        beside.publish(all_suffixes=SUFFIXES)
    _say(summary, beside)
    return summary


def _scored(
    found: Iterable[Answer | Rejection], shift: Shift | None, fitted: frozenset[bytes], beside: Beside, tally: Tally, scores: Scores
) -> Iterator[tuple[Frame, dict[str, np.ndarray]]]:
    """What is to be written of each frame: it, and columns of its atoms; on the way, its errors and what was refused."""
    for answer in found:
        if isinstance(answer, Rejection):
            _reject(answer, beside)
            continue
        label, predicted, columns = answer.label, answer.predicted, {"energies": answer.atomic}
        if shift is not None:
            predicted, columns = _shifted(predicted, answer.atomic, shift, tally)
        if label.converged is False:
            tally.unconverged += any(value is not None for value in (label.energy, label.forces, label.virial))
        elif fitted and content_of(label) in fitted:
            tally.fitted += 1
        elif (one := scores.add(label, predicted)) is not None:
            _write_row(beside, one, first=tally.scored == 0)
            tally.scored += 1
        yield predicted, columns


def _write_store(
    found: Iterator[tuple[Frame, dict[str, np.ndarray]]], beside: Beside, model: Model, head: str, source: Source, refit: Source | None
) -> None:
    """A store with one dataset, in the order of the source."""
    first = next(found, None)
    if first is None:
        return
    card = card_of_predictions(model, head, source, dataset=DATASET, checks=NO_CHECKS, refit=refit)
    sources = sources_of(model, head, source) | ({} if refit is None else {f"references: {n}": h for n, h in refit.hashes().items()})
    frames = (replace(frame, split="train") for frame, _ in chain([first], found))
    store_frames(card, str(beside.folder()), frames, sources=sources, shuffled=False)


def _nothing(source: Source, tally: Tally, beside: Beside) -> DataError:
    """Where no frame could be predicted, the ledger is all that is written."""
    if tally.rejected:
        beside.publish(all_suffixes=SUFFIXES)
    hint = f"see {beside.path(SUFFIXES[0])}" if tally.rejected else None
    return DataError(f"no frame could be predicted; {tally.rejected} were refused", where=source.said, hint=hint)


def _check_output(output: Path, sources: list[Source | None]) -> None:
    """Refuse a name that says another format, and one that is read."""
    if output.suffix not in (".extxyz", ".xyz", ".zarr"):
        hint = "let its name end in .extxyz or .zarr"
        raise ConfigError("predictions are written as extended XYZ, or as a store", where=str(output), hint=hint)
    if output.exists() and output.is_dir() != (output.suffix == ".zarr"):
        raise ConfigError(f"there is a {'folder' if output.is_dir() else 'file'} of that name", where=str(output), hint="choose another")
    if output.is_dir() and list(open_store(output)) != [DATASET]:
        raise ConfigError(
            "holds something else than predictions", where=str(output), hint="choose another name, or `lamtrain label --into`"
        )
    if any(source is not None and str(output.resolve()) in source.files() for source in sources):
        raise ConfigError("is one of the files that are read", where=str(output), hint="choose another name")


def _references(model: Model, head: str) -> dict[str, float]:
    return dict(zip(model.config.elements, model.net.energy_head(head).bias.tolist()))


def _reject(rejection: Rejection, beside: Beside) -> None:
    beside.text(SUFFIXES[0]).write(json.dumps(asdict(rejection), ensure_ascii=False, default=str) + "\n")


def _fit(model: Model, head: str, source: Source) -> tuple[Shift, frozenset[bytes]]:
    """The shift by element that takes the model to the energies of some frames, and what these frames are."""
    differences, contents = Differences(), set[bytes]()
    for answer in answers(model, head, source, Tally()):
        if isinstance(answer, Rejection):
            continue
        label, predicted = answer.label, answer.predicted
        if label.energy is not None and predicted.energy is not None and label.converged is not False:
            differences.add(label.numbers, label.energy - predicted.energy)
            contents.add(content_of(label))
    if not contents:
        raise DataError("no frame with an energy to fit references to", where=source.said)
    return fit_shift(differences.factored()), frozenset(contents)


def _shifted(frame: Frame, atomic: np.ndarray, shift: Shift, tally: Tally) -> tuple[Frame, dict[str, np.ndarray]]:
    """The energy on the other reference, and those of its atoms; neither where the fit says nothing of it."""
    more = shift.of(frame.numbers)
    if more is None or frame.energy is None:
        tally.without_energy[_formula(frame)] += 1
        return replace(frame, energy=None), {}
    each = shift.of_atoms(frame.numbers)
    return replace(frame, energy=frame.energy + more), {} if each is None else {"energies": atomic + each}


def _formula(frame: Frame) -> str:
    return " ".join(f"{SYMBOLS[z]}{n}" for z, n in sorted(Counter(frame.numbers.tolist()).items()))


def _text(frame: Frame, model: Model, head: str, columns: dict[str, np.ndarray]) -> str:
    words = {"model": quoted(Path(model.path).name, where=frame.origin), "head": head}
    return text_of(frame, words=words, columns=columns)


def _write_row(beside: Beside, scored: Scored, *, first: bool) -> None:
    """A line of the table of frames."""
    rows = csv.DictWriter(beside.text(".frames.csv"), ("origin", "group", "atoms", *COLUMNS), lineterminator="\n")
    if first:
        rows.writeheader()
    rows.writerow(scored.row())


def _write_scores(beside: Beside, scores: Scores, summary: dict[str, Any], model: Model) -> None:
    """Errors by group, the worst frames with their labels, and the picture; nothing where nothing had a label."""
    if not scores.total.frames:
        return
    groups = [{"group": name, "frames": sums.frames, **sums.table()} for name, sums in scores.groups.items()]
    rows = csv.DictWriter(
        beside.text(".groups.csv"), ("group", "frames", COLUMNS[0].replace("error", "rmse"), COLUMNS[1], COLUMNS[3]), lineterminator="\n"
    )
    rows.writeheader()
    rows.writerows(groups)
    for scored in {id(one): one for quantity in ("force", "energy") for one in scores.worst(quantity)}.values():
        label, words = scored.label, {"model": quoted(Path(model.path).name, where=scored.label.origin), "head": summary["head"]}
        if label.energy is not None:
            words["ref_energy"] = repr(label.energy)
        words |= {name: repr(value) for name, value in scored.errors.items()}
        columns = {} if label.forces is None else {"ref_forces": label.forces}
        beside.text(".worst.extxyz").write(text_of(scored.predicted, words=words, columns=columns))
    if panels := scores.panels():
        draw_points(panels, beside.place(".parity.png"), title=f"{Path(model.path).name}, {summary['head']}")
    if drawn := [(one.label, one.predicted) for one in scores.worst("force")[:DRAWN]]:
        draw_worst(drawn, beside.place(".worst.png"))


def _summary(model: Model, head: str, source: Source, output: Path, tally: Tally, scores: Scores) -> dict[str, Any]:
    """What was done, as plain data."""
    groups = sorted(scores.groups.items(), key=lambda item: -item[1].table().get(COLUMNS[1], 0.0))
    return {
        "model": model.path,
        "head": head,
        "precision": model.config.precision,
        "source": list(source.paths),
        "dataset": None if source.dataset is None else source.dataset.name,
        "written": str(output),
        "units": UNITS,
        "frames": tally.frames,
        "atoms": tally.atoms,
        "rejected": tally.rejected,
        "atoms_with_neighbours_cut": tally.truncated,
        "edges_closer_than_the_tables": tally.outside,
        "labels_left_out": dict(tally.left_out),
        "not_scored": {
            "unconverged": tally.unconverged,
            "fitted": tally.fitted,
            "energy_without_reference": dict(tally.without_energy),
        },
        "scored": tally.scored,
        "errors": scores.total.table(),
        "by_element": {symbol: scores.elements[symbol].table() for symbol in sorted(scores.elements)},
        "by_group": {"groups": len(groups), "worst": [{"group": g, "frames": s.frames, **s.table()} for g, s in groups[:10]]},
        "worst": {quantity: [one.row() for one in scores.worst(quantity)] for quantity in ("energy", "force")},
    }


def _say(summary: dict[str, Any], beside: Beside) -> None:
    """What a person must know who does not read the summary."""
    notes = []
    if summary["rejected"]:
        notes.append(f"{summary['rejected']} frames were refused: {beside.path(SUFFIXES[0])}")
    if summary["atoms_with_neighbours_cut"]:
        notes.append(f"{summary['atoms_with_neighbours_cut']} atoms have more neighbours than the model keeps, and lose the farthest")
    if summary["edges_closer_than_the_tables"]:
        notes.append(
            f"{summary['edges_closer_than_the_tables']} edges are shorter than the tables of the model reach, which go on in a line there"
        )
    notes += [f"left out in {count} frames: {text}" for text, count in summary["labels_left_out"].items()]
    apart = summary["not_scored"]
    if apart["unconverged"]:
        notes.append(f"{apart['unconverged']} frames did not converge, and are not scored")
    if apart["fitted"]:
        notes.append(f"{apart['fitted']} frames are among those that the references were fitted to, and are not scored")
    if cut := apart["energy_without_reference"]:
        notes.append(f"no energy for {sum(cut.values())} frames, as of {next(iter(cut))}: the fit does not determine their reference")
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
