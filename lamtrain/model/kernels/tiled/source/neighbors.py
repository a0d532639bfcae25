"""What atoms take from their edges and from the atoms at the other end. One program an atom, some columns of g1 at a time.

    conv_i = sum_j (a_ij g2_ij W) * g1_n      H_i = sum_j h_ij g1_n^T      I_i = sum_j h_ij g2_ij^T      n = n(ij), a = s / nsel, h = c s h2

With P, Q, R the cotangents of conv, H, I, and u = a g2 W, T_j = P * g1_n:

    g1_n += u_j * P + h_j Q     g2_j = a_j T_j W^T + h_j R     a_j = T_j W^T . g2_j     h_j = Q g1_n + R g2_j     W = (a g2)^T T

and jointly, with hats, bars and dots as in pairs.py, T_ = P_ * g1_n + P^ * g1'_n, T^ = P^ * g1_n:

    g1_n += u_j * P_ + u'_j * P^ + h_j Q_ + h'_j Q^     g2_j = a_j T_ W^T + a'_j T^ W^T + h_j R_ + h'_j R^     W = (a g2)^T T_ + (a g2)'^T T^

The sums over edges that end in an atom are read from a list of those edges (`order`, `ends`), so that nothing is added by two programs.
The source of the first derivative is cpp/neighbor_sums.h.
"""

import triton
import triton.language as tl

from .maths import dot, gather_to, rows_of, store_rows


@triton.jit
def factors_of(h, s, e, SCALE: tl.constexpr, TURN: tl.constexpr, mask):
    """a and the three columns of h of edges `e`."""
    weight = tl.load(s + e, mask=mask, other=0.0)
    x, y, z = (
        tl.load(h + e * 3, mask=mask, other=0.0),
        tl.load(h + e * 3 + 1, mask=mask, other=0.0),
        tl.load(h + e * 3 + 2, mask=mask, other=0.0),
    )
    return weight * SCALE, x * weight * TURN, y * weight * TURN, z * weight * TURN


@triton.jit
def factors_along(h, s, hd, sd, e, SCALE: tl.constexpr, TURN: tl.constexpr, mask):
    """Their tangents."""
    weight, along = tl.load(s + e, mask=mask, other=0.0), tl.load(sd + e, mask=mask, other=0.0)
    x, y, z = (
        tl.load(h + e * 3, mask=mask, other=0.0),
        tl.load(h + e * 3 + 1, mask=mask, other=0.0),
        tl.load(h + e * 3 + 2, mask=mask, other=0.0),
    )
    xd, yd, zd = (
        tl.load(hd + e * 3, mask=mask, other=0.0),
        tl.load(hd + e * 3 + 1, mask=mask, other=0.0),
        tl.load(hd + e * 3 + 2, mask=mask, other=0.0),
    )
    return along * SCALE, (xd * weight + x * along) * TURN, (yd * weight + y * along) * TURN, (zd * weight + z * along) * TURN


@triton.jit
def neighbors_forward(
    g1, g2, h, s, W, neighbors, g1d, g2d, hd, sd, conv, turned, narrow, V, start,
    d: tl.constexpr, BD: tl.constexpr, K: tl.constexpr, KP: tl.constexpr, VP: tl.constexpr, SCALE: tl.constexpr, TURN: tl.constexpr,
    TANGENT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write conv, H, I of the atoms of a chunk, into rows from `start`; or their tangents."""
    n = tl.program_id(0).to(tl.int64)
    row = n + start
    j = tl.arange(0, VP)
    k = tl.arange(0, KP)
    mj, mk = j < V, k < K
    jk = mj[:, None] & mk[None, :]
    e = n * V + j
    a, x, y, z = factors_of(h, s, e, SCALE, TURN, mj)
    channel = rows_of(g2, n * V, j, k, K, jk)
    ix, iy, iz = tl.sum(x[:, None] * channel, 0), tl.sum(y[:, None] * channel, 0), tl.sum(z[:, None] * channel, 0)
    left = a[:, None] * channel
    if TANGENT:
        ad, xd, yd, zd = factors_along(h, s, hd, sd, e, SCALE, TURN, mj)
        along = rows_of(g2d, n * V, j, k, K, jk)
        ix = tl.sum(xd[:, None] * channel + x[:, None] * along, 0)
        iy = tl.sum(yd[:, None] * channel + y[:, None] * along, 0)
        iz = tl.sum(zd[:, None] * channel + z[:, None] * along, 0)
        left_d = ad[:, None] * channel + a[:, None] * along
    tl.store(narrow + row * 3 * K + k, ix, mask=mk)
    tl.store(narrow + row * 3 * K + K + k, iy, mask=mk)
    tl.store(narrow + row * 3 * K + 2 * K + k, iz, mask=mk)
    other = tl.load(neighbors + e, mask=mj, other=0)
    for first in range(0, d, BD):
        o = first + tl.arange(0, BD)
        mo = o < d
        jo = mj[:, None] & mo[None, :]
        matrix = rows_of(W, 0, k, o, d, mk[:, None] & mo[None, :])
        g = rows_of(g1, 0, other, o, d, jo)
        u = dot(left, matrix, PRECISION)
        if TANGENT:
            gd = rows_of(g1d, 0, other, o, d, jo)
            c = tl.sum(dot(left_d, matrix, PRECISION) * g + u * gd, 0)
            tx = tl.sum(xd[:, None] * g + x[:, None] * gd, 0)
            ty = tl.sum(yd[:, None] * g + y[:, None] * gd, 0)
            tz = tl.sum(zd[:, None] * g + z[:, None] * gd, 0)
        else:
            c = tl.sum(u * g, 0)
            tx, ty, tz = tl.sum(x[:, None] * g, 0), tl.sum(y[:, None] * g, 0), tl.sum(z[:, None] * g, 0)
        tl.store(conv + row * d + o, c, mask=mo)
        tl.store(turned + row * 3 * d + o, tx, mask=mo)
        tl.store(turned + row * 3 * d + d + o, ty, mask=mo)
        tl.store(turned + row * 3 * d + 2 * d + o, tz, mask=mo)


@triton.jit
def three_of(pointer, row, columns, WIDTH: tl.constexpr, mask):
    """Three rows of a cotangent (A, 3, WIDTH)."""
    place = pointer + row * 3 * WIDTH + columns
    return (
        tl.load(place, mask=mask, other=0.0),
        tl.load(place + WIDTH, mask=mask, other=0.0),
        tl.load(place + 2 * WIDTH, mask=mask, other=0.0),
    )


@triton.jit
def neighbors_edges(
    g1, g2, h, s, W, neighbors, P, Q, R, g1d, g2d, hd, sd, Ph, Qh, Rh, by_g2, by_h, by_s, sums, V, start, N,
    d: tl.constexpr, BD: tl.constexpr, K: tl.constexpr, KP: tl.constexpr, VP: tl.constexpr, SCALE: tl.constexpr, TURN: tl.constexpr,
    JOINT: tl.constexpr, GEOMETRY: tl.constexpr, WEIGHTS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write the cotangents of g2 and, with GEOMETRY, of h2 and s; add W's to this program's sums."""
    j = tl.arange(0, VP)
    k = tl.arange(0, KP)
    mj, mk = j < V, k < K
    jk = mj[:, None] & mk[None, :]
    own = sums + tl.program_id(0).to(tl.int64) * K * d
    for atom in range(tl.program_id(0), N, tl.num_programs(0)):
        n = tl.cast(atom, tl.int64)
        row, e = n + start, n * V + j
        a, x, y, z = factors_of(h, s, e, SCALE, TURN, mj)
        channel = rows_of(g2, n * V, j, k, K, jk)
        other = tl.load(neighbors + e, mask=mj, other=0)
        rx, ry, rz = three_of(R, row, k, K, mk)
        back = tl.zeros([VP, KP], dtype=channel.dtype)
        if JOINT:
            ad, xd, yd, zd = factors_along(h, s, hd, sd, e, SCALE, TURN, mj)
            left_d = ad[:, None] * channel + a[:, None] * rows_of(g2d, n * V, j, k, K, jk)
            back_hat = back
        if GEOMETRY:
            by_x, by_y, by_z = tl.sum(channel * rx[None, :], 1), tl.sum(channel * ry[None, :], 1), tl.sum(channel * rz[None, :], 1)
        for first in range(0, d, BD):
            o = first + tl.arange(0, BD)
            mo = o < d
            ko = mk[:, None] & mo[None, :]
            matrix = rows_of(W, 0, k, o, d, ko)
            g = rows_of(g1, 0, other, o, d, mj[:, None] & mo[None, :])
            t = g * tl.load(P + row * d + o, mask=mo, other=0.0)[None, :]
            if JOINT:
                up = tl.load(Ph + row * d + o, mask=mo, other=0.0)
                t += rows_of(g1d, 0, other, o, d, mj[:, None] & mo[None, :]) * up[None, :]
                hat = g * up[None, :]
                back_hat += dot(hat, tl.trans(matrix), PRECISION)
            back += dot(t, tl.trans(matrix), PRECISION)
            if GEOMETRY:
                qx, qy, qz = three_of(Q, row, o, d, mo)
                by_x += tl.sum(g * qx[None, :], 1)
                by_y += tl.sum(g * qy[None, :], 1)
                by_z += tl.sum(g * qz[None, :], 1)
            if WEIGHTS:
                by_w = dot(tl.trans(a[:, None] * channel), t, PRECISION)
                if JOINT:
                    by_w += dot(tl.trans(left_d), hat, PRECISION)
                gather_to(own + k[:, None] * d + o[None, :], by_w, ko, atom > tl.program_id(0))
        if GEOMETRY:
            weight = tl.load(s + e, mask=mj, other=0.0)
            hx, hy, hz = (
                tl.load(h + e * 3, mask=mj, other=0.0),
                tl.load(h + e * 3 + 1, mask=mj, other=0.0),
                tl.load(h + e * 3 + 2, mask=mj, other=0.0),
            )
            tl.store(by_s + e, SCALE * tl.sum(back * channel, 1) + TURN * (by_x * hx + by_y * hy + by_z * hz), mask=mj)
            tl.store(by_h + e * 3, by_x * weight * TURN, mask=mj)
            tl.store(by_h + e * 3 + 1, by_y * weight * TURN, mask=mj)
            tl.store(by_h + e * 3 + 2, by_z * weight * TURN, mask=mj)
        result = a[:, None] * back + x[:, None] * rx[None, :] + y[:, None] * ry[None, :] + z[:, None] * rz[None, :]
        if JOINT:
            rx, ry, rz = three_of(Rh, row, k, K, mk)
            result += ad[:, None] * back_hat + xd[:, None] * rx[None, :] + yd[:, None] * ry[None, :] + zd[:, None] * rz[None, :]
        store_rows(by_g2, n * V, j, k, K, result, jk)


@triton.jit
def neighbors_atoms(
    g2, h, s, W, order, ends, P, Q, g2d, hd, sd, Ph, Qh, by_g1, V, start,
    d: tl.constexpr, BD: tl.constexpr, K: tl.constexpr, KP: tl.constexpr, BE: tl.constexpr, SCALE: tl.constexpr, TURN: tl.constexpr,
    JOINT: tl.constexpr, ADD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write, or add to, the cotangent of g1: of one atom and some columns, over the edges that end in it."""
    n = tl.program_id(0).to(tl.int64)
    o = tl.program_id(1) * BD + tl.arange(0, BD)
    k = tl.arange(0, KP)
    mk, mo = k < K, o < d
    matrix = rows_of(W, 0, k, o, d, mk[:, None] & mo[None, :])
    begin, end = tl.load(ends + n), tl.load(ends + n + 1)
    total = tl.zeros([BD], dtype=matrix.dtype)
    for first in range(begin, end, BE):
        place = first + tl.arange(0, BE)
        me = place < end
        e = tl.load(order + place, mask=me, other=0)
        i = e // V + start
        ek, eo = me[:, None] & mk[None, :], me[:, None] & mo[None, :]
        a, x, y, z = factors_of(h, s, e, SCALE, TURN, me)
        channel = rows_of(g2, 0, e, k, K, ek)
        sent = dot(a[:, None] * channel, matrix, PRECISION) * rows_of(P, 0, i, o, d, eo)
        q = i * 3
        sent += (
            x[:, None] * rows_of(Q, 0, q, o, d, eo)
            + y[:, None] * rows_of(Q, 0, q + 1, o, d, eo)
            + z[:, None] * rows_of(Q, 0, q + 2, o, d, eo)
        )
        if JOINT:
            ad, xd, yd, zd = factors_along(h, s, hd, sd, e, SCALE, TURN, me)
            left = ad[:, None] * channel + a[:, None] * rows_of(g2d, 0, e, k, K, ek)
            sent += dot(left, matrix, PRECISION) * rows_of(Ph, 0, i, o, d, eo) + xd[:, None] * rows_of(Qh, 0, q, o, d, eo)
            sent += yd[:, None] * rows_of(Qh, 0, q + 1, o, d, eo) + zd[:, None] * rows_of(Qh, 0, q + 2, o, d, eo)
        total += tl.sum(sent, 0)
    if ADD:
        total += tl.load(by_g1 + n * d + o, mask=mo, other=0.0)
    tl.store(by_g1 + n * d + o, total, mask=mo)
