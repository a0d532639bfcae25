"""Splits: what a card says is held out -> the split of each frame, and whether what came out is what was asked for.

What a source says (`split:` of it, or the key that its `keys: {split: NAME}` names) comes first, then the lists that the card
names, then shares of the groups by hash.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..catalog import Card, SourceSpec, SplitSpec
from ..errors import ConfigError, DataError
from ..fields import SplitName
from ..frame import Frame
from ..frames import Parsed
from ..sources import SourceFile
from ..sources.labelled.comment_survey import SPLITS as WORDS
from ..store.layout import SPLITS
from .staging import DEALT, GROUP, Piece, hashes

SEEDS = 200  # deals that are tried for a better one
MOST_GROUPS = 20_000  # for which that is cheap
SHOWN = 8  # groups or lines that are named one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Splitter:
    """Says in which split a frame falls; small enough to go to every worker."""

    spec: SplitSpec
    listed: Mapping[str, SplitName] = field(default_factory=dict)  # frame, file or group -> split
    digests: Mapping[str, str] = field(default_factory=dict)  # split -> sha256 of its list

    def sides(self, parsed: Parsed) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """(F,) number of the split of each frame, and which of them were dealt by hash."""
        number: dict[str, int] = {}
        which = [number.setdefault(group, len(number)) for group in parsed.groups]
        by_hash = deals(self.spec, number)[which]
        if not self.listed and not parsed.splits:
            return by_hash, np.ones(len(parsed), bool)
        sides, dealt = np.zeros(len(parsed), np.uint8), np.zeros(len(parsed), bool)
        stated = parsed.splits or [""] * len(parsed)
        for row, (said, origin, group) in enumerate(zip(stated, parsed.origins, parsed.groups)):
            side = said or next((self.listed[key] for key in self.keys(origin, group) if key in self.listed), None)
            if side is None:
                dealt[row] = True
                sides[row] = by_hash[row]
            else:
                sides[row] = SPLITS.index(side)
        return sides, dealt

    def keys(self, origin: str, group: str = "") -> tuple[str, ...]:
        """What a line of a list may call a frame; none where there is no list."""
        return (origin, group, origin.rpartition("#")[0]) if self.listed else ()

    def met(self, origins: Iterable[str], groups: Iterable[str] = ()) -> set[str]:
        """The lines of the lists that name one of these frames or groups."""
        if not self.listed:
            return set()
        names = {key for origin in origins for key in self.keys(origin)} | set(groups)
        return names & self.listed.keys()


def deals(spec: SplitSpec, groups: Iterable[str]) -> NDArray[np.uint8]:
    """(G,) in which split each group falls by its hash, `SplitSpec.deal` of many."""
    validation, test = spec.shares
    first, last = (math.ceil(share * 2**64) for share in (validation, 1 - test))  # of whole numbers, to which a float compares the same
    place = hashes((f"{spec.seed}/{group}".encode() for group in groups), order=">")
    sides = np.zeros(len(place), np.uint8)
    if last < 2**64:
        sides[place >= np.uint64(last)] = 2
    if first:
        sides[place <= np.uint64(first - 1)] = 1
    return sides


def read_splitter(card: Card, base: Path) -> Splitter:
    """Read the lists that a card names; a line that two of them have is an error."""
    listed: dict[str, SplitName] = {}
    digests: dict[str, str] = {}
    for side, name in card.split.lists.items():
        path = base / name
        if not path.is_file():
            raise ConfigError(f"no such file; `split.{side}` of {card.dataset} names it", where=str(path), hint="it lists frames or groups")
        text = SourceFile(name=name, path=str(path)).text()
        digests[side] = hashlib.sha256(text.encode()).hexdigest()
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
        if not lines:
            raise ConfigError(
                f"lists nothing; `split.{side}` of {card.dataset} names it", where=str(path), hint="a line is a frame or a group"
            )
        for line in lines:
            if listed.setdefault(line, side) != side:
                raise ConfigError(
                    f"{line!r} is listed for {listed[line]} and for {side}", where=str(path), hint="take it from one of the lists"
                )
    return Splitter(spec=card.split, listed=listed, digests=digests)


def mark_split(item: Frame | Parsed, spec: SourceSpec) -> Frame | Parsed:
    """Put the split that a source states, by its card or by its key, on frames in our words."""
    if spec.split is not None:
        return replace(item, split=spec.split) if isinstance(item, Frame) else replace(item, splits=[spec.split] * len(item))
    if not spec.keys.get("split"):
        return item
    if isinstance(item, Frame):
        return replace(item, split=_word(item.split, spec, item.origin))
    return replace(item, splits=[_word(said, spec, o) for said, o in zip(item.splits or [""] * len(item), item.origins)])


def _word(said: str, spec: SourceSpec, origin: str) -> SplitName:
    found = WORDS.get(said.strip().casefold())
    if found is None:
        raise DataError(
            f"{spec.keys['split']!r} is {said!r}, expected train, validation or test"
            if said
            else f"says nothing under {spec.keys['split']!r}",
            where=origin,
            hint="leave `split` out of `keys:` of its source, or mend the file",
        )
    return found


def check_splits(card: Card, splitter: Splitter, pieces: Sequence[Piece], *, met: set[str]) -> dict[str, int]:
    """Return the number of groups of each split; refuse a group in two, a line that names nothing, a deal that is not what was asked.

    `met` are the lines of the lists that named a frame.
    """
    groups = _merged(piece.groups() for piece in pieces)
    sides = groups["sides"] & (DEALT - 1)
    straddling = groups["key"][(sides & (sides - 1)) > 0]
    if len(straddling):
        raise _straddles(card, pieces, int(straddling[0]))
    if missing := splitter.listed.keys() - met:
        shown = ", ".join(sorted(missing)[:SHOWN])
        raise DataError(
            f"{len(missing)} of {len(splitter.listed)} lines of the split of {card.dataset} name no frame, file or group: {shown}",
            hint="a line is `file#index` as `lamdata show STORE --frames 3` prints it, a file or a group",
        )
    _refuse_a_bad_deal(card, groups, pieces)
    return {name: int((sides == 1 << number).sum()) for number, name in enumerate(SPLITS)}


def _merged(tables: Iterable[np.ndarray]) -> np.ndarray:
    """One row a group: its key, the bits of its splits, its frames."""
    rows = np.concatenate([np.empty(0, GROUP), *tables])
    keys, first = np.unique(rows["key"], return_inverse=True)
    out = np.zeros(len(keys), GROUP)
    out["key"] = keys
    np.bitwise_or.at(out["sides"], first, rows["sides"])
    np.add.at(out["frames"], first, rows["frames"])
    return out


def _straddles(card: Card, pieces: Sequence[Piece], key: int) -> DataError:
    seen: dict[str, str] = {}
    name = ""
    for piece in pieces:
        for group, origin, side in piece.rows_of_groups({key}):
            name = group
            seen.setdefault(SPLITS[side], origin)
    where = " and ".join(f"{side} ({origin})" for side, origin in seen.items())
    return DataError(
        f"group {name!r} of {card.dataset} is in {where}: a group is on one side of a split",
        hint="list or key whole groups, or say `group: frame` in its source where frames are independent of each other",
    )


def _refuse_a_bad_deal(card: Card, groups: np.ndarray, pieces: Sequence[Piece]) -> None:
    """Shares of few groups may hold out nothing, or nearly everything: that is said, with better ones."""
    dealt = groups[(groups["sides"] & DEALT) > 0]
    frames = {name: int(dealt["frames"][(dealt["sides"] & 1 << number) > 0].sum()) for number, name in enumerate(SPLITS)}
    total, (validation, test) = sum(frames.values()), card.split.shares
    stated = "split" in card.model_fields_set
    empty = [name for name, share in (("validation", validation), ("test", test)) if share > 0 and not frames[name] and stated]
    majority = frames["train"] * 2 < total and validation + test < 0.5
    if not total or not (empty or majority or not frames["train"]):
        return
    gave = ", ".join(f"{name} {count}" for name, count in frames.items())
    wrong = f"{' and '.join(empty)} would be empty" if empty and not majority else "more than half would be held out"
    raise DataError(
        f"the split of {card.dataset} deals {len(dealt)} group{'s' * (len(dealt) != 1)} by hash, {total} frames: {gave}: {wrong}",
        hint=f"choose: {'; '.join(_choices(card, set(dealt['key'].tolist()), pieces))}",
    )


def _choices(card: Card, keys: set[int], pieces: Sequence[Piece]) -> list[str]:
    counts: dict[str, int] = {}
    if len(keys) <= MOST_GROUPS:
        for piece in pieces:
            for group, _, _ in piece.rows_of_groups(keys):
                counts[group] = counts.get(group, 0) + 1
    shares = ", ".join(f"{name}: {share:g}" for name, share in zip(SPLITS[1:], card.split.shares) if share)
    seed = _better_seed(card.split, counts)
    named = f" ({', '.join(f'{group} {count}' for group, count in list(counts.items())[:SHOWN])}{', ...' * (len(counts) > SHOWN)})"
    return [
        *([f"`split: {{{shares}, seed: {seed[0]}}}` (validation {seed[1]}, test {seed[2]} frames)"] if seed else []),
        f"`split: {{test: FILE}}` with a list of groups{named * bool(counts)}",
        "`split: test` on one of its sources",
        "another `group:` of its sources, as `frame` where frames are independent of each other",
    ]


def _better_seed(spec: SplitSpec, counts: Mapping[str, int]) -> tuple[int, int, int] | None:
    """A seed whose deal is nearest to the shares, and what it gives to validation and test."""
    total, best = sum(counts.values()), None
    for seed in range(SEEDS if counts else 0):
        other = spec.model_copy(update={"seed": seed})
        gave = dict.fromkeys(SPLITS, 0)
        for group, count in counts.items():
            gave[other.deal(group)] += count
        validation, test = gave["validation"], gave["test"]
        if gave["train"] * 2 < total or any(share and not given for share, given in zip(spec.shares, (validation, test))):
            continue
        away = abs(validation - spec.shares[0] * total) + abs(test - spec.shares[1] * total)
        if best is None or away < best[0]:
            best = away, (seed, validation, test)
    return best and best[1]
