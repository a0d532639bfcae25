"""Files of DPA-1 without attention both ways, live: two heads that `dp --pt train` left, what we read and write of them, and compression."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import random_systems
from deviation import largest
from dp import read_frames, run_all, run_dp, run_python, write_input, write_system
from make_inputs import DPA1, ELEMENTS, multi_task, single_task
from test_model_files import errors_here, errors_of, frames_of
from test_statistics import assert_same_environment

from lamdata.errors import DataError
from lamtrain.checkpoint import load
from lamtrain.data.batch import collate
from lamtrain.deepmd import adopt_model, from_deepmd, to_deepmd
from lamtrain.stages.compress import compress
from lamtrain.stages.sample import Sample

pytestmark = pytest.mark.deepmd
LIMIT = 1e-10
HEADS = {"water": 10, "metal": 14}  # head -> atoms of its frames
OPERATORS = "from deepmd.pt.cxx_op import ENABLE_CUSTOMIZED_OP; print('operators', ENABLE_CUSTOMIZED_OP)"


@pytest.fixture(scope="module", params=["concat", "strip"])
def folder(request, tmp_path_factory) -> Path:
    """`model.pt` that DeePMD-kit trained on two heads, and what we made of it: `ours.pt` of both, `alone.*` of one, and that one frozen."""
    folder = tmp_path_factory.mktemp(request.param)
    for seed, (head, natoms) in enumerate(HEADS.items()):
        write_system(folder / head, elements=ELEMENTS, natoms=natoms, frames=5, seed=seed, per_atom=-2.0 - seed)
    model = multi_task(DPA1, tebd_input_mode=request.param)
    write_input(folder / "input.json", model, systems={head: folder / head for head in HEADS}, steps=8)
    run_dp("train", "input.json", "--skip-neighbor-stat", cwd=folder)
    model, _ = from_deepmd(folder / "model.pt")
    to_deepmd(model, folder / "ours.pt")
    for suffix in ("pt", "dp", "yaml"):
        to_deepmd(model, folder / f"alone.{suffix}", head="metal")
    run_dp("freeze", "-c", "alone.pt", "-o", "alone.pth", cwd=folder)
    return folder


def test_a_file_says_the_same_there_and_here(folder):
    """Energies, forces and virials of DeepPot; its log may not speak of keys."""
    structures = random_systems(np.random.default_rng(6), single_task(DPA1), frames=4)
    (folder / "systems.json").write_text(json.dumps(structures, default=lambda array: array.tolist()))
    files = [f"{file}:{head}" for file in ("model.pt", "ours.pt") for head in HEADS] + [
        f"alone.{end}:" for end in ("pt", "pth", "dp", "yaml")
    ]
    log = run_python(str(Path(__file__).with_name("evaluate_file.py")), "systems.json", "out.npz", *files, cwd=folder)
    assert "keys" not in log, log
    there, frames = np.load(folder / "out.npz"), frames_of(structures)
    for file in files:
        name, head = file.split(":")
        model, _ = from_deepmd(folder / name, branch=head or None)
        output = model.eval()(collate(frames, model.config))
        for i, forces in enumerate(output.forces.split([len(s["types"]) for s in structures])):
            assert largest(output.energy[i] - torch.from_numpy(there[f"{file}/{i}/energy"])) < LIMIT * len(forces), file
            assert largest(forces - torch.from_numpy(there[f"{file}/{i}/forces"])) < LIMIT, file
            assert largest(output.virial[i] - torch.from_numpy(there[f"{file}/{i}/virial"])) < LIMIT * len(forces), file


def test_errors_are_those_of_dp_test(folder):
    """`dp --pt test` of what was trained there, of ours, and of ours frozen; and ours computed here."""
    files = {"model.pt": ["--head", "metal"], "ours.pt": ["--head", "metal"], "alone.pth": []}
    commands = [["test", "-m", file, "-s", "metal", "-n", "100", *more] for file, more in files.items()]
    for file, log in zip(files, run_all(*commands, cwd=folder), strict=True):
        found = [float(re.search(rf"{name}\s+RMSE\s*:\s*(\S+)", log)[1]) for name in ("Energy", "Force", "Virial")]
        assert errors_here(folder / "model.pt", folder / "metal", head="metal") == pytest.approx(found, rel=1e-6), file


def test_statistics_of_both_heads_together(folder):
    """Means too, for `set_davg_zero` is off."""
    model, _ = from_deepmd(folder / "model.pt")
    assert_same_environment(model, [read_frames(folder / head) for head in HEADS])


def test_training_there_goes_on_from_a_file_of_ours(folder):
    mode = json.loads((folder / "input.json").read_text())["model"]["shared_dict"]["shared"]["tebd_input_mode"]
    options = single_task(DPA1, tebd_input_mode=mode)
    options["fitting_net"]["dim_case_embd"] = 2
    write_input(folder / "single.json", options, systems=folder / "metal", steps=2)
    starts = [["--init-model", "alone.pt"], ["--restart", "alone.pt"], ["--finetune", "ours.pt", "--model-branch", "metal"]]
    logs = run_all(*(["train", "single.json", "--skip-neighbor-stat", *start] for start in starts), cwd=folder)
    assert all("Saved model to" in log for log in logs)


def test_dp_compress_takes_what_we_wrote(folder):
    """The table gives our numbers, to its own accuracy; and we refuse to read it, for its nets are gone."""
    if folder.name.startswith("concat"):
        pytest.skip("DeePMD-kit compresses tebd_input_mode strip only")
    if "operators True" not in run_python("-c", OPERATORS, cwd=folder):
        pytest.skip("DeePMD-kit is built without its PyTorch operators, which a compressed model needs (tests/parity/build_deepmd.sh)")
    write_input(
        folder / "data.json", single_task(DPA1, tebd_input_mode="strip"), systems=folder / "metal", steps=2
    )  # it looks for the shortest distance
    run_dp("compress", "-i", "alone.pth", "-o", "small.pth", "-t", "data.json", cwd=folder)
    log = run_dp("test", "-m", "small.pth", "-s", "metal", "-n", "100", cwd=folder)
    found = [float(re.search(rf"{name}\s+RMSE\s*:\s*(\S+)", log)[1]) for name in ("Energy", "Force", "Virial")]
    assert errors_here(folder / "model.pt", folder / "metal", head="metal") == pytest.approx(found, rel=1e-3)
    with pytest.raises(DataError, match="the model is compressed"):
        from_deepmd(folder / "small.pth")


def test_a_table_of_ours_has_the_errors_of_dp_test(folder, tmp_path):
    """A model of theirs, compressed here: also in mode concat, which they do not compress."""
    adopt_model(folder / "alone.pt", tmp_path / "alone.pt")
    sample = Sample(list(read_frames(folder / "metal")), "metal")
    done = compress(tmp_path / "alone.pt", tmp_path / "fast.pt", sample, tolerance=1e-9, quiet=True)
    assert 0 < done["chosen"]["forces"] <= 1e-9
    log = run_dp("test", "-m", "alone.pth", "-s", "metal", "-n", "100", cwd=folder)
    found = [float(re.search(rf"{name}\s+RMSE\s*:\s*(\S+)", log)[1]) for name in ("Energy", "Force", "Virial")]
    assert errors_of(load(tmp_path / "fast.pt").build(precision="float64"), folder / "metal") == pytest.approx(found, rel=1e-6)
