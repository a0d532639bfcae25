"""`lamtrain test --properties`: which crystals are measured, what is written beside the errors, and what is said of those that cannot be.

The model gives every atom its reference energy and no forces: atoms are free, so that what is right for it is known.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

from lamtrain.checkpoint import load, save
from lamtrain.data.mixture import open_tasks
from lamtrain.evaluation.report import what_to_test
from lamtrain.prediction.model import load_model
from lamtrain.properties.report import SHOWN, lowest_frame, table_of_properties
from tests.lamtrain.evaluation.test_held_out import TRAIN as CONFIG
from tests.lamtrain.evaluation.test_held_out import Called, bring, command_in, mixture, write_metal


@pytest.fixture(scope="module")
def metals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("metals")
    bring(folder, "copper", write_metal(folder, "cu", "Cu", groups=6), split="{validation: 0.3, test: 0.2, seed: 4}")
    mixture(folder, "copper")
    (folder / "train.yaml").write_text(CONFIG)
    return folder


@pytest.fixture
def lamtrain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, metals: Path) -> Callable[..., Called]:
    return command_in(metals, capsys, monkeypatch)


@pytest.fixture
def model(metals: Path, lamtrain: Callable[..., Called]) -> str:
    """A checkpoint of a short run whose nets say nothing."""
    path = metals / "runs/metals/free.pt"
    if not path.exists():
        assert lamtrain("train", "train.yaml")[0] == 0
        trained = load(metals / "runs/metals/best.pt")
        silent = {
            name: value * 0 if name.startswith("heads.") and not name.endswith("bias") else value for name, value in trained.model.items()
        }
        save(replace(trained, model=silent), path)
    return "runs/metals/free.pt"


def test_properties_stand_beside_the_errors_and_are_drawn(
    metals: Path, model: str, lamtrain: Callable[..., Called], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lamtrain.properties.nve.STEPS", 20)
    code, out, notes = lamtrain("test", model, "metals.zarr", "--properties", "elastic, vacancy,nve", "--json")
    assert (code, notes) == (0, []), notes
    written = json.loads((metals / "runs/metals/test.json").read_text())
    assert json.loads(out) == written and written["heads"]["metals"]["force_rmse_mev_per_angstrom"] > 0
    ((origin, found),) = written["properties"]["metals"].items()
    assert origin.startswith("dataset copper, cu-") and (metals / "runs/metals/properties-metals.png").stat().st_size > 10_000
    assert sorted(found) == ["crystal", "elastic", "nve", "vacancy"]
    assert np.abs(found["elastic"]["tensor_gpa"]).max() < 1e-9 and not found["elastic"]["stable"]
    assert found["vacancy"]["formation_energy_ev"] == pytest.approx(0, abs=1e-9)
    assert abs(found["nve"]["drift_ev_per_atom_per_ps"]) < 1e-9 and found["nve"]["temperature_k"] == pytest.approx(600)


def test_what_cannot_be_measured_is_said_and_written_with_exit_code_one(metals: Path, model: str, lamtrain: Callable[..., Called]) -> None:
    pytest.importorskip("phonopy", reason="extra properties is not installed")
    code, _, (line,) = lamtrain("test", model, "metals.zarr", "--properties", "eos,elastic,phonon", "-o", "part")
    assert code == 1 and "not measured: eos of dataset copper, cu-" in line and "no minimum within 10% of the volume" in line
    assert "phonon of" in line and "all frequencies are zero" in line
    ((found,),) = (rows.values() for rows in json.loads((metals / "part/test.json").read_text())["properties"].values())
    assert "no minimum" in found["eos"]["failed"] and not found["elastic"]["stable"] and (metals / "part/properties-metals.png").exists()


def test_files_of_any_format_are_measured_and_strange_elements_are_said(metals: Path, model: str, lamtrain: Callable[..., Called]) -> None:
    write(metals / "mine.vasp", bulk("Cu", "bcc", a=2.9))
    write(metals / "gold.xyz", bulk("Au"))
    asked = (
        "test",
        model,
        "metals.zarr",
        "--properties",
        "elastic",
        "--structures",
        "mine.vasp",
        "--structures",
        "gold.xyz",
        "-o",
        "files",
    )
    code, _, (line,) = lamtrain(*asked)
    assert code == 0 and line.startswith("note: head metals does not know Au: gold.xyz#0 is not measured")
    (found,) = json.loads((metals / "files/test.json").read_text())["properties"]["metals"].values()
    assert found["crystal"]["space_group"] == "Im-3m"


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("--properties", "eso"), 2, "no property 'eso'; did you mean 'eos'?"),
        (("--structures", "gold.xyz"), 2, "--structures: structures to measure no property of; name some with --properties"),
        (("--properties", "eos", "--structures", "none.xyz"), 1, "none.xyz"),
        (("--properties", "eos", "--structures", "gold.xyz"), 1, "no head knows the elements of the structures; give crystals"),
        (("--properties", "eos", "--structures", "water.xyz"), 1, "periodic in all directions"),
    ],
)
def test_what_is_asked_wrongly_is_one_line(
    more: tuple[str, ...], code: int, words: str, metals: Path, model: str, lamtrain: Callable[..., Called]
) -> None:
    write(metals / "gold.xyz", bulk("Au"))
    write(metals / "water.xyz", Atoms("Cu2", [[0, 0, 0], [0, 0, 2.2]]))
    found, _, lines = lamtrain("test", model, "metals.zarr", "-o", "wrong", *more)
    assert found == code and words in lines[-1] and lines[-1].startswith("error:")


def test_the_held_out_crystal_of_the_lowest_energy_is_taken(metals: Path, model: str, lamtrain: Callable[..., Called]) -> None:
    path = metals / model
    data = open_tasks(what_to_test(load(path), path, None, None), str(metals / "metals.zarr"))
    ((origin, frame),) = lowest_frame(load_model(path), data, "metals", split="test").items()
    energies = {test.origin: test.energy / len(test.numbers) for task in data.tasks for test in task.test}
    assert len(energies) >= 3 and origin == f"dataset copper, {min(energies, key=energies.__getitem__)}"
    assert frame.energy is not None and frame.energy / len(frame.numbers) == pytest.approx(min(energies.values()))


def test_the_table_has_a_column_for_what_was_found_alone() -> None:
    one = {"crystal": {"formula": "Cu", "lengths_angstrom": [3.6, 3.6, 3.6]}, "eos": {"bulk_modulus_gpa": 140.0}}
    other = {"crystal": {"failed": "x"}, "eos": {"failed": "y"}}
    titles, rows = table_of_properties({"a": {"f#0": one}, "b": {"f#0": other}})
    assert titles == ["head", "structure", "formula", "a, Å", "B (EOS), GPa"]
    assert rows == [["a", "f#0", "Cu", 3.6, 140.0], ["b", "f#0", None, None, None]]
    assert set(titles[3:]) <= set(SHOWN)
