"""Files both ways, live: what `dp --pt train` wrote tests equal here, what we wrote passes freeze, test, ASE and fine-tuning there."""

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
from make_inputs import ELEMENTS, multi_task, single_task

from lamdata.errors import DataError
from lamdata.frame import Frame
from lamdata.frames import Frames
from lamtrain.data.batch import collate
from lamtrain.deepmd import from_deepmd, to_deepmd
from lamtrain.model.elements import NUMBERS
from lamtrain.model.lam import LamModel

pytestmark = pytest.mark.deepmd
LIMIT = 1e-10
HEADS = ("water", "metal")


@pytest.fixture(scope="module")
def structures() -> list[dict]:
    return random_systems(np.random.default_rng(5), single_task(), frames=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with systems `water` and `metal`, a checkpoint `model.pt` that DeePMD-kit trained on them, and what we made of it."""
    folder = tmp_path_factory.mktemp("files")
    for seed, (head, natoms) in enumerate(zip(HEADS, (12, 20), strict=True)):
        write_system(folder / head, elements=ELEMENTS, natoms=natoms, frames=6, seed=seed, per_atom=-3.0 - seed)
    write_input(folder / "input.json", multi_task(), systems={head: folder / head for head in HEADS}, steps=10)
    run_dp("train", "input.json", "--skip-neighbor-stat", cwd=folder)
    model, _ = from_deepmd(folder / "model.pt")
    to_deepmd(model, folder / "ours.pt")
    for name in ("alone.pt", "alone.dp", "alone.yaml"):
        to_deepmd(model, folder / name, head="metal")
    run_all(*(["freeze", "-c", "ours.pt", "-o", f"{head}.pth", "--head", head] for head in HEADS), cwd=folder)
    return folder


@pytest.fixture(scope="module")
def there(folder, structures) -> dict[str, np.ndarray]:
    """What DeePMD-kit says of every file, in one process; its log may not speak of keys."""
    (folder / "systems.json").write_text(json.dumps(structures, default=lambda array: array.tolist()))
    files = [f"{file}:{head}" for file in ("model.pt", "ours.pt") for head in HEADS]
    files += [f"{name}:" for name in ("water.pth", "metal.pth", "alone.pt", "alone.dp", "alone.yaml")]
    log = run_python(str(Path(__file__).with_name("evaluate_file.py")), "systems.json", "out.npz", *files, cwd=folder)
    assert "keys" not in log, log
    return dict(np.load(folder / "out.npz"))


def frames_of(structures: list[dict]) -> Frames:
    numbers = np.array([NUMBERS[symbol] for symbol in ELEMENTS], np.uint8)
    return Frames.from_list(
        Frame(numbers=numbers[s["types"]], positions=s["positions"], cell=s["cell"], pbc=tuple(s["pbc"])) for s in structures
    )


@pytest.mark.parametrize(
    ("file", "head"),
    [(file, head) for file in ("model.pt", "ours.pt") for head in HEADS]
    + [(name, "") for name in ("water.pth", "metal.pth", "alone.pt", "alone.dp", "alone.yaml")],
)
def test_a_file_says_the_same_there_and_here(folder, structures, there, file, head):
    """Energies, forces and virials, of DeepPot and of the ASE calculator."""
    model, _ = from_deepmd(folder / file, branch=head or None)
    output = model.eval()(collate(frames_of(structures), model.config))
    natoms = [len(s["types"]) for s in structures]
    for i, (forces, virial) in enumerate(zip(output.forces.split(natoms), output.virial, strict=True)):
        get = lambda key: torch.from_numpy(there[f"{file}:{head}/{i}/{key}"])  # noqa: B023, E731
        assert largest(output.energy[i] - get("energy")) < LIMIT * natoms[i]
        assert largest(forces - get("forces")) < LIMIT
        assert largest(virial - get("virial")) < LIMIT * natoms[i]
        assert largest(output.energy[i] - get("ase_energy")) < LIMIT * natoms[i] and largest(forces - get("ase_forces")) < LIMIT


def test_our_files_are_their_files(there):
    """The checkpoint that we wrote gives what the one that we read gives; TorchScript reorders sums as it pleases from call to call."""
    for key, value in there.items():
        if key.startswith("model.pt"):
            assert np.abs(value - there[key.replace("model.pt", "ours.pt")]).max() < 1e-12


def test_errors_are_those_of_dp_test(folder):
    """`dp --pt test` of the trained checkpoint, of ours, of ours frozen; and ours computed here."""
    jobs = [(file, head) for head in HEADS for file in ("model.pt", "ours.pt", f"{head}.pth")]
    commands = [["test", "-m", file, "-s", head, "-n", "100", *([] if file.endswith("h") else ["--head", head])] for file, head in jobs]
    for (file, head), log in zip(jobs, run_all(*commands, cwd=folder), strict=True):
        found = [float(re.search(rf"{name}\s+RMSE\s*:\s*(\S+)", log)[1]) for name in ("Energy", "Force", "Virial")]
        assert errors_here(folder / "model.pt", folder / head, head=head) == pytest.approx(found, rel=1e-6), file


def errors_here(file: Path, system: Path, *, head: str) -> list[float]:
    """Energy (eV), force (eV/Å) and virial (eV) root mean square errors."""
    return errors_of(from_deepmd(file, branch=head)[0], system)


def errors_of(model: LamModel, system: Path) -> list[float]:
    """Those of a model in hand."""
    frames = read_frames(system)
    output = model.eval()(collate(frames, model.config))
    pairs = ((output.energy, frames.energy), (output.forces, frames.forces), (output.virial, frames.virial))
    return [float((a.detach() - torch.from_numpy(b)).square().mean().sqrt()) for a, b in pairs]


def test_all_heads_are_read_at_once(folder, structures):
    model, info = from_deepmd(folder / "model.pt")
    assert list(model.config.heads) == ["water", "metal"] and info.aliases["Water1"] == "water"
    frames = frames_of(structures)
    for index, head in enumerate(model.config.heads):
        alone, _ = from_deepmd(folder / "model.pt", branch=head)
        together = model.eval()(collate(frames.with_(head=frames.head + index), model.config))
        assert largest(together.energy - alone.eval()(collate(frames, alone.config)).energy) < 1e-12


def test_training_there_goes_on_from_files_of_ours(folder):
    """`--init-model`, `--restart`, `--finetune` of a single-task file, and `--finetune` from a branch."""
    options = single_task()
    options["fitting_net"]["dim_case_embd"] = 2
    write_input(folder / "single.json", options, systems=folder / "metal", steps=2)
    starts = [
        ["--init-model", "alone.pt"],
        ["--restart", "alone.pt"],
        ["--finetune", "alone.pt"],
        ["--finetune", "ours.pt", "--model-branch", "metal"],
    ]
    logs = run_all(*(["train", "single.json", "--skip-neighbor-stat", *start] for start in starts), cwd=folder)
    assert all("Saved model to" in log for log in logs)


def test_a_tensor_that_is_left_out_is_seen(folder):
    """The check itself: DeePMD-kit runs on random weights with no more than a warning, and we look for it."""
    whole = torch.load(folder / "alone.pt", weights_only=True)
    del whole["model"]["model.Default.atomic_model.descriptor.g1_shape_tranform.matrix"]
    torch.save(whole, folder / "broken.pt")
    with pytest.raises(AssertionError, match="missing keys"):
        run_dp("test", "-m", "broken.pt", "-s", "metal", "-n", "1", cwd=folder)
    with pytest.raises(DataError, match="missing atomic_model.descriptor.g1_shape_tranform.matrix"):
        from_deepmd(folder / "broken.pt")


def test_heads_that_share_all_but_tebd_transform(folder, tmp_path):
    """DeePMD-kit forgets to share it: we say so, and let one be chosen."""
    model = multi_task(add_tebd_to_repinit_out=True)
    write_input(tmp_path / "input.json", model, systems={head: folder / head for head in HEADS}, steps=6)
    run_dp("train", "input.json", "--skip-neighbor-stat", cwd=tmp_path)
    with pytest.raises(DataError, match="forgets to share"):
        from_deepmd(tmp_path / "model.pt")
    alone, _ = from_deepmd(tmp_path / "model.pt", branch="metal")
    both, info = from_deepmd(tmp_path / "model.pt", tebd_of="metal")
    assert "have that of `metal`" in info.notes[0]
    assert torch.equal(alone.descriptor.tebd_transform.weight, both.descriptor.tebd_transform.weight)


def test_export_compares_with_deepmd_where_it_is_installed(tmp_path):
    root = str(Path(__file__).parents[2])
    log = run_python(str(Path(__file__).with_name("export_there.py")), str(tmp_path), cwd=tmp_path, PYTHONPATH=root)
    found = re.findall(r"^(float\d\d) (\w+) (\w+) (\S+)$", log, re.MULTILINE)
    assert [(head, reader) for _, head, reader, _ in found] == 2 * [(head, reader) for reader in ("lamtrain", "deepmd") for head in HEADS]
    assert max(float(value) for *_, value in found) < LIMIT
    assert re.search(r"refused: .*DeePMD-kit does not take the file as it is.* False", log), log
