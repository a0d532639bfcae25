"""A file and what stands beside it: put in place together, the file itself last, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lamtrain.prediction.beside import Beside

SUFFIXES = ("-rows.csv", ".png")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_nothing_stands_in_place_before_it_is_published(tmp_path: Path) -> None:
    with Beside(tmp_path / "out/x.extxyz") as files:
        files.text().write("frames")
        files.text("-rows.csv").write("rows")
        assert files.text() is files.text("") and [name for name in names(tmp_path / "out") if not name.startswith(".")] == []
        placed = files.publish(all_suffixes=SUFFIXES)
    assert [path.name for path in placed] == ["x-rows.csv", "x.extxyz"] and names(tmp_path / "out") == ["x-rows.csv", "x.extxyz"]
    assert (tmp_path / "out/x.extxyz").read_text() == "frames"


def test_what_fails_leaves_the_old_files_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "x.extxyz").write_text("old")
    with pytest.raises(RuntimeError, match="in the middle"), Beside(tmp_path / "x.extxyz") as files:
        files.text().write("new")
        files.place(".png").write_bytes(b"picture")
        raise RuntimeError("in the middle")
    assert names(tmp_path) == ["x.extxyz"] and (tmp_path / "x.extxyz").read_text() == "old"


def test_what_an_earlier_run_left_and_this_one_has_not_is_removed(tmp_path: Path) -> None:
    for name in ("x-rows.csv", "x.png", "x.extxyz", "x-other.txt"):
        (tmp_path / name).write_text("old")
    with Beside(tmp_path / "x.extxyz") as files:
        files.text().write("new")
        files.publish(all_suffixes=SUFFIXES)
    assert names(tmp_path) == ["x-other.txt", "x.extxyz"]


def test_bytes_are_written_where_they_will_be_moved_from(tmp_path: Path) -> None:
    with Beside(tmp_path / "x.extxyz") as files:
        place = files.place(".png")
        place.write_bytes(b"\x89PNG")
        assert place.parent == tmp_path and place.name.startswith(".")
        files.text()
        files.publish(all_suffixes=SUFFIXES)
    assert (tmp_path / "x.png").read_bytes() == b"\x89PNG" and (tmp_path / "x.extxyz").read_text() == ""


def test_a_kill_between_two_renames_leaves_the_old_file_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is last: where it is new, everything beside it is."""
    (tmp_path / "x.extxyz").write_text("old")
    real, moved = os.replace, []

    def once(source: object, target: object) -> None:
        if moved:
            raise KeyboardInterrupt
        moved.append(target)
        real(source, target)

    monkeypatch.setattr(os, "replace", once)
    with pytest.raises(KeyboardInterrupt), Beside(tmp_path / "x.extxyz") as files:
        files.text().write("new")
        files.text("-rows.csv").write("new rows")
        files.publish(all_suffixes=SUFFIXES)
    assert moved == [tmp_path / "x-rows.csv"] and (tmp_path / "x.extxyz").read_text() == "old"
    assert [name for name in names(tmp_path) if name.startswith(".")] == []
