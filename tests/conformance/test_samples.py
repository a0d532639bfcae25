"""The command over a manifest: made here with right, wrong, unknown and missing rows; and over the samples where there are some."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from agreement import against_library, against_manifest
from libraries import values
from manifest import Row, read_manifest
from structure_writers import poscar
from writers import deepmd_npy, emt_frames, extxyz

COMMAND = [sys.executable, str(Path(__file__).with_name("samples.py"))]
HEADER = "path\twhat\tnatoms\tframes\tformula\tenergy_first_eV\tforces\tvirial_or_stress\n"


def call(*arguments: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300)


@pytest.fixture
def manifest(tmp_path):
    frames = emt_frames()
    extxyz(frames, tmp_path)
    deepmd_npy(frames, tmp_path)
    poscar(frames, tmp_path)
    (tmp_path / "notes.txt").write_text("not data")
    (tmp_path / "cut.extxyz").write_text((tmp_path / "data.extxyz").read_text()[:-40])
    rows = [
        f"data.extxyz\tours\t4\t3\tAuCu3\t{frames[0].energy}\tTrue\tTrue",
        f"sys\tfolder\t4\t3\t\t{frames[0].energy}\tTrue\tTrue",
        "POSCAR\t\t4\t3\t\t\tFalse\tFalse",
        "data.extxyz\twrong\t5\t3\t\t1.0\tTrue\tTrue",
        "notes.txt\t\t\t\t\t\t\t",
        "cut.extxyz\t\t\t\t\t\t\t",
        "missing\t\t\t\t\t\t\t",
    ]
    path = tmp_path / "MANIFEST.tsv"
    path.write_text(HEADER + "\n".join(rows) + "\n")
    return path


def test_each_row_agrees_is_refused_or_differs(manifest):
    done = call(manifest, "--json")
    rows = json.loads(done.stdout)["rows"]
    assert [r["status"] for r in rows] == ["agree", "agree", "explained", "differs", "refused", "refused", "refused"]
    assert rows[0]["compared"] == ["ase", "dpdata"] and rows[1]["compared"] == ["dpdata"]
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
    assert all("\n" not in reason for r in rows for reason in r["reasons"])


def test_a_manifest_may_lack_every_column_but_the_path(manifest):
    manifest.write_text("path\ndata.extxyz\n\n")
    done = call(manifest)
    assert done.returncode == 0 and "1 agree" in done.stdout


def test_a_missing_manifest_is_one_line(tmp_path):
    done = call(tmp_path / "no.tsv")
    assert done.returncode == 2 and done.stderr.count("\n") == 1


def test_odd_values_in_a_manifest_are_unknown(tmp_path):
    (tmp_path / "m.tsv").write_text(HEADER + "a\t\tfour\t\t\tnan?\tmaybe\t\n\t\t1\n")
    assert read_manifest(tmp_path / "m.tsv") == [Row(path="a")]


def test_differences_are_named():
    frame = emt_frames(1)[0]
    ours = [values(4, [frame.energy], frame.forces, frame.virial)]
    turned = [values(4, [frame.energy], frame.forces, -frame.virial)]
    shifted = [values(4, [frame.energy + 1], None, None)]
    assert against_library(ours, ours, 0) == []
    assert [field for field, _ in against_library(ours, turned, 0)] == ["virial"]
    assert [field for field, _ in against_library(ours, shifted, 0)] == ["energy"]
    assert [field for field, _ in against_library(ours, [], 0)] == ["frames"]
    assert [field for field, _ in against_manifest(Row(path="a", natoms=5, forces=False), ours, 1, 0)] == ["natoms", "forces"]


def test_frames_are_matched_by_all_they_say():
    """Steps of a relaxation may have one energy, and a library may leave some out or give those that we reject."""
    frame = emt_frames(1)[0]
    ours = [values(4, [frame.energy + 1e-7 * i], frame.forces * (1 + i), frame.virial) for i in range(3)]
    assert against_library(ours, [ours[2], ours[0]], 0) == [("frames", "3 frames against 2")]
    assert against_library([ours[2], ours[0]], ours, 1) == []
    assert [field for field, _ in against_library(ours[:2], [values(4, [frame.energy + 1], None, None)] * 3, 1)] == ["energy"]


@pytest.mark.slow
def test_all_samples_are_read_or_refused(samples_folder):
    done = call(samples_folder / "MANIFEST.tsv")
    assert done.returncode == 0, done.stdout[-3000:]
