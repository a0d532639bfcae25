"""What a model is and can do, as people see it: scores, tables, cards and pictures that hold the numbers they were given."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lamdata.errors import ConfigError, DataError
from lamdata.frames import Frames
from lamtrain.checkpoint import load
from lamtrain.evaluation.evaluate import has_others, reference_table, score, weighted
from lamtrain.evaluation.figures import MOST_POINTS, Parity, draw_curves, draw_parity, draw_points
from lamtrain.evaluation.modelcard import CITE, citations, describe, parameters_of, print_card
from lamtrain.evaluation.report import table_of, what_to_test
from lamtrain.prediction.tables import print_summary
from lamtrain.runlog import MetricsFile
from lamtrain.tasks import task_kind
from tests.lamtrain.prediction_cases import TWO, write_model
from tests.lamtrain.tasks.batches import labelled, off_by

ENERGY = {"task": "energy_force", "energy_rmse_mev_per_atom": 10.0, "energy_std_mev_per_atom": 40.0}
FORCE = {"task": "energy_force", "force_rmse_mev_per_angstrom": 50.0, "force_std_mev_per_angstrom": 100.0}
TYPES = {"task": "denoise", "type_cross_entropy": 0.5, "type_frequency_entropy": 1.0}


@pytest.mark.parametrize(
    ("table", "value"),
    [
        ({}, math.inf),
        ({"a": ENERGY | {"weight": 1.0}}, 0.25),
        ({"a": ENERGY | FORCE | {"weight": 1.0}}, 0.375),
        ({"a": ENERGY | {"weight": 1.0}, "b": FORCE | {"weight": 3.0}}, (0.25 + 3 * 0.5) / 4),
        ({"a": ENERGY | {"weight": 1.0}, "b": {"task": "denoise", "weight": 9.0}}, 0.25),
        ({"a": TYPES | {"weight": 2.0}}, 0.5),
        ({"a": ENERGY | {"weight": 1.0, "energy_std_mev_per_atom": 0.0}}, math.inf),
        ({"a": {"task": "energy_force", "weight": 1.0, "energy_rmse_mev_per_atom": 3.0}}, math.inf),
    ],
)
def test_a_checkpoint_is_chosen_by_errors_relative_to_spreads(table: dict[str, Any], value: float) -> None:
    assert score(table) == pytest.approx(value)


def test_the_mean_of_the_table_is_over_the_heads_that_have_the_error() -> None:
    table = {
        "a": ENERGY | {"weight": 1.0},
        "b": ENERGY | FORCE | {"weight": 3.0, "energy_rmse_mev_per_atom": 2.0},
        "c": TYPES | {"weight": 5.0},
    }
    assert weighted(table) == {"energy_rmse_mev_per_atom": pytest.approx(4.0), "force_rmse_mev_per_angstrom": 50.0}
    assert weighted({}) == {}
    titles, rows = table_of({"heads": table, "weighted": weighted(table)})
    assert titles[:3] == ["head", "weight", "energy RMSE meV/atom"] and [row[0] for row in rows] == ["a", "b", "c", "weighted mean"]
    assert all(len(row) == len(titles) for row in rows) and rows[-1][2] == pytest.approx(4.0) and rows[2][2] is None


def test_frames_with_an_element_that_has_no_reference_are_told_apart() -> None:
    frames = labelled((3, 2))
    known = sorted({*frames.numbers[:3].tolist()})
    strange = [not set(frames.numbers[3:].tolist()) <= set(known)]
    assert has_others(frames, known).tolist() == [False, *strange] and has_others(frames, []).all()
    assert has_others(Frames.empty(), [1]).shape == (0,)
    assert reference_table({"H": -13.6, "Au": 2.0})[[1, 79, 8]].tolist() == [-13.6, 2.0, 0.0]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = {
        "pbe": {"datasets": ["one", "two"], "theory": [{"functional": "PBE"}, {"functional": None}]},
        "hse": {"datasets": []},
        "clean": {"datasets": []},
    }
    return write_model(tmp_path_factory.mktemp("model") / "model.pt", heads=TWO, about=rows)


def test_a_card_says_what_a_model_is(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = describe(model)
    assert card["elements"] == ["H", "C", "O"] and card["descriptor"] == "dpa2" and list(card["heads"]) == ["pbe", "hse", "clean"]
    assert card["values"] == sum(value.numel() for value in load(model).model.values())
    print_card(card)
    shown = capsys.readouterr().out
    for word in ("3 elements: H C O", "energy eV", "pbe", "denoise", "one, two", "PBE; unknown"):
        assert word in shown


def test_citations_are_the_model_s_paper_and_each_dataset_s_once(model: Path) -> None:
    card = describe(model)
    card["lock"]["datasets"] = {"a": {"citations": ["X", "Y"]}, "b": {"citations": ["Y", CITE["dpa2"]]}}
    assert citations(card) == [CITE["dpa2"], "X", "Y"]


def test_parameters_are_named_as_a_config_names_them(model: Path) -> None:
    found = parameters_of(model)
    assert all(name.startswith(("descriptor.", "heads.")) for name in found) and found["heads.pbe.last.weight"] == [12, 1]


@pytest.mark.parametrize(
    ("head", "dataset", "said"),
    [
        ("pbbe", None, "no head 'pbbe'; did you mean 'pbe'?"),
        (None, "water", "choose an energy/force head; --head, one of: pbe, hse, clean"),
        ("clean", "water", "choose an energy/force head"),
        ("pbe", None, "the model does not say what it was trained on; name a dataset of the store with --dataset"),
    ],
)
def test_what_cannot_be_tested_is_one_line(model: Path, head: str | None, dataset: str | None, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        what_to_test(load(model), model, head, dataset)
    assert said in str(caught.value)


def test_a_head_on_any_dataset_is_a_mixture_of_one(model: Path) -> None:
    (task,) = what_to_test(load(model), model, "hse", "water").heads
    assert (task.head, task.dataset, task.task) == ("hse", "water", "energy_force")


def picture(path: Path) -> tuple[int, int]:
    """Width and height of a PNG."""
    from matplotlib.image import imread

    height, width = imread(path).shape[:2]
    return width, height


def test_a_parity_picture_has_a_row_for_each_head_and_a_panel_for_each_quantity(tmp_path: Path) -> None:
    frames = labelled((3, 4))
    full, empty = Parity(task_kind("energy_force")), Parity(task_kind("denoise"))
    full.add(frames, off_by(frames, energy=0.1, force=0.1), references=np.zeros(256))
    full.add(frames, off_by(frames, energy=0.2, force=0.2), references=np.zeros(256))
    assert [(label, len(points)) for label, points in full.panels()] == [
        ("energy (eV/atom)", 4),
        ("force (eV/Å)", 42),
    ] and empty.panels() == []
    errors = {"dft": {"task": "energy_force"}, "relaxed": {"task": "denoise"}}
    draw_parity({"dft": full}, errors, tmp_path / "one.png")
    draw_parity({"dft": full, "relaxed": empty}, errors, tmp_path / "two.png")
    one, two = picture(tmp_path / "one.png"), picture(tmp_path / "two.png")
    assert one[0] == two[0] and two[1] == 2 * one[1]
    draw_parity({"relaxed": empty}, errors, tmp_path / "none.png")
    assert picture(tmp_path / "none.png")[0] * 2 == one[0]


def test_pictures_are_the_same_bytes_for_the_same_numbers(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(MOST_POINTS + 50, 2))
    for name in ("a.png", "b.png"):
        draw_points([("force (eV/Å)", points, points[:3]), ("energy", points[:9], points[:0])], tmp_path / name, title="t")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    draw_points([], tmp_path / "none.png", title="t")
    assert picture(tmp_path / "none.png")[0] > 0


def test_curves_are_drawn_from_rows_that_have_gaps(tmp_path: Path) -> None:
    heads = {"dft": "energy_force", "relaxed": "denoise"}
    log = MetricsFile(tmp_path / "m.csv", heads, after=0)
    for step in range(1, 5):
        log.append({"step": step, "dft.train.force_rmse_mev_per_angstrom": 10.0 / step if step != 2 else None})
    draw_curves(tmp_path / "m.csv", heads, tmp_path / "curves.png")
    MetricsFile(tmp_path / "none.csv", heads, after=0)
    draw_curves(tmp_path / "none.csv", heads, tmp_path / "none.png")
    assert picture(tmp_path / "curves.png") == picture(tmp_path / "none.png")
    assert (tmp_path / "curves.png").read_bytes() != (tmp_path / "none.png").read_bytes()


SUMMARY: dict[str, Any] = {
    "written": "out.extxyz", "frames": 1200, "atoms": 99_000, "head": "pbe", "scored": 0, "errors": {}, "by_element": {},
    "by_group": {"groups": 0, "worst": []}, "worst": {"energy": [], "force": []},
}  # fmt: skip


def test_a_prediction_without_labels_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(SUMMARY)
    assert capsys.readouterr().out.splitlines() == ["wrote out.extxyz: 1,200 frames, 99,000 atoms, head pbe", "no labels to compare with"]


def test_errors_of_all_of_elements_and_of_the_worst_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    force = {"force_rmse_mev_per_angstrom": 123.5}
    worst = [{"origin": "a.xyz#7", "atoms": 12, "energy_error_mev_per_atom": -4.25, **force}]
    groups = {"groups": 9, "worst": [{"group": "steel", "frames": 3, **force}]}
    print_summary(
        SUMMARY | {"scored": 5, "errors": force, "by_element": {"Fe": force}, "by_group": groups, "worst": {"energy": [], "force": worst}}
    )
    shown = capsys.readouterr().out
    for word in ("all", "element Fe", "group steel", "of 9 groups the worst", "worst by force", "a.xyz#7", "123", "-4.25"):
        assert word in shown
    assert "worst by energy" not in shown


def test_shifted_references_are_said_with_what_they_leave(capsys: pytest.CaptureFixture[str]) -> None:
    refit = {"shift_ev": {"H": 0.5}, "residual_rmse_mev_per_atom": 2.0, "frames": 3, "rank": 2, "collinear": ["C", "O"], "absent": ["Fe"]}
    print_summary(SUMMARY | {"refit": refit})
    shown = capsys.readouterr().out
    assert "references shifted by H +0.500000 eV, fitted to 3 frames (rank 2), leaves 2 meV/atom" in shown
    assert "no shift of their own for C, O: only in fixed proportions there" in shown and "for Fe: not there" in shown


def test_a_model_that_is_none_has_no_card(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such model"):
        describe(tmp_path / "x.pt")
