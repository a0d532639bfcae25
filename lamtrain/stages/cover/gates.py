"""Hard gates: what must hold before scores mean anything: elements, pairs of elements, theory, units, labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lamdata.elements import SYMBOLS
from lamdata.errors import LamError
from lamdata.reading import theories_of
from lamdata.theory import Theory

from ...prediction.answers import Tally
from ...prediction.model import Model
from ...prediction.source import Source
from .labels import Labels
from .pairs import pair_name
from .scores import Coverage, Distinct, usually
from .sketch import Sketch

PASSED, FAILED, UNKNOWN = "passed", "failed", "not known"
SHOWN = 8  # pairs that are named


def gate(state: str, said: str, **more: Any) -> dict[str, Any]:
    """One row."""
    return {"state": state, "said": said, **more}


def all_gates(
    model: Model, head: str, sketch: Sketch, source: Source, *, distinct: Distinct, coverage: Coverage, labels: Labels, tally: Tally
) -> dict[str, dict[str, Any]]:
    """Gate -> its state, a sentence, and numbers."""
    return {
        "elements": of_elements(distinct),
        "pairs": of_pairs(coverage, sketch),
        "theory": of_theory(theories_of_head(model, head), theories_of_source(source)),
        "units": of_units(labels, sketch.held_out.get("labels_over_predicted_forces")),
        "labels": of_labels(coverage, labels, tally),
    }


def of_elements(distinct: Distinct) -> dict[str, Any]:
    """Elements that the head's training has none of."""
    unknown = {SYMBOLS[z]: frames for z, frames in sorted(distinct.strange.items())}
    if not unknown:
        return gate(PASSED, "training has all of them", unknown={})
    return gate(FAILED, f"training has no {', '.join(unknown)}: {distinct.refused} of {distinct.distinct} frames", unknown=unknown)


def of_pairs(coverage: Coverage, sketch: Sketch) -> dict[str, Any]:
    """Elements that are within the cutoff of each other here, and nowhere in training, in more frames than of the model's own held-out ones."""
    unseen = {pair_name(pair): frames for pair, frames in sorted(coverage.unseen.items())}
    if not unseen:
        return gate(PASSED, "training has all of them within the cutoff", unseen={}, frames=0)
    own = sketch.held_out.get("frames_with_unseen_pairs", 0.0)
    state = FAILED if coverage.with_unseen / coverage.frames > usually(own, coverage.frames) else PASSED
    names = ", ".join(f"{name} ({frames})" for name, frames in sorted(unseen.items(), key=lambda row: -row[1])[:SHOWN])
    said = f"{len(unseen)} that training has nowhere within the cutoff, in {coverage.with_unseen} of {coverage.frames} frames: {names}"
    said += f"; {own:.1%} of the model's own held-out frames have such" if own else ""
    return gate(state, said, unseen=unseen, frames=coverage.with_unseen)


def of_theory(known: Sequence[Theory], here: Sequence[Theory]) -> dict[str, Any]:
    """Whether each theory of the data is one that the head was trained on, as far as both are known."""
    if not here or not known:
        return gate(UNKNOWN, f"the {'data do' if not here else 'model does'} not say how labels were computed", differences=[])
    apart = [min((_conflicts(mine, theirs) for theirs in known), key=len) for mine in here]
    if differences := list(dict.fromkeys(line for lines in apart for line in lines)):
        return gate(FAILED, "; ".join(differences), differences=differences)
    open_too = any(min(len(mine.differences(theirs)) for theirs in known) for mine in here)
    return gate(UNKNOWN if open_too else PASSED, "agrees" + (", as far as both are known" if open_too else ""), differences=[])


def _conflicts(mine: Theory, theirs: Theory) -> list[str]:
    return [line for line in mine.differences(theirs) if "unknown" not in line]


def theories_of_head(model: Model, head: str) -> list[Theory]:
    """What a head was trained on."""
    stated: Sequence[Mapping[str, Any]] = model.checkpoint.heads.get(head, {}).get("theory") or ()
    return [Theory.model_validate(theory) for theory in stated if any(value is not None for value in theory.values())]


def theories_of_source(source: Source) -> list[Theory]:
    """What a dataset's card, or files, state; nothing where they are silent."""
    if source.dataset is not None:
        stated = [source.dataset.theory.model_dump()]
    else:
        stated = [theory for path in source.paths for theory in _stated_in(path, source.format)]
    found = [Theory.model_validate(theory) for theory in stated if any(value is not None for value in theory.values())]
    return list({theory.model_dump_json(): theory for theory in found}.values())


def _stated_in(path: str, format: str) -> list[dict[str, Any]]:
    try:
        return theories_of(path, format=format)
    except LamError:  # frames were read: what else the file says is not needed
        return []


def of_units(labels: Labels, usual: float | None) -> dict[str, Any]:
    """Whether forces are the predicted ones times the factor of another unit, beside the factor that is usual for the model."""
    found = labels.unit_of_forces(usual=usual)
    if found["factor"] is None:
        return gate(UNKNOWN, "no forces to compare with", **found)
    said = f"forces are {found['factor']:.3g} times the predicted ones (correlation {found['correlation']:.2f})"
    if found["looks_like"]:
        return gate(FAILED, f"{said}, as {found['looks_like']} taken for eV/Angstrom", **found)
    return gate(PASSED, said, **found)


def of_labels(coverage: Coverage, labels: Labels, tally: Tally) -> dict[str, Any]:
    """Which labels there are: without any, the verdict is by structures alone."""
    counts = {"energy": labels.energies, "forces": labels.forces, "virial": labels.virials}
    left_out = dict(tally.left_out)
    if not any(counts.values()):
        return gate(UNKNOWN, "none: judged by structures alone", frames=counts, left_out=left_out)
    said = ", ".join(f"{name} in {count} of {coverage.frames} frames" for name, count in counts.items())
    return gate(PASSED, said, frames=counts, left_out=left_out)
