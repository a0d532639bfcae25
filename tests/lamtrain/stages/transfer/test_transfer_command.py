"""`lamtrain transfer`: a real comparison in seconds, what it leaves, and that nothing is done twice."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ase.build import bulk
from ase.io import write

from lamdata.progress import Progress
from lamtrain.checkpoint import load
from lamtrain.stages.transfer.curves import taken
from lamtrain.training.stop import Interrupted
from tests import kill
from tests.conftest import command, tree
from tests.lamtrain.evaluation.test_held_out import Called, bring, command_in, write_metal

FORCE = "force_rmse_mev_per_angstrom"
ASKED = (
    "transfer",
    "model.pt",
    "--to",
    "metals.zarr",
    "mine",
    "--sizes",
    "3,6",
    "--seeds",
    "1",
    "--steps",
    "2",
    "--most-steps",
    "4",
    "--threads",
    "1",
)
LITTLE = (*ASKED, "--sizes", "3")  # of which the last count


@pytest.fixture
def lamtrain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, away: Path) -> Callable[..., Called]:
    return command_in(away, capsys, monkeypatch)


@pytest.fixture
def done(away: Path, lamtrain: Callable[..., Called]) -> Path:
    """The folder of a transfer, the same for all tests."""
    if not (away / "out/transfer.json").exists():
        assert lamtrain(*ASKED, "-o", "out")[0] == 0
    return away / "out"


def _rows(folder: Path) -> list[dict]:
    return json.loads((folder / "transfer.json").read_text())["datasets"]["mine"]["curves"]


def weights(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {str(path.relative_to(folder)): load(path).model for path in sorted(folder.rglob("last.pt"))}


def test_both_arms_are_run_on_every_part_and_what_is_found_is_written(away: Path, done: Path) -> None:
    found = json.loads((done / "transfer.json").read_text())["datasets"]["mine"]
    assert found["head"] == "bulk" and found["why"].startswith("knows Cu") and len(found["notes"]) == 1
    assert found["notes"][0].startswith("labels are of another theory than head bulk: dispersion: none against unknown")
    rows = found["curves"]
    assert [(row["frames"], row["seed"], row["arm"]) for row in rows] == [
        (size, seed, arm) for size in (3, 6) for seed in (0,) for arm in ("fine-tuned", "scratch")
    ]
    for row in rows:
        assert [run["steps"] for run in row["runs"]] == [2, 4] and not row["converged"]
        validation = [run["validation"] for run in row["runs"]]
        assert row["chosen"] == validation.index(min(validation))
        for run in row["runs"]:
            checkpoint = load(done / run["run"] / "last.pt")
            assert (
                checkpoint.step == run["steps"]
                and checkpoint.lock["datasets"][f"mine-n{row['frames']}-s{row['seed']}"]["train_frames"] == row["frames"]
            )
            assert ("start" in checkpoint.heads["mine"]) == (row["arm"] == "fine-tuned")
            guess = found["zero_shot"]["held_in"]["guess"][FORCE]
            assert run["over_guess"]["force"] == pytest.approx(run["errors"][FORCE] / guess) and run["errors"]["frames"] == 6
    assert (done / "mine/curves.png").stat().st_size > 20_000
    page = (done / "transfer.md").read_text()
    assert "as LAMBench" in page and "![mine: curves.png](mine/curves.png)" in page and "| 6 | 1 |" in page


def test_the_config_of_a_run_is_one_that_train_takes(done: Path, lamtrain: Callable[..., Called]) -> None:
    folder = done / "mine/n6-s0"
    before = load(folder / "fine-tuned-4/last.pt")
    code, _, notes = lamtrain("train", str(folder / "fine-tuned-4.yaml"), "--runs", str(folder))
    after = load(folder / "fine-tuned-4/last.pt")  # with a sketch of its training, which the command adds
    assert (code, notes, after.step) == (0, [], before.step)
    assert all(torch.equal(before.model[name], after.model[name]) for name in before.model)


def test_what_is_done_is_not_done_again_and_more_can_be_asked_for(
    done: Path, lamtrain: Callable[..., Called], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, said = tree(done / "mine"), (done / "transfer.json").read_bytes()
    with monkeypatch.context() as nothing:
        nothing.setattr("lamtrain.stages.transfer.ladder.train", lambda *_, **__: pytest.fail("trained again"))
        code, out, _ = lamtrain(*ASKED, "-o", "out", "--json")
    assert code == 0 and json.loads(out) == json.loads(said) and (done / "transfer.json").read_bytes() == said
    assert {name: data for name, data in tree(done / "mine").items() if "curves" not in name} == {
        name: data for name, data in before.items() if "curves" not in name
    }
    shutil.copytree(done, done.parent / "more", dirs_exist_ok=True)
    assert lamtrain(*ASKED, "-o", "more", "--sizes", "3", "--seeds", "2")[0] == 0
    new = weights(done.parent / "more").keys() - weights(done).keys()
    assert new == {f"mine/n3-s1/{arm}-{steps}/last.pt" for arm in ("fine-tuned", "scratch") for steps in (2, 4)}
    runs = taken(_rows(done.parent / "more"), arm="scratch", when="equal")[3]
    assert len(runs) == 2 and runs[0]["errors"] != runs[1]["errors"] and runs[0] == taken(_rows(done), arm="scratch", when="equal")[3][0]


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (("--steps", "3"), 2, "out/mine: it holds runs with another steps; choose another folder with -o, or remove this one"),
        (("--set", "batch.frames=2"), 2, "it holds runs with another set"),
        (("--set", "seed=4"), 2, "--set seed=4: `seed` is what is compared"),
        (("--set", "batch.frmes=2", "-o", "wrong"), 2, "unknown key 'frmes'; did you mean 'frames'?"),
        (("--sizes", "3,x"), 2, "--sizes: '3,x' are no numbers of frames; as 10,30,100"),
        (("--sizes", "500", "-o", "wrong"), 2, "--sizes: dataset mine has 18 training frames, not 500"),
        (("--head", "blk"), 2, "no head 'blk'; did you mean 'bulk'?"),
        (("--structures", "x.cif"), 2, "--structures: structures to measure no property of"),
        (("nine",), 1, "no dataset `nine`; did you mean `mine`?"),
    ],
)
def test_what_cannot_be_done_is_one_line(done: Path, lamtrain: Callable[..., Called], more: tuple[str, ...], code: int, words: str) -> None:
    before = (done / "mine/asked.json").read_bytes()
    found, _, lines = lamtrain(*ASKED, "-o", "out", *more)
    assert found == code and len(lines) == 1 and lines[0].startswith("error:") and words in lines[0], lines
    assert (done / "mine/asked.json").read_bytes() == before and not (done.parent / "wrong").exists()


def test_a_dataset_without_a_split_that_is_needed_says_which(away: Path, lamtrain: Callable[..., Called]) -> None:
    for name, split in (("tested", "{validation: 0.3, test: 0, seed: 9}"), ("blind", "{validation: 0, test: 0.3, seed: 3}")):
        bring(away, name, write_metal(away, name, "Cu", groups=4), split=split)
    code, _, (line,) = lamtrain("transfer", "model.pt", "--to", "metals.zarr", "tested", "--no-curves")
    assert code == 1 and "dataset tested has no test frames to measure on; what is measured must not be what is fitted" in line
    code, _, (line,) = lamtrain("transfer", "model.pt", "--to", "metals.zarr", "blind", "-o", "blind")
    assert code == 1 and "dataset blind has no validation frames with labels" in line and "--no-curves" in line
    assert lamtrain("transfer", "model.pt", "--to", "metals.zarr", "blind", "--no-curves", "-o", "blind")[0] == 0


def test_a_model_that_knows_none_of_the_elements_is_the_guess_and_can_be_fine_tuned(away: Path, lamtrain: Callable[..., Called]) -> None:
    asked = (
        "transfer",
        "model.pt",
        "--to",
        "metals.zarr",
        "gold",
        "mine",
        "--sizes",
        "4",
        "--seeds",
        "1",
        "--steps",
        "2",
        "--most-steps",
        "2",
        "--json",
    )
    code, out, _ = lamtrain(*asked, "-o", "both")
    found = json.loads(out)
    assert code == 0 and found["datasets"]["gold"]["head"] == "new"
    assert found["datasets"]["gold"]["zero_shot"]["held_in"]["normalised"] == 1.0
    assert "counts as the guess" in found["datasets"]["gold"]["notes"][0]
    assert "frames_not_answered" not in found["datasets"]["gold"]["curves"][0]["runs"][0]["errors"]
    each = [found["datasets"][name]["zero_shot"]["held_in"]["ratios"]["force"] for name in ("gold", "mine")]
    energies = [found["datasets"][name]["zero_shot"]["held_in"]["ratios"]["energy"] for name in ("gold", "mine")]
    assert found["normalised"]["held_in"] == pytest.approx(sum((a * b) ** 0.5 for a, b in (each, energies)) / 2), "means of logarithms"


def test_frames_that_the_model_was_trained_on_are_said_to_be_no_transfer(small: Path, away: Path, lamtrain: Callable[..., Called]) -> None:
    code, out, _ = lamtrain("transfer", "model.pt", "--to", str(small / "small.zarr"), "bulk", "--no-curves", "--json", "-o", "seen")
    assert code == 0 and json.loads(out)["datasets"]["bulk"]["notes"] == [
        "the model was trained on these frames (bulk): what follows is no transfer"
    ]


def test_one_crystal_is_measured_by_every_model_and_kept(
    done: Path, lamtrain: Callable[..., Called], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(done.parent / "fcc.xyz", bulk("Cu", a=3.6))
    asked = (*ASKED, "-o", "out", "--properties", "vacancy", "--structures", "fcc.xyz")
    code, _, lines = lamtrain(*asked)
    found = json.loads((done / "transfer.json").read_text())["datasets"]["mine"]["properties"]
    assert list(found) == sorted(["model as it is", "fine-tuned, 6 frames", "scratch, 6 frames"])
    assert all(list(row) == ["fcc.xyz#0"] and "vacancy" in row["fcc.xyz#0"] for row in found.values())
    failed = [row["fcc.xyz#0"]["vacancy"] for row in found.values() if "failed" in row["fcc.xyz#0"]["vacancy"]]
    assert code == bool(failed) and (not failed or "not measured" in lines[-1])
    assert (done / "mine/properties.png").exists()
    monkeypatch.setattr("lamtrain.stages.transfer.crystals.measure", lambda *_, **__: pytest.fail("measured again"))
    assert lamtrain(*asked)[0] == code
    (done / "transfer.json").unlink()


def test_a_bar_counts_steps_and_what_need_not_be_done(
    done: Path, away: Path, monkeypatch: pytest.MonkeyPatch, lamtrain: Callable[..., Called]
) -> None:
    bars = []
    monkeypatch.setattr("lamtrain.stages.transfer.transfer.Progress", lambda *a, **k: bars.append(Progress(*a, **k)) or bars[-1])
    shutil.copytree(done, away / "again")
    for name in ("found.json", "last.pt"):
        (away / "again/mine/n3-s0/scratch-4" / name).unlink()
    assert lamtrain(*ASKED, "-o", "again")[0] == 0
    assert [(bar.done, bar.total) for bar in bars] == [(4, 4)]


def test_it_stops_between_two_runs_and_two_steps_and_goes_on_with_the_same_bits(
    done: Path, away: Path, lamtrain: Callable[..., Called], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    with monkeypatch.context() as stopped:  # told in the first step of a run: one that has two of them is then done
        stopped.setattr("lamtrain.stages.transfer.ladder._Told.__call__", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        for where in ("between two runs", "after step 2"):
            code, _, lines = lamtrain(*LITTLE, "-o", "stopped")
            assert code == Interrupted.exit_code and lines[-1] == f"error: stopped by SIGTERM {where}; the same command goes on from there"
            steps.append(sorted((load(path).step, path.with_name("found.json").exists()) for path in (away / "stopped").rglob("last.pt")))
    assert steps == [[(2, True)], [(2, False), (2, True)]] and not (away / "stopped/transfer.json").exists()
    assert lamtrain(*LITTLE, "-o", "stopped")[0] == 0
    found = weights(away / "stopped")
    assert len(found) == 4
    for run, model in found.items():
        assert all(torch.equal(value, load(done / run).model[name]) for name, value in model.items())
        assert (away / "stopped" / run).with_name("found.json").read_bytes() == (done / run).with_name("found.json").read_bytes()


def outcome(folder: Path) -> dict[str, bytes]:
    """What was found, the page, and the bits of every model."""
    out = folder / "runs"
    bits = {f"{run} {name}": value.numpy().tobytes() for run, model in weights(out).items() for name, value in model.items()}
    return {name: (out / name).read_bytes() for name in ("transfer.json", "transfer.md", "mine/curves.png")} | bits


def trials(away: Path, *, count: int, seed: int) -> int:
    def prepare(folder: Path) -> None:
        shutil.copytree(away / "metals.zarr", folder / "metals.zarr")
        shutil.copy(away / "model.pt", folder)

    args = command("lamtrain", *LITTLE, "--device", "cpu", "--quiet", "-o", "runs")
    return kill.trials("transfer", args, prepare, outcome, count=count, rng=random.Random(seed))


def test_a_killed_transfer_ends_with_the_same_bits(away: Path) -> None:
    assert trials(away, count=2, seed=1) == 0


@pytest.mark.slow
def test_a_transfer_killed_at_twenty_instants_ends_with_the_same_bits(away: Path) -> None:  # minutes: each trial starts the command twice
    assert trials(away, count=20, seed=2) == 0
