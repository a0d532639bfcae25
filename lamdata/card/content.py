"""A store -> all that its page says, as plain data: what the commit has, a bounded sample of frames, refused ones, and copies where that is cheap."""

from __future__ import annotations

import shlex
from typing import Any

from ..errors import ConfigError, StoreError
from ..listing import describe
from ..overlap import compare
from ..places import open_place
from ..progress import Progress
from ..registry import problems_of
from ..store import Dataset, Store, open_store
from .refused import refused_rows
from .sample import FRAMES, sample_of

SAMPLED = 120_000  # frames read of a whole store, of many datasets fewer each
MOST = 100  # datasets on a page: each takes some 100 kB
COMPARED = 2000  # frames of a store up to which copies are looked for: all of them must be read
PROVENANCE = (
    "contributors", "citations", "doi", "url", "aliases", "native_format", "counts", "known_defects", "notes", "allow_theory",
)  # fmt: skip


def content_of(url: str, dataset: str | None = None, *, quiet: bool = False) -> dict[str, Any]:
    """What a page says of a store, or of one dataset or view of it. Raises StoreError where there is none, and ConfigError for too many at once."""
    opened = open_store(url)
    names = [dataset] if dataset else list(opened)
    if not names:
        raise StoreError("the store holds no dataset", where=url, hint=f"`lamdata ingest CARD -o {url}`")
    if len(names) > MOST:
        raise ConfigError(
            f"the store holds {len(names):,} datasets, and a page at most {MOST}",
            where=url,
            hint=f"name one: `lamdata card {url} {names[0]} -o card.html`",
        )
    described = describe(url, dataset, commit=opened.commit)
    frames = max(1, min(FRAMES, SAMPLED // len(names)))
    found = {}
    with Progress("reading a sample", total=len(names), unit="datasets", quiet=quiet) as progress:
        for name in names:
            found[name] = _dataset(opened.open(name), url, described["datasets"][name], frames=frames)
            progress.advance()
    views = {
        name: {"of": view["of"], "frames": view["frames"], "stale": view["stale"]} for name, view in described.get("views", {}).items()
    }
    return {
        "store": url,
        "commit": opened.commit,
        "datasets": found,
        "views": views,
        "overlap": _overlap(opened, url, dataset, quiet=quiet),
    }


def _dataset(dataset: Dataset, url: str, described: dict[str, Any], *, frames: int) -> dict[str, Any]:
    card = dataset.card.model_dump(mode="json")
    statistics, whole = dataset.statistics, dataset.view is None
    elements = {
        symbol: {"atoms": statistics.element_atoms[symbol], "frames": statistics.element_frames[symbol]} for symbol in statistics.elements
    }
    said = {key: value for key, value in described.items() if key != "segments"}
    sources = [{"path": source["path"], "format": source["format"]} for source in card["sources"]]
    return said | {
        "content_hash": dataset.content_hash,
        "problems": problems_of(card["license"]),
        "provenance": {key: card.get(key) for key in PROVENANCE} | {"sources": sources},
        "checks": card["checks"],
        "elements": elements,
        "refused": refused_rows(open_place(url), [segment.entry.path for segment in dataset.segments]) if whole else [],
        "sample": sample_of(dataset, frames=frames).to_json(),
        "load": commands(url, dataset.name),
    }


def commands(url: str, name: str) -> dict[str, dict[str, str]]:
    """Tool -> what to type, in a shell and in Python, to have the frames there."""
    store, data = shlex.quote(url), shlex.quote(name)
    file, folder = shlex.quote(f"{name}.extxyz"), shlex.quote(f"{name}-npy")
    return {
        "lamdata": {
            "python": f'from lamdata import open_dataset\n\ntrain = open_dataset({url!r}, {name!r}, split="train")\n'
            "print(len(train), train[0].origin, train[0].energy)\nfor frames in train.batches(batch_atoms=1024):\n    print(frames)"
        },
        "ase": {
            "shell": f"lamdata export {store} {data} -o {file}",
            "python": f"from ase.io import iread\n\nfor atoms in iread({f'{name}.extxyz'!r}):\n    print(atoms.get_chemical_formula())",
        },
        "dpdata and DeePMD-kit": {
            "shell": f"lamdata export {store} {data} -o {folder} --format deepmd/npy/mixed",
            "python": "from dpdata import MultiSystems\n\n"
            f'systems = MultiSystems().load_systems_from_file({f"{name}-npy"!r}, fmt="deepmd/npy/mixed")\nprint(systems)',
        },
    }


def _overlap(opened: Store, url: str, dataset: str | None, *, quiet: bool) -> dict[str, Any]:
    """Copies inside datasets and between them, as far as that is cheap, and the command for what is left."""
    views = opened.views
    others = [name for name in opened if dataset is None or dataset not in views or name != views[dataset]["of"]]
    sets = {name: opened.open(name) for name in dict.fromkeys([*([dataset] if dataset else []), *others])}
    total, left = sum(map(len, sets.values())), None
    if total > COMPARED:
        sets = {name: data for name, data in sets.items() if name == dataset and len(data) <= COMPARED}
        left = "between datasets" if sets else "at all"
    said = {"command": f"lamdata overlap {shlex.quote(url)}", "frames": total, "left": left, "found": None}
    if not sets:
        return said
    report = compare(sets, quiet=quiet).to_json()
    keep = {key: report[key] for key in ("tolerance", "frames", "copies", "conflicts")}
    shared = [row for row in report["shared"] if dataset in (None, row["first"], row["second"])]
    leaks = [row for row in report["leaks"] if dataset in (None, row["train"], row["held_out"])]
    return said | {"found": keep | {"shared": shared, "leaks": leaks}}
