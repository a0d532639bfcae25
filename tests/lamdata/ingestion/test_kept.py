"""`keep` of a card: what it leaves out is in the ledger, counts as no refusal, and decides the segment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lamdata import open_card, validate
from lamdata.errors import ConfigError, ConfigErrors, DataError
from lamdata.listing import print_report
from tests.conftest import tree

from .carbon_monoxide import CARD, frame, origins, run, source, stored, write

SPLIT = "split: {validation: 0}"


def ledger(folder: Path, report) -> list[dict]:
    return [json.loads(line) for line in Path(report.ledger).read_text().splitlines()]


@pytest.mark.parametrize("keep", ["\"energy > -11.2 and file != 'co-1.xyz'\"", "{where: \"energy > -11.2 and file != 'co-1.xyz'\"}"])
def test_what_a_card_keeps_is_stored_and_the_rest_named(tmp_path: Path, keep: str) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    whole = run(write(tmp_path / "a"))
    report = run(write(tmp_path / "b", rest=f"keep: {keep}\n{SPLIT}"))
    every, kept = stored(tmp_path / "a/co.yaml"), stored(tmp_path / "b/co.yaml")
    expected = {one.origin for one in every if one.energy > -11.2 and not one.origin.startswith("co-1.xyz")}
    assert origins(kept) == expected and 0 < len(expected) < len(every)
    assert report.rejected == {"not kept": len(every) - len(expected)} and report.segment != whole.segment
    rows = ledger(tmp_path, report)
    assert {row["origin"] for row in rows} == origins(every) - expected and {row["reason"] for row in rows} == {"not kept"}
    assert all(row["value"] is None for row in rows)


def test_short_forms_say_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stores = []
    for name, keep in (("a", "{natoms: [2, 2], max_force: 0.3}"), ("b", '"natoms == 2 and max_force <= 0.3"')):
        (tmp_path / name).mkdir()
        card = write(tmp_path / name, sources=source(), rest=f"keep: {keep}\n{SPLIT}")
        (tmp_path / name / "co-0.xyz").write_text(frame(-10.0) + frame(-10.5, force=0.5) + frame(-9.5, force=0.125))
        print_report(run(card))
        stores.append(origins(stored(card)))
    assert stores[0] == stores[1] == {f"co-{g}.xyz#{f}" for g in range(6) for f in range(3)} - {"co-0.xyz#1"}
    assert "1 rejected (1 not kept; see " in capsys.readouterr().out


def test_a_refusal_is_a_refusal_whether_it_would_be_kept_or_not(tmp_path: Path) -> None:
    card = write(tmp_path, rest=f"keep: \"energy > -10.9 or file == 'co-5.xyz'\"\nchecks: {{max_refused: 0.4}}\n{SPLIT}")
    (tmp_path / "co-5.xyz").write_text(frame(-10.0, force=400.0) + frame(-99.0))
    report = run(card)
    assert report.rejected["max_force"] == 1 and report.rejected["not kept"] > 0.4 * report.frames, "a choice is no fault"


def test_a_card_that_keeps_nothing_stores_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no frame of co passed: 18 not kept"):
        run(write(tmp_path, rest=f"keep: has(Fe)\n{SPLIT}"))
    assert not (tmp_path / "s.zarr/commits").exists()


def test_the_same_again_does_nothing_and_another_choice_is_a_replacement(tmp_path: Path) -> None:
    card = write(tmp_path, rest=f"keep: energy > -11\n{SPLIT}")
    run(card)
    before = tree(tmp_path / "s.zarr")
    assert not run(card).new and tree(tmp_path / "s.zarr") == before and validate(str(tmp_path / "s.zarr"), quiet=True).ok
    card.write_text(card.read_text().replace("-11", "-10.8"))
    with pytest.raises(ConfigError, match="`keep` of the card"):
        run(card)
    assert run(card, replace=True).new


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ("energy_above_references < 1", "`keep` of a card knows no `energy_above_references`"),
        ("split == train", "the split of a frame is no matter of `keep`"),
        ("natom < 3", r"column 1: unknown name 'natom'; did you mean 'natoms'\?"),
    ],
)
def test_what_a_card_cannot_know_is_refused(tmp_path: Path, keep: str, said: str) -> None:
    (tmp_path / "co.yaml").write_text(f"{CARD}{source()}keep: {keep}\n")
    with pytest.raises(ConfigErrors, match=said) as raised:
        open_card(tmp_path / "co.yaml")
    if "natom" in keep:
        assert ":5:1" in str(raised.value)
