"""Listing: stores and catalogs -> what a person wants to know of each dataset, as plain data and as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .catalog import Card, open_catalog
from .command import table
from .elements import SYMBOLS
from .errors import ConfigError
from .ingestion.findings import Implausible, IsolatedAtoms, LeftOut, say_implausible, say_left_out
from .located import did_you_mean
from .places import open_place
from .statistics import Statistics, merge
from .store import Dataset, open_store
from .store.commits import read_index
from .store.layout import SPLITS

if TYPE_CHECKING:
    from .ingestion import IngestReport

ROW = ("dataset", "frames", "atoms", "elements", "theory", "functional", "license", "unknown", "aliases")
KNOWN_OF_A_CARD = ("license", "doi", "url", "citations", "elements", "counts", "native_format")


def list_datasets(
    place: str, *, elements: list[str] | None = None, functional: str | None = None, license: str | None = None
) -> list[dict[str, Any]]:
    """One row for each dataset of a store, or of a catalog folder."""
    rows = _of_store(place) if _is_store(place) else _of_catalog(place)
    if wrong := [symbol for symbol in elements or [] if symbol not in SYMBOLS[1:]]:
        raise ConfigError(f"{wrong[0]!r} is no element", where="--elements", hint=did_you_mean(wrong[0], SYMBOLS[1:]))
    if elements:
        rows = [row for row in rows if row["elements"] and set(elements) <= set(row["elements"].split())]
    if functional:
        rows = [row for row in rows if (row["functional"] or "").casefold() == functional.casefold()]
    if license:
        rows = [row for row in rows if license.casefold() in (row["license"] or "").casefold()]
    return rows


def _is_store(place: str) -> bool:
    if "://" not in place and not Path(place).exists():
        raise ConfigError("no such store or catalog", where=place)
    return read_index(open_place(place)) is not None


def _of_store(url: str) -> list[dict[str, Any]]:
    store = open_store(url)
    rows = []
    for name in store:
        meta = store.meta(name)
        sides = {side: Statistics.from_json(part) for side, part in meta["statistics"].items()}
        total = merge(sides.values())
        row = _row(Card.model_validate(meta["card"]), frames=total.frames, atoms=total.atoms, elements=" ".join(total.elements))
        rows.append(row | {side: sides[side].frames if side in sides else 0 for side in SPLITS})
    by_name = {row["dataset"]: row for row in rows}
    return rows + [_of_view(name, view, by_name.get(view["of"])) for name, view in store.views.items()]


def _of_view(name: str, view: Mapping[str, Any], of: Mapping[str, Any] | None) -> dict[str, Any]:
    """A named view has what its dataset has, and frames of its own; what only reading it would tell is left open."""
    base = of or dict.fromkeys(ROW)
    own = {"dataset": name, "frames": view["frames"], "atoms": None, "view_of": view["of"], "stale": view["stale"], "aliases": []}
    return {**base, **own, **dict.fromkeys(SPLITS)}


def _of_catalog(folder: str) -> list[dict[str, Any]]:
    cards = open_catalog(folder).cards.values()
    return [
        _row(card, frames=_stated_frames(card), atoms=None, elements=" ".join(card.elements or []) or None) | dict.fromkeys(SPLITS)
        for card in cards
    ]


def _stated_frames(card: Card) -> str | None:
    return "; ".join(f"{count.value:,} {count.what}" for count in card.counts) or None


def _row(card: Card, *, frames: Any, atoms: int | None, elements: str | None) -> dict[str, Any]:
    unknown = [name for name in KNOWN_OF_A_CARD if not getattr(card, name) and not (name == "elements" and elements)]
    unknown += [f"theory.{name}" for name, value in card.theory.model_dump().items() if value is None]
    return {
        "dataset": card.dataset,
        "frames": frames,
        "atoms": atoms,
        "elements": elements,
        "theory": card.theory.summary(),
        "functional": card.theory.functional,
        "license": card.license,
        "unknown": ", ".join(unknown) or None,
        "aliases": card.aliases,
    }


def describe(store: str, dataset: str | None, *, frames: int = 0, commit: int | None = None) -> dict[str, Any]:
    """Everything a store says of its datasets, or of one; as an older commit has it, where its number is given."""
    opened = open_store(store, commit=commit)
    names = [dataset] if dataset else list(opened)
    found = {"store": store, "commit": opened.commit, "datasets": {name: _describe(opened.open(name), frames) for name in names}}
    return found | ({"views": opened.views} if opened.views and dataset is None else {})


def _describe(dataset: Dataset, frames: int) -> dict[str, Any]:
    card = dataset.card
    sides = {side: dataset.select(split=side).statistics for side in SPLITS}
    out: dict[str, Any] = {
        "title": card.title,
        "license": card.license,
        "theory": card.theory.model_dump(),
        "segments": [segment.entry.path for segment in dataset.segments],
        "profile": "lossless" if dataset.lossless else "fast",
        "rejected": dict(dataset.meta["rejected"]),
        "references": dataset.meta["references"],
        "isolated_atoms": dict(dataset.meta.get("isolated_atoms", {})),
        "left_out": dict(dataset.meta.get("left_out", {})),
        "implausible": list(dataset.meta.get("implausible", [])),
        "splits": {side: _numbers(part) for side, part in sides.items()},
    }
    if dataset.view is not None:
        out["view"] = {"of": dataset.view.of, "asked": dict(dataset.view.asked)}
    if frames:
        out["first_frames"] = [_frame(dataset[i]) for i in range(min(frames, len(dataset)))]
    return out


def _numbers(statistics: Statistics) -> dict[str, Any]:
    out: dict[str, Any] = {
        "frames": statistics.frames,
        "atoms": statistics.atoms,
        "atoms_per_frame": [statistics.smallest, statistics.largest],
        "elements": statistics.element_atoms,
        "labels": statistics.labels,
    }
    for name, unit in (("force", "eV/Angstrom"), ("virial", "eV/atom"), ("shortest", "Angstrom")):
        moments = getattr(statistics, name)
        if moments.count:
            out[name] = {"mean": moments.mean, "std": moments.std, "min": moments.low, "max": moments.high, "unit": unit}
    return out


def _frame(frame: Any) -> dict[str, Any]:
    return {
        "origin": frame.origin,
        "group": frame.group,
        "atoms": len(frame.numbers),
        "energy": frame.energy,
        "info": dict(frame.info),
        "numbers": frame.numbers.tolist(),
        "positions": frame.positions.tolist(),
    }


def print_report(report: IngestReport) -> None:
    """What an ingest did, in a few lines."""
    frames = {"train": report.frames - report.validation_frames - report.test_frames}
    frames |= {"validation": report.validation_frames, "test": report.test_frames}
    sides = ", ".join(f"{side} {count}{_in_groups(report.groups.get(side))}" for side, count in frames.items())
    rejected = sum(report.rejected.values())
    reasons = f" ({', '.join(f'{n} {reason}' for reason, n in report.rejected.items())}; see {report.ledger})" if rejected else ""
    words = f"; {', '.join(report.changed)} of its card written anew" if report.changed else ""
    state = "" if report.new else f", already there{words}"
    print(f"{report.dataset}: {report.frames} frames ({sides}), {rejected} rejected{reasons}{state}")
    if report.replaced:
        size, names = sum(report.replaced.values()) / 1e6, ", ".join(report.replaced)
        print(f"  in the place of {names}, whose {size:.3g} MB `lamdata gc --keep 1` frees a day after they were written")
    print("".join(f"  {line}\n" for line in _findings(report.left_out, report.implausible, report.isolated_atoms)), end="")


def _in_groups(count: int | None) -> str:
    return "" if not count else f" in {count} group{'s' * (count != 1)}"


def _findings(left_out: LeftOut, implausible: Iterable[Implausible], atoms: IsolatedAtoms) -> Iterator[str]:
    """Labels that stand in the files and are not in the store, what cannot be right, and reference energies."""
    yield from say_left_out(left_out)
    yield from say_implausible(implausible)
    if atoms:
        named = ", ".join(f"{symbol} {atom['energy']:.6g} eV ({atom['origin']})" for symbol, atom in atoms.items())
        yield f"isolated atoms, kept as reference energies and not as frames: {named}"


def print_description(description: Mapping[str, Any]) -> None:
    """The same as tables."""
    for name, data in description["datasets"].items():
        print(f"{name}: {data['title']}")
        if view := data.get("view"):
            print(f"  a view of {view['of']}: {_asked(view['asked'])}")
        print(f"  licence {data['license'] or 'unknown'}; {_theory_line(data['theory'])}; {data['profile']}")
        rows = [_split_row(side, part) for side, part in data["splits"].items()]
        table("", ["split", "frames", "atoms", "atoms/frame", "elements", "force std eV/Å", "shortest Å"], rows)
        references = data["references"]
        if references:
            energies = ", ".join(f"{symbol} {energy:.4f}" for symbol, energy in references["energies"].items())
            before, after = references["std_before"] * 1e3, references["std_after"] * 1e3
            print(
                f"  references (eV): {energies}\n  energy spread: {before:.1f} meV/atom as computed, {after:.1f} meV/atom after the references"
            )
        if data["rejected"]:
            print(f"  rejected: {', '.join(f'{count} {reason}' for reason, count in data['rejected'].items())}")
        print("".join(f"  {line}\n" for line in _findings(data["left_out"], data["implausible"], data["isolated_atoms"])), end="")
        for frame in data.get("first_frames", []):
            said = "".join(f", {key} {text}" for key, text in frame["info"].items())
            print(f"  {frame['origin']}: {frame['atoms']} atoms, energy {frame['energy']}, group {frame['group']}{said}")

    for name, view in description.get("views", {}).items():
        state = f"; it does not open: {view['stale']}" if view["stale"] else ""
        print(f"{name}: a view of {view['of']}, {view['frames']:,} frames: {_asked(view['asked'])}{state}")


def _asked(asked: Mapping[str, Any]) -> str:
    """What a view was chosen by."""
    words = {name: " ".join(SYMBOLS[z] for z in value) if name == "elements" else str(value) for name, value in asked.items()}
    return ", ".join(f"{name} {text}" for name, text in words.items()) or "all frames"


def _theory_line(theory: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in theory.items() if value is not None) or "theory unknown"


def _split_row(side: str, part: Mapping[str, Any]) -> list[Any]:
    low, high = part["atoms_per_frame"]
    force, shortest = part.get("force"), part.get("shortest")
    return [
        side, part["frames"], part["atoms"], f"{low}-{high}", " ".join(part["elements"]),
        force["std"] if force else None, shortest["min"] if shortest else None,
    ]  # fmt: skip
