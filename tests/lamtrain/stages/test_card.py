"""A run -> the card of its model: what it says of itself, what its reports say, nothing of theirs taken as code, equal bytes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lamdata.card import write_page
from lamdata.errors import ConfigError, DataError
from lamtrain.checkpoint import load, save
from lamtrain.cli import app
from lamtrain.config import read_config
from lamtrain.evaluation.report import test_model as measure
from lamtrain.stages.card.content import content_of
from lamtrain.stages.card.page import model_page
from lamtrain.stages.cover.make import sketch_run
from lamtrain.training.trainer import train
from tests.browser import faults, look_at_all, opened
from tests.lamdata.card.test_card import EVIL, Read
from tests.lamtrain.prediction_cases import write_model


@pytest.fixture(scope="module")
def run(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was tested, asked, and sketched."""
    folder = tmp_path_factory.mktemp("card") / "run"
    config = read_config(small / "train.yaml", overrides=["train=card", "steps=6"])
    train(config, out=folder, device="cpu", quiet=True)
    sketch_run(folder, config, device="cpu", quiet=True)
    measure(folder / "best.pt", str(small / "small.zarr"), output=folder, quiet=True)
    args = [
        "predict",
        str(folder / "best.pt"),
        str(small / "small.zarr"),
        "--dataset",
        "bulk",
        "--head",
        "bulk",
        "-o",
        str(folder / "asked.extxyz"),
        "--quiet",
    ]
    assert CliRunner().invoke(app, args).exit_code == 0
    return folder


@pytest.fixture(scope="module")
def said(run: Path) -> dict[str, Any]:
    return content_of(run)


def test_it_says_what_the_model_and_its_reports_say(run: Path, said: dict[str, Any]) -> None:
    checkpoint, page = load(run / "best.pt"), Read(model_page(said, run).to_bytes().decode())
    assert said["step"] == checkpoint.step == 6 and list(said["heads"]) == ["bulk", "cluster", "crystals"]
    assert said["licences"] == {name: {"license": "CC0-1.0", "problems": []} for name in ("bulk", "cluster", "crystals")}
    tested = json.loads((run / "test.json").read_text())
    error = tested["heads"]["bulk"]["force_rmse_mev_per_angstrom"]
    assert said["tests"]["test.json"]["heads"]["bulk"]["force_rmse_mev_per_angstrom"] == error and f"{error:.5g}" in page.text
    by_element = json.loads((run / "asked.json").read_text())["by_element"]
    assert said["predictions"]["asked.json"]["by_element"] == by_element and set(by_element) == {"Al", "Cu"}
    assert said["curves"]["loss"][-1][0] == 6 and "bulk.validation.energy_rmse_mev_per_atom" in said["curves"]
    assert set(said["sketches"]) == {"bulk", "cluster"} and len(said["sketches"]["bulk"]["points"]) == said["sketches"]["bulk"]["frames"]
    [picture] = page.all("img")
    assert picture["src"].startswith("data:image/png;base64,") and picture["alt"].startswith("parity.png")
    assert "DPA-2: a large atomic model" in page.text and "EMT, ASE EMT" in page.text
    levels = [int(tag[1]) for tag, _ in page.elements if tag in ("h1", "h2", "h3")]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:]))
    assert len(json.loads(page.scripts[0])["pictures"]) >= 8 and page.text.count("The numbers of") >= 9


def test_a_run_and_its_checkpoint_give_the_same_bytes_and_json(run: Path, said: dict[str, Any], tmp_path: Path) -> None:
    write_page(model_page(said, run), tmp_path / "one.html")
    result = CliRunner().invoke(app, ["card", str(run / "best.pt"), "-o", str(tmp_path / "two.html"), "--json"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()
    assert json.loads(result.stdout)["bytes"] == (tmp_path / "two.html").stat().st_size


def test_texts_of_a_checkpoint_and_of_reports_stay_texts(run: Path, tmp_path: Path) -> None:
    checkpoint = load(run / "last.pt")
    checkpoint.heads[f"bulk{EVIL}"] = checkpoint.heads.pop("bulk") | {"datasets": [EVIL]}
    checkpoint.lock["datasets"][EVIL] = checkpoint.lock["datasets"].pop("bulk") | {"license": f"CC-BY-ND-4.0{EVIL}", "citations": [EVIL]}
    save(checkpoint, tmp_path / "last.pt")
    report = json.loads((run / "test.json").read_text())
    report["heads"][EVIL], report["split"] = report["heads"].pop("bulk"), EVIL
    (tmp_path / "test.json").write_text(json.dumps(report))
    page = Read(model_page(content_of(tmp_path), tmp_path).to_bytes().decode())
    assert len(page.scripts) == 3 and page.all("img") == [] and EVIL in page.text
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert "not known, or none that is known" in page.text  # of a licence with a script in it
    assert all(
        "<" not in name
        for picture in json.loads(page.scripts[0])["pictures"]
        for trace in picture["traces"]
        for name in map(str, trace.get("x", []))
    )


def test_reports_that_say_another_thing_are_no_reports(run: Path, tmp_path: Path) -> None:
    shutil.copy(run / "best.pt", tmp_path)
    (tmp_path / "asked.json").write_text('{"head": 3}')
    (tmp_path / "test.json").write_text('{"split": "test", "step": "six", "heads": [], "weighted": {}}')
    found = content_of(tmp_path)
    assert (found["tests"], found["predictions"], found["curves"]) == ({}, {}, {})
    assert "No report of a test stands beside the model" in model_page(found, tmp_path).to_bytes().decode()
    (tmp_path / "test.json").write_text("{")
    with pytest.raises(DataError, match=r"test\.json: not JSON"):
        content_of(tmp_path)


def test_a_report_of_another_step_is_said_to_be_one(run: Path, tmp_path: Path) -> None:
    shutil.copy(run / "best.pt", tmp_path)
    (tmp_path / "test.json").write_text(json.dumps(json.loads((run / "test.json").read_text()) | {"step": 5}))
    assert "of the model at step 5, not of this one" in model_page(content_of(tmp_path), tmp_path).to_bytes().decode()


def test_a_model_that_says_little_has_a_card_too(tmp_path: Path) -> None:
    path = write_model(tmp_path / "bare.pt", about={"pbe": {"datasets": []}})
    result = CliRunner().invoke(app, ["card", str(path), "-o", str(tmp_path / "card.html")])
    assert result.exit_code == 0 and "does not say what it was trained on" in (tmp_path / "card.html").read_text()


def test_a_folder_without_a_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model in this folder; a run leaves best.pt and last.pt"):
        content_of(tmp_path)


def test_without_plotly_one_line_says_how_to_have_it(tmp_path: Path) -> None:
    code = "import sys; sys.modules['plotly'] = None; sys.argv = ['lamtrain', 'card', 'm.pt', '-o', 'x.html']; from lamtrain.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 3 and done.stderr == "error: plotly is not installed; pip install 'lam[cards]'\n"


@pytest.mark.slow  # a real browser draws ten pictures
def test_the_card_of_a_model_in_a_browser(run: Path, said: dict[str, Any], tmp_path: Path) -> None:
    write_page(model_page(said, run), tmp_path / "card.html")
    with opened(tmp_path / "card.html") as (page, seen):
        look_at_all(page)
        assert faults(page) == [] and seen.complaints == [] and seen.requests == [(tmp_path / "card.html").resolve().as_uri()]
