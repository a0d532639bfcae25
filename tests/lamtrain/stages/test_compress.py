"""`lamtrain compress`: the coarsest table that keeps a tolerance on frames; the file is asked like any other; what cannot be is named by its key."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.fd import calculate_numerical_forces
from ase.io import read, write

from lamdata import open_store
from lamdata.errors import ConfigError, DataError
from lamtrain import Calculator, load_model
from lamtrain.checkpoint import Checkpoint, load, save
from lamtrain.config import read_config
from lamtrain.model.config import ModelConfig
from lamtrain.model.kernels.native import available
from lamtrain.stages.compress import STEPS, compress
from lamtrain.stages.sample import Sample, sample_of_training
from tests.lamtrain.model.test_dpa1 import build, config_of
from tests.lamtrain.model_cases import ELEMENTS, structure
from tests.lamtrain.prediction_cases import write_model
from tests.test_errors import call

Called = tuple[int, str, list[str]]
HEADS: dict[str, dict[str, Any]] = {"energy": {"task": "energy_force", "weight": 1.0, "theory": [], "datasets": []}}


@pytest.fixture
def lamtrain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Called]:
    return lambda *args: call("lamtrain", *map(str, args), capsys=capsys, monkeypatch=monkeypatch)


def write_student(path: Path, **options: Any) -> Path:
    model = build(config_of(**{"tebd_input_mode": "strip"} | options))
    lock = {"mixture": None, "datasets": {}}
    save(Checkpoint(model_config=model.config.model_dump(mode="json"), model=model.state_dict(), heads=HEADS, lock=lock), path)
    return path


def sample(count: int = 4) -> Sample:
    return Sample([structure(5 + seed, seed=seed) for seed in range(count)], "four structures")


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_student(tmp_path_factory.mktemp("student") / "student.pt")


@pytest.fixture(scope="module")
def fast(student: Path) -> Path:
    compress(student, student.with_name("fast.pt"), sample(), tolerance=1e-8, quiet=True)
    return student.with_name("fast.pt")


def test_the_coarsest_step_that_keeps_the_tolerance_is_taken(student: Path, tmp_path: Path) -> None:
    found = {tolerance: compress(student, tmp_path / "fast.pt", sample(), tolerance=tolerance, quiet=True) for tolerance in (1e-3, 1e-9)}
    for tolerance, done in found.items():
        worst = [max(row[name] for name in ("energy", "forces", "virial")) for row in done["tried"]]
        assert worst[-1] <= tolerance and all(one > tolerance for one in worst[:-1])
        assert [row["step"] for row in done["tried"]] == STEPS[: len(worst)]
    assert found[1e-3]["chosen"]["step"] > found[1e-9]["chosen"]["step"]
    frames = [structure(9, seed=20).to_ase(), structure(6, seed=21).to_ase()]  # that were not compared on
    a, b = (load_model(path, device="cpu").predict(frames) for path in (student, tmp_path / "fast.pt"))
    assert 0 < np.abs(a.energies - b.energies).max() < 1e-8 and np.abs(a.forces - b.forces).max() < 1e-8


def test_what_it_costs_is_measured(student: Path, tmp_path: Path) -> None:
    done = compress(student, tmp_path / "fast.pt", sample(), quiet=True)
    before, after = done["costs"]
    assert before["microseconds_per_atom"] > 0 and after["microseconds_per_atom"] > 0
    assert after["weights_bytes"] == sum(v.numel() * v.element_size() for v in load(tmp_path / "fast.pt").build().state_dict().values())
    assert done["chosen"]["table_bytes"] == load(tmp_path / "fast.pt").model["descriptor.se_atten.nodes"].nbytes
    assert load(tmp_path / "fast.pt").compressed == {name: value for name, value in done.items() if name != "written"}


def test_a_compressed_file_is_asked_like_any_other(student: Path, fast: Path, lamtrain: Callable[..., Called], tmp_path: Path) -> None:
    atoms = structure(7, seed=5).to_ase()
    atoms.calc = Calculator(fast, device="cpu")
    want = load_model(student, device="cpu").predict(atoms)
    for _ in range(3):
        assert atoms.get_potential_energy() == pytest.approx(load_model(fast, device="cpu").predict(atoms).energies[0], abs=1e-11)
        atoms.rattle(0.02)
    atoms.positions = want.frames.positions
    assert atoms.get_potential_energy() == pytest.approx(want.energies[0], abs=1e-7)
    np.testing.assert_allclose(atoms.get_forces(), calculate_numerical_forces(atoms, 1e-4), atol=1e-7)
    write(tmp_path / "in.extxyz", [atoms], format="extxyz")
    code, out, _ = lamtrain("predict", fast, tmp_path / "in.extxyz", "-o", tmp_path / "out.extxyz", "--json", "--quiet", "--device", "cpu")
    assert code == 0 and json.loads(out)["edges_closer_than_the_tables"] == 0
    np.testing.assert_allclose(read(tmp_path / "out.extxyz").get_forces(), atoms.get_forces(), atol=1e-8)


@pytest.mark.skipif(not available(), reason="the kernels were not compiled at installation")
@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, False), (False, False, False)])
def test_edges_straight_from_the_list_are_those_that_predict_finds(pbc: tuple[bool, bool, bool], tmp_path: Path) -> None:
    """Through searches, in a cell that is strained, and where atoms have more neighbours than the model keeps."""
    path = write_student(tmp_path / "student.pt", sel=12)
    compress(path, tmp_path / "fast.pt", sample(), tolerance=1e-6, quiet=True)
    atoms, rng, truncated = structure(9, length=5.5, seed=5, periodic=pbc).to_ase(), np.random.default_rng(0), set()
    atoms.calc = Calculator(tmp_path / "fast.pt", device="cpu", skin=0.6)
    plain = load_model(tmp_path / "fast.pt", device="cpu", kernels="plain")
    for step in range(8):
        want = plain.predict(atoms)
        assert atoms.get_potential_energy() == pytest.approx(want.energies[0], abs=1e-10)
        np.testing.assert_allclose(atoms.get_forces(), want.forces, atol=1e-10)
        if any(pbc):
            np.testing.assert_allclose(atoms.get_stress(voigt=False) * -atoms.get_volume(), want.virials[0], atol=1e-9)
        assert atoms.calc.truncated == want.truncated
        truncated.add(want.truncated)
        atoms.rattle(0.05, rng=rng)
        if all(pbc) and step % 3 == 2:
            atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(scale=0.01, size=(3, 3))), scale_atoms=True)
    assert atoms.calc.moving is not None and 1 < atoms.calc.neighbors.searches < 8 and (max(truncated) > 0) == all(pbc)


def test_single_precision_is_close(fast: Path) -> None:
    one, two = (load_model(fast, device="cpu", dtype=dtype).predict(structure(7, seed=5)).energies[0] for dtype in ("float32", "float64"))
    assert 0 < abs(one - two) < 1e-4


def test_atoms_closer_than_the_table_are_counted_and_said(student: Path, tmp_path: Path, lamtrain: Callable[..., Called], capsys) -> None:
    compress(student, tmp_path / "fast.pt", sample(), closest=0.8, quiet=True)
    atoms = Atoms("CO", [[0, 0, 0], [0, 0, 0.4]])
    atoms.calc = Calculator(tmp_path / "fast.pt", device="cpu")
    atoms.get_potential_energy()
    assert atoms.calc.outside > 0
    atoms.positions[1, 2] = 1.2
    before = atoms.calc.outside
    atoms.get_potential_energy()
    assert atoms.calc.outside == before and capsys.readouterr().err.count("shorter than the tables") == 1
    atoms.positions[1, 2] = 0.4
    write(tmp_path / "near.extxyz", [Atoms(atoms)], format="extxyz")
    code, out, err = lamtrain(
        "predict", tmp_path / "fast.pt", tmp_path / "near.extxyz", "-o", tmp_path / "o.extxyz", "--json", "--device", "cpu"
    )
    assert code == 0 and json.loads(out)["edges_closer_than_the_tables"] == before
    assert any("shorter than the tables" in line for line in err)
    assert load_model(tmp_path / "fast.pt", device="cpu").predict([Atoms(atoms)]).outside == before


def test_what_cannot_be_compressed_is_refused_by_the_key_to_change(fast: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.pt"
    with pytest.raises(ConfigError, match="`descriptor.type` is dpa2.*size: student"):
        compress(write_model(tmp_path / "dpa2.pt"), out, sample(), quiet=True)
    with pytest.raises(ConfigError, match="compressed already"):
        compress(fast, out, sample(), quiet=True)
    with pytest.raises(ConfigError, match="`descriptor.activation_function` is relu"):
        compress(write_student(tmp_path / "relu.pt", activation_function="relu"), out, sample(), quiet=True)
    student = write_student(tmp_path / "student.pt")
    with pytest.raises(ConfigError, match="is the model itself"):
        compress(student, student, sample(), quiet=True)
    with pytest.raises(ConfigError, match="no two atoms see each other.*--closest"):
        compress(student, out, Sample([structure(1, length=20.0)], "one atom"), quiet=True)
    with pytest.raises(ConfigError, match="no frame that a head of the model knows"):
        compress(student, out, Sample([structure(2).to_ase() and _iron()], "iron"), quiet=True)
    with pytest.raises(DataError, match=r"no table keeps 1e-30.*--tolerance"):
        compress(student, out, sample(1), tolerance=1e-30, quiet=True)
    assert not out.exists()


def _iron():
    from lamtrain.prediction.structures import as_frame

    return as_frame(Atoms("Fe2", [[0, 0, 0], [0, 0, 2.0]]))


def test_a_table_for_each_pair_of_many_elements_is_refused(tmp_path: Path) -> None:
    from lamtrain.model.config import Dpa1Config, FittingConfig
    from lamtrain.model.elements import SYMBOLS
    from lamtrain.model.lam import LamModel

    block = Dpa1Config(type="dpa1", rcut=4.0, sel=60, neuron=[25, 50, 100], tebd_input_mode="concat", seed=1)
    config = ModelConfig(elements=list(SYMBOLS[:60]), descriptor=block, fitting=FittingConfig(neuron=[8]))
    lock = {"mixture": None, "datasets": {}}
    path = tmp_path / "many.pt"
    save(Checkpoint(model_config=config.model_dump(mode="json"), model=LamModel(config).state_dict(), heads=HEADS, lock=lock), path)
    with pytest.raises(ConfigError, match="3721 tables .*tebd_input_mode: strip"):
        compress(path, tmp_path / "out.pt", sample(1), tolerance=1e-14, closest=0.01, quiet=True)


def test_a_compressed_model_is_neither_trained_nor_exported(
    fast: Path, small: Path, tmp_path: Path, lamtrain: Callable[..., Called]
) -> None:
    hint = r"take the model it was made from, student\.pt \(sha256 [0-9a-f]{12}\)"
    code, _, (line,) = lamtrain("export", fast, "--store", small / "small.zarr", "-o", tmp_path / "out.pth")
    assert code == 2 and re.search(f"not exported; {hint}", line)
    code, _, (line,) = lamtrain(
        "init", small / "mixture.yaml", "--from", fast, "--store", small / "small.zarr", "-o", tmp_path / "train.yaml"
    )
    assert code == 2 and re.search(f"not trained; {hint}", line)
    text = (small / "train.yaml").read_text().replace("model:\n  size: tiny\n", f"start: {{model: {fast}}}\n")
    (small / "from-fast.yaml").write_text(text)
    with pytest.raises(ConfigError, match=f"not trained; {hint}"):
        from lamtrain.training.trainer import train

        train(read_config(small / "from-fast.yaml"), out=tmp_path / "run", device="cpu", quiet=True)
    with pytest.raises(ConfigError, match="`table` is what `lamtrain compress` makes"):
        read_config(small / "train.yaml", overrides=["model.size=student", "model.descriptor={table: {start: 0, step: 1, intervals: 9}}"])


@pytest.fixture(scope="module")
def run(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of the head with periodic frames, after three steps."""
    from lamtrain.training.trainer import train

    folder = tmp_path_factory.mktemp("run")
    mixture = "mixture: bulk\nheads:\n  - {head: bulk, dataset: bulk, task: energy_force, weight: 1.0}\n"
    (small / "bulk-mixture.yaml").write_text(mixture)
    changes = [
        f"mixture={small / 'bulk-mixture.yaml'}",
        "model.size=student",
        "steps=3",
        "validation.every=3",
        "model.fitting={neuron: [8, 8]}",
    ]
    return train(read_config(small / "train.yaml", overrides=changes), out=folder / "student", device="cpu", quiet=True)


def test_frames_are_by_default_held_out_ones_of_the_training(
    run: Path, small: Path, tmp_path: Path, lamtrain: Callable[..., Called]
) -> None:
    code, out, err = lamtrain("compress", run / "last.pt", "-o", tmp_path / "fast.pt", "--frames", 3, "--json", "--quiet")
    assert code == 0, err
    done = json.loads(out)
    assert done["frames"]["of"].startswith("bulk of ") and done["frames"]["heads"] == {"bulk": 3}
    held = open_store(str(small / "small.zarr"))["bulk"]
    assert len(held) > 3 and done["atoms"] > 0
    code, out, _ = lamtrain("compress", run / "last.pt", small / "bulk-0.xyz", "-o", tmp_path / "fast.pt", "--quiet")
    assert code == 0 and "largest deviations" in out and "µs an atom" in out
    code, out, _ = lamtrain(
        "compress", run / "last.pt", small / "small.zarr", "--dataset", "bulk", "-o", tmp_path / "fast.pt", "--json", "--quiet"
    )
    assert code == 0 and json.loads(out)["frames"]["heads"] == {"bulk": len(held)}
    code, out, _ = lamtrain(
        "test", tmp_path / "fast.pt", small / "small.zarr", "--json", "--quiet", "-o", tmp_path / "tested", "--device", "cpu"
    )
    assert code == 0 and json.loads(out)["heads"]["bulk"]["force_rmse_mev_per_angstrom"] > 0
    code, out, _ = lamtrain("show", tmp_path / "fast.pt")
    assert code == 0 and "compressed" in out


def test_a_store_that_is_gone_is_said_with_what_to_do(run: Path, student: Path) -> None:
    with pytest.raises(ConfigError, match="does not say where its frames are.*name files"):
        sample_of_training(load(student), student, 3)
    moved = load(run / "last.pt")
    assert moved.train_config is not None
    moved.train_config["store"] = "/nowhere.zarr"
    with pytest.raises(ConfigError, match="no frames to compare on.*name files"):
        sample_of_training(moved, run / "last.pt", 3)


def test_elements_that_no_head_knows_are_left_out_of_the_sample_and_counted(student: Path) -> None:
    some = Sample([structure(4), _iron()], "two")
    asked = some.for_model(load_model(student, device="cpu"))
    assert set(asked) == {"energy"} and len(asked["energy"]) == 1 and some.refused == 1
    assert set(ELEMENTS) >= {"H", "C", "O"} and torch.get_num_threads() >= 1
