"""Mistakes in distil.yaml are one line each, with its place, before anything heavy is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamdata.catalog import open_catalog
from lamdata.errors import ConfigError
from lamtrain.stages.distil.config import KeepSpec, read_distil
from tests.test_help import ROOT, run_without_torch

FINE = """distil: w
teacher: teacher.pt
structures: [start.extxyz]
temperatures: [300]
accept: {force_ratio: null}
"""


def read(folder: Path, text: str):
    (folder / "distil.yaml").write_text(text)
    return read_distil(folder / "distil.yaml")


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("temperatures: [300]\n", "", r"distil\.yaml:1:1: key 'temperatures' is missing"),
        ("[300]", "[-3]", r"distil\.yaml:4:16: `temperatures\.0` is -3: input should be greater than 0"),
        ("accept: {force_ratio: null}\n", "", "name DFT data with `test: .store: ..., dataset: ....`, or leave that check out"),
        ("[300]", "[300]\nkeep: {low: 2, high: 1}", r"low \(2\) must be below high \(1\)"),
        ("[300]", "[300]\nkeep: {deviation: variance}", "`keep.deviation` is 'variance'"),
        ("[300]", "[300]\nexplore: {steps: 5, every: 10}", "a frame every 10 steps is none in 5"),
        ("[300]", "[300]\nexplore: {trajectories: 1}", "`explore.trajectories` is 1"),
        ("[300]", "[300]\nstudent: {more: {steps: 3}}", "`steps` is set by the distillation"),
        (
            "[300]",
            "[300]\nstudent:\n  more: {kernel: plain}",
            r"distil\.yaml:6:10: student\.more: unknown key 'kernel'; did you mean 'kernels'",
        ),
        ("[300]", "[300]\niteration: 3", "unknown key 'iteration'; did you mean 'iterations'"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, old: str, new: str, found: str) -> None:
    assert old in FINE
    with pytest.raises(ConfigError, match=found) as caught:
        read(tmp_path, FINE.replace(old, new))
    assert len(str(caught.value).splitlines()) == 1


def test_paths_are_beside_the_file_and_an_adaptive_threshold_needs_no_low(tmp_path: Path) -> None:
    config = read(tmp_path, FINE + "test: {store: dft.zarr, dataset: water}\nkeep: {high: 0.05, adaptive: {}}\n")
    assert (config.teacher, config.structures) == (str(tmp_path / "teacher.pt"), [str(tmp_path / "start.extxyz")])
    assert config.test is not None and config.test.store == str(tmp_path / "dft.zarr")
    assert config.keep.adaptive is not None and KeepSpec().deviation == "difference"


def test_the_file_of_the_documentation_is_read_and_may_stand_beside_a_mixture(tmp_path: Path) -> None:
    config = read_distil(ROOT / "docs/distil.yaml")
    assert config.keep.deviation == "difference" and config.test is not None and config.student.model.size == "student"
    (tmp_path / "distil.yaml").write_text(FINE)
    assert open_catalog(tmp_path).mixtures == {}


def test_a_mistake_is_found_without_torch(tmp_path: Path) -> None:
    (tmp_path / "distil.yaml").write_text(FINE.replace("[300]", "[]"))
    done = run_without_torch("lamtrain.cli", "distil", "distil.yaml", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("error: distil.yaml:4:1: `temperatures`")
