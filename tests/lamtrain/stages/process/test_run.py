"""A process runs once; what has changed runs again with what follows from it, and nothing else; what fails leaves the others."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lamdata.errors import ConfigError, DataError
from lamtrain.stages.process.plan import make_plan
from lamtrain.stages.process.report import page_of
from lamtrain.stages.process.run import contents_of, run_process
from lamtrain.stages.process.spec import read_process
from tests.conftest import command, tree

STAGES = ["data", "same", "learn", "errors"]
Copied = Callable[..., Path]


def states(result: dict) -> dict[str, str]:
    return {one["stage"]: one["state"] for one in result["stages"]}


def planned(path: Path, **options: str) -> dict[str, tuple[str, str]]:
    process = read_process(path)
    return {one.stage.name: (one.state, "; ".join(one.why)) for one in make_plan(process, contents_of(process), **options)}


def run(path: Path, **options: str) -> dict:
    return run_process(read_process(path), quiet=True, **options)


def test_a_second_run_does_nothing(ran: Path) -> None:
    before = {name: data for name, data in tree(ran / "runs").items() if not name.endswith("report.html")}
    assert states(run(ran / "process.yaml")) == dict.fromkeys(STAGES, "done")
    assert {name: data for name, data in tree(ran / "runs").items() if not name.endswith("report.html")} == before


def test_a_process_that_was_moved_is_still_done(copied: Copied) -> None:
    path = copied()
    (path.parent / "runs/tiny/contents.json").unlink()  # everything is looked at again
    assert {state for state, _ in planned(path).values()} == {"done"}


def test_one_changed_key_runs_exactly_its_descendants_again(copied: Copied) -> None:
    path = copied(("steps: 4", "steps: 3"))
    plan = planned(path)
    assert plan["learn"] == ("runs", "config.steps: 4 -> 3") and plan["errors"] == ("follows", "reads what learn will leave")
    result = run(path)
    assert states(result) == {"data": "done", "same": "done", "learn": "ran", "errors": "ran"}
    assert result["stages"][2]["why"] == ["config.steps: 4 -> 3"] and result["stages"][3]["why"] == ["model holds something else"]


def test_why_a_stage_runs_is_said(copied: Copied) -> None:
    path = copied(("dataset: bulk", "dataset: cluster"))
    assert planned(path)["same"] == ("runs", 'dataset: "bulk" -> "cluster"')
    raw = path.parent / "bulk-0.xyz"
    raw.write_text(raw.read_text().replace("0.0", "0.1", 1))
    assert planned(path)["data"] == ("runs", "cards holds something else")
    assert [state for state, _ in planned(path).values()] == ["runs", "follows", "follows", "follows"]


def test_a_comment_changes_nothing(copied: Copied) -> None:
    path = copied(("kind: overlap", "kind: overlap  # copies"))
    for name in ("bulk.yaml", "mixture.yaml"):
        (path.parent / name).write_text(f"# a comment\n{(path.parent / name).read_text()}")
    assert {state for state, _ in planned(path).values()} == {"done"}


def test_a_result_that_was_lost_or_changed_is_made_again(copied: Copied) -> None:
    path = copied()
    (path.parent / "runs/tiny/learn/out/run/last.pt").unlink()
    (path.parent / "runs/tiny/errors/out/test.json").write_text("{}")
    plan = planned(path)
    assert plan["learn"] == ("runs", "its last is gone") and plan["errors"][0] == "follows"
    assert planned(path, first="errors")["errors"] == ("runs", "its errors is not what it left")


def test_from_takes_what_is_before_as_it_is_and_until_ends(copied: Copied) -> None:
    path = copied(("steps: 4", "steps: 3"), ("dataset: bulk", "dataset: cluster"))
    assert planned(path, first="errors") == {
        "data": ("taken", "as it is"),
        "learn": ("taken", "as it is"),
        "errors": ("done", "nothing has changed"),
    }
    assert states(run(path, until="same")) == {"data": "done", "same": "ran"}
    with pytest.raises(ConfigError, match="no stage 'error'; did you mean 'errors'"):
        planned(path, until="error")
    with pytest.raises(ConfigError, match="comes after"):
        planned(path, first="learn", until="data")


def test_a_stage_that_is_not_done_is_not_taken_as_it_is(copied: Copied) -> None:
    path = copied()
    (path.parent / "runs/tiny/learn/done.json").unlink()
    with pytest.raises(ConfigError, match="stage learn is not done"):
        planned(path, first="errors")


FAILING = """process: broken
threads: 1
stages:
  bad:
    kind: ingest
    cards: [bad.yaml]
  follows:
    kind: overlap
    store: ${bad.store}
  good:
    kind: ingest
    cards: [cluster.yaml]
  strict:
    kind: overlap
    store: ${good.store}
    tolerance: 5
"""


def test_a_stage_that_fails_leaves_the_others_and_one_line(copied: Copied) -> None:
    folder = copied().parent
    (folder / "bad.yaml").write_text((folder / "bulk.yaml").read_text().replace("bulk", "bad"))
    (folder / "bad-0.xyz").write_text("2\nno frame\n")
    path = folder / "failing.yaml"
    path.write_text(FAILING)
    with pytest.raises(DataError) as caught:
        run(path)
    result = caught.value.result
    assert states(result) == {"bad": "failed", "follows": "left out", "good": "ran", "strict": "failed"}
    line = str(caught.value)
    assert "\n" not in line and line.startswith(f"{path}:4:3: stage bad failed: ") and "bad-0.xyz" in line
    assert "stage strict failed: a tolerance of 5 Å is not between" in line and "not run for that: follows" in line
    assert "stage strict failed" not in planned(path)["strict"][1] and planned(path)["good"][0] == "done"
    done = subprocess.run(command("lamtrain", "run", str(path), "--json"), capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.strip().splitlines()[-1] == f"error: {line}"
    assert states(json.loads(done.stdout)) == {"bad": "failed", "follows": "left out", "good": "done", "strict": "failed"}


def test_dry_run_writes_nothing_and_names_the_commands(copied: Copied) -> None:
    path = copied(("steps: 4", "steps: 3"))
    before = tree(path.parent)
    done = subprocess.run(command("lamtrain", "run", str(path), "--dry-run", "--json"), capture_output=True, text=True, check=True)
    rows = json.loads(done.stdout)["stages"]
    assert [row["state"] for row in rows] == ["done", "done", "runs", "follows"]
    assert rows[0]["command"].startswith("lamdata ingest --output runs/tiny/data/out/store.zarr")
    assert tree(path.parent) == before


def test_the_report_has_every_picture_and_needs_no_other_file(ran: Path) -> None:
    text = (ran / "runs/tiny/report.html").read_text()
    pictures = sorted((ran / "runs/tiny").rglob("*.png"))
    assert len(pictures) == 2
    for picture in pictures:
        assert base64.b64encode(picture.read_bytes()).decode() in text
    assert not re.findall(r"(?:src|href)=\"(?!data:)", text) and "<script" not in text
    tested = json.loads((ran / "runs/tiny/errors/out/test.json").read_text())["heads"]["bulk"]
    assert f"{tested['force_rmse_mev_per_angstrom']:.5g}" in text and all(f'id="{name}"' in text for name in STAGES)


def test_a_page_in_the_report_names_the_file_that_stood_beside_it_and_links_to_what_is_elsewhere(tmp_path: Path) -> None:
    page = tmp_path / "integrate.md"
    page.write_text("Coverage: [not](cover-water/cover.md), see [the paper](https://example.org/a).\n\n![map](map.png)\n")
    text = page_of(page)
    assert 'Coverage: not, see <a href="https://example.org/a">the paper</a>.' in text and "cover.md" not in text and "map.png" not in text


def test_a_template_starts_the_command(copied: Copied) -> None:
    launcher = f'"env STARTED=here {sys.executable} -m lamdata {{args}}"'
    path = copied(("dataset: bulk", f"dataset: cluster\n    launcher: {launcher}"))
    assert states(run(path, until="same"))["same"] == "ran"
    log = (path.parent / "runs/tiny/same/log.txt").read_text()
    assert log.startswith(f"$ env STARTED=here {sys.executable} -m lamdata overlap ")


def test_a_launcher_that_is_not_there_is_one_line(copied: Copied) -> None:
    path = copied(("dataset: bulk", 'dataset: cluster\n    launcher: "no-such-launcher {args}"'))
    with pytest.raises(DataError, match="stage same failed: no-such-launcher: cannot be started"):
        run(path, until="same")


def test_a_worker_of_dask_runs_a_stage(copied: Copied) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster:
        path = copied(("dataset: bulk", f"dataset: cluster\n    dask: {cluster.scheduler_address}"))
        assert states(run(path, until="same"))["same"] == "ran"


def test_a_model_is_known_by_what_it_says_not_by_how_it_came_to_it(ran: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from lamtrain.checkpoint import load, save
    from lamtrain.stages.process.contents import hash_model

    path = ran / "runs/tiny/learn/out/run/last.pt"
    checkpoint = load(path)
    save(replace(checkpoint, optimizer=None, train_config=None, loss=[1.0]), tmp_path / "same.pt")
    name, weights = next((name, value) for name, value in checkpoint.model.items() if value.is_floating_point())
    save(replace(checkpoint, model={**checkpoint.model, name: weights * (1 + 1e-6)}), tmp_path / "other.pt")
    assert hash_model(path) == hash_model(tmp_path / "same.pt") != hash_model(tmp_path / "other.pt")
