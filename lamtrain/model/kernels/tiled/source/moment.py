"""Repinit's moment, M = R^T G with G_j = net(R_j0; types), a net of widths n, 2n, 4n. One program an atom, a tile of edges at a time.

    h1 = tanh(x w + A[t_j] + B[t_i])      h2 = tanh(h1 W2 + b2) + [h1, h1]      G = tanh(h2 W3 + b3) + [h2, h2]      x = R_j0

In tiles, h2 is two of n columns, and G four, `quarters`: told at launch, so that the loop over them is not unrolled, for which there are no registers. With t the slopes of the layers by x, c the cotangent of M:

    R_j = G_j c^T + [R_j . (t3_j c^T), 0, 0, 0]      M' = R'^T G + (x' R)^T t3

and jointly u = R c_ + R' c^, v = x' R c^ are the cotangents of G and t3, which go back through the net: of y = tanh z, with z' the slope of z,
z = u s - 2 y s z' v and z' = v s, s = 1 - y^2. The source of the first derivative is cpp/moment.h.
"""

import triton
import triton.language as tl

from .maths import add_to, apart, dot, rows_of, tanh


@triton.jit
def first_layer(x, w, first, second, own, other, k, mk, N1: tl.constexpr):
    """y and the slope of z, a row."""
    weight = tl.load(w + k, mask=mk, other=0.0)
    z = (
        x[:, None] * weight[None, :]
        + rows_of(first, 0, other, k, N1, mk[None, :])
        + tl.load(second + own * N1 + k, mask=mk, other=0.0)[None, :]
    )
    return tanh(z), weight


@triton.jit
def matrix_of(W, row, column, k, mk, WIDTH: tl.constexpr):
    """A square of n rows and columns."""
    return tl.load(W + (row + k)[:, None] * WIDTH + (column + k)[None, :], mask=mk[:, None] & mk[None, :], other=0.0)


@triton.jit
def later(ha, hb, ta, tb, wa, wb, b, TWO: tl.constexpr, SLOPE: tl.constexpr, PRECISION: tl.constexpr):
    """y and the slope of z of some columns, of one input or two."""
    z = dot(ha, wa, PRECISION)
    zt = z
    if TWO:
        z += dot(hb, wb, PRECISION)
    if SLOPE:
        zt = dot(ta, wa, PRECISION)
        if TWO:
            zt += dot(tb, wb, PRECISION)
    return tanh(z + b[None, :]), zt


@triton.jit
def half_of_second(h, t, W2, b2, begin, k, mk, N1: tl.constexpr, SLOPE: tl.constexpr, PRECISION: tl.constexpr):
    """The n columns from `begin` on of the second layer: y, the slope of z, and both with what skips the layer."""
    w2 = matrix_of(W2, 0, begin, k, mk, 2 * N1)
    y, zt = later(h, h, t, t, w2, w2, tl.load(b2 + begin + k, mask=mk, other=0.0), False, SLOPE, PRECISION)
    return y, zt, y + h, (1.0 - y * y) * zt + t


@triton.jit
def moment_forward(
    R, own_types, other_types, w, first, second, W2, b2, W3, b3, Rd, out, W, quarters,
    N1: tl.constexpr, NP: tl.constexpr, BW: tl.constexpr, TANGENT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write M (N, 4, 4n), or its tangent."""
    n = tl.program_id(0).to(tl.int64)
    k, a = tl.arange(0, NP), tl.arange(0, 16)
    mk = k < N1
    own = tl.load(own_types + n)
    for quarter in range(quarters):
        total = tl.zeros([16, NP], dtype=R.dtype.element_ty)
        wa, wb = matrix_of(W3, 0, quarter * N1, k, mk, 4 * N1), matrix_of(W3, N1, quarter * N1, k, mk, 4 * N1)
        bias = tl.load(b3 + quarter * N1 + k, mask=mk, other=0.0)
        for begin in range(0, W, BW):
            j = begin + tl.arange(0, BW)
            mj = j < W
            e = n * W + j
            x = tl.load(R + e * 4, mask=mj, other=0.0)
            h, t = first_layer(x, w, first, second, own, tl.load(other_types + e, mask=mj, other=0), k, mk, N1)
            t = (1.0 - h * h) * t[None, :]
            y, zt, ha, ta = half_of_second(h, t, W2, b2, 0, k, mk, N1, TANGENT, PRECISION)
            y, zt, hb, tb = half_of_second(h, t, W2, b2, N1, k, mk, N1, TANGENT, PRECISION)
            y, zt = later(ha, hb, ta, tb, wa, wb, bias, True, TANGENT, PRECISION)
            even = quarter % 2 == 0
            g = y + tl.where(even, ha, hb)
            turned = tl.load(R + e[None, :] * 4 + a[:, None], mask=mj[None, :] & (a < 4)[:, None], other=0.0)
            if TANGENT:
                along = tl.load(Rd + e[None, :] * 4 + a[:, None], mask=mj[None, :] & (a < 4)[:, None], other=0.0)
                slope = ((1.0 - y * y) * zt + tl.where(even, ta, tb)) * tl.load(Rd + e * 4, mask=mj, other=0.0)[:, None]
                total += dot(along, g, PRECISION) + dot(turned, slope, PRECISION)
            else:
                total += dot(turned, g, PRECISION)
        place = out + n * 16 * N1 + a[:, None] * (4 * N1) + quarter * N1 + k[None, :]
        tl.store(place, total, mask=(a < 4)[:, None] & mk[None, :])


@triton.jit
def moment_slopes(
    R, own_types, other_types, w, first, second, W2, b2, W3, b3, c, by_R, W, quarters,
    N1: tl.constexpr, NP: tl.constexpr, BW: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write the cotangent of R."""
    n = tl.program_id(0).to(tl.int64)
    k, a = tl.arange(0, NP), tl.arange(0, 16)
    mk = k < N1
    own = tl.load(own_types + n)
    for begin in range(0, W, BW):
        j = begin + tl.arange(0, BW)
        mj = j < W
        e = n * W + j
        x = tl.load(R + e * 4, mask=mj, other=0.0)
        h, t = first_layer(x, w, first, second, own, tl.load(other_types + e, mask=mj, other=0), k, mk, N1)
        t = (1.0 - h * h) * t[None, :]
        y, zt, ha, ta = half_of_second(h, t, W2, b2, 0, k, mk, N1, True, PRECISION)
        y, zt, hb, tb = half_of_second(h, t, W2, b2, N1, k, mk, N1, True, PRECISION)
        ea = mj[:, None] & (a < 4)[None, :]
        rows = tl.load(R + e[:, None] * 4 + a[None, :], mask=ea, other=0.0)
        total, more = rows * 0.0, x * 0.0
        for quarter in range(quarters):
            wa, wb = matrix_of(W3, 0, quarter * N1, k, mk, 4 * N1), matrix_of(W3, N1, quarter * N1, k, mk, 4 * N1)
            y, zt = later(ha, hb, ta, tb, wa, wb, tl.load(b3 + quarter * N1 + k, mask=mk, other=0.0), True, True, PRECISION)
            even = quarter % 2 == 0
            part = tl.load(
                c + n * 16 * N1 + a[:, None] * (4 * N1) + quarter * N1 + k[None, :], mask=(a < 4)[:, None] & mk[None, :], other=0.0
            )
            total += dot(y + tl.where(even, ha, hb), tl.trans(part), PRECISION)
            more += tl.sum(((1.0 - y * y) * zt + tl.where(even, ta, tb)) * dot(rows, part, PRECISION), 1)
        total += tl.where((a == 0)[None, :], more[:, None], 0.0)
        tl.store(by_R + e[:, None] * 4 + a[None, :], total, mask=ea)


@triton.jit
def back(y, zt, u, v, JOINT: tl.constexpr):
    """Cotangents of z and of its slope from those of y and of y's."""
    s = 1.0 - y * y
    z = u * s
    if JOINT:
        z -= 2.0 * y * s * zt * v
        v = v * s
    return z, v


@triton.jit
def through_half(
    h, t, y, zt, by_y, by_slope, u, v, W2, sum_w2, sum_b2, begin, k, mk, N1: tl.constexpr, JOINT: tl.constexpr, PRECISION: tl.constexpr
):  # fmt: skip
    """`u` and `v`, the cotangents of h and t, with what the columns of the second layer from `begin` on give to them; its weights' own are added to their sums."""
    z, slope = back(y, zt, by_y, by_slope, JOINT)
    by_w = dot(tl.trans(h), z, PRECISION)
    if JOINT:
        by_w += dot(tl.trans(t), slope, PRECISION)
    add_to(sum_w2 + k[:, None] * (2 * N1) + begin + k[None, :], by_w, mk[:, None] & mk[None, :])
    add_to(sum_b2 + begin + k, tl.sum(z, 0), mk)
    tl.debug_barrier()
    w2 = tl.trans(matrix_of(W2, 0, begin, k, mk, 2 * N1))
    if JOINT:
        v += dot(apart(slope), w2, PRECISION)
    u += dot(apart(z), w2, PRECISION)  # last, see `moment_gradients`
    return u, v


@triton.jit
def two_layers(
    R, other_types, w, first, second, W2, b2, own, e, mj, k, mk, N1: tl.constexpr, JOINT: tl.constexpr, PRECISION: tl.constexpr
):  # fmt: skip
    """The first two layers of edges e, from memory: where a loop needs them it calls this, as registers to keep them through it there are not."""
    x, other = tl.load(R + e * 4, mask=mj, other=0.0), tl.load(other_types + e, mask=mj, other=0)
    h, weight = first_layer(x, w, first, second, own, other, k, mk, N1)
    t = (1.0 - h * h) * weight[None, :]
    ya, za, ha, ta = half_of_second(h, t, W2, b2, 0, k, mk, N1, JOINT, PRECISION)
    yb, zb, hb, tb = half_of_second(h, t, W2, b2, N1, k, mk, N1, JOINT, PRECISION)
    return x, other, h, weight, t, ya, za, ha, ta, yb, zb, hb, tb


@triton.jit
def places_of(own, N1: tl.constexpr, T: tl.constexpr):
    """Where the sums of a program begin: of w, first, second, W2, b2, W3, b3."""
    second = own + N1 + T * N1
    w2 = second + T * N1
    w3 = w2 + 2 * N1 * N1 + 2 * N1
    return own, own + N1, second, w2, w2 + 2 * N1 * N1, w3, w3 + 8 * N1 * N1


@triton.jit
def moment_gradients(
    R, own_types, other_types, w, first, second, W2, b2, W3, b3, c, Rd, ch, sums, W, N, kinds, quarters,
    N1: tl.constexpr, NP: tl.constexpr, BW: tl.constexpr, T: tl.constexpr, JOINT: tl.constexpr, SIZE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Add to this program's sums: of w, first, second, W2, b2, W3, b3."""
    k, a = tl.arange(0, NP), tl.arange(0, 16)
    mk = k < N1
    kk = mk[:, None] & mk[None, :]
    for atom in range(tl.program_id(0), N, tl.num_programs(0)):
        n = tl.cast(atom, tl.int64)
        own = tl.load(own_types + n)
        for begin in range(0, W, BW):
            # quarters - 4 is 0, which the compiler does not know: so it keeps no places through the loop
            sum_w, sum_first, sum_second, sum_w2, sum_b2, sum_w3, sum_b3 = places_of(
                sums + tl.program_id(0).to(tl.int64) * SIZE + begin * (quarters - 4), N1, T
            )
            j = begin + tl.arange(0, BW)
            mj = j < W
            e = n * W + j
            ea = mj[:, None] & (a < 4)[None, :]
            ua = tl.zeros([BW, NP], dtype=R.dtype.element_ty)
            ub, va, vb = ua, ua, ua
            for quarter in tl.range(quarters, disable_licm=True):
                x, other, h, weight, t, ya, za, ha, ta, yb, zb, hb, tb = two_layers(
                    R, other_types, w, first, second, W2, b2, own, e, mj, k, mk, N1, JOINT, PRECISION
                )
                wa, wb = matrix_of(W3, 0, quarter * N1, k, mk, 4 * N1), matrix_of(W3, N1, quarter * N1, k, mk, 4 * N1)
                y, zt = later(ha, hb, ta, tb, wa, wb, tl.load(b3 + quarter * N1 + k, mask=mk, other=0.0), True, JOINT, PRECISION)
                place = n * 16 * N1 + a[:, None] * (4 * N1) + quarter * N1 + k[None, :]
                four = (a < 4)[:, None] & mk[None, :]
                rows = tl.load(R + e[:, None] * 4 + a[None, :], mask=ea, other=0.0)
                u = dot(rows, tl.load(c + place, mask=four, other=0.0), PRECISION)
                v = u
                if JOINT:
                    hat = tl.load(ch + place, mask=four, other=0.0)
                    u += dot(tl.load(Rd + e[:, None] * 4 + a[None, :], mask=ea, other=0.0), hat, PRECISION)
                    v = dot(rows, hat, PRECISION) * tl.load(Rd + e * 4, mask=mj, other=0.0)[:, None]
                even = quarter % 2 == 0
                ua += tl.where(even, u, 0.0)
                ub += tl.where(even, 0.0, u)
                if JOINT:
                    va += tl.where(even, v, 0.0)
                    vb += tl.where(even, 0.0, v)
                u, v = back(y, zt, u, v, JOINT)
                column = sum_w3 + k[:, None] * (4 * N1) + quarter * N1 + k[None, :]
                by_w = dot(tl.trans(ha), u, PRECISION)
                if JOINT:
                    by_w += dot(tl.trans(ta), v, PRECISION)
                add_to(column, by_w, kk)
                by_w = dot(tl.trans(hb), u, PRECISION)
                if JOINT:
                    by_w += dot(tl.trans(tb), v, PRECISION)
                add_to(column + 4 * N1 * N1, by_w, kk)
                add_to(sum_b3 + quarter * N1 + k, tl.sum(u, 0), mk)
                tl.debug_barrier()
                u = apart(u)
                wa, wb = matrix_of(W3, 0, quarter * N1, k, mk, 4 * N1), matrix_of(W3, N1, quarter * N1, k, mk, 4 * N1)
                if JOINT:
                    v = apart(v)
                    va += dot(v, tl.trans(wa), PRECISION)
                    vb += dot(v, tl.trans(wb), PRECISION)
                ua += dot(u, tl.trans(wa), PRECISION)  # last, as the compiler lays out the loop's other products as it lays out the last
                ub += dot(u, tl.trans(wb), PRECISION)
            x, other, h, weight, t, ya, za, ha, ta, yb, zb, hb, tb = two_layers(
                R, other_types, w, first, second, W2, b2, own, e, mj, k, mk, N1, JOINT, PRECISION
            )
            u, v = ua + ub, va + vb
            u, v = through_half(h, t, ya, za, ua, va, u, v, W2, sum_w2, sum_b2, 0, k, mk, N1, JOINT, PRECISION)
            u, v = through_half(h, t, yb, zb, ub, vb, u, v, W2, sum_w2, sum_b2, N1, k, mk, N1, JOINT, PRECISION)
            u, v = back(h, weight[None, :], u, v, JOINT)
            u = tl.where(mj[:, None], u, 0.0)
            by_w = x[:, None] * u
            if JOINT:
                by_w += tl.where(mj[:, None], v, 0.0)
            add_to(sum_w + k, tl.sum(by_w, 0), mk)
            add_to(sum_second + own * N1 + k, tl.sum(u, 0), mk)
            for some in range(0, kinds, 16):
                kind = some + a
                chosen = (kind[:, None] == other[None, :]).to(u.dtype)
                add_to(sum_first + kind[:, None] * N1 + k[None, :], dot(chosen, u, PRECISION), (kind < T)[:, None] & mk[None, :])
