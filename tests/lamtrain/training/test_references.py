"""References of a start: what frames determine is found, what they do not is named, and test frames have no say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from lamdata import ingest, open_card
from lamdata.elements import NUMBERS
from lamdata.errors import ConfigError
from lamtrain import load_model
from lamtrain.config import TrainConfig
from lamtrain.data.mixture import open_training_data
from lamtrain.prediction.shift import Differences, fit_shift
from lamtrain.training.adapt import adapted_model
from lamtrain.training.references import spread_evenly

PLANTED = {"Cu": 0.3125, "Al": -1.75, "H": 0.5, "O": -2.25}  # eV


def shift_of(compositions: list[str], truth: dict[str, float]) -> tuple[dict[str, float], list[list[str]]]:
    found = Differences()
    for formula in compositions:
        numbers = Atoms(formula).numbers.astype(np.uint8)
        found.add(numbers, sum(truth[symbol] for symbol in Atoms(formula).symbols))
    return spread_evenly(fit_shift(found.factored()), dict.fromkeys(truth, 0.0))


@pytest.mark.parametrize(
    ("compositions", "groups"),
    [
        (["Cu4", "Al4"], []),
        (["Cu3Al", "CuAl"], []),
        (["H2O", "O2"], []),
        (["H2O", "H4O2"], [["H", "O"]]),
        (["H2O", "Cu6", "Cu"], [["H", "O"]]),
        (["H2O", "CuAl"], [["H", "O"], ["Al", "Cu"]]),
        (["H2O", "H2OCuAl", "Cu"], [["H", "O"]]),
    ],
)
def test_sums_are_met_and_only_what_is_free_is_shared(compositions: list[str], groups: list[list[str]]) -> None:
    values, found = shift_of(compositions, PLANTED)
    assert found == groups
    for formula in compositions:
        symbols = list(Atoms(formula).symbols)
        assert sum(values[s] for s in symbols) == pytest.approx(sum(PLANTED[s] for s in symbols), abs=1e-12)
    for symbol, value in values.items():
        if not any(symbol in group for group in groups):
            assert value == pytest.approx(PLANTED[symbol], abs=1e-12)


def test_an_energy_that_cannot_be_told_apart_is_the_same_for_every_atom() -> None:
    values, _ = shift_of(["H2O"], PLANTED)
    assert values["H"] == pytest.approx(values["O"], abs=1e-14) and values["H"] == pytest.approx((2 * 0.5 - 2.25) / 3, abs=1e-14)


@pytest.fixture(scope="module")
def planted(parent: Path, small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames whose labels are the model's own energies and PLANTED; in test frames a hundred eV more."""
    folder, model = tmp_path_factory.mktemp("planted"), load_model(parent)
    model.elements["bulk"] = model.config.elements  # its net is asked about elements that it has not seen, as a start asks it
    for split, extra in (("train", 0.0), ("test", 100.0)):
        for name in ("bulk", "cluster"):
            frames = [frame for group in range(4) for frame in read(small / f"{name}-{group}.xyz", ":")]
            found = model.predict(frames, head="bulk")
            for f, (frame, energy) in enumerate(zip(frames, found.energies)):
                label = energy + extra + sum(PLANTED[symbol] for symbol in frame.symbols)
                frame.calc = SinglePointCalculator(frame, energy=label, forces=found.forces[found.starts[f] : found.starts[f + 1]])
            write(folder / f"{name}-{split}.xyz", frames, format="extxyz")
    units = "units: {energy: eV, length: Angstrom, force: eV/Angstrom}"
    for name in ("bulk", "cluster"):
        rows = "".join(f"  - {{path: {name}-{s}.xyz, format: extxyz, group: frame, split: {s}, {units}}}\n" for s in ("train", "test"))
        card = f"dataset: {name}\ntitle: x\ntheory: {{functional: X}}\nchecks: {{max_force: null, net_force: null}}\nsources:\n{rows}"
        (folder / f"{name}.yaml").write_text(card)
        ingest(open_card(folder / f"{name}.yaml"), str(folder / "planted.zarr"), base=folder, quiet=True)
    return folder


def started(folder: Path, parent: Path, datasets: str, *, mode: str = "change", source: str = "bulk") -> tuple[dict, dict, object]:
    """What a start says of its references, the biases before and after."""
    rows = "".join(f"  - {{head: mine, dataset: {name}, task: energy_force, allow_theory: [one]}}\n" for name in datasets.split())
    (folder / "mixture.yaml").write_text(f"mixture: mine\nheads:\n{rows}")
    values = {
        "train": "mine", "mixture": str(folder / "mixture.yaml"), "store": str(folder / "planted.zarr"), "steps": 1, "precision": "float64",
        "start": {"model": str(parent), "heads": {"mine": source}, "references": mode},
    }  # fmt: skip
    config = TrainConfig.model_validate(values)
    data = open_training_data(config.mixture, config.store)
    found = adapted_model(config, config.start, data, quiet=True)
    old = load_model(parent).net
    before = dict(zip(old.config.elements, old.energy_head("bulk").bias.tolist()))
    after = dict(zip(found.model.config.elements, found.model.energy_head("mine").bias.tolist()))
    report = found.started["mine"]["start"]["references"]
    return report, {symbol: after[symbol] - before[symbol] for symbol in after}, data


def test_a_planted_shift_comes_back_and_test_frames_have_no_say(planted: Path, parent: Path) -> None:
    report, moved, _ = started(planted, parent, "bulk")
    for symbol in ("Cu", "Al"):
        assert abs(moved[symbol] - PLANTED[symbol]) < 1e-9 and abs(report["shift_ev"][symbol] - PLANTED[symbol]) < 1e-9
    assert report["rank"] == 2 and report["collinear_ev"] == [] and report["frames"] == 24
    assert set(report["absent"]) >= {"H", "O"} and moved["H"] == moved["O"] == 0.0, "what no frame has keeps the parent's"
    assert report["residual_before_mev_per_atom"] > 100 and report["residual_after_mev_per_atom"] < 1e-6


def test_elements_in_fixed_proportions_are_named_and_their_sums_fitted(planted: Path, parent: Path) -> None:
    report, moved, _ = started(planted, parent, "cluster")
    assert list(report["shift_ev"]) == ["Cu"] and abs(report["shift_ev"]["Cu"] - PLANTED["Cu"]) < 1e-9
    assert [list(group) for group in report["collinear_ev"]] == [["H", "O"]]
    assert abs(2 * moved["H"] + moved["O"] - (2 * PLANTED["H"] + PLANTED["O"])) < 1e-9
    assert abs(moved["H"] - moved["O"]) < 1e-9, "one energy for every atom"


@pytest.mark.parametrize("mode", ["refit", "keep"])
def test_the_residual_is_of_the_model_in_every_mode(planted: Path, parent: Path, mode: str) -> None:
    report, moved, data = started(planted, parent, "bulk", mode=mode)
    if mode == "keep":
        assert moved == dict.fromkeys(moved, 0.0) and report["residual_after_mev_per_atom"] == report["residual_before_mev_per_atom"]
    else:
        assert set(data.references("mine").energies) == {"Al", "Cu"}, "elements without a frame have no reference"
        mean = np.mean([frame.energy for task in data.of_head("mine") for frame in task.train if set(frame.numbers) == {29}])
        bias = load_model(parent).net.energy_head("bulk").bias[load_model(parent).config.elements.index("Cu")]
        assert moved["Cu"] == pytest.approx(mean / 4 - float(bias), abs=1e-9)


def test_what_the_parent_does_not_know_cannot_be_kept(planted: Path, parent: Path) -> None:
    with pytest.raises(ConfigError, match="the parent has no reference energy of H, O to keep"):
        started(planted, parent, "cluster", mode="keep")


def test_an_element_that_the_sample_lacks_keeps_the_parents(planted: Path, parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamtrain.training.references.FIT_FRAMES", 1)
    report, moved, data = started(planted, parent, "bulk")
    (found,) = report["shift_ev"]
    (other,) = {"Cu", "Al"} - {found}
    assert report["frames"] == 1 and moved[other] == 0.0 and other in report["absent"] and abs(moved[found] - PLANTED[found]) < 1e-9
    assert set(data.references("mine").energies) == {"Cu", "Al"}


def test_a_new_head_begins_at_the_energies_of_its_frames(planted: Path, parent: Path) -> None:
    report, _, data = started(planted, parent, "bulk", source="new")
    assert report["mode"] == "refit" and set(data.references("mine").energies) == {"Al", "Cu"}
    assert report["residual_after_mev_per_atom"] < 0.2 * report["residual_before_mev_per_atom"]
    assert all(symbol in NUMBERS for symbol in report["shift_ev"])
