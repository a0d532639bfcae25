"""Checkpoints: all of a run in one file of plain data; old ones are read, newer ones and strangers refused."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lamdata.errors import ConfigError, DataError, SetupError
from lamtrain.checkpoint import FORMAT, HINT, Checkpoint, load, save, to_json
from lamtrain.device import device_of
from lamtrain.files import replace_file
from tests.lamtrain.prediction_cases import write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model.pt")


def changed(model: Path, path: Path, **changes: object) -> Path:
    data = torch.load(model, weights_only=True) | changes
    torch.save({name: value for name, value in data.items() if value is not ...}, path)
    return path


def test_everything_comes_back(model: Path, tmp_path: Path) -> None:
    one = load(model)
    one.step, one.position, one.best, one.loss, one.truncated = 7, 99, 0.25, [0.5, 1 / 3], [3, 9]
    one.sums = {"energy": {"energy": 1.5, "energy_count": 2}}
    save(one, tmp_path / "a.pt")
    other = load(tmp_path / "a.pt")
    for name in Checkpoint.__dataclass_fields__:
        if name != "model":
            assert getattr(one, name) == getattr(other, name), name
    assert all(torch.equal(one.model[name], other.model[name]) for name in one.model) and one.model.keys() == other.model.keys()


@pytest.mark.parametrize("name", ["looked", "threads", "skipped", "truncated", "stream", "best", "sums", "loss", "units", "train_config"])
def test_a_file_from_before_a_field_existed_is_read(model: Path, tmp_path: Path, name: str) -> None:
    found = load(changed(model, tmp_path / "old.pt", **{name: ...}))
    assert getattr(found, name) == getattr(Checkpoint(model_config={}, model={}, heads={}, lock={}), name)
    assert found.build().config.elements == ["H", "C", "O"]


def test_a_field_of_a_later_release_of_the_same_format_is_passed_over(model: Path, tmp_path: Path) -> None:
    assert load(changed(model, tmp_path / "new.pt", more=3)).step == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not a checkpoint"),
        (b"dataset: x\n", "not a checkpoint"),
        (b"PK\x03\x04" + bytes(40), "not a checkpoint"),
        (None, "no such model"),
        ([1, 2], "not a lamtrain checkpoint"),
        ({"model": {}}, "not a lamtrain checkpoint"),
        ({"format": 1}, "not a lamtrain checkpoint"),
    ],
)
def test_what_is_no_checkpoint_is_one_line_with_the_next_command(tmp_path: Path, content: object, said: str) -> None:
    path = tmp_path / "x.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(DataError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: {said}") and str(caught.value).endswith(HINT)


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such model"):
        load(tmp_path)


def test_a_newer_format_is_said_to_be_one(model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"newer lamtrain \(format {FORMAT + 1}, this one reads up to {FORMAT}\)"):
        load(changed(model, tmp_path / "new.pt", format=FORMAT + 1))


@pytest.mark.parametrize("precision", ["float64", "float32", None])
def test_a_model_is_built_in_the_precision_that_is_asked_for(model: Path, precision: str | None) -> None:
    built = load(model).build(precision=precision)  # type: ignore[arg-type]
    assert next(built.parameters()).dtype == getattr(torch, precision or "float64") and not built.training
    assert built.energy_head("energy").bias.dtype == torch.float64, "reference energies stay double"


def test_a_file_holds_the_old_or_the_new_and_never_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a/b/file"
    replace_file(path, b"old")
    for name in ("fsync", "replace"):
        with monkeypatch.context() as broken:
            broken.setattr(os, name, lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            with pytest.raises(OSError, match="No space"):
                replace_file(path, b"new, and much longer")
        assert path.read_bytes() == b"old" and [found.name for found in path.parent.iterdir()] == ["file"]
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path: Path) -> None:
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    own = f".file.{platform.node()}."
    left, others = (
        f"{own}{killed.pid}",
        {f"{own}{os.getppid()}", f"{own}x", f".file.elsewhere.{killed.pid}", f".files.{platform.node()}.{killed.pid}"},
    )
    for name in (left, *others):
        (tmp_path / name).touch()
    replace_file(tmp_path / "file", b"new")
    assert {path.name for path in tmp_path.iterdir()} == {"file", *others}


def test_plain_data_are_stable_text() -> None:
    assert to_json({"b": 1, "a": "é"}) == '{\n  "a": "é",\n  "b": 1\n}\n' == to_json({"a": "é", "b": 1})


@pytest.mark.parametrize("name", ["gpu", "CPU", "cuda:", "cuda:-1", "cuda:x", "cpu:0", "", "mps", "cuda:0:1"])
def test_a_word_that_names_no_device(name: str) -> None:
    with pytest.raises(ConfigError, match="--device: no device called .*; auto, cpu, cuda or cuda:N"):
        device_of(name)


@pytest.mark.parametrize(
    ("count", "name", "found"),
    [(0, "auto", "cpu"), (0, "cpu", "cpu"), (2, "auto", "cuda"), (2, "cpu", "cpu"), (2, "cuda:1", "cuda:1"), (1, "cuda", "cuda")],
)
def test_a_device_that_is_there(monkeypatch: pytest.MonkeyPatch, count: int, name: str, found: str) -> None:
    machine(monkeypatch, count)
    assert device_of(name) == torch.device(found)


@pytest.mark.parametrize(("count", "name", "said"), [(0, "cuda", "0 GPUs"), (1, "cuda:1", "1 GPU that"), (2, "cuda:2", "2 GPUs")])
def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch, count: int, name: str, said: str) -> None:
    machine(monkeypatch, count)
    with pytest.raises(SetupError, match=f"{name} is not there: this machine has {said}.*; --device cpu"):
        device_of(name)


def machine(monkeypatch: pytest.MonkeyPatch, gpus: int) -> None:
    """A machine with so many GPUs that PyTorch can use."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
