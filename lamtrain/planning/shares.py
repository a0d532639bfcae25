"""A mixture and the sizes of its datasets -> how often each is drawn, and how often each of its frames is seen. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lamdata.catalog import Card, Mixture, TaskSpec

STARVED = 1.0  # passes over its frames below which a dataset is not seen whole
OFTEN = 40.0  # passes from which on forces were worse in the report: SSE-PBE has 40 of its 8 million draws, FerroEle 87
FEW = 10_000  # draws below which a head is hardly trained


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One dataset feeding one head."""

    name: str  # the head's; HEAD/DATASET where several feed it
    head: str
    dataset: str
    task: str
    weight: float
    probability: float  # of a frame that is drawn
    draws: float  # of its frames, over the run
    frames: int | None  # to train on; None where nobody says
    counted_by: str  # who says so

    @property
    def epochs(self) -> float | None:
        """Effective epochs: how often each frame is seen."""
        return None if not self.frames else self.draws / self.frames


def share_out(
    tasks: Sequence[TaskSpec], *, draws: float, counts: Mapping[str, tuple[int | None, str]], runs: Mapping[str, int] | None = None
) -> list[Share]:
    """Deal `draws` frames by weight; `counts`: dataset -> training frames, and who counted them; `runs`: head -> frames of each of its draws."""
    parts = [task.weight * (runs or {}).get(task.head, 1) for task in tasks]
    total, heads = sum(parts), [task.head for task in tasks]
    return [
        Share(
            name=task.head if heads.count(task.head) == 1 else f"{task.head}/{task.dataset}",
            head=task.head,
            dataset=task.dataset,
            task=task.task,
            weight=task.weight,
            probability=part / total,
            draws=draws * part / total,
            frames=counts[task.dataset][0],
            counted_by=counts[task.dataset][1],
        )
        for task, part in zip(tasks, parts)
    ]


def published_counts(mixture: Mixture, cards: Mapping[str, Card]) -> dict[str, tuple[int | None, str]]:
    """Training frames by the cards, where there is no store yet: the first count of each that is of training frames."""
    counts: dict[str, tuple[int | None, str]] = {}
    for task in mixture.heads:
        stated = [count for count in cards[task.dataset].counts if count.what.startswith("train")]
        counts[task.dataset] = (stated[0].value, stated[0].source) if stated else (None, "no card says")
    return counts


def in_words(shares: Sequence[Share]) -> list[str]:
    """What will starve, what will be seen too often, and what nobody can say."""
    lines = []
    for share in shares:
        if share.draws < FEW:
            lines.append(f"{share.name} is drawn {share.draws:,.0f} times: hardly trained; raise its weight or `steps`")
        if share.epochs is None:
            continue
        if share.epochs < STARVED:
            lines.append(f"{share.name} starves: only {share.epochs:.0%} of its {share.frames:,} frames are seen")
        if share.epochs >= OFTEN:
            lines.append(
                f"{share.name} may be overfitted: each of its {share.frames:,} frames is seen {share.epochs:,.0f} times; lower its weight"
            )
    if unknown := [share.name for share in shares if not share.frames]:
        lines.append(f"nobody says how many training frames {', '.join(unknown)} {'has' if len(unknown) == 1 else 'have'}")
    return lines
