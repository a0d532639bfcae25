"""What an ingest refuses before it destroys or hides anything: many bad frames, another dataset's name, a folder of other files."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamdata.errors import ConfigError, DataError
from tests.conftest import tree

from .carbon_monoxide import frame, run, stored, write

PART = "split: {validation: 0.3, seed: 4}\n"


def spoil(folder: Path, count: int) -> None:
    (folder / "co-9.xyz").write_text("".join(frame(-9.0, force=300.0 + i, stretch=0.01 * i) for i in range(count)))


def test_more_refused_frames_than_the_card_allows_stop_the_ingest_and_show_the_first(tmp_path: Path) -> None:
    card = write(tmp_path)
    spoil(tmp_path, 7)
    with pytest.raises(DataError) as caught:
        run(card)
    lines = str(caught.value).splitlines()
    assert lines[0] == "7 of 25 frames of co refused, 28.0% where at most 5.0% may be: 7 max_force"
    assert lines[1:6] == [f"  co-9.xyz#{i}: max_force {300.0 + i}" for i in range(5)]
    assert "max_refused: 0.28" in lines[-1] and caught.value.exit_code == 1
    assert not (tmp_path / "s.zarr").exists()


def test_the_share_that_the_card_states_holds(tmp_path: Path) -> None:
    card = write(tmp_path, rest=f"{PART}checks: {{max_refused: 0.28}}")
    spoil(tmp_path, 7)
    assert run(card).rejected == {"max_force": 7}
    card.write_text(card.read_text().replace("0.28", "0.5"))
    assert not run(card).new  # how many may be refused changes no frame
    card.write_text(card.read_text().replace("0.5", "0.1"))
    with pytest.raises(DataError, match="7 of 25 frames of co refused"):
        run(card)


def test_a_refused_ingest_leaves_what_the_store_had(tmp_path: Path) -> None:
    card = write(tmp_path)
    run(card)
    before = tree(tmp_path / "s.zarr")
    spoil(tmp_path, 7)
    with pytest.raises(DataError, match="7 of 25 frames"):
        run(card, replace=True)
    assert tree(tmp_path / "s.zarr") == before


def test_files_that_are_skipped_by_name_are_not_counted_as_refused_frames(tmp_path: Path) -> None:
    card = write(tmp_path)
    (tmp_path / "co-9.xyz").write_text("2\nProperties=species:S:1:pos:R:3\nO 0 0 0\n")
    assert run(card, on_error="skip").rejected == {"unreadable": 1}


def test_other_files_under_the_same_name_are_shown_and_need_a_word(tmp_path: Path) -> None:
    card = write(tmp_path, rest=f"{PART}license: CC0-1.0\ntheory: {{functional: PBE}}")
    run(card)
    before, old = tree(tmp_path / "s.zarr"), stored(card).segments[0].entry.path
    (tmp_path / "co-0.xyz").unlink()
    (tmp_path / "co-8.xyz").write_text(frame(-9.0))
    card.write_text(card.read_text().replace("CC0-1.0", "MIT").replace("PBE", "SCAN"))
    with pytest.raises(ConfigError) as caught:
        run(card)
    text = str(caught.value)
    for part in ("co is there already, 18 frames", old, "1 of 6 files gone (co-0.xyz)", "1 of 6 files new (co-8.xyz)", "--replace",
                 "license: CC0-1.0 there, MIT here", "theory.functional: PBE there, SCAN here"):  # fmt: skip
        assert part in text
    assert tree(tmp_path / "s.zarr") == before
    assert run(card, replace=True).frames == 16 and len(stored(card)) == 16


def test_another_split_checks_or_profile_is_named(tmp_path: Path) -> None:
    card = write(tmp_path)
    run(card)
    card.write_text(card.read_text().replace("seed: 4", "seed: 5") + "checks: {min_distance: 0.5}\n")
    with pytest.raises(ConfigError, match="profile: lossless there, fast here; `split` of the card; `checks` of the card"):
        run(card, profile="fast")


def test_a_changed_word_of_the_card_reaches_the_store_and_is_said(tmp_path: Path) -> None:
    card = write(tmp_path)
    run(card)
    card.write_text(card.read_text() + "license: CC-BY-4.0\n")
    report = run(card)
    assert (report.new, report.changed) == (False, ("license",)) and stored(card).card.license == "CC-BY-4.0"
    assert run(card).changed == ()


def test_a_folder_with_other_files_is_no_place_for_a_store(tmp_path: Path) -> None:
    card = write(tmp_path)
    (tmp_path / "s.zarr").mkdir()
    run(card)  # an empty one is
    other = tmp_path / "s"
    (other / "photos").mkdir(parents=True)
    (other / "photos/a.jpg").write_text("x")
    for name in ("s", "co-0.xyz"):
        target = tmp_path / name
        (tmp_path / "in").mkdir(exist_ok=True)
        from lamdata import ingest, open_card

        with pytest.raises(ConfigError, match="there are files here, and no store: photos|this is a file; a store is a folder"):
            ingest(open_card(card), str(target), base=tmp_path, quiet=True)
    assert tree(other) == {"photos/a.jpg": b"x"}


def test_what_a_killed_ingest_left_is_no_foreign_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = write(tmp_path)
    with monkeypatch.context() as killed:
        killed.setattr("lamdata.ingestion.run._publish", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(card)
    assert (tmp_path / "s.zarr/co").is_dir() and not (tmp_path / "s.zarr/commits").exists()
    assert run(card).frames == 18
