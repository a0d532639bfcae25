"""`lamtrain cover`: a model and frames -> the verdict with its numbers, a table of frames, pictures and a page."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from lamdata.elements import NUMBERS, SYMBOLS
from lamdata.errors import DataError
from lamdata.frame import Rejection
from lamdata.worth import read_scored, worth_labelling

from ...checkpoint import to_json
from ...prediction.answers import Tally
from ...prediction.beside import Beside
from ...prediction.model import Model
from ...prediction.source import Source, datasets_of, open_source
from ...training.proposal import head_for
from .copies import copies_of_training
from .figures import draw_map, draw_scores
from .gates import all_gates
from .labels import Labels
from .make import sketch_for, training_data
from .report import page
from .scores import Coverage, Distinct, Scored, area_under_curve, score_frames
from .sketch import Sketch
from .verdict import TIMES, decide

SUFFIXES = (".frames.csv", ".worth.txt", ".rejected.jsonl", ".map.png", ".scores.png", ".md")
PICTURES = (".map.png", ".scores.png")
COLUMNS = (
    "origin", "group", "atoms", "score", "atoms_beyond", "worst_atom", "worst_atom_score", "unseen_pairs",
    "expected_force_error_mev_per_angstrom", "force_rmse_mev_per_angstrom",
)  # fmt: skip


def cover(
    model: Model,
    source: Source,
    folder: Path,
    *,
    head: str | None = None,
    worth: int | None = None,
    seed: int = 0,
    store: str | None = None,
) -> dict[str, Any]:
    """Judge whether the training of `head` covers the frames of `source`; write what was found into `folder`, and return it.

    Without `head` a dataset of a store is judged by the head whose theory is nearest. `worth` frames that are worth labelling are listed in cover.worth.txt. With the `store` that holds the training data, copies of training
    frames are counted, too. Raises DataError where no frame could be judged, and ConfigError where the model has no sketch of the head.
    """
    head, why = _nearest(model, source) if head is None else (head, None)
    chosen = model.pick(head)
    sketch = sketch_for(model, chosen)
    trained = None if store is None else training_data(model.checkpoint, Path(model.path), store)
    tally, coverage, labels = Tally(), Coverage(), Labels()
    distinct = Distinct(source, set(sketch.numbers.tolist()) & {NUMBERS[symbol] for symbol in model.elements[chosen]})
    with Beside(folder / "cover.json") as beside:
        for scored in _written(score_frames(model, chosen, sketch, distinct, tally), sketch, beside):
            coverage.add(scored)
            labels.add(scored)
        if not coverage.frames + distinct.refused:
            raise _nothing(source, tally, beside)
        gates = all_gates(model, chosen, sketch, source, distinct=distinct, coverage=coverage, labels=labels, tally=tally)
        errors = {"energy": labels.energy_table(), "forces": labels.force_table()}
        verdict = decide(sketch, gates, errors, distinct=distinct, coverage=coverage)
        result = {
            "model": model.path,
            "head": chosen,
            "head_why": why,
            "source": list(source.paths),
            "dataset": None if source.dataset is None else source.dataset.name,
            "source_said": source.said,
            "written": str(folder / "cover.json"),
            **verdict.to_json(),
            "frames": {
                "read": distinct.frames,
                "copies": distinct.copies,
                "distinct": distinct.distinct,
                "scored": coverage.frames,
                "beyond": coverage.beyond,
                "refused": tally.rejected,
            },
            "atoms": {"scored": coverage.atoms, "beyond": coverage.atoms_beyond, "neighbours_cut": tally.truncated},
            "by_element": _by_element(coverage),
            "gates": gates,
            "errors": errors,
            "trust": _trust(sketch, coverage),
            "deciding": [scored.row(sketch) for scored in coverage.worst],
            "sketch": {"frames": sketch.frames, "of": sketch.of, "atoms": int(sketch.atoms.sum()), "held_out": sketch.held_out},
            "overlap": None if trained is None else copies_of_training(trained, chosen, source),
        }
        _write(beside, result, sketch, coverage)
        if worth is not None:
            table = read_scored(beside.place(".frames.csv"))
            lines = [f"{table.origins[row]}\n" for row in worth_labelling(table, worth, seed=seed).tolist()]
            beside.text(".worth.txt").write("".join(lines))
        beside.publish(all_suffixes=SUFFIXES)
    return result


def _nearest(model: Model, source: Source) -> tuple[str | None, str | None]:
    """Of several heads that of the nearest theory, as far as the source is a dataset that states its own; and why."""
    if source.dataset is None or len(model.heads) < 2:
        return None, None
    head, why = head_for(source.dataset, model.checkpoint)
    return (None, None) if head == "new" else (head, why)


def _nothing(source: Source, tally: Tally, beside: Beside) -> DataError:
    """Where no frame could be judged, the ledger is put in place, and says why."""
    if tally.rejected:
        beside.publish(all_suffixes=SUFFIXES)
    hint = f"see {beside.path(SUFFIXES[2])}" if tally.rejected else None
    return DataError(f"no frame could be judged; {tally.rejected} were refused", where=source.said, hint=hint)


def open_frames(inputs: Sequence[str], *, split: str | None, format: str, quiet: bool) -> Source:
    """Files, or a store and the name of one of its datasets or views."""
    store = inputs[0] if len(inputs) == 2 and ("://" in inputs[0] or datasets_of(inputs[0])) else None
    paths, dataset = (inputs, None) if store is None else ([store], inputs[1])
    source = open_source(paths, dataset=dataset, split=split, format=format, quiet=quiet, option="a second word")
    return replace(source, doing="scoring")


def _written(found: Iterator[Scored | Rejection], sketch: Sketch, beside: Beside) -> Iterator[Scored]:
    """Write a line of the table of frames, or of the ledger; pass on what was scored."""
    names = [f"f{number + 1}" for number in range(len(sketch.axes))]
    rows = csv.writer(beside.text(".frames.csv"), lineterminator="\n")
    rows.writerow([*COLUMNS, *names])
    for scored in found:
        if isinstance(scored, Rejection):
            beside.text(".rejected.jsonl").write(json.dumps(asdict(scored), ensure_ascii=False, default=str) + "\n")
            continue
        row = scored.row(sketch)
        rows.writerow([_text(row[name]) for name in COLUMNS] + [f"{value:.6g}" for value in scored.features.tolist()])
        yield scored


def _text(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def _by_element(coverage: Coverage) -> dict[str, dict[str, int]]:
    return {SYMBOLS[z]: {"atoms": atoms, "beyond": beyond} for z, (atoms, beyond) in sorted(coverage.elements.items())}


def _trust(sketch: Sketch, coverage: Coverage) -> dict[str, Any] | None:
    """How well the score finds frames with large errors, where there are labels: the area under its ROC curve."""
    scores, _, errors = coverage.points() if coverage.frames else (np.empty(0), None, np.empty(0))
    known = np.isfinite(errors)
    if not known.any():
        return None
    scores, errors = scores[known], errors[known]
    own = sketch.held_out.get("forces", {}).get("rmse_mev_per_angstrom")
    return {
        "frames": len(scores),
        "auc_error_above_median": area_under_curve(scores, errors > np.median(errors)),
        "auc_error_above_twice_held_out": None if own is None else area_under_curve(scores, errors > TIMES * own),
    }


def _write(beside: Beside, result: dict[str, Any], sketch: Sketch, coverage: Coverage) -> None:
    """The summary, the page, and pictures where something was scored."""
    if coverage.frames:
        draw_map(
            sketch, coverage, beside.place(".map.png"), title=f"{result['dataset'] or Path(result['source'][0]).name}: {result['verdict']}"
        )
        draw_scores(sketch, coverage, beside.place(".scores.png"))
    pictures = [beside.path(suffix).name for suffix in PICTURES] if coverage.frames else []
    beside.text(".md").write(page(result, pictures=pictures))
    beside.text().write(to_json(result))
