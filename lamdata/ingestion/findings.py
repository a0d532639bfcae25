"""Findings: what pass 1 meets beside frames -> what the store and the summary say: labels left out, free atoms, refusals, what is implausible."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypedDict

import numpy as np

from ..catalog import Card
from ..elements import SYMBOLS
from ..errors import ConfigError, DataError
from ..frame import Frame, Rejection
from ..frames import Parsed
from ..plausibility import Plausibility
from .kept import NOT_KEPT

SAME = 1e-4  # eV, between two statements of the energy of one free atom
CARD = "card"  # who says so, where no file does
ROWS_SHOWN = 5  # of the ledger
UNREADABLE = "unreadable"  # a file, not a frame: it is in the ledger only where `--on-error skip` asked for it


class Seen(TypedDict):
    """How many frames, and one to look at."""

    frames: int
    example: str


class Atom(TypedDict):
    """Energy of a free atom in eV, and who says so."""

    energy: float
    origin: str


class Implausible(TypedDict):
    """A finding of a whole dataset, as the store keeps it."""

    kind: str
    text: str
    count: int  # frames or files
    frames: list[str]  # names of some


LeftOut = dict[str, Seen]  # "label: why" -> frames
IsolatedAtoms = dict[str, Atom]  # element -> energy


def count_left_out(into: LeftOut, parsed: Parsed) -> None:
    """Count the labels that frames leave out, by their text."""
    for origin, texts in zip(parsed.origins, parsed.left_out):
        for text in texts:
            into.setdefault(text, Seen(frames=0, example=origin))["frames"] += 1


def merge_left_out(parts: Iterable[LeftOut]) -> LeftOut:
    """Sum the counts; the first example stays."""
    out: LeftOut = {}
    for part in parts:
        for text, seen in part.items():
            out.setdefault(text, Seen(frames=0, example=seen["example"]))["frames"] += seen["frames"]
    return dict(sorted(out.items()))


def say_left_out(left_out: Mapping[str, Seen]) -> Iterator[str]:
    """A line for each label that was left out and why."""
    for text, seen in left_out.items():
        yield f"left out in {seen['frames']} frames, as {seen['example']}: {text}"


def as_isolated_atom(frame: Frame) -> tuple[str, Atom] | Rejection:
    """The reference energy that a free atom gives, or why it gives none."""
    if len(frame.numbers) != 1:
        return Rejection(origin=frame.origin, reason="not an isolated atom", value=f"{len(frame.numbers)} atoms")
    if frame.energy is None or not np.isfinite(frame.energy):
        return Rejection(origin=frame.origin, reason="isolated atom without an energy")
    if frame.charge:
        return Rejection(origin=frame.origin, reason="isolated atom with a charge", value=frame.charge)
    if frame.converged is False:
        return Rejection(origin=frame.origin, reason="unconverged", value="self-consistency not reached")
    return SYMBOLS[frame.numbers[0]], Atom(energy=frame.energy, origin=frame.origin)


def add_atoms(into: IsolatedAtoms, more: Mapping[str, Atom]) -> None:
    """Take in reference energies; two that differ for one element are an error."""
    for symbol, atom in more.items():
        known = into.setdefault(symbol, atom)
        if abs(known["energy"] - atom["energy"]) > SAME:
            raise DataError(
                f"the isolated atom {symbol} has two energies, {known['energy']:.6f} eV ({known['origin']}) and {atom['energy']:.6f} eV"
                f" ({atom['origin']})",
                hint="leave one of them out",
            )


def isolated_atoms_of(card: Card, parts: Iterable[IsolatedAtoms]) -> IsolatedAtoms:
    """Energies of free atoms by all pieces and by the card, by atomic number."""
    out: IsolatedAtoms = {}
    for part in parts:
        add_atoms(out, part)
    if not out and any(spec.isolated_atoms == "also frames" for spec in card.sources):
        raise ConfigError(
            f"no frame of {card.dataset} is marked as an isolated atom, and its card says `isolated_atoms: also frames`",
            hint="leave it out, or say `isolated_atoms: all` on a source that holds nothing else",
        )
    add_atoms(out, {symbol: Atom(energy=energy, origin=CARD) for symbol, energy in card.isolated_atoms.items()})
    return {symbol: out[symbol] for symbol in SYMBOLS if symbol in out}


def check_refusals(card: Card, ledger: Iterable[str], *, kept: int) -> None:
    """Refuse a dataset of whose frames a larger share is refused than its card allows, showing the first rows of the ledger."""
    rows = [row for line in ledger if (row := json.loads(line))["reason"] not in (UNREADABLE, NOT_KEPT)]
    allowed = card.checks.max_refused
    if len(rows) <= allowed * (len(rows) + kept) + 1e-9:
        return
    share = len(rows) / (len(rows) + kept)
    counts = Counter(row["reason"] for row in rows)
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    shown = "".join(f"\n  {row['origin']}: {row['reason']}" + f" {row['value']}" * (row["value"] is not None) for row in rows[:ROWS_SHOWN])
    raise DataError(
        f"{len(rows)} of {len(rows) + kept} frames of {card.dataset} refused, {share:.1%} where at most {allowed:.1%} may be: {reasons}{shown}"
        + f"\n  and {len(rows) - ROWS_SHOWN} more" * (len(rows) > ROWS_SHOWN)
        + "\n  nothing was stored",
        hint=f"mend the card or its files, or allow it by `checks: {{max_refused: {math.ceil(round(share * 100, 6)) / 100:g}}}`",
    )


def implausible_in(parts: Iterable[Plausibility]) -> list[Implausible]:
    """What is implausible in all pieces together, in their order."""
    whole = Plausibility()
    for part in parts:
        whole.merge(part)
    return [Implausible(kind=one.kind, text=one.text, count=one.count, frames=list(one.frames)) for one in whole.findings()]


def say_implausible(found: Iterable[Implausible]) -> Iterator[str]:
    """A line for each finding."""
    for one in found:
        yield f"implausible: {one['text']} ({one['count']}: {', '.join(one['frames'])}{', ...' * (one['count'] > len(one['frames']))})"


def check_plausible(card: Card, found: Sequence[Implausible]) -> None:
    """Refuse a dataset in which something is implausible, where its card says so."""
    if found and card.checks.implausible == "fail":
        lines = "".join(f"\n  {line}" for line in say_implausible(found))
        raise DataError(
            f"{len(found)} findings in {card.dataset}, whose card says `implausible: fail`{lines}\n  nothing was stored",
            hint="mend the card or its files, or say `checks: {implausible: report}`",
        )
