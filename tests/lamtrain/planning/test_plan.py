"""`lamtrain plan`: what a run would do, with no run begun: shares, a step's cost from real ones, ranks that are not there, a picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lamdata.errors import ConfigError
from lamtrain.config import read_config
from lamtrain.data.mixture import open_training_data
from lamtrain.planning import plan as module
from lamtrain.planning.plan import Step, frames_a_step, make_plan
from lamtrain.planning.shares import share_out
from lamtrain.planning.shown import hours_of, size_of
from lamtrain.planning.survey import Survey, first_atoms, imbalance, mixed, survey
from lamtrain.planning.trial import Costs, features, fit
from tests.conftest import tree
from tests.test_errors import call

Called = tuple[int, str, list[str]]


@pytest.fixture
def lamtrain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Called]:
    return lambda *args: call("lamtrain", *map(str, args), capsys=capsys, monkeypatch=monkeypatch)


@pytest.fixture(scope="module")
def plan(small: Path) -> dict:
    return make_plan(read_config(small / "train.yaml", overrides=["steps=5000"]), device="cpu", quiet=True)


@pytest.fixture(scope="module")
def surveys(small: Path) -> list[Survey]:
    config = read_config(small / "train.yaml")
    data = open_training_data(config.mixture, config.store)
    resolved = config.model.resolve(elements=data.elements, heads=data.heads, precision="float32")
    return survey(data, resolved, seed=1)


def step(small: Path, surveys: list[Survey], *changes: str, ranks: int = 1) -> Step:
    config = read_config(small / "train.yaml", overrides=list(changes))
    data = open_training_data(config.mixture, config.store)
    tasks = [task.spec for task in data.tasks]
    shares = share_out(tasks, draws=1.0, counts={t.spec.dataset: (len(t.train), "") for t in data.tasks}, runs=config.runs(data.heads))
    return Step.of(config, surveys, shares, frames=frames_a_step(config, tasks, [known.atoms for known in surveys]), ranks=ranks)


def test_shares_are_those_of_the_mixture_and_the_store(plan: dict, small: Path) -> None:
    data = open_training_data(small / "mixture.yaml", str(small / "small.zarr"))
    for row, task in zip(plan["heads"], data.tasks, strict=True):
        assert row["frames"] == len(task.train) and row["probability"] == task.spec.weight / 4
        assert row["draws"] == 5000 * 4 * row["probability"] and row["epochs"] == row["draws"] / row["frames"]
        assert row["frames_a_step"] == 4 * row["probability"]
        assert row["atoms_a_step"] == pytest.approx(row["frames_a_step"] * task.train.natoms.mean())


def test_a_plan_says_time_memory_and_bytes(plan: dict, small: Path) -> None:
    assert plan["seconds_a_step"] > 0 and plan["hours"] == pytest.approx(5000 * plan["seconds_a_step"] / 3600)
    assert plan["device_hours"] == plan["hours"] and plan["real_steps"] >= 3
    assert plan["peak_bytes"] > 50e6  # of the whole process
    stored = [task.train.stored_bytes for task in open_training_data(small / "mixture.yaml", str(small / "small.zarr")).tasks]
    assert plan["bytes_read"] == sum(stored)  # few blocks: each dataset is read once


def test_stored_bytes_are_those_of_the_arrays_that_training_reads(small: Path) -> None:
    dataset = open_training_data(small / "mixture.yaml", str(small / "small.zarr")).tasks[0].train
    (segment,) = dataset.segments
    folder = small / "small.zarr" / segment.entry.path
    arrays = {path.name: sum(f.stat().st_size for f in path.rglob("*") if f.is_file()) for path in folder.iterdir() if path.is_dir()}
    left_out = {name: size for name, size in arrays.items() if name in ("group", "origin", "atom_start") or name.startswith("block_")}
    assert dataset.stored_bytes == sum(arrays.values()) - sum(left_out.values()) and left_out.keys() >= {"group", "origin"}


def test_a_plan_is_plain_json_and_nothing_is_written(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lamtrain) -> None:
    monkeypatch.chdir(tmp_path)
    before = tree(small)
    code, out, _ = lamtrain("plan", small / "train.yaml", "--json", "--no-trial", "--device", "cpu")
    assert code == 0 and set(json.loads(out)) == {
        "train", "steps", "ranks", "frames_a_step", "atoms_a_step", "heads", "bytes_read", "notes"
    }  # fmt: skip
    assert not list(tmp_path.iterdir()) and tree(small) == before


def test_a_plan_on_a_terminal_is_a_table_with_the_run_below_it(small: Path, tmp_path: Path, lamtrain) -> None:
    code, out, _ = lamtrain("plan", small / "train.yaml", "-o", tmp_path / "new" / "plan.png", "--device", "cpu", "--quiet")
    assert code == 0 and "effective epochs" in out and "a step: " in out and "device-hours" in out and "peak memory: " in out
    assert (tmp_path / "new" / "plan.png").read_bytes().startswith(b"\x89PNG")


def test_a_thousand_ranks_are_planned_by_one(small: Path) -> None:
    config = read_config(small / "train.yaml", overrides=["batch.frames=4096"])
    made = make_plan(config, ranks=1024, device="cpu", quiet=True)
    assert made["ranks"] == 1024 and made["device_hours"] == pytest.approx(1024 * made["hours"])
    assert 1.0 < made["imbalance"] < 1.1  # four frames each, of 3 to 8 atoms
    assert made["gradient_bytes"] > 4 * 10_000


def test_a_batch_that_ranks_cannot_share_is_refused_as_training_would(small: Path, lamtrain) -> None:
    code, _, lines = lamtrain("plan", small / "train.yaml", "--ranks", "1024")
    assert code == 2 and "a batch of 4 frames cannot be shared by 1024 ranks; --set batch.frames=1024, or fewer ranks" in lines[-1]
    with pytest.raises(ConfigError, match="a batch of 30 atoms, about . frames, cannot be shared"):
        make_plan(read_config(small / "train.yaml", overrides=["batch={atoms: 30}"]), ranks=64, device="cpu", trial=False)


def test_batches_of_atoms_have_as_many_frames_as_fit(small: Path, surveys: list[Survey]) -> None:
    mean = float(np.dot([0.5, 0.25, 0.25], [known.atoms for known in surveys]))
    planned = step(small, surveys, "batch={atoms: 60}")
    assert planned.atoms == pytest.approx(60) and planned.frames == pytest.approx(60 / mean) and planned.fullest == 1.0


@pytest.mark.parametrize(
    ("changes", "frames", "probabilities"),
    [
        (["step={heads: one}"], 4.0, [0.5, 0.25, 0.25]),
        (["step={heads: one, draws: 4}"], 4.0, [0.5, 0.25, 0.25]),
        (["step={heads: one}", "heads={bulk: {frames: 2}}"], 3.0, [2 / 6, 2 / 6, 2 / 6]),  # half of the steps have two frames
        (["step={clip: per_head}"], 4.0, [0.5, 0.25, 0.25]),
    ],
)
def test_each_kind_of_step_is_planned_as_it_is_drawn(small: Path, changes: list[str], frames: float, probabilities: list[float]) -> None:
    plan = make_plan(read_config(small / "train.yaml", overrides=["steps=100", *changes]), device="cpu", quiet=True)
    assert plan["frames_a_step"] == frames and plan["seconds_a_step"] > 0
    assert [row["probability"] for row in plan["heads"]] == pytest.approx(probabilities)
    assert [row["draws"] for row in plan["heads"]] == pytest.approx([100 * frames * share for share in probabilities])


def test_without_a_store_shares_are_those_of_the_cards(small: Path, lamtrain) -> None:
    catalog = Path(__file__).resolve().parents[3] / "catalogs" / "openlam-2024q0"
    code, out, _ = lamtrain("plan", catalog / "train-18.yaml", "--json")
    made = json.loads(out)
    assert code == 0 and "seconds_a_step" not in made
    assert {row["name"]: round(row["epochs"], 1) for row in made["heads"] if row["name"] in ("OC2M", "FerroEle")} == {
        "OC2M": 0.6,
        "FerroEle": 87.0,
    }
    assert "time and memory are not known" in made["notes"][-1]
    with pytest.raises(ConfigError, match="needs the store"):
        make_plan(read_config(catalog / "train-18.yaml", overrides=["batch={atoms: 100}"]))


def test_lost_neighbours_are_named(small: Path) -> None:
    few = ["model.descriptor.repinit.nsel=60", "model.descriptor.repinit.three_body_sel=30", "model.descriptor.repformer.nsel=10"]
    made = make_plan(read_config(small / "train.yaml", overrides=few), device="cpu", trial=False)
    (bulk, cluster, _) = made["heads"]
    assert bulk["truncated"]["repformer"] == 1.0 and bulk["neighbors"]["repformer"] == 10
    assert cluster["neighbors"]["repinit"] < 6
    assert any(line.startswith("bulk: atoms lose their farthest neighbours (") and "repformer" in line for line in made["notes"])


def test_neighbours_kept_and_lost_are_those_of_the_lists(surveys: list[Survey]) -> None:
    for known in surveys:
        assert known.neighbors["repinit"] >= known.neighbors["three_body"] >= known.neighbors["repformer"] > 0
        assert set(known.truncated.values()) <= {0.0} or max(known.truncated.values()) <= 1.0


def test_frames_of_a_kind_are_known_by_their_heads(surveys: list[Survey]) -> None:
    assert [known.has_forces for known in surveys] == [True, True, False]
    assert [set(known.frames.head.tolist()) for known in surveys] == [{0}, {1}, {2}]
    assert surveys[2].frames.noise is not None and surveys[0].frames.noise is None


@pytest.mark.parametrize("atoms", [1, 10, 100])
def test_first_atoms_are_whole_frames_and_at_least_one(surveys: list[Survey], atoms: int) -> None:
    some = first_atoms(surveys[0].frames, atoms)
    assert len(some) >= 1 and (int(some.natoms.sum()) <= atoms or len(some) == 1)


def test_a_mix_has_its_shares(surveys: list[Survey]) -> None:
    frames = mixed(surveys, np.array([0.5, 0.0, 0.5]), atoms=2000, seed=0)
    share = np.bincount(frames.head, minlength=3) / len(frames)
    assert share[1] == 0 and share[0] == pytest.approx(0.5, abs=0.1) and 1990 <= frames.natoms.sum() <= 2000


@pytest.mark.parametrize(("frames", "ranks", "low", "high"), [(1024, 2, 1.0, 1.1), (8, 8, 1.1, 3.0)])
def test_few_frames_a_rank_are_dealt_unevenly(surveys: list[Survey], frames: int, ranks: int, low: float, high: float) -> None:
    assert low <= imbalance(surveys, np.array([0.5, 0.25, 0.25]), frames=frames, ranks=ranks) <= high


def test_a_step_in_parts_holds_a_part_only(small: Path, surveys: list[Survey]) -> None:
    assert step(small, surveys, "batch={frames: 400, at_once: 20}").at_once == 20
    assert step(small, surveys, "batch={frames: 2}").fullest > step(small, surveys, "batch={frames: 400}").fullest > 1.0


def test_a_gpu_that_is_too_small_is_named_with_the_atoms_that_fit(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = read_config(small / "train.yaml", overrides=["batch={frames: 16}"])
    monkeypatch.setattr(module, "memory_of", lambda device: 1_000_000)
    monkeypatch.setattr(
        module,
        "measure",
        lambda *_, **__: Costs(time=np.ones(7), memory=np.array([1e5, 1e5, 0, 0, 1e5, 0, 0]), collate=0.0, steps=1, worst=0.0),
    )
    plan = make_plan(config, device="cpu", quiet=True)
    assert plan["device_bytes"] == 1_000_000 and plan["atoms_that_fit"] == 8  # (0.9 - 0.1) MB for 0.1 MB an atom
    assert plan["notes"][-1].endswith("set batch.at_once to 8 atoms or fewer")
    monkeypatch.setattr(module, "memory_of", lambda device: 10**9)
    assert not any("at_once" in note for note in make_plan(config, device="cpu", quiet=True)["notes"])


def test_a_fit_finds_the_costs_that_made_the_numbers() -> None:
    rng = np.random.default_rng(0)
    rows = np.column_stack([np.ones(12), *(rng.integers(1, 2000, 12).astype(float) for _ in range(6))])
    true = np.array([0.02, 1e-4, 2e-6, 5e-6, 3e-5, 0.0, 1e-6])
    assert fit(rows, rows @ true) == pytest.approx(true, rel=1e-6, abs=1e-12)


def test_a_fit_never_says_that_more_atoms_cost_less() -> None:
    rows = np.array([[1.0, a, 0, 0, 0, 0, 0] for a in (10, 20, 40)])
    assert (fit(rows, np.array([3.0, 2.0, 1.0])) >= 0).all()


def test_features_count_rows_and_slots_of_each_kind(small: Path, surveys: list[Survey]) -> None:
    from lamtrain.data.batch import collate

    config = read_config(small / "train.yaml")
    data = open_training_data(config.mixture, config.store)
    resolved = config.model.resolve(elements=data.elements, heads=data.heads, precision="float32")
    row = features([collate(first_atoms(known.frames, 40), resolved, dtype=torch.float32) for known in surveys])
    atoms = [int(first_atoms(known.frames, 40).natoms.sum()) for known in surveys]
    assert row[0] == 1 and row[1] == atoms[0] + atoms[1] and row[4] == atoms[2]
    assert row[2] >= row[3] > 0 and row[5] >= row[6] > 0


def test_costs_are_sums_over_features() -> None:
    costs = Costs(time=np.arange(7.0), memory=np.ones(7), collate=0.0, steps=3, worst=0.0)
    assert costs.seconds(np.ones(7)) == 21 and costs.peak(np.ones(7)) == 7


@pytest.mark.parametrize(("hours", "said"), [(0.001, "4 s"), (0.5, "30 min"), (12.34, "12.3 h"), (5000, "5,000.0 h")])
def test_times_are_said_as_people_say_them(hours: float, said: str) -> None:
    assert hours_of(hours) == said


@pytest.mark.parametrize(("count", "said"), [(12, "12 B"), (3.2e7, "32 MB"), (6.5e9, "6.5 GB"), (4.2e15, "4.2e+03 TB")])
def test_sizes_are_said_in_their_unit(count: float, said: str) -> None:
    assert size_of(count) == said
