"""Weights of frames: from the key that a card names into the store; without the key a frame weighs 1, which is said."""

from __future__ import annotations

from pathlib import Path

from .carbon_monoxide import frame, run, source, stored, write

KEYS = "keys: {weight: config_weight}"


def test_weights_are_stored_and_frames_without_one_are_counted(tmp_path: Path) -> None:
    card = write(tmp_path, sources=source("co-*.xyz", more=KEYS), rest="checks: {max_refused: 0.2}\nsplit: {validation: 0}")
    words = {"co-0.xyz#0": "0.1", "co-0.xyz#1": "0", "co-0.xyz#3": "-1", "co-0.xyz#4": "nan", "co-0.xyz#5": "heavy"}
    texts = [frame(-10.0, words=f"config_weight={words[name]}" if (name := f"co-0.xyz#{i}") in words else "") for i in range(6)]
    (tmp_path / "co-0.xyz").write_text("".join(texts))
    report = run(card)
    weights = {one.origin: one.weight for one in stored(card) if one.origin.startswith("co-0.xyz")}
    assert weights == {"co-0.xyz#0": 0.1, "co-0.xyz#1": 0.0, "co-0.xyz#2": 1.0}
    refused = Path(report.ledger).read_text()
    assert sum(report.rejected.values()) == 3 and all(name in refused for name in ("co-0.xyz#3", "co-0.xyz#4", "co-0.xyz#5"))
