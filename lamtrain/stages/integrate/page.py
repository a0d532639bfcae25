"""What was found and is proposed -> a page of Markdown, and the lines on the screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lamdata.theory import Theory


def page(result: Mapping[str, Any], *, folder: Path) -> str:
    """The page to read before the proposal is accepted."""
    names = ", ".join(result["datasets"])
    lines = [f"# {names}", ""]
    for name, facts in result["datasets"].items():
        lines += [f"## {name}: {facts['title']}", "", *(f"- {line}" for line in said_of(facts)), ""]
        if facts["coverage"] is not None and "page" in facts["coverage"]:
            lines += [f"See [the coverage]({facts['coverage']['page']}).", ""]
        if facts["proposal"]["differences"]:
            lines += ["Why it shares no other head:", ""]
            lines += _table(["head", "differs in"], [[head, "; ".join(some)] for head, some in facts["proposal"]["differences"].items()])
    lines += [f"## How often each would be seen, in {result['draws']:,.0f} frames", "", *_table(*shares_table(result))]
    lines += ["![effective epochs](epochs.png)", ""]
    if result["into"] is not None:
        lines += ["Nothing of the pool is changed yet. `mixture.patch` is what would change of its mixture; to do it:", ""]
        lines += ["```console", f"lamtrain integrate --accept {folder}", "```", ""]
    return "\n".join(lines)


def said_of(facts: Mapping[str, Any]) -> Iterator[str]:
    """What is known of a dataset and proposed for it, a line each."""
    sides = ", ".join(f"{side} {count:,}" for side, count in facts["frames"].items())
    low, high = facts["atoms_per_frame"]
    yield f"{sum(facts['frames'].values()):,} frames ({sides}) of {low}-{high} atoms: {' '.join(facts['elements'])}"
    labels = ", ".join(f"{label} {count:,}" for label, count in facts["labels"].items() if count)
    yield f"labels: {labels or 'none'}; theory: {Theory.model_validate(facts['theory']).summary()}; licence: {facts['license'] or 'not known'}"
    if facts["rejected"]:
        yield f"refused: {', '.join(f'{count} {reason}' for reason, count in facts['rejected'].items())}"
    yield from (f"left out in {count} frames: {text}" for text, count in facts["left_out"].items())
    yield from (f"implausible: {text}" for text in facts["implausible"])
    yield from _copies(facts["overlap"])
    if facts["coverage"] is not None:
        yield f"coverage by the model: {facts['coverage']['verdict']}: {'; '.join(facts['coverage']['reasons'])}"
    proposal = facts["proposal"]
    row = proposal["row"]
    yield f"proposed: {'share' if proposal['shared'] else 'a new'} head {row['head']} ({row['task']}): {proposal['why']}"
    yield f"proposed weight: {row['weight']:g}, {proposal['why_weight']}"
    yield from proposal["said"]
    if facts["begins"] is not None:
        yield f"a fine-tune would begin with: {facts['begins']['from']}: {facts['begins']['why']}"
    yield from _next(facts)


def _copies(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"copies: {found['copies']} frames are copies of another of them" if found["copies"] else "copies: none among them"
    yield from (f"in the pool: {count} frames are in {name}, too" for name, count in found["in_pool"].items())
    for leak in found["leaks"]:
        yield f"leak: {leak['frames']} {leak['split']} frames of {leak['held_out']} are training frames of {leak['train']}"
    if found["conflicts"]:
        yield f"conflicts: {found['conflicts']} structures have energies that disagree"


def _next(facts: Mapping[str, Any]) -> Iterator[str]:
    """What to label next."""
    worth = (facts["coverage"] or {}).get("worth_labelling")
    labelled = facts["labels"]["energy"] or facts["labels"]["forces"]
    if worth and not labelled:
        yield f"to label next: the frames of {worth}, which the model's training covers least"
    elif worth and facts["coverage"]["verdict"] != "covered":
        yield f"to label next: structures like those of {worth}, which the model's training covers least"


def shares_table(result: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Titles and rows: each head's share and effective epochs, before and after."""
    before = {row["name"]: row for row in result["shares"]["before"]}
    rows = []
    for row in result["shares"]["after"]:
        old = before.get(row["name"]) or before.get(row["head"]) if row["dataset"] not in result["datasets"] else None
        rows.append(
            [row["name"], row["weight"], row["frames"], _percent(old and old["probability"]), _percent(row["probability"]),
             None if old is None else old["epochs"], row["epochs"]]
        )  # fmt: skip
    return ["head", "weight", "training frames", "share before", "share after", "epochs before", "epochs after"], rows


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.1%}"


def _table(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    lines = [list(titles), ["---"] * len(titles), *([_cell(value) for value in row] for row in rows)]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    text = f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
