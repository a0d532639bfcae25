"""Parts of datasets in a mixture: a filter, a named view and a dataset that was replaced train together, and what they are is kept."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lamdata import open_catalog, open_dataset
from lamdata.elements import SYMBOLS
from lamdata.errors import ConfigError, ConfigErrors, StoreError
from lamdata.store import select
from lamtrain.checkpoint import load
from lamtrain.data.mixture import open_training_data
from lamtrain.evaluation.report import test_model as measure
from tests.conftest import command, training

HEADS = """mixture: parts
heads:
  - {head: bulk, dataset: bulk, task: energy_force, keep: {natoms: [1, 4], max_force: 2.0}}
  - {head: cluster, dataset: cluster, task: energy_force, view: dimers}
  - {head: crystals, dataset: crystals, task: denoise, augment: {noise: {kind: gaussian, scale: 0.15, probability: 0.5, min_distance: 0.8}}}
"""


@pytest.fixture
def folder(small: Path, tmp_path: Path) -> Path:
    """A copy of the small catalog and its store, with a view, and a dataset that other frames have taken the place of."""
    shutil.copytree(small, tmp_path, dirs_exist_ok=True)
    select(str(tmp_path / "small.zarr"), "cluster", name="dimers", natoms=(3, 3))
    (tmp_path / "mixture.yaml").write_text(HEADS)
    (tmp_path / "train.yaml").write_text(
        (tmp_path / "train.yaml").read_text().replace("store: small.zarr", f"store: {tmp_path / 'small.zarr'}")
    )
    return tmp_path


def replace_crystals(folder: Path) -> dict[str, Any]:
    (folder / "crystals-3.xyz").write_text((folder / "crystals-1.xyz").read_text())
    args = ["replace", str(folder / "crystals.yaml"), "-o", str(folder / "small.zarr"), "--json", "--quiet"]
    done = subprocess.run(command("lamdata", *args), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [report] = json.loads(done.stdout)
    return report


def test_a_filter_a_view_and_a_replaced_dataset_train_together(folder: Path) -> None:
    store = folder / "small.zarr"
    before = open_dataset(store, "crystals")
    report = replace_crystals(folder)
    assert report["replaced"] == {before.segments[0].entry.path: report["replaced"][before.segments[0].entry.path]} and report["new"]
    subprocess.run(command("lamtrain", *training(folder, folder / "runs")), check=True, capture_output=True)
    trained = load(folder / "runs/small/last.pt")
    lock = trained.lock["datasets"]
    expected = {
        "bulk (natoms 1-4, forces up to 2)": open_dataset(store, "bulk", split="train", natoms=(1, 4), max_force=2.0),
        "dimers": open_dataset(store, "cluster", split="train", natoms=(3, 3)),
        "crystals": open_dataset(store, "crystals", split="train"),
    }
    assert {name: row["train_frames"] for name, row in lock.items()} == {name: len(view) for name, view in expected.items()}
    assert lock["crystals"]["content_hash"] == open_dataset(store, "crystals").content_hash != before.content_hash
    assert lock["dimers"]["content_hash"] == open_dataset(store, "dimers").content_hash
    assert trained.heads["cluster"]["datasets"] == ["dimers"] and set(trained.heads["cluster"]["references"]["energies"]) == {"H", "O"}
    tested = measure(folder / "runs/small/last.pt", str(store), output=folder / "test", quiet=True)["heads"]
    assert len(open_dataset(store, "dimers", split="test")) and "force_rmse_mev_per_angstrom" in tested["cluster"]


def test_a_stream_holds_the_frames_of_the_parts_alone(folder: Path) -> None:
    data = open_training_data(folder / "mixture.yaml", str(folder / "small.zarr"))
    with data.stream(seed=1, batch_frames=30, batch_atoms=None) as stream:
        frames = next(iter(stream))
    for number, task in enumerate(data.tasks):
        mine = frames.take((frames.head == number).nonzero()[0])
        assert set(mine.index.tolist()) <= set(task.train.rows.tolist()) and len(mine) > 3
        assert data.origin(mine, 0).startswith(f"dataset {task.spec.dataset}, {task.spec.dataset}-")
    assert (frames.take((frames.head == 1).nonzero()[0]).natoms == 3).all()


def test_a_mixture_whose_view_is_of_frames_that_were_replaced_is_refused(folder: Path) -> None:
    select(str(folder / "small.zarr"), "crystals", name="some", natoms=(1, 4))
    (folder / "mixture.yaml").write_text(HEADS.replace("dataset: crystals,", "dataset: crystals, view: some,"))
    assert len(open_training_data(folder / "mixture.yaml", str(folder / "small.zarr")).tasks) == 3
    replace_crystals(folder)
    with pytest.raises(StoreError, match="view `some` does not open: crystals was replaced after its frames were chosen"):
        open_training_data(folder / "mixture.yaml", str(folder / "small.zarr"))


@pytest.mark.parametrize(
    "text, other, said",
    [
        ("view: dimers", "view: trimers", "the store has no view 'trimers'; `lamdata select .* cluster --name trimers"),
        (
            "dataset: cluster, task: energy_force, view",
            "dataset: bulk, task: energy_force, view",
            "'dimers' is of dataset cluster, not of bulk",
        ),
        ("max_force: 2.0", "max_force: 0.0", r"dataset 'bulk \(natoms 1-4, forces up to 0\)' has no training frames"),
    ],
)
def test_a_part_that_is_not_there_is_named(folder: Path, text: str, other: str, said: str) -> None:
    (folder / "mixture.yaml").write_text(HEADS.replace(text, other))
    with pytest.raises(ConfigError, match=said):
        open_training_data(folder / "mixture.yaml", str(folder / "small.zarr"))


@pytest.mark.parametrize(
    "keep, said",
    [
        ("{elements: [Xx]}", "'Xx' is no element"),
        ("{natoms: [5, 2]}", r"natoms is \[5, 2\]: give the smallest and the largest number"),
        ("{natoms: [0, 2]}", "give the smallest and the largest number"),
        ("{max_force: -1}", "mixture.yaml:3"),
        ("{max_forces: 1}", "did you mean 'max_force'"),
        ("{where: natom < 4}", r"mixture.yaml:3:\d+: .*: column 1: unknown name 'natom'; did you mean 'natoms'\?"),
        ("natoms < 4 and hass(Cu)", r"mixture.yaml:3:\d+: .*: column 16: there is no hass"),
        ("split == test", "the split of a frame is no matter of `keep`"),
        ("[natoms < 4]", "keep"),
    ],
)
def test_a_filter_that_says_nothing_possible_is_found_before_any_frame_is_read(folder: Path, keep: str, said: str) -> None:
    (folder / "mixture.yaml").write_text(HEADS.replace("{natoms: [1, 4], max_force: 2.0}", keep))
    with pytest.raises(ConfigErrors, match=said):
        open_catalog(folder)


def test_an_expression_keeps_what_its_short_forms_keep(folder: Path) -> None:
    short = open_training_data(folder / "mixture.yaml", str(folder / "small.zarr")).tasks[0]
    said = "natoms <= 4 and max_force <= 2.0"
    for text in (f'"{said}"', f"{{where: {said}}}", "{natoms: [1, 4], where: max_force <= 2.0}"):
        (folder / "mixture.yaml").write_text(HEADS.replace("{natoms: [1, 4], max_force: 2.0}", text))
        data = open_training_data(folder / "mixture.yaml", str(folder / "small.zarr"))
        assert data.tasks[0].train.rows.tolist() == short.train.rows.tolist() and len(short.train)
    (folder / "mixture.yaml").write_text(HEADS.replace("{natoms: [1, 4], max_force: 2.0}", f'"{said}"'))
    data = open_training_data(folder / "mixture.yaml", str(folder / "small.zarr"))
    assert data.tasks[0].spec.data == f"bulk ({said})" and list(data.lock()["datasets"])[0] == f"bulk ({said})"


def test_energies_above_references_choose_in_a_mixture(folder: Path) -> None:
    (folder / "mixture.yaml").write_text(HEADS.replace("{natoms: [1, 4], max_force: 2.0}", '"energy_above_references < 0.02"'))
    task = open_training_data(folder / "mixture.yaml", str(folder / "small.zarr")).tasks[0]
    table = open_dataset(folder / "small.zarr", "bulk").references["energies"]
    for side in ("train", "test"):
        every = open_dataset(folder / "small.zarr", "bulk", split=side)
        above = [(frame.energy - sum(table[SYMBOLS[z]] for z in frame.numbers)) / len(frame.numbers) for frame in every]
        kept = task.train if side == "train" else task.test
        assert kept.rows.tolist() == [row for row, left in zip(every.rows.tolist(), above) if left < 0.02]
    assert 0 < len(task.train) < len(open_dataset(folder / "small.zarr", "bulk", split="train"))


def test_nothing_can_be_replaced_that_is_not_there(folder: Path) -> None:
    args = ["replace", str(folder / "bulk.yaml"), "-o"]
    (folder / "bulk.yaml").write_text((folder / "bulk.yaml").read_text().replace("dataset: bulk", "dataset: other"))
    done = subprocess.run(command("lamdata", *args, str(folder / "small.zarr")), capture_output=True, text=True)
    assert done.returncode == 2 and "has no dataset other; `lamdata ingest" in done.stderr
    done = subprocess.run(command("lamdata", *args, str(folder / "none.zarr")), capture_output=True, text=True)
    assert done.returncode == 1 and "there is no store here" in done.stderr and not (folder / "none.zarr").exists()
