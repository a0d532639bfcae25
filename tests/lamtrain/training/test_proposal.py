"""`lamtrain init MIXTURE --from MODEL.pt`: which head is taken and why, and what is trained along."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from lamtrain.checkpoint import load, save
from lamtrain.cli import app
from lamtrain.config import read_config
from lamtrain.data.mixture import open_training_data
from lamtrain.proposed import schedule_for
from lamtrain.training.adapt import adapted_model
from lamtrain.training.proposal import _free

from .test_adapt import mixture as one_head


def init(*args: object) -> tuple[int, str, str]:
    found = CliRunner().invoke(app, ["init", *map(str, args)])
    return found.exit_code, found.stdout, str(found.exception or "")


@pytest.fixture
def folder(small: Path, tmp_path: Path) -> Path:
    one_head(small, tmp_path, "cluster")
    return tmp_path


def altered(parent: Path, path: Path, **rows: dict[str, Any]) -> Path:
    """The model with something else said of some heads."""
    checkpoint = load(parent)
    save(replace(checkpoint, heads={head: row | rows.get(head, {}) for head, row in checkpoint.heads.items()}), path)
    return path


EMT = {"code": "ASE EMT", "functional": "EMT", "dispersion": "none", "hubbard_u": "none", "spin": "none"}
KNOWN = {"energies": dict.fromkeys(["H", "O", "Cu"], 0.0), "std_before": 1.0, "std_after": 1.0}


@pytest.mark.parametrize(
    ("rows", "chosen", "reason"),
    [
        ({}, "cluster", "knows H, O, Cu; the same theory"),
        ({"bulk": {"references": KNOWN}, "cluster": {"theory": [EMT | {"functional": "PBE"}]}}, "bulk", "knows H, O, Cu; the same theory"),
        ({"cluster": {"theory": [EMT | {"functional": "PBE"}]}}, "cluster", "knows H, O, Cu; functional: "),
        ({"cluster": {"stale": True}}, "bulk", "knows Cu, not H, O; the same theory"),
        (
            {"cluster": {"stale": True}, "bulk": {"references": KNOWN | {"energies": {"Al": 0.0}}}},
            "new",
            "no head of the model knows H, O, Cu",
        ),
        ({"bulk": {"stale": True}, "cluster": {"references": None, "theory": []}}, "cluster", "knows H, O, Cu; its theory is not known"),
    ],
)
def test_a_head_is_chosen_by_elements_then_theory_and_the_reason_is_said(
    small: Path, parent: Path, folder: Path, rows: dict, chosen: str, reason: str
) -> None:
    model = altered(parent, folder / "model.pt", **rows)
    code, out, _ = init(folder / "mixture.yaml", "--store", small / "small.zarr", "--from", model, "-o", folder / "out/train.yaml")
    assert code == 0 and (f"head mine: from {chosen}: {reason}" in out or f"head mine: new: {reason}" in out)
    text = (folder / "out/train.yaml").read_text()
    assert f"    mine: {chosen}  # {reason}" in text
    config = read_config(folder / "out/train.yaml")
    assert config.start is not None and config.start.heads["mine"] == chosen and Path(config.start.model).resolve() == model.resolve()


def test_the_data_of_the_model_are_trained_along_and_the_run_goes(small: Path, parent: Path, folder: Path) -> None:
    args = (folder / "mixture.yaml", "--store", small / "small.zarr", "--from", parent, "-o", folder / "train.yaml", "--steps", 1, "--json")
    code, out, _ = init(*args)
    said = json.loads(out)
    assert code == 0 and said["heads"]["mine"]["from"] == "cluster" and said["notes"] == []
    assert said["replay"] == {"bulk": 0.5, "cluster": 0.25, "crystals": 0.25}, (
        "together as much as the new head, in the model's own proportions"
    )
    rows = YAML(typ="safe").load((folder / "mixture-replay.yaml").read_text())["heads"]
    assert [row["head"] for row in rows] == ["mine", "bulk", "cluster", "crystals"] and rows[3]["augment"]["mask"] == {"probability": 0.2}
    done = CliRunner().invoke(
        app, ["train", str(folder / "train.yaml"), "--runs", str(folder / "runs"), "--quiet", "--device", "cpu", "--json"]
    )
    assert done.exit_code == 0, done.output
    started = json.loads(done.stdout)["start"]
    assert started["mine"]["from"] == "cluster" and started["bulk"]["references"]["rank"] == 2
    assert started["bulk"]["before"]["test"]["force_rmse_mev_per_angstrom"] > 0
    heads = load(folder / "runs/mine/last.pt").heads
    assert not any(row["stale"] for row in heads.values()) and heads["bulk"]["start"]["references"]["mode"] == "keep"
    assert "there is such a file already" in init(*args)[2], "nothing is written over"


def test_a_store_of_its_own_may_hold_them_and_cards_are_written(small: Path, parent: Path, folder: Path) -> None:
    shutil.copytree(small / "small.zarr", folder / "old.zarr")
    for card in ("bulk", "crystals"):
        (folder / f"{card}.yaml").unlink()
    code, out, _ = init(
        folder / "mixture.yaml",
        "--store",
        folder / "none.zarr",
        "--from",
        parent,
        "-o",
        folder / "train.yaml",
        "--replay",
        folder / "old.zarr",
    )
    assert code == 0 and "trained along on bulk, weight 0.5" in out
    rows = YAML(typ="safe").load((folder / "mixture-replay.yaml").read_text())["heads"]
    assert [row.get("store") for row in rows] == [None, *[str(folder / "old.zarr")] * 3]
    assert YAML(typ="safe").load((folder / "cards/bulk.yaml").read_text())["theory"]["functional"] == "EMT"
    from lamdata.catalog import open_mixture

    assert len(open_mixture(folder / "mixture-replay.yaml")[0].heads) == 4


def test_an_old_head_whose_name_is_taken_goes_on_under_another(small: Path, parent: Path, folder: Path) -> None:
    path = folder / "mixture.yaml"
    path.write_text(path.read_text().replace("head: mine", "head: bulk"))
    args = (path, "--store", small / "small.zarr", "--from", parent, "-o", folder / "train.yaml", "--steps", 1)
    code, out, _ = init(*args)
    assert code == 0 and "head old-bulk: trained along on bulk, weight 0.5" in out
    config = read_config(folder / "train.yaml")
    assert config.start is not None and config.start.heads == {
        "bulk": "cluster",
        "old-bulk": "bulk",
        "cluster": "cluster",
        "crystals": "crystals",
    }
    data = open_training_data(config.mixture, config.store)
    assert (_free("a", {"a"}), _free("a", {"a", "old-a"}), _free("b", {"a"})) == ("old-a", "old-old-a", "b")
    found = adapted_model(config, config.start, data, quiet=True).started
    assert [found[head]["start"]["references"]["mode"] for head in ("bulk", "old-bulk", "cluster")] == ["keep", "keep", "keep"], (
        "each has seen its frames"
    )


@pytest.mark.parametrize("missing", ["frames", "store"])
def test_what_is_not_trained_along_is_said(small: Path, parent: Path, folder: Path, missing: str) -> None:
    model, store = parent, small / "small.zarr"
    if missing == "frames":
        checkpoint = load(parent)
        lock = checkpoint.lock | {"datasets": {name: row | {"content_hash": "0"} for name, row in checkpoint.lock["datasets"].items()}}
        save(replace(checkpoint, lock=lock), folder / "model.pt")
        model, note = folder / "model.pt", "note: bulk of head bulk holds other frames than the model was trained on: not trained along"
    else:
        store, note = folder / "later.zarr", "note: bulk of head bulk is not in the store: not trained along"
    code, out, _ = init(folder / "mixture.yaml", "--store", store, "--from", model, "-o", folder / "train.yaml")
    assert code == 0 and note in out


def test_a_replay_that_was_asked_for_is_not_left_out(small: Path, parent: Path, folder: Path) -> None:
    imported = load(parent)
    save(replace(imported, lock={"mixture": None, "datasets": {}}), folder / "imported.pt")
    store = small / "small.zarr"
    args = (folder / "mixture.yaml", "--store", store, "--from", folder / "imported.pt", "-o", folder / "train.yaml", "--replay", store)
    _, _, message = init(*args)
    assert "nothing that the model was trained on: the model does not say what that was" in message
    assert not (folder / "train.yaml").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--from", "model.pt"), "give a mixture file"),
        (("mixture.yaml", "--replay", "x"), "no model whose data could be replayed"),
        (("mixture.yaml", "--from", "none.pt"), "no such model"),
    ],
)
def test_a_start_needs_a_mixture_and_a_model(folder: Path, monkeypatch: pytest.MonkeyPatch, args: tuple, message: str) -> None:
    monkeypatch.chdir(folder)
    code, _, found = init(*args, "--store", "s")
    assert code and message in found
    assert not (folder / "train.yaml").exists()


def test_the_rate_is_that_of_a_new_model(small: Path, parent: Path, folder: Path) -> None:
    init(folder / "mixture.yaml", "--store", small / "small.zarr", "--from", parent, "-o", folder / "tiny.yaml", "--steps", 5000)
    config = read_config(folder / "tiny.yaml")
    assert config.optimizer.kind == "muon" and config.learning_rate.start == pytest.approx(schedule_for(5000)[0].start, rel=0.05)
