"""Runs of twice the steps, until they help no more; and the configs that are compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamdata.errors import ConfigError
from lamtrain.checkpoint import load
from lamtrain.config import read_config
from lamtrain.stages.transfer.arms import arm_config, check_overrides, network_of
from lamtrain.stages.transfer.ladder import climb, rungs_of


def ladder(*errors: float) -> dict:
    """Of runs with these validation errors."""
    rungs = rungs_of(10, 10 * 2 ** (len(errors) - 1))
    return climb(rungs, lambda steps: {"steps": steps, "validation": errors[rungs.index(steps)]})


def test_runs_double_up_to_the_longest() -> None:
    assert rungs_of(100, 1600) == [100, 200, 400, 800, 1600] and rungs_of(100, 399) == [100, 200] and rungs_of(7, 3) == [7]


@pytest.mark.parametrize(
    ("errors", "runs", "converged", "chosen"),
    [
        ((0.85, 0.8, 0.77, 0.765, 0.1), 4, True, 3),  # by 4% and half a percent
        ((0.85, 0.84, 0.5, 0.49, 0.48, 0.1), 5, True, 4),  # once is not enough
        ((0.5, 0.6, 0.7, 0.1), 3, True, 0),  # worse by more steps: the shorter one is taken
        ((1.1, 0.99, 0.94, 0.93, 0.3), 5, False, 4),  # what has learned nothing has not converged
        ((0.8, 0.4, 0.2, 0.1), 4, False, 3),  # the limit is not convergence
        ((0.5, 0.49), 2, False, 1),
        ((0.5,), 1, False, 0),
    ],
)
def test_converged_is_said_only_where_two_doublings_gain_little(errors: tuple, runs: int, converged: bool, chosen: int) -> None:
    found = ladder(*errors)
    assert (len(found["runs"]), found["converged"], found["chosen"]) == (runs, converged, chosen)


def test_both_arms_have_the_same_net_steps_rates_and_prefactors(away: Path, tmp_path: Path) -> None:
    checkpoint = load(away / "model.pt")
    start, network = {"model": str(away / "model.pt"), "heads": {"mine": "bulk"}}, network_of(checkpoint.model_config, ["Cu"])
    tuned, scratch = (arm_config(arm, steps=200, network=network, start=start) for arm in ("fine-tuned", "scratch"))
    assert tuned["loss"] == scratch["loss"] and tuned["steps"] == scratch["steps"] == 200
    assert tuned["learning_rate"] == scratch["learning_rate"] and tuned["optimizer"] == scratch["optimizer"] == {"kind": "muon"}
    assert "model" not in tuned and "start" not in scratch
    from lamtrain.files import replace_yaml

    replace_yaml(tmp_path / "scratch.yaml", {"train": "x", "mixture": "m.yaml", "store": "s", **scratch})
    built = read_config(tmp_path / "scratch.yaml").model.resolve(elements=["Cu"], heads={"mine": "energy_force"}, precision="float32")
    assert built.descriptor.model_dump(mode="json") == checkpoint.model_config["descriptor"] and built.elements == ["Cu"]
    assert built.fitting.model_dump(mode="json") == checkpoint.model_config["fitting"]


@pytest.mark.parametrize("override", ["steps=3", "start.train=heads", "model.size=small", "store=x"])
def test_what_is_compared_cannot_be_changed_by_a_key(override: str) -> None:
    with pytest.raises(ConfigError, match="what is compared"):
        check_overrides(["batch.frames=2", override])
    check_overrides(["batch.frames=2", "loss.energy=[1, 1]"])
