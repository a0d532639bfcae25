"""Publication: a checkpoint -> a draft for a registry: the file as it is, its weights as safetensors, and all that it says of itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from lamdata.registry import Draft, Entry, accepted_of, check_name, check_version, licences_of_parent
from lamdata.theory import Theory

from ..checkpoint import Checkpoint, load, to_json
from .modelcard import cited_by, describe


def draft_model(path: Path, *, name: str, version: str, license: str, title: str | None = None, accept: Iterable[str] = ()) -> Draft:
    """A version of a model; raises DataError for data, or parents, whose licence is not known or not free and not in `accept`.

    `model.safetensors` holds the weights that predict, and the model's config as its only metadata: more of them have no order there, and the
    same weights would not be the same bytes.
    """
    from safetensors.torch import save

    checkpoint = load(path)
    parents = parents_of(checkpoint)
    licences = {data: row["license"] for data, row in checkpoint.lock["datasets"].items()}
    for parent in parents:
        licences |= licences_of_parent(parent)
    licences = licences or {"what it was trained on": None}
    accepted = accepted_of(licences | {"the weights": license}, accept, where=str(path))
    data, card = path.read_bytes(), describe(path) | {"model": path.name}
    tensors = {key: value.contiguous().clone() for key, value in checkpoint.model.items()}
    heads = {head: row["task"] + (" (stale)" if row.get("stale") else "") for head, row in checkpoint.heads.items()}
    entry = Entry(
        kind="model", name=check_name(name), version=check_version(version), published="1970-01-01", title=title or name, license=license, licenses=licences,
        accepted=accepted, elements=checkpoint.model_config["elements"], theory=theories_of(checkpoint), heads=heads, parents=parents,
        data={key: row["content_hash"] for key, row in checkpoint.lock["datasets"].items()},
        content=hashlib.sha256(data).hexdigest(), citations=cited_by(checkpoint),
    )  # fmt: skip
    items = {
        "model.pt": data,
        "model.safetensors": save(tensors, metadata={"model_config": json.dumps(checkpoint.model_config, sort_keys=True)}),
        "model.json": to_json(card | {"citations": cited_by(checkpoint), "parents": parents}).encode(),
    }
    return Draft(entry=entry, card=card, items=items)


def parents_of(checkpoint: Checkpoint) -> list[str]:
    """Models that a run began with: of a registry by their address; of a file by the name of it and of its folder, which is that of its run."""
    starts = {row["start"]["model"] for row in checkpoint.heads.values() if "start" in row}
    return sorted(start if "://" in start else "/".join(Path(start).parts[-2:]) for start in starts)


def theories_of(checkpoint: Checkpoint) -> list[str]:
    """What its heads predict, in a few words each."""
    found = [Theory.model_validate(theory).summary() for row in checkpoint.heads.values() for theory in row["theory"]]
    return list(dict.fromkeys(found))
