"""`lamtrain label`: what a model says of structures -> a dataset of a store, whose card says that it is a model's, and which."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lamdata import Card, Theory, store_frames
from lamdata.catalog import CheckSpec
from lamdata.frame import Rejection

from ..evaluation.modelcard import cited_by
from ..files import sha256_of
from .answers import Tally, answers
from .model import Model
from .source import Source

HASH = 16  # characters of the sha256 of a model that name it
NO_CHECKS = CheckSpec.model_validate(
    {"converged": False, "implausible": "report", "max_refused": 1.0}
    | dict.fromkeys(("min_distance", "max_force", "net_force", "virial_asymmetry", "volume_per_atom"))
)


def label(model: Model, source: Source, store: str, *, dataset: str, head: str | None = None, replace: bool = False) -> dict[str, Any]:
    """Store what `head` says of every frame as a dataset; return what was done. Doing it again does nothing.

    Frames of a dataset keep their split; those of files are all for training. Frames that the model cannot be asked about, or that the
    checks of a card refuse (of the dataset they come from, else the usual ones), are rows of the ledger.
    """
    chosen, tally = model.pick(head), Tally()
    checks = CheckSpec() if source.dataset is None else source.dataset.card.checks
    checks = checks.model_copy(update={"max_refused": 1.0, "energy_per_atom": None})  # the ledger tells; another head has other energies
    card = card_of_predictions(model, chosen, source, dataset=dataset, checks=checks)
    found = answers(model, chosen, source, tally)
    frames = (one if isinstance(one, Rejection) else one.predicted for one in found)
    report = store_frames(card, store, frames, sources=sources_of(model, chosen, source), replace=replace)
    return {
        "model": model.path,
        "head": chosen,
        "theory": card.theory.model_dump(mode="json"),
        "source": list(source.paths),
        "store": store,
        "dataset": dataset,
        "segment": report.segment,
        "frames": report.frames,
        "validation_frames": report.validation_frames,
        "test_frames": report.test_frames,
        "rejected": report.rejected,
        "ledger": report.ledger,
        "atoms_with_neighbours_cut": tally.truncated,
        "edges_closer_than_the_tables": tally.outside,
        "new": report.new,
        "replaced": dict(report.replaced),
    }


def card_of_predictions(model: Model, head: str, source: Source, *, dataset: str, checks: CheckSpec, refit: Source | None = None) -> Card:
    """The card of a dataset whose labels are what a head says; with `refit`, energies shifted to those of some frames."""
    checkpoint, sha256 = model.checkpoint, hash_of(model)
    about, trained_on = checkpoint.heads.get(head, {}), checkpoint.lock["datasets"]
    of_head = {name: trained_on[name] for name in about.get("datasets", ()) if name in trained_on}
    name, identity = f"{Path(model.path).name} (sha256 {sha256})", f"{sha256[:HASH]} head {head}"
    notes = [f"labels are what a model predicts: {name}, head {head}, {checkpoint.step} steps"]
    if refit is not None:
        identity += f", references of {hashlib.sha256(json.dumps(refit.hashes(), sort_keys=True).encode()).hexdigest()[:HASH]}"
        notes.append(f"energies are shifted by element to those in {refit.said}")
    notes += [f"the head was trained on {x}: {_words(data['theory'], data['license'])}" for x, data in of_head.items()]
    own = None if source.dataset is None else source.dataset.card
    notes.append(f"structures are of {source.said}" + ("" if own is None else f", licence {own.license or 'unknown'}"))
    licences = {data["license"] for data in of_head.values()} | ({own.license} if own is not None else {None})
    return Card(
        dataset=dataset,
        title=f"Predictions of {Path(model.path).name}, head {head}",
        citations=list(dict.fromkeys([*cited_by(checkpoint), *(own.citations if own is not None else ())])),
        license=licences.pop() if len(licences) == 1 else None,
        theory=theory_of_predictions(about.get("theory", ()), model=identity),
        checks=checks,
        notes=notes,
    )


def theory_of_predictions(parents: Sequence[dict[str, Any]], *, model: str) -> Theory:
    """What all datasets of a head agree on, and the model that stands between them and the labels."""
    theories = [Theory.model_validate(parent) for parent in parents]
    fields = [name for name in Theory.model_fields if name != "model"]
    agreed = {name: found.pop() for name in fields if len(found := {getattr(theory, name) for theory in theories}) == 1}
    return Theory(**agreed, model=model)


def hash_of(model: Model) -> str:
    """sha256 of the checkpoint's bytes."""
    return sha256_of(model.path)


def sources_of(model: Model, head: str, source: Source) -> dict[str, str]:
    """A sha256 for each thing that predictions depend on."""
    asked = hashlib.sha256(f"{head} {model.config.precision}".encode()).hexdigest()
    return {f"model: {Path(model.path).name}": hash_of(model), f"head: {head}": asked, **source.hashes()}


def _words(theory: dict[str, Any], licence: str | None) -> str:
    return f"{Theory.model_validate(theory).summary()}, licence {licence or 'unknown'}"
