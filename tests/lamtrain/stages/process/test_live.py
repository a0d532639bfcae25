"""The table of what is at work, and the lines that stand for it where nobody looks at a terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from lamtrain.stages.process.live import Board, last_line


class Terminal(io.StringIO):
    """What a terminal would be told."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_each_stage_with_the_last_line_of_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    (tmp_path / "log.txt").write_text("$ lamtrain train\nlearn: 3/9 steps, 2/s\n")
    with Board(["data", "learn"], title="tiny", quiet=False) as board:
        board.show("data", "done", "nothing has changed")
        board.show("learn", "runs", "steps: 4 -> 3")
        board.tick("learn", tmp_path / "log.txt")
    shown = screen.getvalue()
    assert "nothing has changed" in shown and "learn: 3/9 steps, 2/s" in shown and "0:00:0" in shown


def test_elsewhere_each_change_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with Board(["data"], title="tiny", quiet=False) as board:
        board.show("data", "runs", "was not run yet")
        board.tick("data", Path("nothing"))
    assert capsys.readouterr().err == "data: runs: was not run yet\n"


def test_the_last_line_of_a_log_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert last_line(tmp_path / "log.txt") == ""
    (tmp_path / "log.txt").write_text("x" * 10_000 + "\nend\n\n")
    assert last_line(tmp_path / "log.txt") == "end"
