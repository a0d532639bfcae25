"""The energy heads as one operator: packed parameters, tiles, and derivatives by hand."""

from __future__ import annotations

import torch

from lamtrain.model.kernels.tiled.fitting import Fitting
from lamtrain.model.kernels.tiled.operators import evaluate


def test_it_is_the_net_of_each_tiles_head_with_both_derivatives():
    layers = ((3, 4, 0, False), (4, 4, 1, True), (4, 8, 2, False))
    operator, heads = Fitting(layers=layers), torch.tensor([1, 0, 1])
    size = sum(a * b + b + b * step for a, b, _, step in layers) + 8 + 1

    def formula(x, packed):
        out = []
        for tile, head in enumerate(heads.tolist()):
            parts, at = iter(packed[head].split([n for a, b, _, step in layers for n in (a * b, b, *[b] * step)] + [8, 1])), x[tile]
            for a, b, repeats, step in layers:
                y = torch.tanh(at @ next(parts).view(a, b) + next(parts))
                at = (y * next(parts) if step else y) + (torch.cat([at] * repeats, -1) if repeats else 0.0)
            out.append(at @ next(parts).view(8, 1) + next(parts))
        return torch.stack(out)

    torch.manual_seed(0)
    given, along = (
        [torch.randn(3, 2, 3, dtype=torch.float64), torch.randn(2, size, dtype=torch.float64)],
        torch.randn(3, 2, 3, dtype=torch.float64),
    )
    found = []
    for function in (formula, lambda x, packed: evaluate(operator, [x, packed, heads])[0]):
        x, packed = (one.clone().requires_grad_() for one in given)
        y = function(x, packed)
        (slope,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        ((slope * along).sum() + y.sin().sum()).backward(inputs=[x, packed])
        found.append([y, slope, x.grad, packed.grad])
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-13)
