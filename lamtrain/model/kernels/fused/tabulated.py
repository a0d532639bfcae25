"""The block of a compressed DPA-1 from its edges to its invariants, for inference; see cpp/tabulated.h."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..native import apply, ready, refuse_second_derivative, run

if TYPE_CHECKING:
    from ...dpa1_table import TabulatedBlock
    from ...inputs import Chunk

Constants = tuple[list[Tensor | None], list[int], list[float]]


def tabulated(
    block: TabulatedBlock, chunk: Chunk, vectors: Tensor, types: Tensor, lead_types: Tensor, seen: Tensor | None, tebd: Tensor | None
) -> tuple[Tensor, Tensor]:
    """As `TabulatedBlock.forward`: what it gives for each atom, and a number of edges () int64."""
    environment, nodes, factors = block.environment, block.nodes, block.factors
    visible = None if seen is None else seen.to(vectors.dtype)
    tensors = ready(vectors, environment.mean[:, 0], environment.std, visible, nodes, factors, block.padding, tebd)
    edges, *constants = tensors
    n, w = edges.shape[:2]
    tables, _, _, wide = nodes.shape
    sizes = [n, w, chunk.start, len(types), block.ntypes, tables, block.table.intervals, wide, block.width, block.axis, block.nsel]
    sizes += [0 if factors is None else len(factors), 0 if tebd is None else tebd.shape[1], int(block.one_sided), int(block.smooth)]
    numbers = [environment.rcut_smth, environment.rcut, block.protection, block.table.start, block.table.step]
    arrays = [chunk.neighbors.contiguous(), types.contiguous(), lead_types.contiguous(), *constants]
    invariants, outside = apply(_Value, edges, (arrays, sizes, numbers))
    return invariants, outside.sum()


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, edges: Tensor, constants: Constants) -> tuple[Tensor, Tensor]:
        arrays, sizes, numbers = constants
        n, wide, width = sizes[0], sizes[7], sizes[8] * sizes[9] + sizes[12]
        invariants, moment = edges.new_empty(n, width), edges.new_empty(n, 4, wide)
        outside = torch.empty(n, dtype=torch.int64)
        run("tabulated_value", edges, [edges, *arrays, invariants, moment, outside], sizes, numbers)
        ctx.save_for_backward(edges, moment)
        ctx.constants = constants
        ctx.mark_non_differentiable(outside)
        return invariants, outside

    @staticmethod
    def backward(ctx: Any, g: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative("table")
        edges, moment = ctx.saved_tensors
        arrays, sizes, numbers = ctx.constants
        out = torch.empty_like(edges)
        run("tabulated_first", edges, [edges, *arrays, moment, g.contiguous(), out], sizes, numbers)
        return out, None
