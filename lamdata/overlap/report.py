"""Overlap report: sets of copies -> how many frames datasets share, what leaks into held-out frames, which energies disagree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, product
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One frame of a set of copies."""

    dataset: str
    index: int  # row in its dataset
    split: str  # "train", "validation" or "test"
    origin: str  # "file#index"
    energy_per_atom: float | None  # eV


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySet:
    """Frames that hold one structure."""

    members: tuple[Member, ...]
    displacement: float  # Å, the largest of the root mean squares by which two of them were found to differ
    conflict: float | None  # eV/atom, spread of the energies of one theory, where it is too large for one structure


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """Frames of each of two datasets that are also in the other."""

    first: str
    second: str
    first_frames: int
    second_frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """Held-out frames of one dataset that are training frames of one, perhaps the same."""

    train: str
    held_out: str
    split: str  # of the frames held out
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapReport:
    """What was compared and found."""

    tolerance: float  # Å
    frames: dict[str, int]  # dataset -> frames compared
    copies: dict[str, int]  # dataset -> frames it could lose without losing a structure
    shared: tuple[Shared, ...]
    leaks: tuple[Leak, ...]
    sets: tuple[CopySet, ...]

    @staticmethod
    def of(sets: Sequence[CopySet], *, frames: Mapping[str, int], tolerance: float) -> OverlapReport:
        """Count what the sets say."""
        return OverlapReport(
            tolerance=tolerance,
            frames=dict(frames),
            copies=_copies(sets, frames),
            shared=_shared(sets),
            leaks=_leaks(sets),
            sets=tuple(sets),
        )

    @property
    def conflicts(self) -> list[CopySet]:
        """Sets whose energies disagree."""
        return [found for found in self.sets if found.conflict is not None]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {**asdict(self), "conflicts": len(self.conflicts)}

    def text(self, *, shown: int = 10) -> str:
        """As lines for a person, the first `shown` conflicts by name."""
        lines = [f"{name}: {count} frames, {self.copies[name]} of them copies of another" for name, count in self.frames.items()]
        lines += [f"shared: {s.first_frames} frames of {s.first} are in {s.second}, {s.second_frames} the other way" for s in self.shared]
        lines += [f"leak: {x.frames} {x.split} frames of {x.held_out} are training frames of {x.train}" for x in self.leaks]
        for found in self.conflicts[:shown]:
            names = ", ".join(f"{m.dataset}[{m.index}] ({m.origin})" for m in found.members[:4])
            lines.append(f"conflict: energies {1e3 * (found.conflict or 0):.1f} meV/atom apart for one structure: {names}")
        if len(self.conflicts) > shown:
            lines.append(f"{len(self.conflicts) - shown} more conflicts; see --json")
        return "\n".join(lines)


def _copies(sets: Sequence[CopySet], frames: Mapping[str, int]) -> dict[str, int]:
    """All but one frame of each set that a dataset has frames of."""
    surplus = Counter(dict.fromkeys(frames, 0))
    for found in sets:
        for name, count in Counter(member.dataset for member in found.members).items():
            surplus[name] += count - 1
    return dict(surplus)


def _shared(sets: Sequence[CopySet]) -> tuple[Shared, ...]:
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for found in sets:
        held = Counter(member.dataset for member in found.members)
        for first, second in combinations(sorted(held), 2):
            counts[first, second][0] += held[first]
            counts[first, second][1] += held[second]
    return tuple(Shared(first=a, second=b, first_frames=n, second_frames=m) for (a, b), (n, m) in sorted(counts.items()))


def _leaks(sets: Sequence[CopySet]) -> tuple[Leak, ...]:
    counts: Counter[tuple[str, str, str]] = Counter()
    for found in sets:
        trained = {member.dataset for member in found.members if member.split == "train"}
        held_out = [member for member in found.members if member.split != "train"]
        counts.update((train, member.dataset, member.split) for train, member in product(trained, held_out))
    return tuple(Leak(train=a, held_out=b, split=split, frames=n) for (a, b, split), n in sorted(counts.items()))
