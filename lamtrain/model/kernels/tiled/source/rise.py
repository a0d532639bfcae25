"""The pair channel before the first layer: tanh(x w + b) of the first column of the environment matrix.

x^ = sum_k g^ s w     tangent s w x'     t_ = g_ s - 2 y s w x' g^     w = x t_ + x' g^ s     b = t_     s = 1 - y^2
"""

import triton
import triton.language as tl

from .maths import add_to, rows_of, store_rows, tanh


@triton.jit
def rise(x, w, b, g, xd, gh, out, sums, E, K: tl.constexpr, KP: tl.constexpr, BE: tl.constexpr, MODE: tl.constexpr, JOINT: tl.constexpr):
    """Of a tile of edges: write the value, its tangent or the cotangent of x; or add to this program's sums, (2, K)."""
    k = tl.arange(0, KP)
    mk = k < K
    weight, bias = tl.load(w + k, mask=mk, other=0.0), tl.load(b + k, mask=mk, other=0.0)
    own = sums + tl.program_id(0).to(tl.int64) * 2 * K
    for first in range(tl.program_id(0) * BE, E, tl.num_programs(0) * BE):
        e = tl.cast(first, tl.int64) + tl.arange(0, BE)
        me = e < E
        ek = me[:, None] & mk[None, :]
        at = tl.load(x + e, mask=me, other=0.0)
        y = tanh(at[:, None] * weight[None, :] + bias[None, :])
        s = 1.0 - y * y
        if MODE == "value":
            store_rows(out, 0, e, k, K, y, ek)
        if MODE == "tangents":
            store_rows(out, 0, e, k, K, s * weight[None, :] * tl.load(xd + e, mask=me, other=0.0)[:, None], ek)
        if MODE == "slopes":
            tl.store(out + e, tl.sum(rows_of(g, 0, e, k, K, ek) * s * weight[None, :], 1), mask=me)
        if MODE == "gradients":
            t = rows_of(g, 0, e, k, K, ek) * s
            by_w = at[:, None] * t
            if JOINT:
                along, hat = tl.load(xd + e, mask=me, other=0.0)[:, None], rows_of(gh, 0, e, k, K, ek) * s
                bent = 2.0 * y * weight[None, :] * along * hat
                t -= bent
                by_w += along * hat - at[:, None] * bent
            add_to(own + k, tl.sum(by_w, 0), mk)
            add_to(own + K + k, tl.sum(t, 0), mk)
