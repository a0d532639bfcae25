"""Each operator of the triton kernels, under the interpreter in float64, against its formula in torch: value, slopes, and what training on slopes takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from lamtrain.model.environment import switch
from lamtrain.model.gate_softmax import gate_softmax
from lamtrain.model.kernels.tiled.edges import Edges
from lamtrain.model.kernels.tiled.invariants import Invariants
from lamtrain.model.kernels.tiled.moment import Moment
from lamtrain.model.kernels.tiled.neighbors import NeighborSums, ending
from lamtrain.model.kernels.tiled.nodes import NodeUpdate
from lamtrain.model.kernels.tiled.operators import Operator, evaluate
from lamtrain.model.kernels.tiled.pairs import PairUpdate
from lamtrain.model.kernels.tiled.rise import Rise
from lamtrain.model.kernels.tiled.three_body import ThreeBodySum

pytest.importorskip("triton", reason="triton is not installed")

Formula = Callable[..., Sequence[Tensor]]


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def passes(function: Formula, inputs: list[Tensor], bent: Sequence[bool]) -> list[Tensor]:
    """Outputs, slopes, and the gradients of a loss on both by what may be bent and by the weights."""
    torch.manual_seed(1)
    x = [one.clone().requires_grad_() for one in inputs]
    y = function(*x)
    moving = x[: len(bent)]
    slopes = torch.autograd.grad(sum((a * draw(*a.shape)).sum() for a in y), moving, create_graph=True, materialize_grads=True)
    loss = sum((a * draw(*a.shape)).sum() for a in slopes) + sum((a * a).sum() for a in y)
    asked = [one for k, one in enumerate(x) if k >= len(bent) or bent[k]]
    for one in x:
        one.grad = None
    if asked:
        loss.backward(inputs=asked)
    return [*y, *slopes, *(one.grad for one in asked)]


def compare(operator: Operator, formula: Formula, inputs: list[Tensor], fixed: Sequence[Tensor] = ()) -> None:
    found = passes(lambda *x: evaluate(operator, [*x, *fixed]), inputs, operator.bent)
    for a, b in zip(found, passes(formula, inputs, operator.bent), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13 * float(b.detach().abs().max()) + 1e-14)


SLOW = pytest.mark.slow(reason="the interpreter takes seconds for each")


@pytest.mark.parametrize(
    ("atoms", "slots", "heads", "gated", "phantom"),
    [
        (1, 3, 2, True, 4),
        (1, 2, 0, True, 0),
        pytest.param(2, 3, 1, True, 0, marks=SLOW),
        pytest.param(1, 1, 1, True, 0, marks=SLOW),
        pytest.param(1, 17, 1, False, 1, marks=SLOW),
    ],
)
def test_the_pair_channel(atoms, slots, heads, gated, phantom):
    k = 3
    operator = PairUpdate(heads=heads, gated=gated, phantom=phantom, logit=0.4, weight=0.6, eps=1e-5, precision="ieee")
    s = torch.rand(atoms, slots, dtype=torch.float64)
    s[:, 2:3] = 0.0  # an empty slot
    inputs = [draw(atoms, slots, k), draw(atoms, slots, 3), s]
    update = [draw(k, k), draw(k), draw(k)]
    attention = [draw(k, heads * k), draw(heads * k, k), draw(k)] if heads else []

    def formula(x, h, s, *weights):
        if not heads:
            w, b, r = weights
            return [x + r * torch.tanh(x @ w + b)]
        m, z, bias, w, b, r, scale, shift = weights
        both = s.unsqueeze(2) * s.unsqueeze(1)
        fading = torch.bmm(h, h.transpose(1, 2)) * both
        logits = torch.bmm((x @ m).view(atoms, -1, k), x.transpose(1, 2)).view(atoms, slots, heads, slots)
        weights = gate_softmax(logits, 0.4 * (fading if gated else both), 20.0 * (both - 1.0), 0.6 * fading, phantom)
        taken = torch.bmm(weights.flatten(1, 2), x).view(atoms, slots, -1) @ z + bias
        return [x + r * torch.tanh(x @ w + b) + torch.nn.functional.layer_norm(taken, (k,), scale, shift, 1e-5)]

    compare(operator, formula, [*inputs, *attention, *update, *([draw(k), draw(k)] if heads else [])])


def test_sums_over_neighbours_of_a_chunk():
    atoms, n, v, k, d, start = 5, 2, 3, 2, 4, 2
    operator = NeighborSums(start=start, scale=0.3, turn=0.7, precision="ieee")
    neighbors = torch.tensor([[0, 3, 3], [4, 3, 1]])  # no edge ends in atom 2
    s = torch.rand(n, v, dtype=torch.float64)
    s[0, 2] = 0.0

    def formula(g1, g2, h, s, w):
        turned, others = (h * (0.7 * s).unsqueeze(-1)).transpose(1, 2), g1[neighbors]
        parts = [((((0.3 * s).unsqueeze(-1) * g2) @ w) * others).sum(1), turned @ others, turned @ g2]
        return [torch.cat([p.new_zeros(start, *p.shape[1:]), p, p.new_zeros(atoms - start - n, *p.shape[1:])]) for p in parts]

    compare(operator, formula, [draw(atoms, d), draw(n, v, k), draw(n, v, 3), s, draw(k, d)], [neighbors, *ending(neighbors, atoms)])


def test_the_vectors_of_atoms():
    a, d, k, axis = 2, 4, 3, 2

    def invariants(h):
        return (h[:, :, :axis].transpose(1, 2) @ h).flatten(1) / 3.0

    def formula(g1, conv, h, narrow, w, b, v, bias, r_s, r_c, r_l):
        linear = torch.cat([invariants(narrow), invariants(h)], 1) @ w + b
        return [g1 + r_s * torch.tanh(g1 @ v + bias) + r_c * conv + r_l * torch.tanh(linear)]

    inputs = [
        draw(a, d),
        draw(a, d),
        draw(a, 3, d),
        draw(a, 3, k),
        draw(axis * (k + d), d),
        draw(d),
        draw(d, d),
        *(draw(d) for _ in range(4)),
    ]
    compare(NodeUpdate(axis=axis, precision="ieee"), formula, inputs)


def test_the_environments_of_three_lists():
    near, pairs, lists = 2, 1, ((0.5, 6.0), (3.0, 4.0), (1.0, 2.5))
    d, types = 1.5 * draw(2, 3, 3), torch.tensor([0, 2])
    d[:, 2] = torch.tensor([7.0, 0.0, 0.0])  # an empty slot
    stds = [torch.rand(3, 4, dtype=torch.float64) + 0.5 for _ in lists]

    def block(d, std, bounds):
        r = d.norm(dim=-1)
        s, inverse, own = switch(r, *bounds), 1.0 / (r + 0.1), std[types].unsqueeze(1)
        return s, s * inverse / own[..., 0], d * (s * inverse * inverse).unsqueeze(-1) / own[..., 1:]

    def formula(d):
        wide, three, narrow = (block(d[:, :w], *rest) for w, *rest in zip((3, near, pairs), stds, lists))
        return [torch.cat([wide[1].unsqueeze(-1), wide[2]], -1), three[2], narrow[1], narrow[2], narrow[0]]

    operator = Edges(lists=lists, near=near, pairs=pairs, protection=0.1)
    compare(operator, formula, [d], [types, *stds])
    cotangents, along = [draw(*one.shape).requires_grad_() for one in formula(d)], draw(*d.shape)
    second = []
    for function in (formula, lambda x: evaluate(operator, [x, types, *stds])):
        x = d.clone().requires_grad_()
        (slope,) = torch.autograd.grad(function(x), x, cotangents, create_graph=True)
        second.append(torch.autograd.grad((slope * along).sum(), cotangents))
    torch.testing.assert_close(second[1], second[0], rtol=1e-12, atol=1e-13)


def net(x, table, w, w2, b2, w3, b3):
    h = torch.tanh(x.unsqueeze(-1) * w + table)
    h = torch.tanh(h @ w2 + b2) + torch.cat([h, h], -1)
    return torch.tanh(h @ w3 + b3) + torch.cat([h, h], -1)


def net_weights(n: int) -> list[Tensor]:
    return [draw(n), draw(3, n), draw(3, n), draw(n, 2 * n), draw(2 * n), draw(2 * n, 4 * n), draw(4 * n)]


def test_the_moment():
    own, other = torch.tensor([1, 0]), torch.tensor([[0, 2, 2], [1, 1, 0]])

    def formula(matrix, w, first, second, *rest):
        return [matrix.transpose(1, 2) @ net(matrix[..., 0], first[other] + second[own].unsqueeze(1), w, *rest)]

    compare(Moment(precision="ieee"), formula, [draw(2, 3, 4), *net_weights(3)], [own, other])


def test_the_three_body_sum():
    types = torch.tensor([[0, 2, 2], [1, 1, 0]])

    def formula(d, w, first, second, *rest):
        e = d @ d.transpose(1, 2)
        return [0.3 * (e.unsqueeze(-1) * net(e, first[types].unsqueeze(2) + second[types].unsqueeze(1), w, *rest)).sum((1, 2))]

    compare(ThreeBodySum(scale=0.3), formula, [draw(2, 3, 3), *net_weights(1)], [types])


def test_the_first_pair_channel():
    compare(Rise(), lambda x, w, b: [torch.tanh(x.unsqueeze(-1) * w + b)], [draw(2, 3), draw(5), draw(5)])


def test_the_invariants():
    compare(Invariants(axis=2, scale=0.3), lambda m: [0.3 * m.transpose(1, 2) @ m[:, :, :2]], [draw(2, 4, 6)])


def test_a_third_derivative_is_refused():
    m = draw(1, 4, 3).requires_grad_()
    (slope,) = torch.autograd.grad(evaluate(Invariants(axis=2, scale=1.0), [m])[0].sum(), m, create_graph=True)
    with pytest.raises(RuntimeError, match="third derivative"):
        torch.autograd.grad(slope.sum(), m, create_graph=True)
