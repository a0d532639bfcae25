"""`lamtrain predict`: files that are read as they are -> predictions, errors, the worst frames, and a ledger of what was refused."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from lamdata import open_dataset, read_frames
from lamdata.elements import SYMBOLS
from lamdata.errors import ConfigError, DataError
from lamdata.frame import Frame, Rejection
from lamtrain import Calculator, load_model
from lamtrain.evaluation.report import test_model as measure
from lamtrain.model.config import ModelConfig
from lamtrain.prediction.run import SUFFIXES, predict_files
from lamtrain.prediction.scores import POINTS, Points
from lamtrain.prediction.source import open_source
from tests.conftest import command
from tests.lamtrain.model_cases import structure
from tests.lamtrain.prediction_cases import TWO, save_model, write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model.pt")


def predict(model: Path, *inputs: Path, output: Path, refit: Path | None = None, **options: Any) -> dict[str, Any]:
    def opened(paths: list[str]) -> Any:
        return open_source(paths, dataset=None, split=None, format="auto", quiet=True)

    source = opened([str(path) for path in inputs])
    return predict_files(load_model(model, device="cpu"), source, output, refit=refit and opened([str(refit)]), **options)


def labelled(model: Path, path: Path, *, seeds: range = range(5), shift: dict[str, float] | None = None, wrong: int = -1) -> list[Atoms]:
    """Structures with the model's own labels, one of them with forces that are off, energies shifted by element."""
    out = []
    for seed in seeds:
        [atoms] = load_model(model, device="cpu").predict([structure(4 + seed % 3, seed=seed).to_ase()]).to_ase()
        results = {name: atoms.calc.results[name] for name in ("energy", "forces", "stress")}
        results["energy"] += sum((shift or {}).get(symbol, 0.0) for symbol in atoms.symbols)
        if seed == wrong:
            results["forces"] = results["forces"] + np.array([0.3, 0.0, 0.0])
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info["material_id"] = f"set-{seed % 2}"
        out.append(atoms)
    write(path, out, format="extxyz")
    return out


def frames_of(path: Path) -> list[Frame]:
    return [item for item in read_frames(path) if isinstance(item, Frame)]


def test_what_is_written_is_what_the_calculator_says(model: Path, tmp_path: Path) -> None:
    given = [structure(size, seed=size, periodic=(size != 4,) * 3).to_ase() for size in (3, 4, 9)]
    write(tmp_path / "in.xyz", given, format="extxyz")
    summary = predict(model, tmp_path / "in.xyz", output=tmp_path / "out.extxyz")
    assert (summary["frames"], summary["rejected"], summary["scored"]) == (3, 0, 0)
    back = read(tmp_path / "out.extxyz", index=":")
    for asked, found in zip(given, back, strict=True):
        asked = read(tmp_path / "in.xyz", index=given.index(asked))
        asked.calc = Calculator(model, device="cpu")
        assert found.get_potential_energy() == pytest.approx(asked.get_potential_energy(), abs=1e-12)
        np.testing.assert_allclose(found.get_forces(), asked.get_forces(), atol=1e-12)
        np.testing.assert_allclose(found.get_potential_energies(), asked.get_potential_energies(), atol=1e-12)
        if asked.pbc.all():
            np.testing.assert_allclose(found.get_stress(), asked.get_stress(), atol=1e-12)
        assert found.info["energy_unit"] == "eV" and found.info["model"] == "model.pt" and found.info["head"] == "energy"
    for frame, found in zip(frames_of(tmp_path / "out.extxyz"), back, strict=True):
        assert frame.energy == found.get_potential_energy() and (frame.virial is not None) == any(frame.pbc)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.xyz", "out.extxyz", "out.json"]
    assert json.loads((tmp_path / "out.json").read_text()) == summary


@pytest.mark.parametrize("name", ["POSCAR", "structure.cif", "atoms.json", "trajectory.traj"])
def test_other_formats_are_read_as_they_are(model: Path, tmp_path: Path, name: str) -> None:
    atoms = structure(5, seed=2).to_ase()
    atoms = atoms[np.argsort(atoms.numbers)]
    formats = {"POSCAR": "vasp", "structure.cif": "cif", "atoms.json": "json", "trajectory.traj": "traj"}
    write(tmp_path / name, atoms, format=formats[name])
    predict(model, tmp_path / name, output=tmp_path / "out.extxyz")
    want = load_model(model, device="cpu").predict(list(read_frames(tmp_path / name)))
    [found] = frames_of(tmp_path / "out.extxyz")
    assert found.energy == pytest.approx(want.energies[0], abs=1e-12)
    assert found.energy == pytest.approx(load_model(model, device="cpu").predict(atoms).energies[0], abs=1e-4)


def test_errors_are_those_by_hand_and_the_worst_frame_is_named_and_written(model: Path, tmp_path: Path) -> None:
    shift = {"H": 0.02, "C": -0.01, "O": 0.05}
    given = labelled(model, tmp_path / "in.xyz", shift=shift, wrong=3)
    summary = predict(model, tmp_path / "in.xyz", output=tmp_path / "out.extxyz", worst=2)
    apart = [-sum(shift[symbol] for symbol in atoms.symbols) / len(atoms) for atoms in given]
    assert summary["errors"]["energy_rmse_mev_per_atom"] == pytest.approx(1000 * np.sqrt(np.mean(np.square(apart))), rel=1e-4)
    atoms = sum(map(len, given))
    assert summary["errors"]["force_rmse_mev_per_angstrom"] == pytest.approx(300 * np.sqrt(len(given[3]) / (3 * atoms)), rel=1e-4)
    assert summary["errors"]["virial_rmse_mev_per_atom"] < 1e-2
    for symbol in "HCO":
        mine, wrong = (sum(list(one.symbols).count(symbol) for one in some) for some in (given, [given[3]]))
        assert summary["by_element"][symbol]["force_rmse_mev_per_angstrom"] == pytest.approx(300 * np.sqrt(wrong / (3 * mine)), abs=1e-2)
    assert {row["group"]: row["frames"] for row in summary["by_group"]["worst"]} == {"in.xyz/set-0": 3, "in.xyz/set-1": 2}
    assert summary["by_group"]["worst"][0]["group"] == "in.xyz/set-1"
    assert summary["worst"]["force"][0]["origin"] == "in.xyz#3"
    assert summary["worst"]["force"][0]["largest_force_error_mev_per_angstrom"] == pytest.approx(300, rel=1e-4)
    assert summary["worst"]["energy"][0]["origin"] == f"in.xyz#{np.argmax(np.abs(apart))}"
    worst = read(tmp_path / "out.worst.extxyz", index=":")
    assert worst[0].info["origin"] == "in.xyz#3" and 2 <= len(worst) <= 4
    np.testing.assert_allclose(worst[0].arrays["ref_forces"] - worst[0].get_forces(), [[0.3, 0, 0]] * len(worst[0]), atol=1e-6)
    rows = list(csv.DictReader((tmp_path / "out.frames.csv").open()))
    assert [row["origin"] for row in rows] == [f"in.xyz#{i}" for i in range(5)]
    np.testing.assert_allclose([float(row["energy_error_mev_per_atom"]) for row in rows], 1000 * np.array(apart), atol=1e-3)
    for picture in ("parity", "worst"):
        assert (tmp_path / f"out.{picture}.png").read_bytes().startswith(b"\x89PNG")
    labels = [frame.energy for frame in frames_of(tmp_path / "in.xyz")]
    assert all(found.energy != label for found, label in zip(frames_of(tmp_path / "out.extxyz"), labels))


def test_a_store_of_predictions_holds_what_is_written_as_text(model: Path, tmp_path: Path) -> None:
    given = labelled(model, tmp_path / "in.xyz", seeds=range(7), shift={"H": 0.02})
    text = predict(model, tmp_path / "in.xyz", output=tmp_path / "out.extxyz")
    store = predict(model, tmp_path / "in.xyz", output=tmp_path / "out2.zarr")
    changed = {"written": None}
    assert store | changed == text | changed and store["scored"] == len(given)
    opened = open_dataset(tmp_path / "out2.zarr")
    assert [frame.origin for frame in opened] == [f"in.xyz#{i}" for i in range(7)]  # in the order of the source
    for found, want in zip(opened, read(tmp_path / "out.extxyz", index=":"), strict=True):
        assert found.energy == want.get_potential_energy() and (found.forces == want.get_forces()).all()
        np.testing.assert_allclose(found.virial, -want.get_volume() * want.get_stress(voigt=False), atol=1e-12)
    assert opened.theory.model is not None and "labels are what a model predicts" in opened.card.notes[0]
    names = sorted(path.name for path in tmp_path.iterdir() if path.name.startswith((".", "out2")))
    assert names == sorted(["out2.zarr", *(f"out2{suffix}" for suffix in SUFFIXES[1:])])


def test_a_store_of_predictions_takes_the_place_of_an_earlier_one(model: Path, tmp_path: Path) -> None:
    labelled(model, tmp_path / "in.xyz", seeds=range(4))
    labelled(model, tmp_path / "other.xyz", seeds=range(4, 6))
    predict(model, tmp_path / "in.xyz", output=tmp_path / "out.zarr")
    text = (tmp_path / "other.xyz").read_text()
    (tmp_path / "other.xyz").write_text(text[: len(text) // 2])
    with pytest.raises(OSError, match="announced"):
        predict(model, tmp_path / "other.xyz", output=tmp_path / "out.zarr")
    assert len(open_dataset(tmp_path / "out.zarr")) == 4
    (tmp_path / "other.xyz").write_text(text)
    predict(model, tmp_path / "other.xyz", output=tmp_path / "out.zarr", refit=tmp_path / "in.xyz")
    card = open_dataset(tmp_path / "out.zarr").card
    assert len(open_dataset(tmp_path / "out.zarr")) == 2 and any("shifted by element to those in" in note for note in card.notes)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    write(tmp_path / "iron.xyz", Atoms("Fe"), format="extxyz")
    with pytest.raises(DataError, match="no frame could be predicted"):
        predict(model, tmp_path / "iron.xyz", output=tmp_path / "none.zarr")
    assert sorted(path.name for path in tmp_path.iterdir() if "none" in path.name) == ["none.rejected.jsonl"]


VASPRUN = Path(__file__).resolve().parents[2].parent / "shared/samples/vasprun_xml"


def test_a_vasprun_has_the_numbers_of_the_calculator(tmp_path: Path) -> None:
    if not VASPRUN.is_dir():
        pytest.skip(f"{VASPRUN} holds samples that are not in the repository")
    path = min(VASPRUN.glob("*vasprun*.xml*"), key=lambda file: file.stat().st_size)
    frames = frames_of(path)
    elements = sorted({z for frame in frames for z in frame.numbers.tolist()})
    model = save_model(tmp_path / "model.pt", ModelConfig.tiny([SYMBOLS[z] for z in elements]))
    summary = predict(model, path, output=tmp_path / "out.extxyz")
    assert summary["frames"] == len(frames) == len(found := frames_of(tmp_path / "out.extxyz")) and summary["scored"]
    calculator = Calculator(model, device="cpu")
    for given, answer in zip(frames, found):
        atoms = given.to_ase()
        atoms.calc = calculator
        assert answer.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
        np.testing.assert_allclose(answer.forces, atoms.get_forces(), atol=1e-5)


PEAK = """import resource, sys
from pathlib import Path
from lamtrain import load_model
from lamtrain.prediction.run import predict_files
from lamtrain.prediction.source import open_source
source = open_source([sys.argv[2]], dataset=None, split=None, format="auto", quiet=True)
summary = predict_files(load_model(sys.argv[1], device="cpu"), source, Path(sys.argv[3]))
print(summary["frames"], summary["scored"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow(reason="predicts 22,000 frames")
@pytest.mark.parametrize("ending", ["extxyz", "zarr"])
def test_ten_thousand_frames_stream_in_flat_memory(model: Path, tmp_path: Path, ending: str) -> None:
    labelled(model, tmp_path / "some.xyz", seeds=range(100))
    some, peaks = (tmp_path / "some.xyz").read_text(), {}
    for count in (1_000, 10_000):
        (tmp_path / "in.xyz").write_text(some * (count // 100))
        args = [sys.executable, "-c", PEAK, str(model), str(tmp_path / "in.xyz"), str(tmp_path / f"out-{count}.{ending}")]
        done = subprocess.run(args, capture_output=True, text=True, check=True)
        frames, scored, peak = map(int, done.stdout.split())
        assert frames == scored == count
        peaks[count] = peak
    print(f"peak of 10,000 frames over that of 1,000, {ending}: {peaks[10_000] / peaks[1_000]:.3f} ({peaks[10_000] >> 10} MiB)")
    assert peaks[10_000] < 1.1 * peaks[1_000]


def test_a_frame_that_is_refused_has_a_row_that_says_why(model: Path, tmp_path: Path) -> None:
    good = structure(4, seed=1).to_ase()
    iron, charged, flat, touching = good.copy(), good.copy(), good.copy(), good.copy()
    iron.symbols[0] = "Fe"
    charged.info["charge"] = 2
    flat.cell[2] = flat.cell[1]
    touching.positions[1] = touching.positions[0]
    write(tmp_path / "in.xyz", [good, iron, charged, flat, good, touching], format="extxyz")
    summary = predict(model, tmp_path / "in.xyz", output=tmp_path / "out.extxyz")
    assert (summary["frames"], summary["rejected"]) == (2, 4)
    rows = {row["origin"]: row["reason"] for row in map(json.loads, (tmp_path / "out.rejected.jsonl").read_text().splitlines())}
    assert sorted(rows) == ["in.xyz#1", "in.xyz#2", "in.xyz#3", "in.xyz#5"]
    assert "does not know Fe" in rows["in.xyz#1"] and "charge 2" in rows["in.xyz#2"] and "not finite" in rows["in.xyz#5"]
    assert [frame.origin for frame in frames_of(tmp_path / "out.extxyz")] == ["out.extxyz#0", "out.extxyz#1"]
    assert [atoms.info["origin"] for atoms in read(tmp_path / "out.extxyz", index=":")] == ["in.xyz#0", "in.xyz#4"]
    write(tmp_path / "in.xyz", [iron], format="extxyz")
    with pytest.raises(DataError, match=r"no frame could be predicted; 1 were refused; see .*out.rejected.jsonl"):
        predict(model, tmp_path / "in.xyz", output=tmp_path / "out.extxyz")
    assert (
        not (tmp_path / "out.extxyz").exists()
        and not (tmp_path / "out.json").exists()
        and "Fe" in (tmp_path / "out.rejected.jsonl").read_text()
    )


def test_a_planted_shift_comes_back_and_frames_of_the_fit_are_not_scored(model: Path, tmp_path: Path) -> None:
    shift = {"H": 13.6051, "C": -1027.2, "O": 2041.75}
    labelled(model, tmp_path / "fit.xyz", seeds=range(20, 30), shift=shift)
    labelled(model, tmp_path / "in.xyz", seeds=range(18, 22), shift=shift)
    summary = predict(model, tmp_path / "in.xyz", output=tmp_path / "out.extxyz", refit=tmp_path / "fit.xyz")
    found = summary["refit"]
    assert (found["rank"], found["frames"], found["absent"], found["collinear"]) == (3, 10, [], [])
    for symbol, energy in shift.items():
        assert found["shift_ev"][symbol] == pytest.approx(energy, abs=2e-7)  # extxyz of ASE rounds positions and energies
    assert found["residual_rmse_mev_per_atom"] < 1e-3 and summary["errors"]["energy_rmse_mev_per_atom"] < 1e-3
    assert (summary["scored"], summary["not_scored"]["fitted"]) == (2, 2)
    for atoms in read(tmp_path / "out.extxyz", index=":"):
        assert atoms.get_potential_energies().sum() == pytest.approx(atoms.get_potential_energy(), abs=1e-9)


def test_elements_that_the_fit_does_not_determine_are_named_and_have_no_energy(model: Path, tmp_path: Path) -> None:
    def molecules(path: Path, *formulas: str) -> None:
        images = []
        for number, formula in enumerate(formulas):
            atoms = Atoms(formula)
            atoms.positions = 1.3 * np.arange(len(atoms))[:, None] * [1, 0.3, 0.1 * number]
            [atoms] = load_model(model, device="cpu").predict([atoms]).to_ase()
            energy = atoms.get_potential_energy() + 2.0 * list(atoms.symbols).count("O")
            atoms.calc = SinglePointCalculator(atoms, energy=energy)
            images.append(atoms)
        write(path, images, format="extxyz")

    molecules(tmp_path / "fit.xyz", "H2O", "H2O", "H4O2")
    molecules(tmp_path / "in.xyz", "H2O", "HO", "H4O2", "CO", "H6O3")
    summary = predict(model, tmp_path / "in.xyz", output=tmp_path / "out.extxyz", refit=tmp_path / "fit.xyz")
    found = summary["refit"]
    assert (found["rank"], found["shift_ev"], found["collinear"], found["absent"]) == (1, {}, ["H", "O"], ["C"])
    assert summary["not_scored"]["energy_without_reference"] == {"H1 O1": 1, "C1 O1": 1}
    energies = [frame.energy for frame in frames_of(tmp_path / "out.extxyz")]
    assert [energy is None for energy in energies] == [False, True, False, True, False]
    assert summary["errors"]["energy_rmse_mev_per_atom"] < 1e-3


def test_a_fit_without_energies_is_an_error(model: Path, tmp_path: Path) -> None:
    write(tmp_path / "in.xyz", structure(3).to_ase(), format="extxyz")
    with pytest.raises(DataError, match="no frame with an energy"):
        predict(model, tmp_path / "in.xyz", output=tmp_path / "out.extxyz", refit=tmp_path / "in.xyz")
    assert [path.name for path in tmp_path.iterdir()] == ["in.xyz"]


def test_an_output_is_whole_or_as_it_was(model: Path, tmp_path: Path) -> None:
    labelled(model, tmp_path / "in.xyz")
    predict(model, tmp_path / "in.xyz", output=tmp_path / "out.extxyz")
    before = {path.name: path.read_bytes() for path in tmp_path.glob("out*")}
    assert set(before) == {"out.extxyz"} | {f"out{suffix}" for suffix in SUFFIXES[1:]}
    text = (tmp_path / "in.xyz").read_text()
    (tmp_path / "in.xyz").write_text(text[: len(text) // 2])
    with pytest.raises(OSError, match="announced"):
        predict(model, tmp_path / "in.xyz", output=tmp_path / "out.extxyz")
    assert {path.name: path.read_bytes() for path in tmp_path.glob("[.o]*")} == before
    (tmp_path / "in.xyz").write_text(text)
    predict(model, tmp_path / "in.xyz", output=tmp_path / "out.extxyz")
    assert {path.name: path.read_bytes() for path in tmp_path.glob("out*")} == before
    write(tmp_path / "in.xyz", structure(3).to_ase(), format="extxyz")
    predict(model, tmp_path / "in.xyz", output=tmp_path / "out.extxyz")
    assert {path.name for path in tmp_path.glob("out*")} == {"out.extxyz", "out.json"}  # nothing of an earlier run stands beside it


def test_what_is_asked_wrongly_is_one_line(model: Path, tmp_path: Path, small: Path) -> None:
    path = tmp_path / "in.xyz"
    write(path, structure(3).to_ase(), format="extxyz")
    with pytest.raises(ConfigError, match="is one of the files that are read"):
        predict(model, path, output=path)
    with pytest.raises(ConfigError, match="written as extended XYZ, or as a store; let its name end in .extxyz or .zarr"):
        predict(model, path, output=tmp_path / "out.csv")
    with pytest.raises(ConfigError, match="holds something else than predictions"):
        predict(model, path, output=small / "small.zarr")
    (tmp_path / "file.zarr").write_text("mine")
    with pytest.raises(ConfigError, match="there is a file of that name"):
        predict(model, path, output=tmp_path / "file.zarr")
    assert (tmp_path / "file.zarr").read_text() == "mine"
    with pytest.raises(ConfigError, match="is a store; name a dataset with --dataset, one of: bulk, cluster, crystals"):
        predict(model, small / "small.zarr", output=tmp_path / "out.extxyz")
    two = write_model(tmp_path / "two.pt", heads=TWO)
    done = subprocess.run(
        command("lamtrain", "predict", str(two), str(path), "-o", str(tmp_path / "o.xyz")), capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.strip() == f"error: {two}: 2 heads give energies; choose one of: pbe, hse"
    done = subprocess.run(
        command("lamtrain", "predict", str(two), str(path), "--head", "hse", "-o", str(tmp_path / "o.xyz"), "--json", "--quiet"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and json.loads(done.stdout)["head"] == "hse" and not done.stderr


def test_a_dataset_of_a_store_has_the_errors_of_lamtrain_test(small: Path, tmp_path: Path) -> None:
    path = save_model(tmp_path / "model.pt", ModelConfig.tiny(["H", "O", "Al", "Ni", "Cu", "Pd"]))
    want = measure(path, str(small / "small.zarr"), output=tmp_path / "test", head="energy", dataset="bulk", quiet=True)["heads"]["energy"]
    source = open_source([str(small / "small.zarr")], dataset="bulk", split="test", format="auto", quiet=True)
    summary = predict_files(load_model(path, device="cpu", dtype="float64"), source, tmp_path / "out.extxyz")
    assert summary["scored"] == len(open_dataset(str(small / "small.zarr"), "bulk", split="test")) > 0
    for name, value in summary["errors"].items():
        assert value == pytest.approx(want[name], rel=1e-12)
    assert set(summary["errors"]) == {"energy_rmse_mev_per_atom", "force_rmse_mev_per_angstrom", "virial_rmse_mev_per_atom"}
    assert all(row["origin"].startswith("bulk-") for row in summary["worst"]["force"])


def test_points_stay_few_and_are_spread_over_all() -> None:
    points = Points()
    for start in range(0, 10 * POINTS, 7):
        points.add(np.arange(start, start + 7.0), np.zeros(7))
    kept = points.array()[:, 0]
    assert POINTS <= len(kept) <= 2 * POINTS and kept[0] == 0 and np.ptp(kept) > 9.9 * POINTS and np.diff(kept).max() <= 16


def test_reading_gives_frames_and_what_is_none(tmp_path: Path) -> None:
    flat = structure(3, seed=1).to_ase()
    good = flat.copy()
    flat.cell[2] = 1.000001 * flat.cell[1]
    write(tmp_path / "in.xyz", [good, flat], format="extxyz")
    first, second = read_frames(tmp_path / "in.xyz")
    assert isinstance(first, Frame) and first.origin == "in.xyz#0"
    assert isinstance(second, Rejection) and second.origin == "in.xyz#1"
    with pytest.raises(OSError, match="no such file"):
        list(read_frames(tmp_path / "none.xyz"))
