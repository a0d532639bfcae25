"""`lamdata export`, as a person types it, and the way back through `lamdata ingest`."""

import json
import subprocess

import numpy as np
import pytest

from lamdata import ingest, open_card
from lamdata.store import open_dataset
from tests.conftest import command
from tests.lamdata.exporting.test_export import content, make_rows, store_of

CARD = """dataset: again
title: again
theory: {code: none, functional: PBE}
sources:
  - {path: out.extxyz, format: extxyz, keys: {group: group}}
checks: {min_distance: null, max_force: null, net_force: null, virial_asymmetry: null, volume_per_atom: null}
split: {validation: 0.3}
"""


@pytest.fixture
def store(tmp_path):
    rows = [row for row in make_rows(60) if row.energy is not None and row.forces is not None]
    return store_of(tmp_path / "s.zarr", rows, split=np.sort(np.arange(len(rows)) % 3).astype(np.uint8))


def run(*args, code=0):
    done = subprocess.run(command("lamdata", *args), capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


def test_an_exported_dataset_is_ingested_to_the_same_frames(store, tmp_path):
    run("export", store, "demo", "-o", str(tmp_path / "out.extxyz"), "--quiet")
    (tmp_path / "again.yaml").write_text(CARD)
    ingest(open_card(tmp_path / "again.yaml"), str(tmp_path / "again.zarr"), base=tmp_path, quiet=True)
    first, second = list(open_dataset(store)), list(open_dataset(tmp_path / "again.zarr"))
    assert {content(frame) for frame in first} == {content(frame) for frame in second} and len(first) == len(second)
    group_of = {content(frame): frame.group for frame in first}
    assert all(frame.group == f"out.extxyz/{group_of[content(frame)]}" for frame in second)


def test_an_export_says_what_it_wrote(store, tmp_path):
    view = open_dataset(store, split="train", elements=["H", "O"], natoms=(2, 3))
    out = tmp_path / "out.extxyz"
    told = run("export", store, "demo", "-o", str(out), "--split", "train", "--elements", "H,O", "--natoms", "2", "3", "--json", "--quiet")
    expected = {"dataset": "demo", "format": "extxyz", "path": str(out), "frames": len(view), "atoms": int(view.natoms.sum())}
    expected["left_out"] = []
    assert json.loads(told.stdout) == expected and len(view) > 2
    assert "out.extxyz: is there already; choose another path" in run("export", store, "demo", "-o", str(out), code=2).stderr


@pytest.mark.parametrize("name, said", [("demmo", "no dataset `demmo`; did you mean `demo`?"), ("demo", "its ending names no format")])
def test_what_is_wrong_is_one_line(store, tmp_path, name, said):
    done = run(
        "export", store, name, "-o", str(tmp_path / ("x.xyz" if name == "demmo" else "x.y")), "--quiet", code=1 if name == "demmo" else 2
    )
    assert said in done.stderr and len(done.stderr.splitlines()) == 1
