"""Resume: what would make another run is refused by name, what does not change the run may change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lamdata.errors import ConfigError
from lamtrain.checkpoint import load
from lamtrain.config import read_config
from lamtrain.runlog import read_metrics
from lamtrain.training.trainer import train


@pytest.fixture(scope="module")
def begun(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 4 steps, of which `steps` can be extended."""
    out = tmp_path_factory.mktemp("begun") / "run"
    return go(small, out, small / "mixture.yaml", "steps=4", "threads=1")


def go(small: Path, out: Path, mixture: Path, *changes: str, **options: str) -> Path:
    overrides = [f"mixture={mixture}", f"store={small / 'small.zarr'}", *changes]
    return train(read_config(small / "train.yaml", overrides=overrides), out=out, device="cpu", quiet=True, **options)


def changed(small: Path, folder: Path, old: str, new: str) -> Path:
    text = (small / "mixture.yaml").read_text()
    assert old in text
    for card in small.glob("*.yaml"):
        if card.name not in ("mixture.yaml", "train.yaml"):
            shutil.copy(card, folder)
    (folder / "mixture.yaml").write_text(text.replace(old, new))
    return folder / "mixture.yaml"


def exchanged(small: Path, folder: Path) -> Path:
    """The same rows, the first two exchanged."""
    rows = [line for line in (small / "mixture.yaml").read_text().splitlines(keepends=True) if line.startswith("  - {head")]
    assert len(rows) == 2
    return changed(small, folder, "".join(rows), "".join(reversed(rows)))


def test_rows_in_another_order_are_refused(small: Path, begun: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="order of the heads: bulk/bulk, cluster/cluster.* before, cluster/cluster, bulk/bulk.* now"):
        go(small, begun, exchanged(small, tmp_path), "steps=8")


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("weight: 2.0", "weight: 9.0", "weight of head `bulk/bulk`: 2.0 before, 9.0 now"),
        ("scale: 0.15", "scale: 1.5", "augment of head `crystals/crystals`, noise.scale: 0.15 before, 1.5 now"),
        (
            "mask: {probability: 0.2}",
            "mask: {probability: 0.4}",
            "augment of head `crystals/crystals`, mask.probability: 0.2 before, 0.4 now",
        ),
        ("head: cluster, dataset", "head: other, dataset", "head `cluster/cluster` is gone; head `other/cluster` is new"),
    ],
)
def test_another_mixture_is_refused_by_name(small: Path, begun: Path, tmp_path: Path, old: str, new: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        go(small, begun, changed(small, tmp_path, old, new), "steps=8")


def test_every_difference_is_said_at_once(small: Path, begun: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another `seed`.*weight of head `bulk"):
        go(small, begun, changed(small, tmp_path, "weight: 2.0", "weight: 9.0"), "steps=8", "seed=4")


def test_more_steps_and_other_looks_go_on(small: Path, begun: Path, tmp_path: Path) -> None:
    shutil.copytree(begun, tmp_path / "run")
    free = ("steps=8", "log_every=1", "checkpoint_every=2", "validation={every: 2, frames: 3}", "kernels=closed", "checkpoint_keep=2")
    out = go(small, tmp_path / "run", small / "mixture.yaml", *free)
    assert load(out / "last.pt").step == 8
    assert [int(row["step"]) for row in read_metrics(out / "metrics.csv")] == [3, 4, 5, 6, 7, 8]
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-000000006.pt"]


def test_a_run_started_again_leaves_nothing_of_the_old(small: Path, begun: Path, tmp_path: Path) -> None:
    shutil.copytree(begun, tmp_path / "run")
    for name in ("test.json", "parity.png"):
        (tmp_path / "run" / name).write_text("old")
    out = go(small, tmp_path / "run", small / "mixture.yaml", "steps=2", "seed=3", resume="never")
    assert not (out / "test.json").exists() and not (out / "parity.png").exists()
    assert load(out / "last.pt").step == 2 and len(read_metrics(out / "metrics.csv")) == 1


def test_a_finished_run_under_another_name_says_that_nothing_is_to_be_done(small: Path, begun: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="all 4 steps of that run are done.*steps=8"):
        go(small, tmp_path / "elsewhere", small / "mixture.yaml", "steps=4", resume=str(begun / "last.pt"))
    assert not (tmp_path / "elsewhere").exists()


def test_only_the_newest_checkpoints_are_kept(small: Path, tmp_path: Path) -> None:
    out = go(small, tmp_path / "run", small / "mixture.yaml", "steps=6", "checkpoint_every=1", "checkpoint_keep=3")
    assert sorted(path.name for path in (out / "checkpoints").iterdir()) == ["step-000000004.pt", "step-000000005.pt"]
    assert [load(out / "checkpoints" / f"step-00000000{n}.pt").step for n in (4, 5)] == [4, 5]
    alone = go(small, tmp_path / "alone", small / "mixture.yaml", "steps=3", "checkpoint_every=1", "checkpoint_keep=1")
    assert not (alone / "checkpoints").exists()


@pytest.mark.parametrize(("asked", "held"), [((), 1), (("threads=2",), 2)])
def test_threads_are_those_of_the_checkpoint_unless_others_are_asked_for(
    small: Path, begun: Path, tmp_path: Path, asked: tuple[str, ...], held: int
) -> None:
    run = shutil.copytree(begun, tmp_path / "run")
    assert load(begun / "last.pt").threads == 1
    assert load(go(small, run, small / "mixture.yaml", "steps=6", *asked) / "last.pt").threads == held
