"""Training: the same run whether it is stopped or not, and every quantity where it should be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lamdata.errors import ConfigError, DataError, SetupError
from lamtrain.checkpoint import load, save
from lamtrain.config import TrainConfig, read_config
from lamtrain.evaluation.report import test_model as measure
from lamtrain.runlog import read_metrics
from lamtrain.training.observers import Look
from lamtrain.training.products import set_products
from lamtrain.training.state import TrainState
from lamtrain.training.trainer import train


def config_of(small: Path, *overrides: str) -> TrainConfig:
    return read_config(small / "train.yaml", overrides=list(overrides))


def run(small: Path, out: Path, *overrides: str, **options) -> Path:
    return train(config_of(small, *overrides), out=out, device="cpu", quiet=True, **options)


@pytest.fixture(scope="module")
def whole(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(small, tmp_path_factory.mktemp("whole") / "run")


def same_weights(a: Path, b: Path) -> bool:
    one, two = load(a / "last.pt"), load(b / "last.pt")
    return all(torch.equal(one.model[name], two.model[name]) for name in one.model) and one.position == two.position


def test_a_run_leaves_all_its_files(whole: Path) -> None:
    assert {p.name for p in whole.iterdir()} == {"config.yaml", "catalog.lock", "metrics.csv", "last.pt", "best.pt", "checkpoints"}
    lock = json.loads((whole / "catalog.lock").read_text())
    assert set(lock["datasets"]) == {"bulk", "cluster", "crystals"}
    assert lock["datasets"]["bulk"]["license"] == "CC0-1.0"


def test_a_run_in_parts_is_the_same_run(small: Path, tmp_path: Path) -> None:
    """`at_once` says how a step fits into memory, not what is trained: a run may go on with another."""
    exact = ("precision=float64", "steps=4", "log_every=1", "validation.every=4", "checkpoint_every=2")
    run(small, tmp_path / "whole", *exact)
    run(small, tmp_path / "parts", *exact, "batch={frames: 4, at_once: 9}")
    assert read_metrics(tmp_path / "parts/metrics.csv") != read_metrics(tmp_path / "whole/metrics.csv"), "nothing was done in parts"
    for one, two in zip(*(read_metrics(tmp_path / name / "metrics.csv") for name in ("whole", "parts")), strict=True):
        assert {name: value == "" for name, value in one.items()} == {name: value == "" for name, value in two.items()}
        assert {k: float(v) for k, v in two.items() if v} == pytest.approx({k: float(v) for k, v in one.items() if v}, rel=1e-8)
    run(small, tmp_path / "parts", *exact, "batch={frames: 4, at_once: 30}")


def test_a_run_fed_by_several_threads_is_the_same_run(small: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamtrain.training.trainer.feeding_threads", lambda device, **_: 4)
    assert same_weights(run(small, tmp_path / "run"), whole)


@pytest.fixture
def products():
    yield
    set_products("ieee", torch.device("cpu"))


def test_rounded_products_train_close_to_exact_ones(small: Path, tmp_path: Path, products) -> None:
    try:
        set_products("bf16", torch.device("cpu"))
    except SetupError:
        pytest.skip("this CPU has no bfloat16 products")
    short = ("steps=2", "log_every=1", "validation.every=2", "checkpoint_every=2")
    exact, rounded = run(small, tmp_path / "exact", *short), run(small, tmp_path / "rounded", *short, "matmul=bf16")
    a, b = (float(read_metrics(path / "metrics.csv")[0]["loss"]) for path in (exact, rounded))
    assert a != b and b == pytest.approx(a, rel=0.05)


def test_products_that_the_device_has_no_units_for_are_an_error(small: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="this CPU has no tf32 products"):
        run(small, tmp_path / "run", "matmul=tf32")


def test_rounded_products_of_float64_are_a_config_error(small: Path) -> None:
    with pytest.raises(ConfigError, match="precision is float64"):
        config_of(small, "precision=float64", "matmul=bf16")


@pytest.mark.parametrize("stop", [1, 3, 5, 7, 11])
def test_a_run_stopped_after_any_step_ends_the_same_to_the_last_bit(
    small: Path, whole: Path, tmp_path: Path, stop: int, monkeypatch
) -> None:
    import lamtrain.training.step as trainer

    real, done = trainer.train_step, []

    def dying(state, batch, **options):
        if len(done) == stop:
            raise RuntimeError("killed")
        done.append(1)
        return real(state, batch, **options)

    monkeypatch.setattr(trainer, "train_step", dying)
    with pytest.raises(RuntimeError, match="killed"):
        run(small, tmp_path / "run")
    monkeypatch.setattr(trainer, "train_step", real)
    run(small, tmp_path / "run")
    assert (tmp_path / "run/metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    assert same_weights(tmp_path / "run", whole)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_run_killed_beside_any_of_its_looks_ends_the_same(small: Path, whole: Path, tmp_path: Path, when: str, monkeypatch) -> None:
    """Also beside the last, where all steps are done and saved and none may be taken any more."""
    real, dies_at = Look.look, {int(row["step"]) for row in read_metrics(whole / "metrics.csv")}
    assert max(dies_at) == 12, "the last step has a look"

    def dying(look: Look, state: TrainState, row: dict) -> None:
        due = state.step in dies_at
        dies_at.discard(state.step)
        if not (due and when == "before"):
            real(look, state, row)
        if due:
            look.checkpoints.finish()
            raise RuntimeError("killed")

    monkeypatch.setattr(Look, "look", dying)
    while dies_at:
        with pytest.raises(RuntimeError, match="killed"):
            run(small, tmp_path / "run")
    run(small, tmp_path / "run")
    assert (tmp_path / "run/metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    assert same_weights(tmp_path / "run", whole)
    assert load(tmp_path / "run/last.pt").step == load(whole / "last.pt").step == 12


def test_a_finished_run_is_left_alone(small: Path, whole: Path) -> None:
    before = (whole / "last.pt").stat().st_mtime_ns
    run(small, whole)
    assert (whole / "last.pt").stat().st_mtime_ns == before


def test_another_config_does_not_go_on_with_the_run(small: Path, whole: Path) -> None:
    with pytest.raises(ConfigError, match="another `seed`"):
        run(small, whole, "seed=5")


def test_a_run_from_before_a_key_existed_goes_on(small: Path, tmp_path: Path) -> None:
    short = ("steps=2", "checkpoint_every=2", "validation.every=2")
    path = run(small, tmp_path / "run", *short) / "last.pt"
    old = load(path)
    save(replace(old, train_config={k: v for k, v in old.train_config.items() if k != "matmul"}), path)
    run(small, tmp_path / "run", *short)
    with pytest.raises(ConfigError, match="`clip_norm`"):
        run(small, tmp_path / "run", *short, "clip_norm=1.0")


def test_another_store_does_not_go_on_with_the_run(small: Path, whole: Path, tmp_path: Path) -> None:
    from tests.conftest import ingest_all, write_catalog

    other = write_catalog(tmp_path, groups=4, frames=5)
    ingest_all(other, other / "small.zarr")
    with pytest.raises(ConfigError, match="content of head `bulk/bulk`"):
        run(small, whole, f"store={other / 'small.zarr'}")


def test_a_store_without_a_dataset_names_the_command_that_brings_it(small: Path, tmp_path: Path) -> None:
    from lamdata import ingest, open_card

    ingest(open_card(small / "bulk.yaml"), str(tmp_path / "s.zarr"), base=small, quiet=True)
    with pytest.raises(ConfigError, match="lamdata ingest .*cluster.yaml"):
        run(small, tmp_path / "run", f"store={tmp_path / 's.zarr'}")
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_knows_what_it_was_trained_on(whole: Path) -> None:
    checkpoint = load(whole / "best.pt")
    assert checkpoint.heads["bulk"]["theory"][0]["functional"] == "EMT"
    assert checkpoint.heads["bulk"]["references"]["energies"].keys() == {"Al", "Cu"}
    assert checkpoint.units["energy"] == "eV"
    model = checkpoint.build()
    cu = checkpoint.model_config["elements"].index("Cu")
    assert model.heads["bulk"].bias[cu].item() == pytest.approx(checkpoint.heads["bulk"]["references"]["energies"]["Cu"])


def test_the_table_has_every_head_and_every_number(small: Path, whole: Path, tmp_path: Path) -> None:
    result = measure(whole / "best.pt", str(small / "small.zarr"), output=tmp_path, quiet=True)
    assert json.loads((tmp_path / "test.json").read_text()) == result
    energy = {
        "task",
        "weight",
        "energy_rmse_mev_per_atom",
        "energy_std_mev_per_atom",
        "force_rmse_mev_per_angstrom",
        "force_std_mev_per_angstrom",
    }
    denoise = {
        "task",
        "weight",
        "displacement_rmse_angstrom",
        "displacement_zero_rmse_angstrom",
        "type_cross_entropy",
        "type_frequency_entropy",
        "type_accuracy",
    }
    assert energy <= set(result["heads"]["bulk"]) and not denoise - {"task", "weight"} & set(result["heads"]["bulk"])
    assert denoise <= set(result["heads"]["crystals"]) and not energy - {"task", "weight"} & set(result["heads"]["crystals"])
    rows = [result["heads"][name] for name in ("bulk", "cluster")]
    mean = sum(r["weight"] * r["force_rmse_mev_per_angstrom"] for r in rows) / 3.0
    assert result["weighted"]["force_rmse_mev_per_angstrom"] == pytest.approx(mean)
    assert (tmp_path / "parity.png").stat().st_size > 1000 and (tmp_path / "curves.png").exists()


def test_a_damaged_checkpoint_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(DataError, match="not a checkpoint"):
        load(tmp_path / "x.pt")


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    import os
    import pickle

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'owned'}",)

    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"format": 1, "model_config": Evil()}))
    with pytest.raises(DataError, match="not a checkpoint"):
        load(tmp_path / "evil.pt")
    assert not (tmp_path / "owned").exists()


def test_a_run_leaves_the_arithmetic_of_the_process_as_it_was(small: Path, tmp_path: Path) -> None:
    """A tree of SciPy, built where numbers next to zero are zero, overflows the stack."""
    run(small, tmp_path / "run", "steps=1", "threads=1")
    assert torch.tensor([1e-310], dtype=torch.float64).mul(0.5).item() > 0.0
    assert not torch.are_deterministic_algorithms_enabled()
