"""The vectors of atoms, from their sums over neighbours to the next layer. One program a tile of atoms.

    p = S(I, H) W + b      q = g1 V + c      out = g1 + r_s tanh q + r_c conv + r_l tanh p      S(H)_ao = sum_x H_xa H_xo / 3 for a < axis

S is laid out as the reference has it: all a of I, then all of H. Jointly, with hats, bars and dots as in pairs.py, y = tanh p and bend = 1 - y^2:

    t^ = g^ r_l bend     t_ = g_ r_l bend - 2 y bend p' g^ r_l     H_ = B(t_ W^T, H) + B(t^ W^T, H')     W = S^T t_ + S'^T t^

with B(s, H)_xo = (sum_a H_xa s_ao + [o < axis] sum_p s_op H_xp) / 3. The products with transposes, S^T t and g1^T t, are left to the caller: the tiles
of S, g1 and t are written for them. As t is wide, it is read back from there some columns at a time, and never whole in registers. The source of the first derivative is cpp/symmetrize.h and cpp/node_update.h.
"""

import triton
import triton.language as tl

from .maths import add_to, dot, rows_of, store_rows, tanh


@triton.jit
def invariants(H, K, i, mi, a, o, mask, WIDTH: tl.constexpr):
    """The tile sum_x H_xa K_xo / 3 of atoms i."""
    place = i * 3
    s = tl.load(H + place * WIDTH + a, mask=mi, other=0.0)[:, None] * rows_of(K, 0, place, o, WIDTH, mask)
    s += tl.load(H + (place + 1) * WIDTH + a, mask=mi, other=0.0)[:, None] * rows_of(K, 0, place + 1, o, WIDTH, mask)
    s += tl.load(H + (place + 2) * WIDTH + a, mask=mi, other=0.0)[:, None] * rows_of(K, 0, place + 2, o, WIDTH, mask)
    return s * (1.0 / 3.0)


@triton.jit
def add_product(
    total, H, Hd, W, i, mi, c, mc, axes, BEFORE: tl.constexpr, WIDTH: tl.constexpr, BO: tl.constexpr, d: tl.constexpr, TANGENT: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Add to `total` what the invariants of H, or their tangents, give through the rows of W from `BEFORE` on."""
    for a in range(axes):
        for first in range(0, WIDTH, BO):
            o = first + tl.arange(0, BO)
            mo = o < WIDTH
            mask = mi[:, None] & mo[None, :]
            if TANGENT:
                s = invariants(H, Hd, i, mi, a, o, mask, WIDTH) + invariants(Hd, H, i, mi, a, o, mask, WIDTH)
            else:
                s = invariants(H, H, i, mi, a, o, mask, WIDTH)
            total += dot(s, rows_of(W, BEFORE + a * WIDTH, o, c, d, mo[:, None] & mc[None, :]), PRECISION)
    return total


@triton.jit
def nodes_forward(
    g1, conv, H, narrow, W, b, V, bias, r_s, r_c, r_l, g1d, convd, Hd, narrow_d, kept, to, out, A, axes,
    AXIS: tl.constexpr, d: tl.constexpr, DP: tl.constexpr, K: tl.constexpr, BA: tl.constexpr, BO: tl.constexpr, TANGENT: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Write out, and tanh p, tanh q (2, A, d) to `to`; or, with TANGENT, read those, and write out' and p', q' to `to`."""
    i = tl.program_id(0).to(tl.int64) * BA + tl.arange(0, BA)
    c = tl.arange(0, DP)
    mi, mc = i < A, c < d
    ic = mi[:, None] & mc[None, :]
    p = add_product(tl.zeros([BA, DP], dtype=g1.dtype.element_ty), narrow, narrow_d, W, i, mi, c, mc, axes, 0, K, BO, d, TANGENT, PRECISION)
    p = add_product(p, H, Hd, W, i, mi, c, mc, axes, AXIS * K, d, BO, d, TANGENT, PRECISION)
    q = p * 0.0
    left = g1d if TANGENT else g1
    for first in range(0, d, BO):
        o = first + tl.arange(0, BO)
        mo = o < d
        q += dot(rows_of(left, 0, i, o, d, mi[:, None] & mo[None, :]), rows_of(V, 0, o, c, d, mo[:, None] & mc[None, :]), PRECISION)
    s_s, s_c, s_l = tl.load(r_s + c, mask=mc, other=0.0), tl.load(r_c + c, mask=mc, other=0.0), tl.load(r_l + c, mask=mc, other=0.0)
    result = rows_of(left, 0, i, c, d, ic)
    if TANGENT:
        y, z = rows_of(kept, 0, i, c, d, ic), rows_of(kept, A, i, c, d, ic)
        store_rows(to, 0, i, c, d, p, ic)
        store_rows(to, A, i, c, d, q, ic)
        result += s_l[None, :] * (1.0 - y * y) * p + s_s[None, :] * (1.0 - z * z) * q + s_c[None, :] * rows_of(convd, 0, i, c, d, ic)
    else:
        y, z = tanh(p + tl.load(b + c, mask=mc, other=0.0)[None, :]), tanh(q + tl.load(bias + c, mask=mc, other=0.0)[None, :])
        store_rows(to, 0, i, c, d, y, ic)
        store_rows(to, A, i, c, d, z, ic)
        result += s_l[None, :] * y + s_s[None, :] * z + s_c[None, :] * rows_of(conv, 0, i, c, d, ic)
    store_rows(out, 0, i, c, d, result, ic)


@triton.jit
def through_matrix(T, before, W, i, mi, rows, mr, width, BC: tl.constexpr, d: tl.constexpr, PRECISION: tl.constexpr):
    """The tile T M^T of atoms i, for T's rows from `before` on and some rows of a matrix at W, both d wide; `width` is d, told at launch so that nothing is unrolled."""
    total = tl.zeros([i.shape[0], rows.shape[0]], dtype=W.dtype.element_ty)
    for first in range(0, width, BC):
        c = first + tl.arange(0, BC)
        mc = c < d
        matrix = tl.trans(rows_of(W, 0, rows, c, d, mr[:, None] & mc[None, :]))
        total += dot(rows_of(T, before, i, c, d, mi[:, None] & mc[None, :]), matrix, PRECISION)
    return total


@triton.jit
def add_back(H, place, a, mi, s, x, y, z, WIDTH: tl.constexpr):
    """x, y, z with the columns a of H times s added."""
    x += tl.load(H + place * WIDTH + a, mask=mi, other=0.0)[:, None] * s
    y += tl.load(H + (place + 1) * WIDTH + a, mask=mi, other=0.0)[:, None] * s
    z += tl.load(H + (place + 2) * WIDTH + a, mask=mi, other=0.0)[:, None] * s
    return x, y, z


@triton.jit
def sums_along(H, place, o, mask, s, WIDTH: tl.constexpr):
    """Sums over o of s H_xo, x, y and z."""
    x, y = tl.sum(s * rows_of(H, 0, place, o, WIDTH, mask), 1), tl.sum(s * rows_of(H, 0, place + 1, o, WIDTH, mask), 1)
    return x, y, tl.sum(s * rows_of(H, 0, place + 2, o, WIDTH, mask), 1)


@triton.jit
def through_invariants(
    T, H, Hd, W, by_H, S, i, mi, A, axes, width, BEFORE: tl.constexpr, SIZE: tl.constexpr, WIDTH: tl.constexpr, BO: tl.constexpr,
    AP: tl.constexpr, AXIS: tl.constexpr, d: tl.constexpr, JOINT: tl.constexpr, WEIGHTS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write H's cotangent and, with WEIGHTS, the invariants (and behind them their tangents) as rows of `SIZE`; T has t, then t^."""
    place, b = i * 3, tl.arange(0, AP)
    first_x = tl.zeros([i.shape[0], AP], dtype=W.dtype.element_ty)
    first_y, first_z = first_x, first_x
    for first in range(0, WIDTH, BO):
        o = first + tl.arange(0, BO)
        mo = o < WIDTH
        mask = mi[:, None] & mo[None, :]
        by_x = tl.zeros([i.shape[0], BO], dtype=W.dtype.element_ty)
        by_y, by_z = by_x, by_x
        for a in range(axes):
            rows = W + (BEFORE + a * WIDTH) * d
            s = through_matrix(T, 0, rows, i, mi, o, mo, width, BO, d, PRECISION) * (1.0 / 3.0)
            by_x, by_y, by_z = add_back(H, place, a, mi, s, by_x, by_y, by_z, WIDTH)
            sx, sy, sz = sums_along(H, place, o, mask, s, WIDTH)
            if WEIGHTS:
                store_rows(S, 0, i, BEFORE + a * WIDTH + o, SIZE, invariants(H, H, i, mi, a, o, mask, WIDTH), mask)
            if JOINT:
                s = through_matrix(T, A, rows, i, mi, o, mo, width, BO, d, PRECISION) * (1.0 / 3.0)
                by_x, by_y, by_z = add_back(Hd, place, a, mi, s, by_x, by_y, by_z, WIDTH)
                ux, uy, uz = sums_along(Hd, place, o, mask, s, WIDTH)
                sx, sy, sz = sx + ux, sy + uy, sz + uz
                if WEIGHTS:
                    along = invariants(H, Hd, i, mi, a, o, mask, WIDTH) + invariants(Hd, H, i, mi, a, o, mask, WIDTH)
                    store_rows(S, A, i, BEFORE + a * WIDTH + o, SIZE, along, mask)
            here = (b == a)[None, :]
            first_x += tl.where(here, sx[:, None], 0.0)
            first_y += tl.where(here, sy[:, None], 0.0)
            first_z += tl.where(here, sz[:, None], 0.0)
        store_rows(by_H, 0, place, o, WIDTH, by_x, mask)
        store_rows(by_H, 0, place + 1, o, WIDTH, by_y, mask)
        store_rows(by_H, 0, place + 2, o, WIDTH, by_z, mask)
    tl.debug_barrier()
    mask = mi[:, None] & (b < AXIS)[None, :]
    add_to(by_H + place[:, None] * WIDTH + b[None, :], first_x, mask)
    add_to(by_H + (place + 1)[:, None] * WIDTH + b[None, :], first_y, mask)
    add_to(by_H + (place + 2)[:, None] * WIDTH + b[None, :], first_z, mask)


@triton.jit
def through_tanh(
    g1, conv, r_s, r_c, r_l, kept, along, g, g1d, convd, gh, by_conv, left, right, own, i, mi, c, A, d: tl.constexpr, JOINT: tl.constexpr,
    WEIGHTS: tl.constexpr,
):  # fmt: skip
    """Of some columns: write t and u and their hats to `right`, conv's cotangent; with WEIGHTS g1 and its tangent to `left`, and the tile's sums."""
    mc = c < d
    ic = mi[:, None] & mc[None, :]
    s_s, s_c, s_l = tl.load(r_s + c, mask=mc, other=0.0), tl.load(r_c + c, mask=mc, other=0.0), tl.load(r_l + c, mask=mc, other=0.0)
    y, z, up = rows_of(kept, 0, i, c, d, ic), rows_of(kept, A, i, c, d, ic), rows_of(g, 0, i, c, d, ic)
    bend_y, bend_z = 1.0 - y * y, 1.0 - z * z
    t, u = up * s_l[None, :] * bend_y, up * s_s[None, :] * bend_z
    if JOINT:
        hat, along_p, along_q = rows_of(gh, 0, i, c, d, ic), rows_of(along, 0, i, c, d, ic), rows_of(along, A, i, c, d, ic)
        t_hat, u_hat = hat * s_l[None, :] * bend_y, hat * s_s[None, :] * bend_z
        t -= 2.0 * y * along_p * t_hat
        u -= 2.0 * z * along_q * u_hat
        store_rows(right, A, i, c, d, t_hat, ic)
        store_rows(right, 3 * A, i, c, d, u_hat, ic)
    store_rows(right, 0, i, c, d, t, ic)
    store_rows(right, 2 * A if JOINT else A, i, c, d, u, ic)
    store_rows(by_conv, 0, i, c, d, up * s_c[None, :], ic)
    if WEIGHTS:
        by_s, by_c, by_l = up * z, up * rows_of(conv, 0, i, c, d, ic), up * y
        store_rows(left, 0, i, c, d, rows_of(g1, 0, i, c, d, ic), ic)
        if JOINT:
            by_s += hat * bend_z * along_q
            by_c += hat * rows_of(convd, 0, i, c, d, ic)
            by_l += hat * bend_y * along_p
            store_rows(left, A, i, c, d, rows_of(g1d, 0, i, c, d, ic), ic)
        tl.store(own + c, tl.sum(t, 0), mask=mc)
        tl.store(own + d + c, tl.sum(u, 0), mask=mc)
        tl.store(own + 2 * d + c, tl.sum(by_s, 0), mask=mc)
        tl.store(own + 3 * d + c, tl.sum(by_c, 0), mask=mc)
        tl.store(own + 4 * d + c, tl.sum(by_l, 0), mask=mc)


@triton.jit
def nodes_reverse(
    g1, conv, H, narrow, W, V, r_s, r_c, r_l, kept, along, g, g1d, convd, Hd, narrow_d, gh, by_g1, by_conv, by_H, by_narrow, right, S, left, sums, A, axes, width,
    AXIS: tl.constexpr, AP: tl.constexpr, d: tl.constexpr, K: tl.constexpr, BA: tl.constexpr, BO: tl.constexpr, JOINT: tl.constexpr,
    WEIGHTS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write all cotangents, t and u to `right`; with WEIGHTS the other rows whose products are W's and V's, and the tile's sums of b, bias, r_s, r_c, r_l, (5, d)."""
    tile = tl.program_id(0).to(tl.int64)
    i = tile * BA + tl.arange(0, BA)
    mi = i < A
    for first in range(0, d, BO):
        c = first + tl.arange(0, BO)
        through_tanh(
            g1,
            conv,
            r_s,
            r_c,
            r_l,
            kept,
            along,
            g,
            g1d,
            convd,
            gh,
            by_conv,
            left,
            right,
            sums + tile * 5 * d,
            i,
            mi,
            c,
            A,
            d,
            JOINT,
            WEIGHTS,
        )
    tl.debug_barrier()
    for first in range(0, d, BO):
        o = first + tl.arange(0, BO)
        mo = o < d
        mask = mi[:, None] & mo[None, :]
        own = through_matrix(right, 2 * A if JOINT else A, V, i, mi, o, mo, width, BO, d, PRECISION)
        store_rows(by_g1, 0, i, o, d, rows_of(g, 0, i, o, d, mask) + own, mask)
    through_invariants(
        right, narrow, narrow_d, W, by_narrow, S, i, mi, A, axes, width, 0, AXIS * (K + d), K, BO, AP, AXIS, d, JOINT, WEIGHTS, PRECISION
    )
    through_invariants(
        right, H, Hd, W, by_H, S, i, mi, A, axes, width, AXIS * K, AXIS * (K + d), d, BO, AP, AXIS, d, JOINT, WEIGHTS, PRECISION
    )
