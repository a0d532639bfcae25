"""Tables of a compressed DPA-1: polynomials that agree at nodes, an error of the sixth order, and a model whose numbers and derivatives they keep."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from lamdata.frames import Frames
from lamtrain.data.batch import collate
from lamtrain.model.config import ModelConfig
from lamtrain.model.dpa1_config import TableConfig
from lamtrain.model.dpa1_table import tabulated
from lamtrain.model.kernels.native import available
from lamtrain.model.lam import LamModel
from lamtrain.model.layers import mlp
from lamtrain.model.quintic import WHOLE, look_up, tabulate
from tests.lamtrain.model.test_dpa1 import build, config_of
from tests.lamtrain.model_cases import evaluate, structure

KERNELS = ["plain", pytest.param("cpp", marks=pytest.mark.skipif(not available(), reason="the kernels were not compiled at installation"))]
CASES: dict[str, dict[str, Any]] = {
    "concat": {"tebd_input_mode": "concat"},
    "strip": {"tebd_input_mode": "strip"},
    "no means, no fading": {"tebd_input_mode": "strip", "set_davg_zero": True, "smooth_type_embedding": False},
    "one-sided concat": {"tebd_input_mode": "concat", "type_one_side": True, "concat_output_tebd": False},
    "one-sided strip, excluded pairs": {
        "tebd_input_mode": "strip",
        "type_one_side": True,
        "exclude_types": [(0, 1)],
        "env_protection": 0.01,
    },
    "steps on skips, wide": {
        "tebd_input_mode": "strip",
        "resnet_dt": True,
        "activation_function": "gelu",
        "neuron": [12, 24],
        "axis_neuron": 7,
    },
}
FRAMES = [structure(7, seed=2), structure(5, seed=3, periodic=(False, False, False))]


def net() -> torch.nn.Sequential:
    """A net like that of a student, with weights that bend it."""
    torch.manual_seed(3)
    layers = mlp(1, [5, 10, 20], activation_function="tanh", resnet_dt=False).double()
    with torch.no_grad():
        layers[0].weight.mul_(2.0)
    return layers


def table_of(step: float, *, end: float = 6.0) -> torch.Tensor:
    layers = net()
    return tabulate(lambda x: layers(x.unsqueeze(-1)).unsqueeze(0), start=0.0, step=step, intervals=round(end / step)).detach()


def read(nodes: torch.Tensor, x: torch.Tensor, step: float) -> torch.Tensor:
    return look_up(nodes, 0, x, start=0.0, step=step)[:, :20]


def slopes(function: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.func.jvp(function, (x,), (torch.ones_like(x),))[1]


def test_value_slope_and_curvature_are_those_of_the_net_at_nodes_from_both_sides() -> None:
    """From the left and from the right, by derivatives of the polynomials; curvature by differences of their slopes."""
    step, layers = 0.5, net()
    nodes, at, little = table_of(step), torch.arange(1, 12, dtype=torch.float64) * 0.5, 1e-7
    exact = lambda x: layers(x.unsqueeze(-1))  # noqa: E731
    want = exact(at), slopes(exact, at), slopes(lambda x: slopes(exact, x), at)
    for side in (-1.0, 1.0):
        near = at + side * 1e-12
        value, slope = read(nodes, near, step), gradient(nodes, near, step)
        curvature = (gradient(nodes, near + side * little, step) - slope) / (side * little)
        torch.testing.assert_close(value, want[0], rtol=0, atol=1e-10)
        torch.testing.assert_close(slope, want[1], rtol=0, atol=1e-10)
        torch.testing.assert_close(curvature, want[2], rtol=0, atol=1e-5)


def gradient(nodes: torch.Tensor, x: torch.Tensor, step: float) -> torch.Tensor:
    """Slopes (E, 20) as autograd gives them, a channel at a time."""
    x = x.clone().requires_grad_()
    value = read(nodes, x, step)
    return torch.stack([torch.autograd.grad(value[:, channel].sum(), x, retain_graph=True)[0] for channel in range(20)], 1).detach()


def test_the_polynomial_is_that_of_deepmd() -> None:
    """f = a v^5 + b v^4 + c v^3 + d v^2 + e v + f of tabulate.py, with v from the left node."""
    step, layers = 0.5, net()
    exact = lambda x: layers(x.unsqueeze(-1))  # noqa: E731
    left, v = torch.arange(12, dtype=torch.float64) * step, 0.3
    (y, dy, d2), (z, dz, e2) = ((exact(at), slopes(exact, at), slopes(lambda x: slopes(exact, x), at)) for at in (left, left + step))
    h = z - y
    a = (12 * h - 6 * (dz + dy) * step + (e2 - d2) * step**2) / (2 * step**5)
    b = (-30 * h + (14 * dz + 16 * dy) * step + (3 * d2 - 2 * e2) * step**2) / (2 * step**4)
    c = (20 * h - (8 * dz + 12 * dy) * step + (e2 - 3 * d2) * step**2) / (2 * step**3)
    want = a * v**5 + b * v**4 + c * v**3 + d2 / 2 * v**2 + dy * v + y
    torch.testing.assert_close(read(table_of(step), left + v, step), want, rtol=0, atol=1e-13)


def test_halving_the_step_divides_the_error_by_64_and_that_of_the_slope_by_32() -> None:
    layers, x = net(), torch.linspace(0.001, 5.999, 5001, dtype=torch.float64)
    exact = lambda x: layers(x.unsqueeze(-1))  # noqa: E731
    value, slope, errors = exact(x).detach(), slopes(exact, x).detach(), []
    for step in (0.125, 0.0625, 0.03125):
        nodes = table_of(step)
        errors.append([float((read(nodes, x, step) - value).abs().max()), float((gradient(nodes, x, step) - slope).abs().max())])
    (a, da), (b, db), (c, dc) = errors
    assert a / b == pytest.approx(64, rel=0.1) and b / c == pytest.approx(64, rel=0.1)
    assert da / db == pytest.approx(32, rel=0.1) and db / dc == pytest.approx(32, rel=0.1)
    finest = (read(table_of(2.0**-9), x, 2.0**-9) - value).abs().max()
    assert finest < 1e-14  # down to rounding


def test_beyond_the_last_node_it_goes_on_in_a_line() -> None:
    nodes, end = table_of(0.5), torch.tensor([6.0 - 1e-13], dtype=torch.float64)
    value, slope = read(nodes, end, 0.5), gradient(nodes, end, 0.5)
    for far in (0.3, 7.0):
        torch.testing.assert_close(read(nodes, end + far, 0.5), value + far * slope, rtol=0, atol=1e-10)
        torch.testing.assert_close(gradient(nodes, end + far, 0.5), slope, rtol=0, atol=1e-10)
    assert not read(nodes, torch.tensor([math.nan, math.inf], dtype=torch.float64), 0.5).isfinite().any()


def compressed(model: LamModel, *, step: float = 0.125, end: float = 60.0) -> LamModel:
    """The same with tables from -3 on."""
    table = TableConfig(start=-3.0, step=step, intervals=round((end + 3.0) / step))
    config = ModelConfig.model_validate(
        model.config.model_dump() | {"descriptor": model.config.descriptor.model_dump() | {"table": table.model_dump()}}
    )
    made = LamModel(config).eval()
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith("descriptor.se_atten.embedding.")}
    made.load_state_dict(weights | {f"descriptor.se_atten.{name}": value for name, value in tabulated(model.descriptor, table).items()})  # type: ignore[arg-type]
    return made


def apart(one: Any, other: Any) -> float:
    return max(float((getattr(one, name) - getattr(other, name)).abs().max()) for name in ("energy", "forces", "virial", "atomic_energy"))


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("case", CASES)
def test_a_compressed_model_says_what_the_model_says(case: str, kernels: str) -> None:
    model = build(config_of(**CASES[case]))
    want = evaluate(model, FRAMES)
    coarse, fine = (evaluate(compressed(model, step=step).use_kernels(kernels), FRAMES) for step in (0.25, 0.03125))
    assert 1e-11 < apart(coarse, want) < 1e-6 and apart(fine, want) < 1e-12
    assert fine.outside is not None and int(fine.outside) == 0 and want.outside is None


@pytest.mark.skipif(not available(), reason="the kernels were not compiled at installation")
@pytest.mark.parametrize("chunk_atoms", [4, 4096])
@pytest.mark.parametrize("case", CASES)
def test_the_operator_has_the_numbers_of_the_plain_formulas(case: str, chunk_atoms: int) -> None:
    """Also where tables are coarse, edges lie beyond them, there are several threads, and atoms lie in several chunks."""
    made = compressed(build(config_of(**CASES[case])), step=0.5, end=2.0)
    found = [evaluate(made.use_kernels(name), FRAMES, chunk_atoms=chunk_atoms) for name in ("plain", "cpp")]
    assert apart(*found) < 1e-13
    assert found[0].outside is not None and found[1].outside is not None and int(found[0].outside) == int(found[1].outside) > 0
    single = LamModel(made.config.in_precision("float32")).eval().use_kernels("cpp")
    single.load_state_dict(made.state_dict())
    assert apart(evaluate(single, FRAMES, dtype=torch.float32), found[0]) < 1e-4


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize(("case", "end"), [("strip", 60.0), ("strip", 2.0), ("concat", 60.0)])
def test_forces_and_virial_are_derivatives_of_the_energy(case: str, end: float, kernels: str) -> None:
    """Of the table itself, however coarse it is, and of the line beyond it."""
    model, frame = compressed(build(config_of(**CASES[case])), step=1.0, end=end).use_kernels(kernels), FRAMES[0]
    output, step = evaluate(model, frame), 1e-4
    direction, strain = np.random.default_rng(1).normal(size=(7, 3)), np.random.default_rng(2).normal(size=(3, 3))

    def energy(positions: np.ndarray, cell: np.ndarray) -> float:
        return float(evaluate(model, replace(frame, positions=positions, cell=cell)).energy[0])

    cell = frame.cell
    assert cell is not None and output.forces is not None and output.virial is not None
    slope = (energy(frame.positions + step * direction, cell) - energy(frame.positions - step * direction, cell)) / (2 * step)
    assert -(output.forces.numpy() * direction).sum() == pytest.approx(slope, rel=1e-6)
    up, down = (energy(frame.positions @ turn, cell @ turn) for turn in (np.eye(3) + step * strain, np.eye(3) - step * strain))
    assert -(output.virial[0].numpy() * strain).sum() == pytest.approx((up - down) / (2 * step), rel=1e-6)


def test_rows_of_a_table_are_whole_vectors() -> None:
    made = compressed(build(config_of()))
    assert made.descriptor.se_atten.nodes.shape[-1] % WHOLE == 0  # type: ignore[union-attr]
    assert not made.descriptor.se_atten.nodes[..., 10:].any()  # type: ignore[union-attr]


@pytest.mark.skipif(not available(), reason="the kernels were not compiled at installation")
def test_a_second_derivative_is_refused_by_the_operator() -> None:
    made = compressed(build(config_of())).use_kernels("cpp")
    with pytest.raises(RuntimeError, match="no second derivative"):
        made(collate(Frames.from_list([FRAMES[0]]), made.config), create_graph=True)


def test_atoms_on_top_of_each_other_have_no_number() -> None:
    frame = replace(FRAMES[1], positions=np.array([[0.0, 0, 0], [0, 0, 0], [1, 1, 1], [2, 0, 0], [0, 2, 0]]))
    for name in ("plain", *(["cpp"] if available() else [])):
        assert not evaluate(compressed(build(config_of())).use_kernels(name), frame).energy.isfinite().any(), name
