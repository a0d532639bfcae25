"""A new dataset and a mixture -> the head that it would feed, its weight, and how often each frame of all heads would then be seen.

A head is shared where the theories agree. The weight is w = k N^(1/2) for N training frames, k the median of w / N^(1/2) over the mixture's heads of
that kind, for so go the weights of the OpenLAM report: as N^0.50; and no more than makes each of its frames be seen 40 times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from lamdata.catalog import Card, Mixture, TaskSpec
from lamdata.theory import Theory

from ...planning.shares import OFTEN, Share, in_words, share_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What is proposed for a dataset."""

    task: TaskSpec
    shared: bool  # with datasets that the head has already
    why: str
    differences: dict[str, list[str]]  # head that it does not share -> where the theories differ
    why_weight: str


def propose_row(
    name: str,
    found: Mapping[str, Any],
    suggested: TaskSpec | None,
    *,
    mixture: Mixture | None,
    cards: Mapping[str, Card],
    counts: Mapping[str, int | None],
    draws: float,
) -> Row:
    """The row of a mixture for a dataset of which `found` is known; `counts` are the training frames of the mixture's datasets."""
    labelled = bool(found["labels"]["energy"] or found["labels"]["forces"])
    kind = "energy_force" if labelled else "denoise"
    rows = [] if mixture is None else [row for row in mixture.heads if row.task == kind]
    theory = Theory.model_validate(found["theory"])
    apart = {row.head: _apart(theory, row.head, rows, cards) for row in rows} if labelled else {}
    chosen = next((head for head in dict.fromkeys(row.head for row in rows) if not apart.get(head)), None)
    weight, why_weight = weight_of(found["frames"]["train"], rows, mixture, counts, draws=draws)
    values: dict[str, Any] = {"dataset": name, "task": kind, "weight": weight}
    if chosen is not None:
        like = next(row for row in rows if row.head == chosen)
        values |= {"head": chosen, "augment": like.augment}
        why = "the theories agree" if labelled else "a head that denoises has no theory"
    else:
        values["head"] = _free(name, set() if mixture is None else {row.head for row in mixture.heads})
        values["augment"] = None if suggested is None else suggested.augment
        why = _why_new(apart, kind, mixture)
    if not labelled and values["augment"] is None:
        values["augment"] = "lam-2026"
    isolated = bool(found["isolated_atoms"]) and set(found["isolated_atoms"]) >= set(found["elements"])
    if labelled and isolated and chosen is None:
        values["references"] = "isolated"
    return Row(
        task=TaskSpec.model_validate(values), shared=chosen is not None, why=why, why_weight=why_weight,
        differences={head: lines for head, lines in apart.items() if lines},
    )  # fmt: skip


def _apart(theory: Theory, head: str, rows: Sequence[TaskSpec], cards: Mapping[str, Card]) -> list[str]:
    """Where a theory differs from those of the datasets of a head."""
    lines = (line for row in rows if row.head == head for line in theory.differences(cards[row.dataset].theory))
    return list(dict.fromkeys(lines))


def _why_new(apart: Mapping[str, list[str]], kind: str, mixture: Mixture | None) -> str:
    if mixture is None:
        return "there is no mixture to share a head of"
    if not apart:
        return f"the mixture has no head for {kind}"
    head, lines = min(apart.items(), key=lambda item: len(item[1]))
    return f"no head has its theory; the nearest is {head}: {'; '.join(lines)}"


def _free(name: str, used: set[str]) -> str:
    return _free(f"{name}-new", used) if name in used else name


def weight_of(
    frames: int, rows: Sequence[TaskSpec], mixture: Mixture | None, counts: Mapping[str, int | None], *, draws: float
) -> tuple[float, str]:
    """The weight for so many training frames, and why."""
    if mixture is None:
        return 1.0, "it is alone"
    known = [(row.weight, counted) for row in rows if row.weight and (counted := counts.get(row.dataset))]
    if not known:
        mean = sum(row.weight for row in mixture.heads) / len(mixture.heads)
        return _rounded(mean), "the mean of the mixture, in which nothing of its kind has a known size"
    weight = median(w / math.sqrt(n) for w, n in known) * math.sqrt(max(frames, 1))
    why = "as the mixture weighs its own, by the square root of training frames"
    total, most = sum(row.weight for row in mixture.heads), OFTEN * frames / draws
    if most < 1 and weight > (capped := total * most / (1 - most)):
        return _rounded(capped), f"so that each of its frames is seen {OFTEN:g} times, not more"
    return _rounded(weight), why


def _rounded(weight: float) -> float:
    return float(f"{weight:.3g}")


def shares_of(rows: Sequence[TaskSpec], counts: Mapping[str, int | None], *, draws: float) -> list[Share]:
    """How often each dataset would be drawn, and each of its frames be seen."""
    return share_out(rows, draws=draws, counts={row.dataset: (counts.get(row.dataset), "the store") for row in rows})


def said_of(name: str, rows: Sequence[TaskSpec], counts: Mapping[str, int | None], *, draws: float) -> list[str]:
    """What is to be said of the new dataset's share."""
    return in_words([share for share in shares_of(rows, counts, draws=draws) if share.dataset == name])
