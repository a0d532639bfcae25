"""Draws and effective epochs by head: those of the report from its own numbers, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lamdata.catalog import TaskSpec, open_mixture
from lamtrain.planning.shares import OFTEN, Share, in_words, published_counts, share_out

ROOT = Path(__file__).resolve().parents[3]
CATALOG = ROOT / "catalogs" / "openlam-2024q0"
FACTS = ROOT.parent / "shared" / "facts" / "openlam.json"
EPOCHS = {"OC2M": 0.6, "Drug": 0.9, "Cluster": 4.4, "Alloy": 17, "SSE-PBE": 40, "FerroEle": 87}  # 18 heads, 8 million draws


def report(count: int = 18, draws: float = 8e6) -> dict[str, Share]:
    mixture, catalog = open_mixture(CATALOG / f"openlam-2024q0-{count}.yaml")
    shares = share_out(mixture.heads, draws=draws, counts=published_counts(mixture, catalog.cards))
    return {share.name: share for share in shares}


def tasks(**weights: float) -> list[TaskSpec]:
    return [TaskSpec(head=name, dataset=name, task="energy_force", weight=weight) for name, weight in weights.items()]


@pytest.mark.parametrize(("head", "epochs"), EPOCHS.items())
def test_effective_epochs_of_the_report(head, epochs):
    assert report()[head].epochs == pytest.approx(epochs, rel=0.03)  # as they are printed


@pytest.mark.parametrize(
    ("head", "by_hand"),
    [
        ("OC2M", 8e6 * 2 / 13.2 / 2_000_000),
        ("FerroEle", 8e6 * 1 / 13.2 / 6_966),
        ("SSE-PBE", 8e6 * 1 / 13.2 / 15_019),
        ("Drug", 8e6 * 2 / 13.2 / 1_379_956),
        ("Sn", 8e6 * 0.1 / 13.2 / 6_449),
    ],
)
def test_five_heads_by_hand(head, by_hand):
    assert report()[head].epochs == pytest.approx(by_hand, rel=1e-12)


def test_each_published_count_is_that_of_the_paper():
    if not FACTS.is_file():
        pytest.skip(f"the collected facts are not beside this checkout ({FACTS.name})")
    stated = {row["name"]: row["frames"] for row in json.loads(FACTS.read_text(encoding="utf-8"))["energy_force_sets"]}
    for share in report().values():
        frames = {value for key, value in (stated[share.dataset] or {}).items() if key.startswith("train")}
        assert share.frames in frames, share.name


def test_of_29_heads_each_of_the_first_18_is_drawn_as_often_as_of_18():
    few, many = report(), report(29, draws=1.84e6 * 8)
    assert [many[name].draws / few[name].draws for name in few] == pytest.approx([1.0036] * 18, abs=1e-4)


def test_probabilities_and_draws_add_up():
    shares = share_out(tasks(a=1, b=2, c=5), draws=800, counts=dict.fromkeys("abc", (100, "")))
    assert [share.probability for share in shares] == [0.125, 0.25, 0.625]
    assert [share.draws for share in shares] == [100, 200, 500] and [share.epochs for share in shares] == [1, 2, 5]


def test_two_datasets_of_a_head_are_told_apart():
    heads = [TaskSpec(head="x", dataset=name, task="energy_force") for name in ("one", "two")] + tasks(y=1)
    shares = share_out(heads, draws=3, counts={"one": (1, ""), "two": (1, ""), "y": (1, "")})
    assert [share.name for share in shares] == ["x/one", "x/two", "y"]


@pytest.mark.parametrize(
    ("frames", "draws", "said"),
    [
        (1_000_000, 500_000, "starves: only 50% of its 1,000,000 frames are seen"),
        (20_000, 20_000, None),
        (1_000, OFTEN * 1_000 - 1, None),
        (1_000, OFTEN * 1_000, "may be overfitted: each of its 1,000 frames is seen 40 times"),
        (100, 9_999, "is drawn 9,999 times: hardly trained"),
        (None, 20_000, "nobody says how many training frames a has"),
    ],
)
def test_what_is_wrong_with_a_head_is_said_in_words(frames, draws, said):
    lines = in_words(share_out(tasks(a=1), draws=draws, counts={"a": (frames, "")}))
    assert any(said in line for line in lines) if said else not lines


def test_of_the_report_the_heads_are_named_that_are_seen_too_seldom_or_too_often():
    lines = in_words(list(report().values()))
    assert {line.split()[0]: line.split()[1] for line in lines} == {
        "FerroEle": "may",
        "SSE-PBE": "may",
        "Drug": "starves:",
        "OC2M": "starves:",
    }


def test_counts_that_no_card_has_are_not_made_up():
    unknown = [share.name for share in report(29, draws=1e7).values() if share.frames is None]
    assert {"SSE_new", "Organic_reactions", "Methane-combustion"} <= set(unknown)
    assert all(share.epochs is None for share in report(29, draws=1e7).values() if share.name in unknown)
