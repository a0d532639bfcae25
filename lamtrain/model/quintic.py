"""A function of one number as a table: fifth-order polynomials between nodes, equal to it at each node in value, slope and curvature.

Between nodes a step D apart, with u = (x - node) / D, and y, y', y'' of its left (-) and right (+) node:

    f(x) = H0 y- + H1 D y'- + H2 D^2 y''- + H3 y+ + H4 D y'+ + H5 D^2 y''+

which is the polynomial of DeePMD-kit's tables (deepmd/utils/tabulate.py) in another basis: half the memory, and sums of six numbers that are
no larger than the function. Its error is at most max|f^(6)| D^6 / 46080.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

WHOLE = 16  # values of a row come in whole vectors of any processor


def tabulate(function: Callable[[Tensor], Tensor], *, start: float, step: float, intervals: int) -> Tensor:
    """`function` (n,) -> (R, n, m), of R functions at once, as nodes (R, intervals + 1, 3, M): y, D y', D^2 y''; zeros fill m up to M."""
    x = start + step * torch.arange(intervals + 1, dtype=torch.float64)
    ones = torch.ones_like(x)

    jvp: Any = torch.func.jvp  # its type has a third value, which comes only if it is asked for

    def with_slope(x: Tensor) -> tuple[Tensor, Tensor]:
        values, slopes = jvp(function, (x,), (ones,))
        return values, slopes

    (value, slope), (_, curvature) = jvp(with_slope, (x,), (ones,))
    nodes = torch.stack([value, step * slope, step * step * curvature], 2)
    return F.pad(nodes, (0, -nodes.shape[-1] % WHOLE))


def weights(u: Tensor) -> Tensor:
    """(E,) places in an interval, 0 to 1, and beyond it in a line -> (E, 6), of the rows of its nodes."""
    beyond = F.relu(u - 1.0)
    u = u.clamp(max=1.0)
    square = u * u
    cube = square * u
    rise = cube * (10.0 + u * (6.0 * u - 15.0))
    return torch.stack(
        [
            1.0 - rise,
            u + cube * (-6.0 + u * (8.0 - 3.0 * u)),
            0.5 * square + cube * (-1.5 + u * (1.5 - 0.5 * u)),
            rise,
            cube * (-4.0 + u * (7.0 - 3.0 * u)) + beyond,
            cube * (0.5 + u * (0.5 * u - 1.0)),
        ],
        -1,
    )


def look_up(nodes: Tensor, table: Tensor | int, x: Tensor, *, start: float, step: float) -> Tensor:
    """Functions `table` (E,) of `nodes` at `x` (E,) -> (E, M); differentiable once by `x`."""
    intervals = nodes.shape[1] - 1
    place = (x - start) * (1.0 / step)
    left = place.detach().nan_to_num().clamp(0, intervals - 1).floor()
    first = 3 * (left.long() + (intervals + 1) * table)
    rows = first.unsqueeze(1) + torch.arange(6, device=x.device)
    return F.embedding_bag(rows, nodes.flatten(0, 2), per_sample_weights=weights(place - left), mode="sum")
