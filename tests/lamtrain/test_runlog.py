"""metrics.csv: whole rows only, cut to where a run goes on, numbers to their last digit."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamtrain.runlog import MetricsFile, columns, flatten, read_metrics

HEADS = {"dft": "energy_force", "relaxed": "denoise"}
FORCE = "dft.train.force_rmse_mev_per_angstrom"


def written(path: Path, steps: list[int]) -> MetricsFile:
    log = MetricsFile(path, HEADS, after=0)
    for step in steps:
        log.append({"step": step, "loss": step / 3.0, FORCE: None if step % 2 else 0.1 * step})
    return log


def test_columns_are_named_by_head_side_and_unit() -> None:
    found = columns(HEADS)
    assert found[:4] == ["step", "learning_rate", "loss", "truncated"] and len(set(found)) == len(found)
    assert {name.split(".")[0] for name in found[4:]} == {"dft", "relaxed"} and FORCE in found
    assert {name.split(".")[1] for name in found[4:]} == {"train", "validation"}


@settings(deadline=None, max_examples=30)
@given(st.floats(allow_nan=False))
def test_numbers_come_back_to_the_last_bit(tmp_path_factory: pytest.TempPathFactory, value: float) -> None:
    path = tmp_path_factory.getbasetemp() / "metrics.csv"
    MetricsFile(path, HEADS, after=0).append({"step": 1, "loss": value})
    assert float(read_metrics(path)[0]["loss"]) == value


def test_what_is_absent_is_empty_and_never_zero(tmp_path: Path) -> None:
    written(tmp_path / "m.csv", [1, 2])
    one, two = read_metrics(tmp_path / "m.csv")
    assert (one[FORCE], two[FORCE]) == ("", "0.2") and one["learning_rate"] == ""


@pytest.mark.parametrize(("after", "left"), [(0, []), (1, [1]), (4, [1, 2, 4]), (5, [1, 2, 4]), (9, [1, 2, 4, 7])])
def test_rows_that_will_be_done_again_are_dropped(tmp_path: Path, after: int, left: list[int]) -> None:
    written(tmp_path / "m.csv", [1, 2, 4, 7])
    MetricsFile(tmp_path / "m.csv", HEADS, after=after)
    assert [int(row["step"]) for row in read_metrics(tmp_path / "m.csv")] == left


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_row_that_was_cut_is_left_out_and_written_again(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "m.csv"
    written(path, [1, 2, 3])
    whole = path.read_text()
    path.write_text(whole[:-cut])
    steps = [int(row["step"]) for row in read_metrics(path)]
    assert steps in ([1, 2], [1])
    log = MetricsFile(path, HEADS, after=steps[-1])
    for step in range(steps[-1] + 1, 4):
        log.append({"step": step, "loss": step / 3.0, FORCE: None if step % 2 else 0.1 * step})
    assert path.read_text() == whole


def test_a_column_that_is_not_known_is_a_fault_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fieldnames"):
        written(tmp_path / "m.csv", []).append({"stpe": 1})


def test_errors_become_the_columns_that_are_logged() -> None:
    table = {"dft": {"force_rmse_mev_per_angstrom": 3.0, "virial_rmse_mev_per_atom": 4.0}, "relaxed": {"type_accuracy": 0.5}}
    found = flatten(table, "train", HEADS)
    assert found == {FORCE: 3.0, "relaxed.train.type_accuracy": 0.5} and set(found) <= set(columns(HEADS))
