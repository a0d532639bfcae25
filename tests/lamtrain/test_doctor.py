"""What a machine has, and what to do about what it has not."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lamtrain import doctor
from lamtrain.cli import app
from lamtrain.doctor import Fact, examine


def facts() -> dict[str, Fact]:
    return {fact.name: fact for fact in examine()}


def test_everything_is_looked_at_and_what_is_there_needs_no_advice() -> None:
    found = facts()
    assert {
        "lam",
        "Python",
        "PyTorch",
        "cores",
        "GPU",
        "operators",
        "copying of frames",
        "reading of text",
        "memory",
        "disk here",
        "extra train",
    } <= found.keys()
    assert found["extra train"] == Fact("extra train", "there")
    assert found["PyTorch"].advice is None and found["lam"].found[0].isdigit()


def test_what_is_slow_comes_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamdata.store.rows.compiled", None)
    monkeypatch.setattr("lamdata.sources.bytes.scan.compiled", None)
    monkeypatch.setattr("lamtrain.doctor.usable_threads", lambda: 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(2**30))
    monkeypatch.setattr(doctor, "_installed", lambda package: package != "phonopy")

    def none_compiled() -> None:
        raise RuntimeError("the cpp kernels were not compiled when lam was installed")

    monkeypatch.setattr("lamtrain.model.kernels.native.native", none_compiled)
    found = facts()
    for name, words in {
        "copying of frames": "reinstall with a C compiler",
        "reading of text": "reinstall with a C compiler",
        "cores": "leaves 0 of",
        "disk here": "-o and --runs",
        "operators": "several times slower on a CPU: the cpp kernels were not compiled",
        "extra properties": "pip install 'lam[properties]'",
    }.items():
        assert words in (found[name].advice or ""), name


def test_without_torch_the_rest_is_still_said(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else find(name))
    found = facts()
    assert found["PyTorch"].advice == "data can be read and written; training needs it: pip install 'lam[train]'"
    assert "operators" not in found and "memory" in found and "cores" in found


def test_a_machine_that_does_not_tell_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: Path) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert doctor._memory() == Fact("memory", "not known here")


def test_the_command_prints_a_table_and_json() -> None:
    said = CliRunner().invoke(app, ["doctor"])
    assert said.exit_code == 0 and "operators" in said.stdout and "extras: " in said.stdout
    said = CliRunner().invoke(app, ["doctor", "--json"])
    assert said.exit_code == 0 and {"name", "found", "advice"} == json.loads(said.stdout)["facts"][0].keys()
