"""A step in one call: what the model says by way of PyTorch, with nets and with tables, and what it is not asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lamdata.frame import Frame
from lamdata.frames import Frames
from lamtrain.data.moving import Moving
from lamtrain.data.neighbors import SkinList
from lamtrain.model.config import FittingConfig, ModelConfig
from lamtrain.model.kernels.native import available
from lamtrain.model.lam import LamModel
from tests.lamtrain.model.test_dpa1 import build, config_of
from tests.lamtrain.model.test_table import CASES, FRAMES, compressed
from tests.lamtrain.model_cases import evaluate, structure

pytestmark = pytest.mark.skipif(not available(), reason="the kernels were not compiled at installation")
NETS = [case for case in CASES if case != "steps on skips, wide"]  # tanh, and no steps


def moving(model: LamModel, *, skin: float = 1.0) -> Moving:
    block = next(iter(model.config.descriptor.lists.values()))
    made = Moving.of(model.use_kernels("cpp"), head="energy", neighbors=SkinList(cutoff=block.rcut, most=block.nsel, skin=skin))
    assert made is not None
    return made


def apart(model: LamModel, frame: Frame, want: Any) -> float:
    """The largest difference of any number from those of the plain formulas."""
    found = moving(model).answer(frame)
    assert found.outside == int(want.outside or 0)
    of = {"atomic_energy": found.energies, "forces": found.forces, "virial": found.virial.unsqueeze(0)}
    return max(float((value - getattr(want, name)).abs().max()) for name, value in of.items())


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("case", "table"), [*((case, False) for case in NETS), *((case, True) for case in CASES)])
def test_a_step_has_the_numbers_of_the_plain_formulas(case: str, table: bool, threads: int) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        for frame in [*FRAMES, structure(30, seed=4)]:
            model = build(config_of(**CASES[case]))
            model = compressed(model, step=0.5, end=2.0) if table else model
            want = evaluate(model.use_kernels("plain"), frame)
            assert apart(model, frame, want) < 1e-12
            single = LamModel(model.config.in_precision("float32")).eval()
            single.load_state_dict(model.state_dict())
            assert 0 < apart(single, frame, want) < 1e-4
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    "fitting", [{"neuron": [7]}, {"neuron": [10, 20, 20], "resnet_dt": False}, {"neuron": [12, 12, 24], "dim_case_embd": 3}]
)
def test_fitting_nets_of_any_shape(fitting: dict[str, Any]) -> None:
    config = config_of(tebd_input_mode="strip")
    heads = {"other": "energy_force", "energy": "energy_force"} if "dim_case_embd" in fitting else {"energy": "energy_force"}
    config = ModelConfig.model_validate(config.model_dump() | {"fitting": FittingConfig(**fitting).model_dump(), "heads": heads})
    model = build(config)
    asked = Frames.from_list([FRAMES[0]]).with_(head=np.full(1, list(heads).index("energy"), np.int32))
    want = evaluate(model.use_kernels("plain"), asked)
    assert apart(model, FRAMES[0], want) < 1e-12


def test_of_too_many_neighbours_the_nearest_are_kept() -> None:
    model = build(config_of(tebd_input_mode="strip", sel=9))
    want = evaluate(model.use_kernels("plain"), FRAMES[0])
    assert apart(model, FRAMES[0], want) < 1e-12 and moving(model).answer(FRAMES[0]).truncated > 0


def test_atoms_that_move_are_followed_through_searches_and_atoms_that_change_are_seen() -> None:
    model, rng = build(config_of(tebd_input_mode="strip")), np.random.default_rng(0)
    followed, frame = moving(model, skin=0.3), FRAMES[0]
    for _ in range(6):
        frame = replace(frame, positions=frame.positions + rng.normal(scale=0.05, size=frame.positions.shape), numbers=frame.numbers[::-1])
        want = evaluate(model.use_kernels("plain"), frame)
        assert want.forces is not None
        np.testing.assert_allclose(followed.answer(frame).forces.numpy(), want.forces.numpy(), atol=1e-12)
    assert 1 < followed.neighbors.searches < 6


@pytest.mark.parametrize(
    "changes",
    [{"descriptor": {"activation_function": "gelu"}}, {"descriptor": {"resnet_dt": True}}, {"fitting": {"activation_function": "gelu"}}],
)
def test_a_net_that_the_operator_does_not_know_is_left_to_pytorch(changes: dict[str, Any]) -> None:
    values = config_of(tebd_input_mode="strip").model_dump()
    config = ModelConfig.model_validate(
        {name: value | changes.get(name, {}) if isinstance(value, dict) else value for name, value in values.items()}
    )
    skin = SkinList(cutoff=4.0, most=60)
    assert Moving.of(LamModel(config).use_kernels("cpp"), head="energy", neighbors=skin) is None
    assert Moving.of(LamModel(config_of()).use_kernels("plain"), head="energy", neighbors=skin) is None
