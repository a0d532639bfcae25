"""`lamdata rm` and `lamdata gc`, as a person types them."""

import json
import os
import subprocess

import pytest

from lamdata.store import open_store
from tests.conftest import command
from tests.lamdata.stores import make_frames, write_store


@pytest.fixture
def store(tmp_path):
    for i, name in enumerate(("water", "silicon")):
        write_store(tmp_path / "s", make_frames(30 + i, seed=i), name=name)
    for path in (tmp_path / "s").rglob("*"):
        os.utime(path, (1e9, 1e9))
    return str(tmp_path / "s")


def run(*args, code=0):
    done = subprocess.run(command("lamdata", *args), capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) <= 1
    return done


def test_a_dataset_is_removed_and_its_bytes_are_freed(store):
    assert "removed water in commit 3" in run("rm", store, "water").stdout
    assert list(open_store(store)) == ["silicon"] and "water" in open_store(store, commit=2)
    told = json.loads(run("gc", store, "--keep", "1", "--dry-run", "--json").stdout)
    assert told["dry_run"] and [row["segment"] for row in told["freed"]] == ["water/segment-0"] and told["bytes"] > 1000
    assert "are of older commits; --keep 1 lets them go" in run("gc", store).stdout
    assert "freed water/segment-0" in run("gc", store, "--keep", "1").stdout
    assert not (open_store(store).url and os.path.exists(f"{store}/water/segment-0"))


def test_json_is_one_document(store):
    assert json.loads(run("rm", store, "silicon", "--json").stdout) == {"store": store, "dataset": "silicon", "commit": 3}


@pytest.mark.parametrize(
    "args, code, said",
    [
        (("rm", "{store}", "watr"), 1, "error: {store}: no dataset `watr`; did you mean `water`?"),
        (("rm", "{store}x", "water"), 1, "error: {store}x: there is no store here"),
        (("gc", "{store}x"), 1, "error: {store}x: there is no store here"),
    ],
)
def test_a_wrong_name_is_one_line(store, args, code, said):
    args = [arg.format(store=store) for arg in args]
    assert run(*args, code=code).stderr.strip() == said.format(store=store)
    assert json.loads(run(*args, "--json", code=code).stdout)["errors"]
    assert open_store(store).commit == 2 and not os.path.exists(f"{store}x")


def test_impossible_numbers_are_usage(store):
    for option in (("--keep", "0"), ("--grace", "-1")):
        done = subprocess.run(command("lamdata", "gc", store, *option), capture_output=True, text=True)
        assert done.returncode == 2 and option[0] in done.stderr


def test_frames_are_chosen_and_exported_by_an_expression(store, tmp_path):
    said = json.loads(run("select", store, "water", "--where", "natoms <= 9 and not has(Fe)", "--name", "small", "--json").stdout)
    assert said["asked"] == {"where": "natoms <= 9 and not has(Fe)"} and 0 < said["frames"] < 30
    assert f"{said['frames']} frames" in run("export", store, "small", "-o", str(tmp_path / "a.extxyz")).stdout
    out = run("export", store, "water", "--where", "natoms <= 9 and not has(Fe)", "-o", str(tmp_path / "b.extxyz"), "--json").stdout
    assert json.loads(out)["frames"] == said["frames"]


def test_an_expression_that_is_wrong_is_one_line_with_its_place(store):
    done = run("select", store, "water", "--where", "natoms <= 9 and has(Qq)", "--name", "x", code=2)
    assert done.stderr.startswith("error: column 21: Qq is no element and no label; ") and "x" not in open_store(store)
    assert "natoms <= 64 and has(Li)" in run("select", store, "water", "--where", "", "--name", "x", code=2).stderr
