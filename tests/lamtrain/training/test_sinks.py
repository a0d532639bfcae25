"""The rows of metrics.csv go where `log_to` says, once each, however often a run is stopped; a live table shows the newest."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from lamdata.errors import ConfigErrors, SetupError
from lamdata.progress import Progress
from lamtrain.config import read_config
from lamtrain.runlog import MetricsFile, read_metrics
from lamtrain.training.board import Board
from lamtrain.training.sinks import SINKS, _plain, numbers, open_sinks
from tests.test_errors import call

HEADS = {"bulk": "energy_force", "crystals": "denoise"}
CURVE = "bulk.validation.force_rmse_mev_per_angstrom"
ROWS = [
    {"step": 3, "learning_rate": 1e-3, "loss": 2.5, "bulk.train.energy_rmse_mev_per_atom": 12.0},
    {"step": 6, "learning_rate": 1e-4, "loss": None, "truncated": "", CURVE: 80.5},
]


class Kept:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.rows: list[dict] = []

    def write(self, row) -> None:
        self.rows.append(dict(row))


def config(small: Path, *names: str):
    return read_config(small / "train.yaml", overrides=[f"log_to=[{', '.join(names)}]"])


def curves(name: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[int, float]]]:
    """What a sink holds, by the name of the curve."""
    if name == "tensorboard":
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(out / "tensorboard"))
        events.Reload()
        return {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    from mlflow.tracking import MlflowClient

    client, run = MlflowClient((out / "mlruns").resolve().as_uri()), (out / "mlflow.id").read_text()
    return {key: [(p.step, p.value) for p in client.get_metric_history(run, key)] for key in client.get_run(run).data.metrics}


@pytest.fixture(params=["tensorboard", "mlflow"])
def sink(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    pytest.importorskip(request.param, reason=f"{request.param} is an extra that is not installed here")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return request.param


def test_the_values_of_a_row_have_names_that_group_by_head():
    assert dict(numbers(ROWS[1])) == {"learning_rate": 1e-4, CURVE.replace(".", "/"): 80.5}
    assert dict(numbers({name: str(value) for name, value in ROWS[0].items()})) == dict(numbers(ROWS[0]))  # as csv gives them back


@pytest.mark.parametrize("name", ["a.b", "a/b_c-1", "Au+Ag/train", "Å"])
def test_a_name_for_mlflow_has_only_what_it_allows(name):
    assert not set(_plain(name)) & set("+()") and len(_plain(name)) == len(name)


def test_every_row_is_a_point_of_its_curve(small, tmp_path, monkeypatch, sink):
    (opened,) = open_sinks(config(small, sink), tmp_path, [])
    for row in ROWS:
        opened.write(row)
    found = curves(sink, tmp_path, monkeypatch)
    assert [step for step, _ in found["learning_rate"]] == [3, 6]
    assert found[CURVE.replace(".", "/")] == [(6, 80.5)] and found["loss"] == [(3, 2.5)]


def test_a_run_that_goes_on_draws_no_curve_twice(small, tmp_path, monkeypatch, sink):
    for rows in (ROWS[:1], ROWS):  # killed after the first row; the second start has it in its csv
        (opened,) = open_sinks(config(small, sink), tmp_path, rows[:-1])
        opened.write(rows[-1])
    assert [step for step, _ in curves(sink, tmp_path, monkeypatch)["learning_rate"]] == [3, 6]


def test_rows_that_a_resumed_run_does_again_are_there_once(small, tmp_path, monkeypatch, sink):
    (opened,) = open_sinks(config(small, sink), tmp_path, [])
    for row in ROWS:
        opened.write(row)
    (opened,) = open_sinks(config(small, sink), tmp_path, ROWS[:1])  # the checkpoint was before the second row
    opened.write(ROWS[1])
    assert [step for step, _ in curves(sink, tmp_path, monkeypatch)["learning_rate"]] == [3, 6]


def test_weights_and_biases_takes_the_rows_without_a_network(small, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="wandb is an extra that is not installed here")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    (opened,) = open_sinks(config(small, "wandb"), tmp_path, ROWS[:1])
    opened.write(ROWS[1])
    assert opened._run.id == (tmp_path / "wandb.id").read_text() and opened._last == 6
    opened._run.finish()
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))


@pytest.mark.parametrize("name", SINKS)
def test_a_sink_that_is_not_installed_is_an_error_before_the_run(small, tmp_path, monkeypatch, capsys, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SetupError, match=rf"{name} is not installed; pip install 'lam\[{name}\]'"):
        open_sinks(config(small, name), tmp_path, [])
    code, _, lines = call(
        "lamtrain",
        "train",
        str(small / "train.yaml"),
        "--runs",
        str(tmp_path),
        "--set",
        f"log_to=[{name}]",
        capsys=capsys,
        monkeypatch=monkeypatch,
    )
    assert code == 3 and f"lam[{name}]" in lines[-1] and not list(tmp_path.iterdir())


def test_a_sink_that_does_not_exist_is_refused(small):
    with pytest.raises(ConfigErrors, match="log_to"):
        config(small, "visdom")


def test_no_sink_is_opened_unasked(small, tmp_path):
    assert open_sinks(config(small), tmp_path, ROWS) == [] and not list(tmp_path.iterdir())


def test_the_csv_has_the_row_before_its_sinks_do(tmp_path):
    log, kept = MetricsFile(tmp_path / "metrics.csv", HEADS, after=0), Kept()

    class Fails:
        def write(self, row) -> None:
            raise OSError("no network")

    log.sinks += [kept, Fails()]
    with pytest.raises(OSError):
        log.append(dict(ROWS[0]))
    assert [row["step"] for row in read_metrics(log.path)] == ["3"] and kept.rows == [ROWS[0]]


def test_a_training_gives_its_rows_to_the_sinks_and_ends_the_same(small, tmp_path, monkeypatch):
    from lamtrain.training import trainer

    kept = Kept()
    monkeypatch.setattr(trainer, "open_sinks", lambda config, out, rows: [*map(kept.write, rows), kept][-1:])
    read = read_config(small / "train.yaml", overrides=["steps=4", "log_every=2", "validation.every=4"])
    out = trainer.train(read, out=tmp_path / "run", device="cpu", quiet=True)
    rows = read_metrics(out / "metrics.csv")
    assert [str(row["step"]) for row in kept.rows] == [row["step"] for row in rows] == ["2", "4"]
    said = {name: float(value) for name, value in rows[-1].items() if value}
    assert {name: float(value) for name, value in kept.rows[-1].items() if value is not None} == said
    kept.rows.clear()
    trainer.train(read.model_copy(update={"steps": 6}), out=out, device="cpu", quiet=True)
    assert [str(row["step"]) for row in kept.rows] == ["2", "4", "6"]  # those of the csv first


def test_a_board_shows_the_newest_of_each_head():
    board = Board(HEADS)
    assert drawn(board) == ""
    for row in ROWS:
        board.write(row)
    assert board.cells("energy_force") == [["bulk", "12", "-", "-", "80.5"]]
    assert board.cells("denoise") == [["crystals", *["-"] * 6]]
    shown = drawn(board)
    assert "energy_force, step 6" in shown and "80.5" in shown and "crystals" in shown


def test_a_board_takes_rows_as_the_csv_has_them():
    board = Board(HEADS)
    board.write({name: "" if value is None else str(value) for name, value in ROWS[0].items()})
    assert board.cells("energy_force")[0][1] == "12"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_the_table_stands_above_the_bar_on_a_terminal_only(monkeypatch, terminal):
    err = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    board = Board(HEADS)
    with Progress("training", total=2, unit="steps", above=board) as bar:
        board.write(ROWS[0])
        bar.advance(2)
    assert ("energy_force, step 3" in err.getvalue()) == terminal and "training" in err.getvalue()


def drawn(board: Board) -> str:
    from rich.console import Console

    console = Console(width=160, file=io.StringIO(), record=True)
    console.print(board)
    return console.export_text().strip()
