"""A layer of the repformer as one operator: neighbour sums, vectors of atoms, pair channels of all chunks (see ../../repformer_layer.py).

Nothing but launches lies between its inputs and outputs, and gradients that meet are added where they are written. Inputs: g1; of each chunk g2, h2, s;
the weights of `NodeUpdate`, W of `NeighborSums`, those of `PairUpdate` but in the last layer; of each chunk its neighbours, order and ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .neighbors import NeighborSums
from .nodes import NodeUpdate
from .operators import Second, Tensors
from .pairs import PairUpdate

NODE, EDGE = 7, 3  # weights of the vectors of atoms; tensors of a chunk


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """`pairs` has one operator a chunk, and none in the last layer."""

    nodes: NodeUpdate
    sums: tuple[NeighborSums, ...]
    pairs: tuple[PairUpdate, ...]

    @property
    def moving(self) -> int:
        """g1, and three of each chunk."""
        return 1 + EDGE * len(self.sums)

    @property
    def weights(self) -> int:
        """All."""
        return NODE + 1 + (self.pairs[0].weights if self.pairs else 0)

    @property
    def bent(self) -> tuple[bool, ...]:
        """g1 and g2."""
        return (True, *(True, False, False) * len(self.sums))

    def value(self, x: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`; g1, and g2 of each chunk but in the last layer."""
        sums = self.sums[0].room(x[0], x[1].shape[2], zeros=False)
        for k, one in enumerate(self.sums):
            one.write(self._at_neighbors(x, k), None, sums)
        out, kept = self.nodes.value([x[0], *sums, *self._node_weights(x)])
        for k, pair in enumerate(self.pairs):
            (g2,), z = pair.value(self._at_pairs(x, k))
            out, kept = [*out, g2], [*kept, *z]
        return out, [*sums, *kept]

    def tangents(self, x: Tensors, kept: Tensors, dots: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`."""
        sums = self.sums[0].room(x[0], x[1].shape[2], zeros=False)
        for k, one in enumerate(self.sums):
            one.write(self._at_neighbors(x, k), [dots[0], *self._edges(dots, k)], sums)
        out, found = self.nodes.tangents([x[0], *kept[:3], *self._node_weights(x)], kept[3:4], [dots[0], *sums])
        for k, pair in enumerate(self.pairs):
            (g2,), z = pair.tangents(self._at_pairs(x, k), [kept[4 + k]], self._edges(dots, k))
            out, found = [*out, g2], [*found, *z]
        return out, [*sums, *found]

    def slopes(self, x: Tensors, kept: Tensors, cotangents: Tensors) -> tuple[Tensors, Tensors]:
        """See `Operator`; the cotangents of the sums are kept."""
        (by_g1, *hats), _ = self.nodes.slopes([x[0], *kept[:3], *self._node_weights(x)], kept[3:4], cotangents[:1])
        out = [by_g1]
        for k, one in enumerate(self.sums):
            inputs, edges = self._at_neighbors(x, k), [torch.empty_like(tensor) for tensor in self._edges(x, k)]
            one.edges(inputs, hats, None, [*edges, None], programs=len(inputs[1]))
            one.atoms(inputs, hats, None, by_g1, add=True)
            if self.pairs:
                self.pairs[k].add_slopes(self._at_pairs(x, k), kept[4 + k], cotangents[1 + k], edges, add=True)
            out += edges
        return out, hats

    def gradients(self, x: Tensors, kept: Tensors, cotangents: Tensors, second: Second | None) -> tuple[list[Tensor | None], Tensors]:
        """See `Operator`."""
        own = None
        if second is not None:
            own = Second(second.hats[:1], [], [second.dots[0], *second.kept_dots[:3]], second.kept_dots[3:4])
        (by_g1, *bars), node = self.nodes.gradients([x[0], *kept[:3], *self._node_weights(x)], kept[3:4], cotangents[:1], own)
        assert by_g1 is not None
        out: list[Tensor | None] = [by_g1]
        totals: list[Tensors] = []
        for k, one in enumerate(self.sums):
            inputs, more = self._at_neighbors(x, k), None
            if second is not None:
                more = [second.dots[0], *self._edges(second.dots, k), *second.kept_hats]
            known = [bar for bar in bars if bar is not None]
            by_g2, by_w = one.by_edges(inputs, known, more)
            one.atoms(inputs, known, more, by_g1, add=True)
            found = [by_w]
            if self.pairs:
                own = None
                if second is not None:
                    own = Second([second.hats[1 + k]], [], self._edges(second.dots, k), [second.kept_dots[4 + k]])
                found += self.pairs[k].add_gradients(self._at_pairs(x, k), [kept[4 + k]], [cotangents[1 + k]], own, by_g2, add=True)
            out += [by_g2, None, None]
            totals = [found] if not totals else [[a + b for a, b in zip(totals[0], found)]]
        return out, [*node, *totals[0]]

    def _edges(self, tensors: Tensors, chunk: int) -> Tensors:
        return tensors[1 + EDGE * chunk : 1 + EDGE * (chunk + 1)]

    def _node_weights(self, x: Tensors) -> Tensors:
        return x[self.moving : self.moving + NODE]

    def _at_neighbors(self, x: Tensors, chunk: int) -> Tensors:
        fixed = self.moving + self.weights + EDGE * chunk
        return [x[0], *self._edges(x, chunk), x[self.moving + NODE], *x[fixed : fixed + EDGE]]

    def _at_pairs(self, x: Tensors, chunk: int) -> Tensors:
        return [*self._edges(x, chunk), *x[self.moving + NODE + 1 : self.moving + self.weights]]
