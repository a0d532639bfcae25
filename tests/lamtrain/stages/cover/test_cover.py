"""`lamtrain cover`: a model's own held-out frames are covered; other elements, theories, units and structures are not; copies and order change nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from lamdata import ingest, open_card, open_dataset
from lamdata.errors import ConfigError, DataError
from lamdata.store import Worth, select
from lamdata.units import KCAL_PER_MOL
from lamtrain import load_model
from lamtrain.checkpoint import load, save
from lamtrain.config import read_config
from lamtrain.data.mixture import open_training_data
from lamtrain.stages.cover.make import add_sketches, sketch_for, sketch_model, sketch_run
from lamtrain.stages.cover.run import SUFFIXES, cover, open_frames
from lamtrain.training.stop import Interrupted, Stop
from tests.conftest import command

HEAD = "bulk"


def covered(run: Path, out: Path, *inputs: str | Path, head: str | None = HEAD, split: str | None = None, **options: Any) -> dict[str, Any]:
    model = load_model(run / "best.pt", device="cpu")
    return cover(model, open_frames([*map(str, inputs)], split=split, format="auto", quiet=True), out, head=head, **options)


def frames_of(small: Path, *, labels: bool = True) -> list[Atoms]:
    """Frames of the training's own kind, of all groups."""
    found = [atoms for group in range(4) for atoms in read(small / f"bulk-{group}.xyz", index=":")]
    if not labels:
        for atoms in found:
            atoms.calc = None
    return found


def test_a_finished_training_leaves_sketches_of_its_energy_heads(run: Path, small: Path) -> None:
    for name in ("best.pt", "last.pt"):
        checkpoint = load(run / name)
        assert checkpoint.cover is not None and set(checkpoint.cover) == {"bulk", "cluster"}
    sketch = sketch_for(load_model(run / "best.pt", device="cpu"), "bulk")
    train = open_dataset(small / "small.zarr", "bulk", split="train")
    assert sketch.of == len(train) and sketch.elements == train.elements
    assert sketch.held_out["frames"] == len(open_dataset(small / "small.zarr", "bulk", split="validation"))


@pytest.mark.parametrize("head, split", [("bulk", "test"), ("bulk", "validation"), ("cluster", "validation")])
def test_held_out_frames_of_the_training_are_covered(run: Path, small: Path, tmp_path: Path, head: str, split: str) -> None:
    found = covered(run, tmp_path, small / "small.zarr", head, head=head, split=split)
    assert found["verdict"] == "covered", found["reasons"]
    assert {name: row["state"] for name, row in found["gates"].items() if name != "units"} == {
        "elements": "passed", "pairs": "passed", "theory": "passed", "labels": "passed",
    }  # fmt: skip
    assert json.loads((tmp_path / "cover.json").read_text()) == found
    assert {path.name for path in tmp_path.iterdir()} == {"cover.json", "cover.md", "cover.frames.csv", "cover.map.png", "cover.scores.png"}


def test_an_element_that_training_has_not_is_not_covered(run: Path, tmp_path: Path) -> None:
    write(tmp_path / "ni.xyz", [bulk("Ni", cubic=True)] * 2 + [bulk("Pt", cubic=True)], format="extxyz")
    found = covered(run, tmp_path / "out", tmp_path / "ni.xyz")
    assert found["verdict"] == "not" and found["gates"]["elements"] == {
        "state": "failed", "said": "training has no Ni, Pt: 2 of 2 frames", "unknown": {"Ni": 1, "Pt": 1},
    }  # fmt: skip
    ledger = [json.loads(line) for line in (tmp_path / "out/cover.rejected.jsonl").read_text().splitlines()]
    assert [row["origin"] for row in ledger] == ["ni.xyz#0", "ni.xyz#2"]


def test_another_theory_is_not_covered(run: Path, small: Path, tmp_path: Path) -> None:
    card = open_card(small / "bulk.yaml")
    other = card.model_copy(update={"theory": card.theory.model_copy(update={"functional": "PBE"})})
    ingest(other, str(tmp_path / "s.zarr"), base=small, quiet=True)
    found = covered(run, tmp_path / "out", tmp_path / "s.zarr", "bulk", split="test")
    assert found["verdict"] == "not"
    assert found["gates"]["theory"]["differences"] == ["functional: PBE against EMT"]


def test_a_dataset_is_judged_by_the_nearest_head(run: Path, small: Path, tmp_path: Path) -> None:
    """As a fine-tune would begin with; files, which state no theory here, do not choose."""
    card = open_card(small / "cluster.yaml")
    ingest(card.model_copy(update={"dataset": "mine"}), str(tmp_path / "s.zarr"), base=small, quiet=True)
    found = covered(run, tmp_path / "out", tmp_path / "s.zarr", "mine", head=None, split="test")
    assert found["head"] == "cluster" and found["head_why"].endswith("the same theory")
    assert f"head `cluster` ({found['head_why']})" in (tmp_path / "out/cover.md").read_text()
    write(tmp_path / "in.xyz", frames_of(small), format="extxyz")
    with pytest.raises(ConfigError, match="2 heads give energies"):
        covered(run, tmp_path / "files", tmp_path / "in.xyz", head=None)


def test_a_theory_that_is_not_stated_decides_nothing(run: Path, small: Path, tmp_path: Path) -> None:
    write(tmp_path / "in.xyz", frames_of(small), format="extxyz")
    found = covered(run, tmp_path / "out", tmp_path / "in.xyz")
    assert found["gates"]["theory"]["state"] == "not known" and found["verdict"] == "covered", found["reasons"]


def test_structures_alone_are_judged(run: Path, small: Path, tmp_path: Path) -> None:
    plain = frames_of(small, labels=False)
    write(tmp_path / "in.xyz", plain, format="extxyz")
    found = covered(run, tmp_path / "out", tmp_path / "in.xyz")
    assert found["verdict"] == "covered" and found["errors"] == {"energy": {}, "forces": {}} and found["trust"] is None
    for atoms in plain:
        atoms.set_cell(atoms.cell * 0.8, scale_atoms=True)
    write(tmp_path / "pressed.xyz", plain, format="extxyz")
    found = covered(run, tmp_path / "out", tmp_path / "pressed.xyz")
    assert found["verdict"] == "not" and found["frames"]["beyond"] > 0.5 * len(plain)
    assert found["deciding"][0]["score"] > 1.0 and found["deciding"][0]["origin"].startswith("pressed.xyz#")


def test_order_and_copies_change_nothing(run: Path, small: Path, tmp_path: Path) -> None:
    frames = frames_of(small)
    for atoms in frames[:8]:
        atoms.set_cell(atoms.cell * 0.9, scale_atoms=True)
    order = np.random.default_rng(0).permutation(np.tile(np.arange(len(frames)), 2))
    write(tmp_path / "a.xyz", frames, format="extxyz")
    write(tmp_path / "b.xyz", [frames[i] for i in order], format="extxyz")
    one, other = (covered(run, tmp_path / name, tmp_path / f"{name}.xyz") for name in "ab")
    assert (one["verdict"], one["frames"]["distinct"], one["frames"]["beyond"]) == (
        other["verdict"],
        len(frames),
        other["frames"]["beyond"],
    )
    assert other["frames"]["copies"] == len(frames) and one["by_element"] == other["by_element"]
    assert {name: row["state"] for name, row in one["gates"].items()} == {name: row["state"] for name, row in other["gates"].items()}
    first, again = ({row["worst_atom"] + f"{row['score']:.4f}" for row in found["deciding"]} for found in (one, other))
    assert first == again
    for name, table in one["errors"].items():
        for key, value in table.items():
            assert other["errors"][name][key] == pytest.approx(value, rel=1e-4), (name, key)


def test_training_that_is_shuffled_and_doubled_gives_the_same_sketch(run: Path, small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "catalog"
    shutil.copytree(small, folder, ignore=shutil.ignore_patterns("*.zarr"))
    for raw in folder.glob("*.xyz"):
        frames = read(raw, index=":")
        write(raw, [*frames[::-1], *frames], format="extxyz")
    for name in ("bulk", "cluster", "crystals"):
        ingest(open_card(folder / f"{name}.yaml"), str(folder / "small.zarr"), base=folder, quiet=True)
    checkpoint = load(run / "best.pt")
    before, checkpoint.cover = checkpoint.cover, None
    for name, row in checkpoint.lock["datasets"].items():
        row["content_hash"] = open_dataset(folder / "small.zarr", name).content_hash
    save(checkpoint, tmp_path / "model.pt")
    sketch_model(tmp_path / "model.pt", str(folder / "small.zarr"), device="cpu", quiet=True)
    after = load(tmp_path / "model.pt").cover
    assert before is not None and after is not None
    for head, sketch in before.items():
        for key, value in sketch.items():
            if isinstance(value, np.ndarray) or hasattr(value, "numpy"):
                assert np.array_equal(value, after[head][key]), key
        assert after[head]["of"] == 2 * sketch["of"] and after[head]["held_out"]["frames"] == sketch["held_out"]["frames"]


def test_a_sketch_that_was_interrupted_is_made_by_the_same_command(run: Path, small: Path, tmp_path: Path) -> None:
    config = read_config(small / "train.yaml")
    for name in ("best.pt", "last.pt"):
        save(replace(load(run / name), cover=None), tmp_path / name)
    stop = Stop()
    stop.reason = "stopped by SIGTERM"
    with pytest.raises(Interrupted, match="stopped by SIGTERM after the last step"):
        add_sketches([tmp_path / "best.pt"], open_training_data(config.mixture, config.store), device="cpu", quiet=True, stop=stop)
    assert load(tmp_path / "best.pt").cover is None
    sketch_run(tmp_path, config, device="cpu", quiet=True)
    before, after = load(run / "best.pt").cover, load(tmp_path / "best.pt").cover
    assert before is not None and after is not None and np.array_equal(after[HEAD]["means"], before[HEAD]["means"])


def test_an_older_checkpoint_says_how_it_gets_a_sketch(run: Path, small: Path, tmp_path: Path) -> None:
    checkpoint = load(run / "best.pt")
    before, checkpoint.cover = checkpoint.cover, None
    save(checkpoint, tmp_path / "best.pt")
    with pytest.raises(ConfigError, match=r"no sketch of its training data; lamtrain cover .*best.pt ... --training STORE"):
        covered(tmp_path, tmp_path / "out", small / "small.zarr", "bulk")
    sketch_model(tmp_path / "best.pt", str(small / "small.zarr"), device="cpu", quiet=True)
    after = load(tmp_path / "best.pt")
    assert before is not None and after.cover is not None
    assert all(np.array_equal(after.cover[head]["means"], before[head]["means"]) for head in before)
    assert after.lock == checkpoint.lock and after.step == checkpoint.step


def test_a_head_that_was_not_trained_has_none(run: Path, small: Path, tmp_path: Path) -> None:
    checkpoint = load(run / "best.pt")
    assert checkpoint.cover is not None
    del checkpoint.cover[HEAD]
    save(checkpoint, tmp_path / "best.pt")
    with pytest.raises(ConfigError, match="head 'bulk' was not trained in this run.*; there are sketches of cluster"):
        covered(tmp_path, tmp_path / "out", small / "small.zarr", "bulk")


def test_where_nothing_can_be_judged_the_ledger_says_why(run: Path, tmp_path: Path) -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.info["charge"] = 1
    write(tmp_path / "in.xyz", atoms, format="extxyz")
    with pytest.raises(DataError, match="no frame could be judged; 1 were refused; see .*cover.rejected.jsonl"):
        covered(run, tmp_path / "out", tmp_path / "in.xyz")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"cover.rejected.jsonl", "cover.frames.csv"}
    assert "charge 1" in (tmp_path / "out/cover.rejected.jsonl").read_text()


def test_a_sketch_is_not_made_of_other_frames(run: Path, small: Path, tmp_path: Path) -> None:
    checkpoint = replace(load(run / "best.pt"), cover=None)
    checkpoint.lock["datasets"]["bulk"]["content_hash"] = "another"
    save(checkpoint, tmp_path / "best.pt")
    with pytest.raises(DataError, match="dataset bulk holds other frames than the model was trained on"):
        sketch_model(tmp_path / "best.pt", str(small / "small.zarr"), device="cpu", quiet=True)


def test_a_unit_that_was_not_converted_is_named(run: Path, small: Path, tmp_path: Path) -> None:
    model = load_model(run / "best.pt", device="cpu")
    frames = frames_of(small, labels=False)
    for atoms, found in zip(frames, model.predict(frames, head=HEAD).to_ase()):
        atoms.calc = SinglePointCalculator(atoms, energy=found.get_potential_energy(), forces=found.get_forces() / KCAL_PER_MOL)
    write(tmp_path / "in.xyz", frames, format="extxyz")
    found = covered(run, tmp_path / "out", tmp_path / "in.xyz")
    assert found["verdict"] == "not" and found["gates"]["units"]["looks_like"] == "kcal/mol/Angstrom"


def test_frames_worth_labelling_are_a_list_and_a_view(run: Path, small: Path, tmp_path: Path) -> None:
    store = tmp_path / "s.zarr"
    ingest(open_card(small / "bulk.yaml"), str(store), base=small, quiet=True)
    covered(run, tmp_path / "out", store, "bulk", worth=5)
    listed = (tmp_path / "out/cover.worth.txt").read_text().splitlines()
    view = select(str(store), "bulk", name="worth", worth=Worth(table=tmp_path / "out/cover.frames.csv", count=5))
    assert len(listed) == 5 and {frame.origin for frame in open_dataset(store, "worth")} == set(listed)
    again = select(str(store), "bulk", name="again", listed=listed)
    np.testing.assert_array_equal(view.kept, again.kept)
    covered(run, tmp_path / "out", store, "bulk")
    assert not (tmp_path / "out/cover.worth.txt").exists(), SUFFIXES


def test_copies_of_training_frames_are_counted(run: Path, small: Path, tmp_path: Path) -> None:
    store = str(small / "small.zarr")
    turned = frames_of(small, labels=False)
    for atoms in turned:
        atoms.rotate(40, (1, 2, 3), rotate_cell=True)
    write(tmp_path / "in.xyz", turned, format="extxyz")
    found = covered(run, tmp_path / "out", tmp_path / "in.xyz", store=store)["overlap"]
    assert (found["in_training"], found["frames"]) == (len(open_dataset(store, "bulk", split="train")), len(turned))
    held_out = covered(run, tmp_path / "out", store, "bulk", split="test", store=store)["overlap"]
    assert (held_out["in_training"], held_out["held_out_in_training"]) == (0, 0)


def test_a_store_without_a_dataset_lists_them(small: Path) -> None:
    with pytest.raises(ConfigError, match="name a dataset with a second word, one of: bulk, cluster, crystals"):
        open_frames([str(small / "small.zarr")], split=None, format="auto", quiet=True)


def test_the_command_ends_with_the_verdict(run: Path, small: Path, tmp_path: Path) -> None:
    model, store = str(run / "best.pt"), str(small / "small.zarr")
    args = ["cover", model, store, "bulk", "--head", "bulk", "--split", "test", "-o", str(tmp_path / "out"), "--quiet", "--device", "cpu"]
    done = subprocess.run(command("lamtrain", *args), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "dataset bulk of" in done.stdout and ": covered by head bulk of" in done.stdout
    write(tmp_path / "ni.xyz", bulk("Ni", cubic=True), format="extxyz")
    args = ["cover", model, str(tmp_path / "ni.xyz"), "--head", "bulk", "-o", str(tmp_path / "out"), "--json", "--quiet", "--device", "cpu"]
    done = subprocess.run(command("lamtrain", *args), capture_output=True, text=True)
    assert done.returncode == 1 and json.loads(done.stdout)["verdict"] == "not"
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ")
