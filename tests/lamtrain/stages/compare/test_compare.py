"""Ranks are of numbers that are computed here: three models, and submissions that say, or are, something else."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.io import read

from lamdata import ingest, open_card
from lamdata.errors import ConfigErrors
from lamtrain import load_model
from lamtrain.prediction.run import predict_files
from lamtrain.prediction.source import open_source
from lamtrain.stages.compare.benchmark import Benchmark, read_benchmark
from lamtrain.stages.compare.errors import cosine_of
from lamtrain.stages.compare.exam import open_exams
from lamtrain.stages.compare.run import compare
from tests.conftest import tree
from tests.lamtrain.stages.compare.conftest import TEST, frames_in
from tests.test_errors import call

ROOT = Path(__file__).resolve().parents[4]
MAE, RMSE = "force_mae_mev_per_angstrom", "force_rmse_mev_per_angstrom"


@pytest.fixture
def doctored(board: Path, benchmark_: Benchmark, tmp_path: Path) -> Callable[..., dict[str, dict[str, Any]]]:
    """Rows by name of a comparison of fair.pt and submissions."""

    def rows(*folders: Path) -> dict[str, dict[str, Any]]:
        models = [str(board / "fair.pt"), *map(str, folders)]
        (tmp_path / "out/submissions").mkdir(parents=True)
        (tmp_path / "out/submissions/fair").symlink_to(board / "out/submissions/fair")  # predicted once for all tests
        result = compare(models, benchmark_, tmp_path / "out", where="pair.yaml", device="cpu", quiet=True)
        return {row["name"]: row for row in result["rows"]}

    return rows


def test_models_are_ranked_by_errors_that_are_those_of_their_predictions(board: Path, honest: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in honest["rows"]}
    assert [(row["rank"], row["name"]) for row in honest["rows"]] == [(1, "good"), (2, "fair"), (3, "poor")]
    assert rows["good"]["score"] < 0.2 < rows["poor"]["score"] <= 1 and all(row["complete"] for row in rows.values())
    said = read(board / "out/submissions/fair/one.extxyz", index=f"-{TEST}:")
    true = {tuple(np.round(atoms.positions[0], 6)): atoms for atoms in read(board / "one-test.xyz", index=":")}
    apart = np.concatenate([a.get_forces() - true[tuple(np.round(a.positions[0], 6))].get_forces() for a in said])
    found = rows["fair"]["tasks"]["one"]["errors"]
    assert found[MAE] == pytest.approx(1e3 * np.abs(apart).mean(), rel=1e-6)
    assert found[RMSE] == pytest.approx(1e3 * np.sqrt((apart**2).mean()), rel=1e-6)
    assert rows["fair"]["tasks"]["one"]["ratios"]["force"] == pytest.approx(found[RMSE] / honest["tasks"]["one"]["guess"][RMSE])


def test_what_is_written_says_the_same_everywhere_and_needs_no_other_file(board: Path, honest: dict[str, Any]) -> None:
    out = board / "out"
    assert json.loads((out / "compare.json").read_text()) == json.loads(json.dumps(honest))
    with open(out / "compare.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["good", "fair", "poor"]
    assert float(rows[1][f"one.{MAE}"]) == honest["rows"][1]["tasks"]["one"]["errors"][MAE]
    text = (out / "compare.html").read_text()
    assert "data:image/png;base64," in text and not re.findall(r"(?:src|href)=\"(?!data:)", text)
    assert (out / "ranks.png").stat().st_size > 10_000
    assert "energy" not in (out / "asked/one.extxyz").read_text().replace("energy_unit", "")


def test_a_second_time_nothing_is_predicted_and_no_byte_changes(
    board: Path, honest: dict[str, Any], benchmark_: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(board / "out")
    monkeypatch.setattr("lamtrain.stages.compare.entrants.predict_files", lambda *_, **__: pytest.fail("predicted again"))
    models = [str(board / f"{name}.pt") for name in ("poor", "good", "fair")]
    assert compare(models, benchmark_, board / "out", where="pair.yaml", device="cpu", quiet=True) == honest
    assert tree(board / "out") == before


def test_rows_may_change_places_and_claims_change_nothing(doctor: Callable[..., Path], doctored: Callable[..., Any]) -> None:
    claims = {"score": 0.001, "tasks": {"one": {MAE: 0.5, RMSE: 1e9}}}
    rows = doctored(doctor("turned", lambda frames: frames[::-1]), doctor("claimed", claims=claims))
    assert rows["turned"]["score"] == rows["fair"]["score"] == rows["claimed"]["score"]
    assert {row["rank"] for row in rows.values()} == {1}
    assert rows["turned"]["claims"] == [] and len(rows["claimed"]["claims"]) == 3
    assert rows["claimed"]["claims"][0].startswith("score: claims 0.001, found 0.")
    assert rows["claimed"]["notes"] == ["does not say what it was trained on"]


def test_what_is_missing_never_helps(
    board: Path, doctor: Callable[..., Path], doctored: Callable[..., Any], honest: dict[str, Any]
) -> None:
    frames = frames_in(board / "out/submissions/fair/one.extxyz")
    shown = range(len(frames) - TEST, len(frames))
    nan = re.compile(r"energy=\S+")

    def without(row: int) -> Callable[[list[str]], list[str]]:
        return lambda given: given[:row] + given[row + 1 :]

    def twice(given: list[str]) -> list[str]:
        return [*given, nan.sub("energy=3.25", given[-1], count=1)]

    def bare(given: list[str]) -> list[str]:
        return [nan.sub("", frame, count=1) for frame in given]

    def infinite(frame: str) -> str:
        *lines, last = frame.splitlines()
        species, *numbers = last.split()
        return "\n".join([*lines, " ".join([species, *numbers[:3], "inf", *numbers[4:]])]) + "\n"

    made = [doctor(f"without-{row}", without(row)) for row in shown]  # one of them is the worst of all frames
    made.append(doctor("no-references", without(0)))
    made.append(doctor("nan", lambda given: [nan.sub("energy=nan", given[0], count=1), *given[1:]]))
    made.append(doctor("infinite", lambda given: [*given[:-1], infinite(given[-1])]))
    made.append(doctor("twice", twice))
    made.append(doctor("no-energies", bare))
    made.append(doctor("none", lambda given: []))
    made.append(doctor("no-file", predictions={"one": "absent.extxyz", "two": "two.extxyz"}))
    made.append(doctor("no-task", predictions={"two": "two.extxyz"}))
    made.append(doctor("garbage", lambda given: ["\0\xff not a file\n"]))
    rows = doctored(*made)
    fair = rows.pop("fair")
    assert fair["rank"] == 1 and len(rows) == len(made)
    for name, row in rows.items():
        assert row["score"] > fair["score"] and row["rank"] > 1, name
        assert not row["complete"] and row["missing"][0].startswith("one: no "), name
        assert row["tasks"]["two"]["errors"] == fair["tasks"]["two"]["errors"], name
    for name in ("none", "no-file", "no-task", "garbage"):
        assert row["domains"]["other"] == fair["domains"]["other"] and rows[name]["domains"]["general"] == 1.0, name
    assert rows["no-references"]["tasks"]["one"]["missing"] == {"energy": 1}
    assert rows["no-references"]["tasks"]["one"]["errors"][MAE] == fair["tasks"]["one"]["errors"][MAE]
    assert any("differently" in note for note in rows["twice"]["notes"])
    assert any("not finite" in note for note in rows["nan"]["notes"])
    assert "one: not predicted" in rows["no-task"]["notes"]


def test_numbers_at_another_structure_are_predictions_of_that_one(
    doctor: Callable[..., Path], doctored: Callable[..., Any], board: Path
) -> None:
    def energies_moved(frames: list[str]) -> list[str]:
        energies = [re.search(r"energy=(\S+)", frame)[1] for frame in frames]  # type: ignore[index]
        return [re.sub(r"energy=\S+", f"energy={e}", frame, count=1) for frame, e in zip(frames, energies[-1:] + energies[:-1])]

    def moved(frames: list[str]) -> list[str]:
        return [re.sub(r"Lattice=\"(\S+)", lambda found: f'Lattice="{float(found[1]) + 0.1}', frame) for frame in frames]

    rows = doctored(doctor("swapped", energies_moved), doctor("elsewhere", moved))
    assert rows["swapped"]["score"] > rows["fair"]["score"] and rows["swapped"]["complete"]
    assert not rows["elsewhere"]["complete"] and any("none of those that were asked about" in note for note in rows["elsewhere"]["notes"])


def test_measured_frames_that_are_copies_of_training_frames_are_counted(doctor: Callable[..., Path], doctored: Callable[..., Any]) -> None:
    both = [{"dataset": "one"}, {"dataset": "two"}, {"dataset": "of-a-store-that-is-not-here"}]
    rows = doctored(doctor("open", trained_on=both), doctor("by-hash", trained_on=[{"dataset": "x", "content_hash": "0" * 64}]))
    assert rows["open"]["seen"] == {"one": 1, "two": 0}
    assert any(note.startswith("of-a-store-that-is-not-here, on which it was trained, is not in") for note in rows["open"]["notes"])
    assert "trained on the training frames of one, two" in rows["open"]["notes"]
    assert rows["by-hash"]["seen"] is None and rows["fair"]["seen"] is None


def test_a_store_of_predictions_is_as_good_as_a_file(
    board: Path, doctor: Callable[..., Path], doctored: Callable[..., Any], honest: dict[str, Any]
) -> None:
    folder = doctor("stored", predictions={"one": "one.zarr", "two": "two.extxyz"})
    source = open_source([str(board / "out/asked/one.extxyz")], dataset=None, split=None, format="auto", quiet=True)
    predict_files(load_model(board / "fair.pt", device="cpu"), source, folder / "one.zarr")
    rows = doctored(folder)
    assert rows["stored"]["complete"] and rows["stored"]["score"] == pytest.approx(rows["fair"]["score"], rel=1e-6)


def test_a_submission_is_data_inside_its_folder(doctor: Callable[..., Path], doctored: Callable[..., Any], tmp_path: Path) -> None:
    link = doctor("link")
    (link / "one.extxyz").unlink()
    (link / "one.extxyz").symlink_to(doctor("target") / "one.extxyz")
    large = doctor("large", lambda frames: [*frames, "\n" * (4 << 20)])
    packed = doctor("packed")
    (packed / "one.extxyz").write_bytes(gzip.compress((packed / "one.extxyz").read_bytes()))
    rows = doctored(link, large, packed)
    assert any("is compressed" in note for note in rows["packed"]["notes"]) and not rows["packed"]["complete"]
    assert any("is a link" in note for note in rows["link"]["notes"]) and any("at most" in note for note in rows["large"]["notes"])
    assert not rows["link"]["complete"] and not rows["large"]["complete"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"predictions": {"one": "../../etc/passwd.extxyz"}}, "a path below the folder"),
        ({"predictions": {"one": "/etc/passwd.extxyz"}}, "a path below the folder"),
        ({"predictions": {"one": "one.pkl"}}, "extended XYZ or a store"),
        ({"predictions": {"three": "one.extxyz"}}, "the benchmark has no task 'three'"),
        ({"claims": {"tasks": {"one": {"force_mea_mev_per_angstrom": 1.0}}}}, "did you mean 'force_mae_mev_per_angstrom'"),
        ({"submission": "../other"}, "submission"),
        ({"score": 0.1}, "unknown key 'score'"),
        ({"submission": "fair"}, "is called fair, as"),
    ],
)
def test_a_description_that_is_wrong_is_refused_with_its_place(
    board: Path, doctor: Callable[..., Path], benchmark_: Benchmark, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    folder = doctor("wrong", **change)
    with pytest.raises(ConfigErrors, match=re.escape(words)):
        compare([str(board / "fair.pt"), str(folder)], benchmark_, tmp_path / "out", where="pair.yaml", device="cpu", quiet=True)
    assert not (tmp_path / "out").exists()


def test_a_description_with_a_tag_is_no_description(
    board: Path, doctor: Callable[..., Path], benchmark_: Benchmark, tmp_path: Path
) -> None:
    folder = doctor("tagged")
    (folder / "submission.yaml").write_text('submission: !!python/object/apply:os.system ["true"]\n')
    with pytest.raises(ConfigErrors, match="submission.yaml:1:13: tag .* is not allowed"):
        compare([str(folder)], benchmark_, tmp_path / "out", where="pair.yaml", quiet=True)


def test_frames_that_are_fixed_are_those_or_none(
    board: Path, honest: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (board / "pair.yaml").read_text()
    right = text.replace("dataset: one,", f"dataset: one, contents: {honest['tasks']['one']['contents']},")
    for name, content, expected in (("right", right, 0), ("other", right.replace("fitted: 8}", "fitted: 7}"), 2)):
        (board / f"{name}.yaml").write_text(content)
        folder = board / f"asked-{name}"
        code, out, lines = call(
            "lamtrain", "compare", "--on", str(board / f"{name}.yaml"), "-o", str(folder), capsys=capsys, monkeypatch=monkeypatch
        )
        assert code == expected, lines
        if code == 0:
            assert "structures of 2 tasks to predict" in out and frames_in(folder / "asked/one.extxyz")
            assert [line for line in lines if "note: one" in line] == [] and any("note: two: nothing fixes its frames" in x for x in lines)
        else:
            assert "task one: dataset one of" in lines[0] and "holds other frames" in lines[0] and len(lines) == 1


def test_the_command_prints_its_tables_and_what_must_be_known(
    board: Path, doctor: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = doctor("boast", lambda frames: frames[:-1], claims={"score": 0.0})
    args = ("compare", str(folder), "--on", str(board / "pair.yaml"), "-o", str(tmp_path / "out"), "--device", "cpu")
    code, out, lines = call("lamtrain", *args, capsys=capsys, monkeypatch=monkeypatch)
    assert code == 0 and "boast" in out and "incomplete" in out and "the guess" in out
    assert "note: boast: claim: score: claims 0, found" in "".join(lines)
    assert any(line.startswith("note: boast: one: no energy of 1, force of 1, virial of 1 of") for line in lines)


def test_a_cosine_is_of_forces_that_have_a_direction() -> None:
    true = np.array([[1.0, 0, 0], [0, 2.0, 0], [1e-3, 0, 0], [0, 0, 1.0]])
    said = np.array([[3.0, 0, 0], [0, -1.0, 0], [-1.0, 0, 0], [0, 0, 0]])
    assert cosine_of(true, said) == pytest.approx((1 - 1 + 0) / 3) and cosine_of(true[2:3], said[2:3]) is None


@pytest.mark.parametrize("name", ["mlearn", "open-mini"])
def test_the_benchmarks_of_the_catalog_are_fixed_and_of_its_datasets(name: str) -> None:
    benchmark = read_benchmark(ROOT / f"catalogs/benchmarks/{name}.yaml")
    cards = {path.stem for path in (ROOT / "catalogs/open-mini/cards").glob("*.yaml")}
    assert benchmark.benchmark == name and {task.dataset for task in benchmark.tasks} <= cards
    assert all(task.contents for task in benchmark.tasks)


@pytest.mark.slow(reason="ingests 40,000 frames: a minute")
@pytest.mark.skipif(not (ROOT.parent / "shared/datasets").is_dir(), reason="the public files are not here")
def test_the_frames_that_the_catalog_fixes_are_those_of_the_public_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPEN_MINI", str(ROOT.parent / "shared/datasets"))
    benchmarks = {name: ROOT / f"catalogs/benchmarks/{name}.yaml" for name in ("mlearn", "open-mini")}
    names = {task.dataset for path in benchmarks.values() for task in read_benchmark(path).tasks}
    for card in sorted((ROOT / "catalogs/open-mini/cards").glob("*.yaml")):
        if card.stem in names:
            ingest(open_card(card), str(tmp_path / "store.zarr"), base=card.parent, quiet=True)
    for name, path in benchmarks.items():
        exams = open_exams(read_benchmark(path), where=str(path), store=str(tmp_path / "store.zarr"))
        assert len(exams) == {"mlearn": 4, "open-mini": 21}[name]
