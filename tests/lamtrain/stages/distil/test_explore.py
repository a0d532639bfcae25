"""Trajectories: which there are, that each is the same again, that a pressure moves the cell, and that one which blows up ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from lamdata import open_dataset
from lamdata.errors import ConfigError, DataError
from lamtrain.prediction.structures import as_frame
from lamtrain.stages.distil.config import DistilConfig, ExploreSpec
from lamtrain.stages.distil.explore import Condition, Trajectory, conditions_of, deal, follow
from lamtrain.stages.distil.run import read_structures
from tests.lamdata.stores import make_frames, write_store

SPEC = ExploreSpec(steps=6, every=2, timestep=2.0)
WARM = Condition(structure=0, supercell=(1, 1, 1), temperature=300.0, pressure=None)
METALS = [as_frame(bulk(symbol, cubic=True)) for symbol in ("Cu", "Al")]


def config(**changes: Any) -> DistilConfig:
    values = {"distil": "d", "teacher": "t.pt", "structures": ["s"], "temperatures": [300.0, 600.0], "accept": {"force_ratio": None}}
    return DistilConfig.model_validate(values | changes)


def run(condition: Condition = WARM, *, spec: ExploreSpec = SPEC, seed: int = 1, calculator: Any = None) -> Trajectory:
    return follow(bulk("Cu", cubic=True), calculator or EMT(), condition, spec, seed=[seed])


def test_each_condition_comes_once_before_any_comes_again() -> None:
    asked = config(pressures=[None, 1.0], supercells=[(1, 1, 1), (2, 1, 1)], explore={"trajectories": 4})
    dealt = [condition for number in range(4) for condition, _ in deal(asked, METALS, number)]
    known = set(conditions_of(asked, 2))
    assert len(known) == 16 and set(dealt) == known
    assert {condition.structure for condition in dealt[:2]} == {0, 1}, "structures take turns"
    assert deal(asked, METALS, 2) == deal(asked, METALS, 2) != deal(asked.model_copy(update={"seed": 2}), METALS, 2)


def test_a_share_of_the_trajectories_is_held_out_and_never_an_element_of_the_first_round() -> None:
    for seed in range(6):
        asked = config(explore={"trajectories": 3}, keep={"hold_out": 0.4}, seed=seed)
        dealt = deal(asked, METALS, 0)
        assert sum(out for _, out in dealt) == 1 and {condition.structure for condition, out in dealt if not out} == {0, 1}
    with pytest.raises(ConfigError, match=r"explore\.trajectories: 2 trajectories of 2 structures leave none to hold out"):
        deal(config(explore={"trajectories": 2}), METALS, 0)


def test_a_trajectory_is_the_same_again_and_another_for_another_seed(tmp_path: Path) -> None:
    one = run()
    assert (len(one), one.planned, one.steps, one.stopped) == (3, 3, 6, "")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(seed=seed).save(tmp_path / name)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c
    again = Trajectory.load(tmp_path / "a")
    np.testing.assert_array_equal(again.positions, one.positions)
    assert (again.planned, again.steps, again.stopped, again.pbc.tolist()) == (3, 6, "", [True] * 3)
    frames = again.frames("round-00/trajectory-000", split="validation")
    assert [frame.origin for frame in frames] == [f"round-00/trajectory-000#{i}" for i in range(3)]
    assert {(frame.group, frame.split) for frame in frames} == {("round-00/trajectory-000", "validation")}


def test_a_pressure_changes_the_volume_and_not_the_shape() -> None:
    long = ExploreSpec(steps=60, every=60, timestep=2.0, friction=0.05)
    squeezed = run(Condition(structure=0, supercell=(1, 1, 1), temperature=300.0, pressure=60.0), spec=long).cells[0]
    start = np.array(bulk("Cu", cubic=True).cell)
    assert np.linalg.det(squeezed) < 0.98 * np.linalg.det(start)
    np.testing.assert_allclose(squeezed / squeezed[0, 0], start / start[0, 0], atol=1e-9)
    np.testing.assert_array_equal(run().cells[-1], start)


def test_a_trajectory_whose_forces_are_too_large_ends_there_and_says_so() -> None:
    found = run(spec=SPEC.model_copy(update={"max_force": 0.3}))
    assert found.stopped.endswith("eV/Å") and len(found) < found.planned == 3 and found.steps < 6


def test_a_trajectory_that_is_too_hot_ends_there_and_says_so() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.positions[0] += 0.9  # which sets free far more than the thermostat can take
    found = follow(atoms, EMT(), WARM, ExploreSpec(steps=40, every=2, timestep=2.0, max_force=1e4, max_temperature=3), seed=[1])
    assert found.stopped.endswith("K instead of 300") and len(found) < found.planned


class Refuses(EMT):
    """A calculator that has no answer at its third call."""

    calls = 0

    def calculate(self, *args: Any, **options: Any) -> None:
        super().calculate(*args, **options)
        self.calls += 1
        if self.calls == 4:
            raise DataError("energy or forces are not finite")


def test_a_trajectory_that_the_model_refuses_ends_there_and_says_so() -> None:
    found = run(calculator=Refuses())
    assert (found.stopped, len(found), found.steps) == ("energy or forces are not finite", 1, 2)


def test_labels_of_a_structure_do_not_follow_its_atoms() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.calc = SinglePointCalculator(atoms, energy=1.0, forces=np.zeros((4, 3)))
    assert follow(atoms, EMT(), WARM, SPEC, seed=[1]).positions.tolist() == run().positions.tolist()


def test_dynamics_start_from_training_frames_of_a_store_of_one_dataset(tmp_path: Path) -> None:
    write_store(tmp_path / "one.zarr", make_frames(500))
    found = read_structures([str(tmp_path / "one.zarr")])
    train = open_dataset(tmp_path / "one.zarr", "demo", split="train")
    places = [row for row in range(len(train)) for one in found if np.array_equal(train[row].positions, one.positions)]
    assert len(found) == len(places) == 200 and places[0] == 0 and places[-1] == len(train) - 1
    write_store(tmp_path / "one.zarr", make_frames(20), name="other")
    with pytest.raises(ConfigError, match="one.zarr: a store of 2 datasets: demo, other"):
        read_structures([str(tmp_path / "one.zarr")])
