"""`lamtrain distil`: a real loop in seconds, what it leaves, and that it ends with the same bits wherever it was interrupted."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lamdata import open_dataset, open_store
from lamtrain.checkpoint import load
from lamtrain.stages.distil.config import read_distil
from lamtrain.stages.distil.run import distil
from tests import kill
from tests.conftest import command
from tests.lamtrain.evaluation.test_held_out import Called, command_in

from .cases import outcome, write_other

FORCE = "force_rmse_mev_per_angstrom"
NEAR = {"low: 0.01": "low: 4.9"}  # with which all frames are accurate


@pytest.fixture
def lamtrain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, metals: Path) -> Callable[..., Called]:
    return command_in(metals, capsys, monkeypatch)


@pytest.fixture
def done(metals: Path, lamtrain: Callable[..., Called]) -> Path:
    """The folder of a distillation that stopped at its limit, the same for all tests."""
    if not (metals / "out/distil.json").exists():
        code, _, lines = lamtrain("distil", "distil.yaml", "-o", "out")
        assert code == 1 and lines[-1].startswith("error: metals: not accepted")
    return metals / "out"


def test_a_student_that_may_train_no_more_is_stopped_at_the_limit_and_not_accepted(done: Path, lamtrain: Callable[..., Called]) -> None:
    code, out, lines = lamtrain("distil", "distil.yaml", "-o", "out", "--json")
    result = json.loads(out)
    assert code == 1 and lines[0].startswith("error: metals: not accepted: stopped at the limit; raise `iterations`")
    assert result["verdict"] == "stopped at the limit" and not result["accepted"] and all(check["passed"] for check in result["checks"])
    assert [row["verdict"] for row in result["rounds"]] == [None, "stopped at the limit"] and result["trainings"] == 1
    judged = result["rounds"][1]
    assert judged["accurate"] + judged["candidates"] + judged["failed"] + judged["lost"] == judged["planned"] == 9
    assert judged["share_accurate"] < 0.95 and len(judged["deviations"]) == judged["frames"]


def test_it_is_measured_against_dft_beside_its_teacher_and_a_student_of_the_dft_data_alone(done: Path) -> None:
    result = json.loads((done / "distil.json").read_text())
    errors = result["errors"]
    assert set(errors) == {"teacher", "student", "alone"} and all(row[FORCE] > 0 for row in errors.values())
    speed = result["suite"]["speed"]
    assert set(speed["times_faster"]) == {"student", "compressed"} and load(done / "compressed.pt").compressed is not None
    assert all(row["step_ms"] > 0 for row in speed["models"].values()) and speed["not_compressed"] is None
    ratio = next(check for check in result["checks"] if check["name"] == "force_ratio")
    assert ratio["value"] == errors["student"][FORCE] / errors["teacher"][FORCE]
    alone, student = load(done / "alone/bulk-4-steps/run/last.pt"), load(done / "student.pt")
    assert alone.step == result["steps"] == 4 and student.model_config["descriptor"]["type"] == "dpa1"
    assert alone.heads["bulk"]["datasets"] == ["bulk"] and student.heads["bulk"]["datasets"] == ["round-00"]


def test_frames_are_held_out_by_trajectory_and_their_labels_say_whose_they_are(done: Path) -> None:
    (name,) = open_store(str(done / "store.zarr"))
    sides = {split: open_dataset(str(done / "store.zarr"), name, split=split) for split in ("train", "validation", "test")}
    groups = {split: set(side.labels(0, len(side))[0]) for split, side in sides.items() if len(side)}
    assert set(groups) == {"train", "validation"} and not groups["train"] & groups["validation"]
    assert all(group.startswith("round-00/trajectory-") for group in groups["validation"])
    given = {group for group in groups["train"] if not group.startswith("round-00/trajectory-")}
    assert given == {"given-0000", "given-0001"}  # what dynamics began with, labelled by the teacher like the rest
    assert "head bulk" in (sides["train"].theory.model or "")
    assert sides["train"].frames(0, 1).has_virial.all()


def test_the_report_is_a_page_with_its_pictures(done: Path) -> None:
    page = (done / "distil.md").read_text()
    for words in (
        "stopped at the limit; not accepted",
        "the largest over its atoms of |F_teacher - F_student|",
        "alone",
        "atoms in 16 GiB",
        "Cu-Cu",
    ):
        assert words in page
    for line in page.splitlines():
        if line.startswith("!["):
            assert (done / line.partition("](")[2].rstrip(")")).stat().st_size > 1000


def test_nothing_is_done_twice_and_more_trainings_go_on_from_there(metals: Path, done: Path, lamtrain: Callable[..., Called]) -> None:
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*") if path.suffix in (".npz", ".pt") and path.parent != done}
    more = metals / "more.yaml"
    text = (metals / "distil.yaml").read_text()
    more.write_text(text.replace("iterations: 1", "iterations: 2").replace("faster: 0.01", "faster: 1e6"))
    shutil.copytree(done, metals / "more", copy_function=shutil.copy2)
    code, out, _ = lamtrain("distil", "more.yaml", "-o", "more", "--json")
    result = json.loads(out)
    assert code == 1 and result["trainings"] == 2 and result["steps"] == 6 and len(result["rounds"]) == 3
    now = {path: (metals / "more" / path.relative_to(done)).stat().st_mtime_ns for path in before if "suite" not in path.parts}
    assert now == {path: before[path] for path in now} and len(now) >= 8
    assert load(metals / "more/student.pt").heads["bulk"]["datasets"] == ["round-00", "round-01"]
    assert [check["name"] for check in result["checks"] if not check["passed"]] == ["faster"]


def test_another_question_in_a_folder_is_refused_by_the_key(metals: Path, done: Path, lamtrain: Callable[..., Called]) -> None:
    (metals / "hot.yaml").write_text(
        (metals / "distil.yaml").read_text().replace("[300, 600]", "[300, 900]").replace("low: 0.01", "low: 0.02")
    )
    code, _, (line,) = lamtrain("distil", "hot.yaml", "-o", "out")
    assert code == 2 and "out: it was begun with another `temperatures`, `keep`" in line


def test_a_student_that_is_near_enough_has_converged_and_is_accepted(metals: Path, lamtrain: Callable[..., Called]) -> None:
    write_other(metals, "near.yaml", **NEAR)
    code, out, lines = lamtrain("distil", "near.yaml", "-o", "near", "--json")
    result = json.loads(out)
    assert (code, lines) == (0, []) and result["accepted"] and result["verdict"] == "converged" and result["errors"] == {}
    assert result["rounds"][1]["share_accurate"] == 1.0 and not (metals / "near/round-01/student").exists()
    assert (metals / "near/student.pt").read_bytes() == (metals / "near/round-00/student/run/best.pt").read_bytes()


def test_trajectories_that_blow_up_are_counted_and_their_frames_are_not_accurate(metals: Path, lamtrain: Callable[..., Called]) -> None:
    # with this seed velocities of the first round are below 0.9 of the temperature, and one of the second is 1.8 times
    hot = {"timestep: 2.0": "timestep: 1.0, max_temperature: 1.5", "threads: 1": "threads: 1\nseed: 46", "[300, 600]": "[300]"}
    write_other(metals, "hot.yaml", **NEAR, **hot)
    code, out, lines = lamtrain("distil", "hot.yaml", "-o", "hot", "--json")
    result = json.loads(out)
    blown = [one for row in result.get("rounds", []) for one in row["trajectories"] if one["stopped"]]
    assert code == 1 and blown and "K instead of 300" in blown[0]["stopped"], lines
    assert sum(row["blown_up"] for row in result["rounds"]) == len(blown) and result["verdict"] != "converged"
    assert result["rounds"][1]["lost"] == sum(3 - one["frames"] for one in result["rounds"][1]["trajectories"])


def test_a_teacher_whose_own_dynamics_blow_up_is_one_line(metals: Path, lamtrain: Callable[..., Called]) -> None:
    write_other(metals, "cold.yaml", **{"timestep: 2.0": "timestep: 2.0, max_force: 1e-9"})
    code, _, (line,) = lamtrain("distil", "cold.yaml", "-o", "cold")
    assert code == 1 and "the teacher's own dynamics left no frame with Al, Cu to train on: a force of" in line


class Killed(BaseException):
    """As if the process were gone."""


def test_interrupted_at_any_write_it_ends_with_the_same_bits(metals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = read_distil(write_other(metals, "again.yaml", **{"iterations: 1": "iterations: 2"}))
    put, written = os.replace, [0, 10**9]

    def counted(*args: Any, **options: Any) -> None:
        written[0] += 1
        if written[0] == written[1]:
            raise Killed
        put(*args, **options)

    monkeypatch.setattr(os, "replace", counted)
    distil(config, out=metals / "whole", device="cpu", quiet=True)
    chance, total, kills = random.Random(3), written[0], 0
    for _ in range(4):
        written[:] = [0, chance.randint(1, total // 4)]
        try:
            distil(config, out=metals / "parts", device="cpu", quiet=True)
        except Killed:
            kills += 1
    written[:] = [0, 10**9]
    distil(config, out=metals / "parts", device="cpu", quiet=True)
    whole, parts = outcome(metals / "whole"), outcome(metals / "parts")
    assert kills >= 2 and len(whole) > 100 and whole == parts


@pytest.mark.slow  # three processes, each of which imports torch
def test_killed_it_goes_on_with_the_same_bits(metals: Path, tmp_path: Path) -> None:
    write_other(metals, "killed.yaml", **NEAR)
    args = [*command("lamtrain", "distil", str(metals / "killed.yaml"), "--device", "cpu", "--quiet", "-o"), str(tmp_path / "out")]
    seconds = kill.run(args, metals)
    expected = outcome(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    kill.run(args, metals, kill_after=0.7 * seconds)
    kill.run(args, metals)
    assert outcome(tmp_path / "out") == expected
