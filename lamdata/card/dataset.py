"""What is known of a store, as plain data -> its page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement
from typing import Any

from .. import __version__
from ..ingestion.findings import say_implausible, say_left_out
from ..theory import LEFT_OUT
from .figures import composition_map, histogram_picture, pairs_picture, points_picture
from .page import Page
from .periodic import periodic_table
from .structures import look_of

LOGARITHMIC = ("force component", "stress component")
SHOWN = 25  # compositions in a table
THEORY = {"cutoff": "cutoff (eV)", "hubbard_u": "Hubbard U"}
LICENCE = {"unknown": "not known, or none that is known", "NC": "non-commercial", "ND": "without derivatives"}


def dataset_page(content: Mapping[str, Any]) -> Page:
    """Of `content_of`."""
    datasets, alone = content["datasets"], len(content["datasets"]) == 1
    name = next(iter(datasets))
    page = Page(
        f"Dataset {name}" if alone else f"Store {content['store']}",
        lead=datasets[name]["title"] if alone else f"{len(datasets)} datasets, commit {content['commit']}.",
    )
    if not alone:
        _overview(page, content)
    for name, data in datasets.items():
        if not alone:
            page.heading(name, level=2)
            page.say(data["title"])
        _dataset(page, name, data, level=2 if alone else 3)
    page.heading("Overlap", level=2)
    _overlap(page, content["overlap"])
    page.heading("This page", level=2)
    page.say(
        f"Made by lamdata {__version__} of commit {content['commit']} of {content['store']}. Counts, ranges and references are of all frames; histograms,"
        " compositions and examples of the frames that are said to have been read. Units: eV, Å, eV/Å. It loads nothing from anywhere. Its pictures are"
        " drawn by plotly.js (MIT licence)."
    )
    return page


def _overview(page: Page, content: Mapping[str, Any]) -> None:
    rows = []
    for name, data in content["datasets"].items():
        counts = {side: part["frames"] for side, part in data["splits"].items()}
        theory = data["theory"]["functional"] or "unknown"
        elements = list(data["elements"])
        rows.append(
            [
                name,
                sum(counts.values()),
                *counts.values(),
                " ".join(elements[:12]) + (" ..." if len(elements) > 12 else ""),
                theory,
                data["license"] or "unknown",
            ]
        )
    page.heading("Datasets", level=2)
    page.table("Datasets", ("dataset", "frames", "train", "validation", "test", "elements", "functional", "licence"), rows)
    views = [[name, view["of"], view["frames"], view["stale"] or "opens"] for name, view in content["views"].items()]
    page.table("Views", ("view", "of", "frames", "state"), views)
    atoms: Counter[str] = Counter()
    for data in content["datasets"].values():
        atoms.update({symbol: row["atoms"] for symbol, row in data["elements"].items()})
    _periodic(page, {symbol: {"atoms": count} for symbol, count in atoms.items()})


def _dataset(page: Page, name: str, data: Mapping[str, Any], *, level: int) -> None:
    page.heading("Provenance and licence", level=level)
    _provenance(page, data)
    page.heading("Theory", level=level)
    page.facts({THEORY.get(key, key): value for key, value in data["theory"].items() if value is not None or key not in LEFT_OUT})
    page.heading("Frames", level=level)
    _counts(page, data)
    page.heading("Refused and doubted", level=level)
    _refused(page, data)
    page.heading("Elements", level=level)
    references = (data["references"] or {}).get("energies", {})
    _periodic(page, data["elements"], references=references, isolated=data["isolated_atoms"])
    page.heading("Distributions", level=level)
    _distributions(page, data["sample"])
    page.heading("Compositions", level=level)
    _compositions(page, data["sample"], above="energy above the references" in data["sample"]["histograms"])
    page.heading("Examples", level=level)
    _examples(page, data["sample"]["examples"])
    page.heading(f"To have {name}", level=level)
    for tool, commands in data["load"].items():
        page.say(f"With {tool}:")
        for language, code in commands.items():
            page.code(code, language=f"{tool}, {language}")


def _provenance(page: Page, data: Mapping[str, Any]) -> None:
    known = data["provenance"]
    problems = "; ".join(LICENCE[problem] for problem in data["problems"])
    doi = known["doi"] and f"https://doi.org/{known['doi'].removeprefix('https://doi.org/')}"
    facts = {
        "licence": f"{data['license'] or 'unknown'}{f' ({problems})' if problems else ''}",
        "contributors": known["contributors"] or None,
        "to cite": known["citations"] or None,
        "DOI": doi,
        "from": known["url"],
        "format": known["native_format"],
        "other names": known["aliases"] or "none",
        "stored": "every bit of the source" if data["profile"] == "lossless" else "in float32",
        "content": data["content_hash"],
    }
    if view := data.get("view"):
        facts = {"view of": view["of"]} | facts
    page.facts(facts)
    page.table("Raw files", ("path", "format"), [[source["path"], source["format"]] for source in known["sources"]], folded=True)
    page.table(
        "Published sizes", ("what", "number", "who says so"), [[c["what"], c["value"], c["source"]] for c in known["counts"]], folded=True
    )
    page.items(known["known_defects"] + known["notes"] + (known["allow_theory"] or []))


def _counts(page: Page, data: Mapping[str, Any]) -> None:
    rows = []
    for side, part in [*data["splits"].items()]:
        labels, (low, high) = part["labels"], part["atoms_per_frame"]
        force, shortest = part.get("force"), part.get("shortest")
        rows.append(
            [side, part["frames"], part["atoms"], f"{low}-{high}" if part["frames"] else "-"]
            + [labels.get(name, 0) for name in ("energy", "forces", "virial")]
            + [force["std"] if force else None, max(-force["min"], force["max"]) if force else None, shortest["min"] if shortest else None]
        )
    columns = (
        "split",
        "frames",
        "atoms",
        "atoms/frame",
        "with energy",
        "with forces",
        "with virial",
        "force std eV/Å",
        "largest component eV/Å",
        "shortest Å",
    )
    page.table("Frames of each split", columns, rows)
    if references := data["references"]:
        before, after = 1e3 * references["std_before"], 1e3 * references["std_after"]
        page.say(
            f"Energies spread by {before:,.1f} meV/atom as computed, and by {after:,.1f} meV/atom above reference energies of the elements."
        )


def _refused(page: Page, data: Mapping[str, Any]) -> None:
    if data["rejected"]:
        page.table(
            "Frames that are not in the store",
            ("reason", "frames"),
            [list(row) for row in sorted(data["rejected"].items(), key=lambda row: (-row[1], row[0]))],
        )
        if "view" in data:
            page.say(f"The rows of the ledger are on the card of {data['view']['of']}.")
    else:
        page.say("No frame was refused.")
    rows = [[row["reason"], row["origin"], row["value"]] for row in data["refused"]]
    page.table("Some of them, by the ledger", ("reason", "frame", "value"), rows)
    page.items([*say_left_out(data["left_out"]), *say_implausible(data["implausible"])])
    asked = {key: value for key, value in data["checks"].items() if value is not None}
    page.table("What a frame had to satisfy", ("check", "limit"), [[key, str(value)] for key, value in asked.items()], folded=True)


def _periodic(
    page: Page,
    elements: Mapping[str, Mapping[str, Any]],
    *,
    references: Mapping[str, float] | None = None,
    isolated: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    counts = {symbol: row["atoms"] for symbol, row in elements.items()}
    page.markup(periodic_table(counts, title=f"{len(counts)} elements, by their atoms", unit="atoms"))
    if references is None:
        page.table(
            "The numbers of the periodic table", ("element", "atoms"), [[symbol, count] for symbol, count in counts.items()], folded=True
        )
        return
    alone = isolated or {}
    rows = [
        [symbol, row["atoms"], row["frames"], references.get(symbol), alone[symbol]["energy"] if symbol in alone else None]
        for symbol, row in elements.items()
    ]
    page.table(
        "The numbers of the periodic table", ("element", "atoms", "frames with it", "reference eV", "isolated atom eV"), rows, folded=True
    )


def _distributions(page: Page, sample: Mapping[str, Any]) -> None:
    page.say(_read(sample))
    if sample["unreferenced"]:
        page.say(
            f"{sample['unreferenced']:,} of them have an element without a reference energy, which no training frame has: their energies are in no picture."
        )
    page.markup('<div class="pictures">')
    for name, found in sample["histograms"].items():
        page.picture(histogram_picture(name, found, logarithmic=name in LOGARITHMIC))
    page.markup("</div>")


def _read(sample: Mapping[str, Any]) -> str:
    if sample["frames"] == sample["of"]:
        return f"Of all {sample['of']:,} frames."
    return f"Of {sample['frames']:,} frames of {sample['of']:,}: {sample['blocks']:,} of {sample['of_blocks']:,} blocks, drawn by a hash of the content; the store is shuffled, so they are a fair sample."


def _compositions(page: Page, sample: Mapping[str, Any], *, above: bool) -> None:
    found = sample["compositions"]
    page.say(f"{sample['kinds']:,} compositions, in lowest terms. {_read(sample)}")
    energy = "energy above the references" if above else "energy"
    named = [[_formula(one["counts"]), one["frames"], one["energy"], one["lowest"]] for one in found]
    page.table("The most frequent", ("composition", "frames", f"mean {energy} eV/atom", "lowest"), named[:SHOWN], folded=len(found) > SHOWN)
    if len(found) > 1 and (laid_out := composition_map(found)):
        x, y, places = laid_out
        points = [[a, b, f"{row[0]}: {row[1]:,} frames", row[1]] for (a, b), row in zip(places, named)]
        said = f"A point for each of {len(points):,} compositions, by how many frames it has."
        if "share" not in x:
            said += " The axes are the principal axes of the shares of the elements; what they are most of stands beside them."
        page.picture(
            points_picture(
                "Map of compositions", said, {"compositions": points}, x=x, y=y, columns=(x, y, "composition", "frames"), shade="frames"
            )
        )
    pairs: Counter[tuple[str, str]] = Counter()
    for one in found:
        for pair in combinations_with_replacement(sorted(one["counts"]), 2):
            pairs[pair] += one["frames"]
    if len({symbol for pair in pairs for symbol in pair}) > 1:
        page.picture(
            pairs_picture("Elements that occur together", "The darker, the more frames that were read have both.", pairs, unit="frames")
        )


def _examples(page: Page, examples: Sequence[Mapping[str, Any]]) -> None:
    if not examples:
        page.say("No frame that was read is small enough to be drawn.")
        return
    page.structures(examples, look_of(symbol for example in examples for symbol in example["symbols"]))
    rows = [
        [one["formula"], len(one["symbols"]), one["energy"], one["largest_force"], one["split"], one["origin"], one["group"]]
        for one in examples
    ]
    page.table("The structures", ("formula", "atoms", "energy eV", "largest force eV/Å", "split", "frame", "group"), rows)
    for one in examples:
        atoms = [[symbol, *place] for symbol, place in zip(one["symbols"], one["positions"])]
        cell = [[f"cell {axis}", *row] for axis, row in zip("abc", one["cell"] or [])]
        page.table(f"Atoms of {one['formula']}, {one['origin']}, Å", ("", "x", "y", "z"), [*cell, *atoms], folded=True)


def _formula(counts: Mapping[str, int]) -> str:
    return "".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in counts.items())


def _overlap(page: Page, overlap: Mapping[str, Any]) -> None:
    found = overlap["found"]
    if overlap["left"]:
        page.say(f"Not looked for {overlap['left']}: all {overlap['frames']:,} frames of the store would have to be read. The command:")
        page.code(overlap["command"], language="shell")
    if found is None:
        return
    page.say(
        f"Frames that hold one structure, up to {found['tolerance']:g} Å root mean square, found among all {sum(found['frames'].values()):,}; {found['conflicts']:,} sets of them have energies that disagree."
    )
    page.table(
        "Copies",
        ("dataset", "frames", "copies of another frame of it"),
        [[name, count, found["copies"][name]] for name, count in found["frames"].items()],
    )
    page.table(
        "Shared",
        ("dataset", "and", "frames of the first", "of the second"),
        [[s["first"], s["second"], s["first_frames"], s["second_frames"]] for s in found["shared"]],
    )
    page.table(
        "Held-out frames that are training frames",
        ("held out in", "split", "trained on in", "frames"),
        [[x["held_out"], x["split"], x["train"], x["frames"]] for x in found["leaks"]],
    )
    if not found["shared"] and len(found["frames"]) > 1:
        page.say("No two datasets share a frame.")
