"""`lamtrain transfer`: a model and datasets that it was not trained on -> transfer.json, tables, pictures and a page.

A folder for each dataset holds the runs; each is done once, and the same command goes on where it was killed, with the same bits.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lamdata.errors import ConfigError, DataError
from lamdata.frame import Frame
from lamdata.progress import Progress
from lamdata.theory import Theory

from ...checkpoint import Checkpoint, to_json
from ...cores import usable_threads
from ...evaluation.normalised import Task, score
from ...files import replace_file
from ...prediction.model import Model, load_model
from ...training.proposal import head_for
from ...training.stop import Stop
from .crystals import measure_models, models_of
from .curves import Parent, Plan, do_curves
from .figures import draw_curves
from .report import write_page
from .subsets import default_sizes
from .target import Target, open_target, seen_before
from .zero_shot import zero_shot


def transfer(
    model_path: Path,
    store: str,
    datasets: Sequence[str],
    *,
    out: Path,
    head: str | None = None,
    plan: Plan | None = None,
    properties: Sequence[str] = (),
    structures: Mapping[str, Frame] | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> dict[str, Any]:
    """Measure the model as it is on test frames of each dataset, and with a `plan` what it gains by a fine-tune; return what transfer.json holds.

    A plan without sizes takes those of `default_sizes`, one without threads those that the process may use. Raises DataError where a
    dataset has no frames of a split that is needed, ConfigError where `out` holds the runs of another question.
    """
    model = load_model(model_path, device=device)
    digest = hashlib.sha256(model_path.read_bytes()).hexdigest()
    asked = {name: _asked(open_target(store, name), model, head=head, plan=plan) for name in dict.fromkeys(datasets)}
    crystals = _crystals({name: target for name, (target, _, _) in asked.items()}, structures) if properties else {}
    found: dict[str, dict[str, Any]] = {}
    for name, (target, source, why) in asked.items():
        notes = _notes(target, model.checkpoint, source)
        if not quiet:
            print("".join(f"note: {name}: {note}\n" for note in notes), end="", file=sys.stderr)
        table = zero_shot(target, None if source == "new" else model, source)
        found[name] = {
            "head": source,
            "why": why,
            "about": target.about(),
            "notes": notes,
            "zero_shot": table,
            "curves": [],
            "properties": {},
        }
    if plan is not None:
        plans = {name: _settled(plan, target, source, digest, out / name) for name, (target, source, _) in asked.items()}
        with Progress("transfer", total=sum(one.total for one in plans.values()), unit="steps", quiet=quiet) as bar, Stop() as stop:
            for name, (target, source, _) in asked.items():
                parent = Parent(path=model_path, checkpoint=model.checkpoint, source=source)
                found[name]["curves"] = do_curves(target, parent, plans[name], out / name, bar=bar, stop=stop)
                draw_curves(name, found[name], out / name / "curves.png")
    if properties:
        _measure(
            {name: source for name, (_, source, _) in asked.items()},
            found,
            model_path,
            crystals,
            out,
            properties=properties,
            device=device,
            quiet=quiet,
        )
    result = {"model": str(model_path), "sha256": digest, "store": store, "normalised": _normalised(found), "datasets": found}
    replace_file(out / "transfer.json", to_json(result).encode())
    write_page(result, out)
    return result


def _asked(target: Target, model: Model, *, head: str | None, plan: Plan | None) -> tuple[Target, str, str]:
    """A dataset, the head that is taken to it and why; what cannot be run is said before anything runs."""
    labels = target.validation.statistics.labels
    if plan is not None and not (labels.get("energy") or labels.get("forces")):
        hint = "give the card a `split.validation` and ingest again, or leave the curves out with --no-curves"
        raise DataError(f"dataset {target.name} has no validation frames with labels, which say when a run has converged", hint=hint)
    if plan is not None and plan.sizes and max(plan.sizes) > len(target.train):
        raise ConfigError(f"dataset {target.name} has {len(target.train)} training frames, not {max(plan.sizes)}", where="--sizes")
    if head is not None:
        return target, model.pick(head), "as asked"
    return target, *head_for(target.train, model.checkpoint)


def _notes(target: Target, checkpoint: Checkpoint, source: str) -> list[str]:
    """What to know before the numbers are read."""
    notes = []
    if seen := seen_before(target, checkpoint.lock):
        notes.append(f"the model was trained on these frames ({', '.join(seen)}): what follows is no transfer")
    if source == "new":
        return [*notes, "the model as it is cannot be asked, and counts as the guess; a fine-tune takes its descriptor and a new head"]
    for theory in checkpoint.heads.get(source, {}).get("theory", ()):
        if apart := Theory.model_validate(theory).differences(target.train.theory):
            notes.append(f"labels are of another theory than head {source}: {'; '.join(apart)}")
            break
    return notes


def _settled(plan: Plan, target: Target, source: str, digest: str, folder: Path) -> Plan:
    """The plan for one dataset, in a folder that says what was asked; raises ConfigError where that is something else.

    More sizes, seeds and steps may be asked for at any time. Threads are those that the folder began with, for bits depend on them.
    """
    path = folder / "asked.json"
    asked = {"model": digest, "dataset": target.train.content_hash, "head": source, "steps": plan.steps, "set": list(plan.overrides)}
    known = json.loads(path.read_text()) if path.exists() else {}
    if differing := [name for name in asked if known and known.get(name) != asked[name]]:
        hint = "choose another folder with -o, or remove this one"
        raise ConfigError(f"it holds runs with another {', '.join(differing)}", where=str(folder), hint=hint)
    threads = known.get("threads") or plan.threads or usable_threads()
    replace_file(path, to_json(asked | {"threads": threads}).encode())
    torch.set_num_threads(threads)
    return replace(plan, threads=threads, sizes=sorted(set(plan.sizes)) or default_sizes(len(target.train)))


def _crystals(targets: Mapping[str, Target], structures: Mapping[str, Frame] | None) -> dict[str, Mapping[str, Frame]]:
    """Dataset -> what is measured for it: `structures`, or the lowest crystal of its test frames; raises DataError where there is none at all."""
    found = {name: structures or target.lowest() for name, target in targets.items()}
    if without := [name for name, some in found.items() if not some]:
        why = f"no test frame of {', '.join(without)} is periodic in all directions and has an energy"
        if len(without) == len(found):
            raise DataError(why, where="--properties", hint="give crystals of its elements with --structures FILES")
        print(f"note: {why}: no crystal is measured", file=sys.stderr)
    return {name: some for name, some in found.items() if some}


def _measure(
    sources: Mapping[str, str],
    found: dict[str, dict[str, Any]],
    model_path: Path,
    crystals: Mapping[str, Mapping[str, Frame]],
    out: Path,
    *,
    properties: Sequence[str],
    device: str,
    quiet: bool,
) -> None:
    """Properties of every dataset's crystals, into `found`; `sources` are the heads that were taken."""
    models = {}
    for name in crystals:
        source = None if sources[name] == "new" else sources[name]
        models[name] = models_of(found[name]["curves"], out, parent=model_path, source=source, head=name)
    total = sum(len(models[name]) * len(some) for name, some in crystals.items()) * len(properties)
    with Progress("measuring", total=total, unit="properties", quiet=quiet) as bar:
        for name, some in crystals.items():
            found[name]["properties"] = measure_models(
                models[name], some, out / name, properties=properties, device=device, step=bar.advance
            )


def _normalised(found: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Of all datasets together, as tasks of one domain, with references of either kind."""
    out = {}
    for which in ("held_in", "as_lambench"):
        tables = {name: target["zero_shot"][which] for name, target in found.items()}
        tasks = [Task(name=name, domain="all", guess=table["guess"]) for name, table in tables.items()]
        out[which] = score(tasks, {name: table["errors"] for name, table in tables.items()})["all"]
    return out
