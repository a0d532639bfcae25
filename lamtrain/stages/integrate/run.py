"""`lamtrain integrate`: files, a pool and a model -> a folder with their store, a mixture with them, and a page that says what was found and what is proposed."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lamdata.catalog import Catalog, Mixture, TaskSpec, open_catalog, open_mixture
from lamdata.errors import ConfigError, LamError
from lamdata.store import open_store

from ...files import replace_file, replace_yaml
from ...planning.shown import draw_plan
from .found import STORE, Described, bring_in, copies, coverage, describe
from .page import page
from .patch import patch_of, row_values, with_rows
from .proposal import Row, propose_row, said_of, shares_of

RESULT, ALONE = "integrate.json", "alone.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What the files are to be trained along with."""

    file: Path
    store: str
    text: str
    mixture: Mixture
    catalog: Catalog
    counts: Mapping[str, int | None]  # dataset -> training frames, None where its store is not there


def open_pool(file: Path, store: str) -> Pool:
    """A mixture and its store; raises ConfigError where one is not to be had."""
    mixture, catalog = open_mixture(file)
    counts: dict[str, int | None] = {}
    for row in mixture.heads:
        place = store if row.store is None else row.store if "://" in row.store else str(file.parent / row.store)
        try:
            counts[row.dataset] = len(open_store(place).open(row.view or row.dataset, split="train"))
        except LamError:
            counts[row.dataset] = None
    return Pool(file=file, store=store, text=file.read_text(encoding="utf-8"), mixture=mixture, catalog=catalog, counts=counts)


def integrate(
    files: Sequence[str],
    folder: Path,
    *,
    pool: Pool | None,
    model: Path | None,
    name: str | None = None,
    draws: float,
    worth: int = 100,
    device: str = "auto",
    quiet: bool = False,
) -> dict[str, Any]:
    """Read the files into a store in `folder`, compare, propose; return what integrate.json holds. Nothing but the folder is written.

    `draws` are the frames of the run that is planned. Raises ConfigErrors where a guess of the proposed cards must be confirmed; then the same
    call goes on.
    """
    store = folder / STORE
    _same_question(files, folder)
    described = describe(files, folder, name=name)
    _refuse_taken(described, pool)
    found: dict[str, dict[str, Any]] = {}
    rows: dict[str, Row] = {}
    for one in described:
        dataset = one.card.dataset
        found[dataset] = bring_in(one, store, quiet=quiet)
        found[dataset]["overlap"] = copies(dataset, store, None if pool is None else pool.store, quiet=quiet)
        rows[dataset] = propose_row(
            dataset,
            found[dataset],
            one.row,
            mixture=None if pool is None else pool.mixture,
            cards={} if pool is None else pool.catalog.cards,
            counts={} if pool is None else pool.counts,
            draws=draws,
        )
    own = _write_mixtures(described, [row.task for row in rows.values()], folder, pool)
    begins = {} if model is None else _begins(own, folder, model)
    for dataset, row in rows.items():
        start = begins.get(row.task.head)
        head = None if start is None or start["from"] == "new" else str(start["from"])
        known = None if model is None else coverage(model, head, store, dataset, folder, worth=worth, device=device, quiet=quiet)
        found[dataset] |= {"begins": start, "coverage": known}
    result = _result(files, folder, found, rows, pool=pool, model=model, draws=draws)
    if pool is not None:
        text = with_rows(pool.text, [row.task for row in rows.values()], where=str(pool.file))
        replace_file(folder / "mixture.patch", patch_of(pool.text, text, name=pool.file.name).encode())
    draw_plan(
        {
            "train": own.mixture,
            "steps": round(draws),
            "heads": [row | {"frames_a_step": row["probability"]} for row in result["shares"]["after"]],
        },
        folder / "epochs.png",
    )
    replace_file(folder / "integrate.md", page(result, folder=folder).encode())
    replace_file(folder / RESULT, (json.dumps(result, indent=2, ensure_ascii=False) + "\n").encode())
    return result


def _same_question(files: Sequence[str], folder: Path) -> None:
    """Note the files that a folder is about; raise ConfigError where it is about others."""
    path = folder / "files.json"
    asked = [file if os.path.isabs(file) or "://" in file else os.path.relpath(file, folder) for file in files]
    if path.exists() and json.loads(path.read_bytes()) != asked:
        raise ConfigError("this folder is about other files", where=str(folder), hint="choose another with -o, or remove it")
    replace_file(path, (json.dumps(asked) + "\n").encode())


def _refuse_taken(described: Sequence[Described], pool: Pool | None) -> None:
    """A dataset of the pool's has that name already; a card beside the pool's that is the one given does not take its own."""
    cards: Mapping[str, Path] = {} if pool is None else pool.catalog.files
    stored = set() if pool is None else set(_datasets(pool.store))
    trained = set() if pool is None else {row.dataset for row in pool.mixture.heads}
    for one in described:
        name = one.card.dataset
        elsewhere = name in cards and cards[name].resolve() != one.file.resolve()
        if elsewhere or name in stored or name in trained:
            raise ConfigError(
                f"the pool has a dataset {one.card.dataset} already",
                where=str(one.file),
                hint="--name ANOTHER, or another `dataset:` in the card",
            )


def _datasets(store: str) -> list[str]:
    try:
        return list(open_store(store))
    except LamError:
        return []


def _write_mixtures(described: Sequence[Described], tasks: Sequence[TaskSpec], folder: Path, pool: Pool | None) -> Mixture:
    """Write alone.yaml with the new rows, mixture.yaml with the pool's and them, and their cards; return the first.

    In mixture.yaml the new rows take their frames from the folder's store, whatever store it is trained with.
    """
    name = described[0].card.dataset
    cards = {one.card.dataset: one.card for one in described}
    if pool is not None:
        cards |= {task.dataset: pool.catalog.card(task.dataset) for task in pool.mixture.heads}
    for dataset, card in cards.items():
        values = card.model_dump(mode="json", exclude_defaults=True)
        replace_yaml(folder / "cards" / f"{dataset}.yaml", {key: value for key, value in values.items() if key not in ("sources", "split")})
    alone = {"mixture": name, "heads": [row_values(task) for task in tasks]}
    replace_yaml(folder / ALONE, alone)
    if pool is not None:
        old = [row_values(task, store=_moved(task.store, pool.file.parent, folder)) for task in pool.mixture.heads]
        new = [row_values(task, store=STORE) for task in tasks]
        replace_yaml(folder / "mixture.yaml", {"mixture": f"{pool.mixture.mixture}-and-{name}", "heads": [*old, *new]})
    return Mixture.model_validate(alone)


def _moved(store: str | None, old: Path, new: Path) -> str | None:
    """A path relative to one folder, relative to another."""
    return store if store is None or "://" in store or os.path.isabs(store) else os.path.relpath(old / store, new)


def _begins(mixture: Mixture, folder: Path, model: Path) -> dict[str, dict[str, str]]:
    """Head of the mixture -> the model's head that a fine-tune would begin with, and why."""
    from ...training.proposal import propose

    found = propose(mixture, open_catalog(folder / ALONE), store=str(folder / STORE), model=model, replay=None)
    return {head: {"from": source, "why": found.reasons[head]} for head, source in found.heads.items()}


def _result(
    files: Sequence[str],
    folder: Path,
    found: dict[str, dict[str, Any]],
    rows: Mapping[str, Row],
    *,
    pool: Pool | None,
    model: Path | None,
    draws: float,
) -> dict[str, Any]:
    """What was found and is proposed, as plain data; paths are relative to the folder."""
    old = [] if pool is None else list(pool.mixture.heads)
    counts = {**({} if pool is None else pool.counts), **{name: facts["frames"]["train"] for name, facts in found.items()}}
    tasks = [*old, *(row.task for row in rows.values())]
    for name, row in rows.items():
        found[name]["proposal"] = {
            "row": row_values(row.task),
            "shared": row.shared,
            "why": row.why,
            "why_weight": row.why_weight,
            "differences": row.differences,
            "said": said_of(name, tasks, counts, draws=draws),
        }
    shares = {
        when: [asdict(share) | {"epochs": share.epochs} for share in shares_of(some, counts, draws=draws)] if some else []
        for when, some in (("before", old), ("after", tasks))
    }

    def below(path: str | Path) -> str:
        return str(path) if "://" in str(path) else os.path.relpath(path, folder)

    return {
        "files": [below(file) for file in files],
        "into": None if pool is None else below(pool.file),
        "into_sha256": None if pool is None else hashlib.sha256(pool.text.encode()).hexdigest(),
        "store": None if pool is None else below(pool.store),
        "model": None if model is None else below(model),
        "draws": draws,
        "datasets": found,
        "shares": shares,
    }


def say(result: Mapping[str, Any], folder: Path) -> None:
    """Notes on what a person must know, on stderr."""
    for name, facts in result["datasets"].items():
        for text in facts["implausible"]:
            print(f"note: {name}: implausible: {text}", file=sys.stderr)
        for leak in facts["overlap"]["leaks"]:
            print(
                f"note: {name}: {leak['frames']} {leak['split']} frames of {leak['held_out']} are training frames of {leak['train']}",
                file=sys.stderr,
            )
