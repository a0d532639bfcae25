"""What atoms take from their edges and from the atoms at the other end. One program an atom, some edges and some columns of g1 at a time.

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

from .maths import dot, rows_of, store_rows


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
def channels(
    g2, h, s, g2d, hd, sd, n, V, j, k, K: tl.constexpr, SCALE: tl.constexpr, TURN: tl.constexpr, DOTS: tl.constexpr
):  # fmt: skip
    """Of edges j of atom n: a, h, g2 and a g2, with DOTS the tangents of each; without, the same again."""
    mj = j < V
    jk, e = mj[:, None] & (k < K)[None, :], n * V + j
    a, x, y, z = factors_of(h, s, e, SCALE, TURN, mj)
    channel = rows_of(g2, n * V, j, k, K, jk)
    left = a[:, None] * channel
    ad, xd, yd, zd, along, left_d = a, x, y, z, channel, left
    if DOTS:
        ad, xd, yd, zd = factors_along(h, s, hd, sd, e, SCALE, TURN, mj)
        along = rows_of(g2d, n * V, j, k, K, jk)
        left_d = ad[:, None] * channel + a[:, None] * along
    return a, x, y, z, channel, left, ad, xd, yd, zd, along, left_d


@triton.jit
def turned_by(x, xd, g, gd, DOTS: tl.constexpr):
    """x g, or its tangent, of each edge."""
    out = x[:, None] * g
    if DOTS:
        out = xd[:, None] * g + x[:, None] * gd
    return out


@triton.jit
def store_three(pointer, row, columns, WIDTH: tl.constexpr, x, y, z, mask):
    """Write the sums over rows of three tiles to (A, 3, WIDTH)."""
    place = pointer + row * 3 * WIDTH + columns
    tl.store(place, tl.sum(x, 0), mask=mask)
    tl.store(place + WIDTH, tl.sum(y, 0), mask=mask)
    tl.store(place + 2 * WIDTH, tl.sum(z, 0), mask=mask)


@triton.jit
def neighbors_forward(
    g1, g2, h, s, W, neighbors, g1d, g2d, hd, sd, conv, turned, narrow, V, start,
    d: tl.constexpr, BD: tl.constexpr, K: tl.constexpr, KP: tl.constexpr, BE: tl.constexpr, SCALE: tl.constexpr, TURN: tl.constexpr,
    TANGENT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write conv, H, I of the atoms of a chunk, into rows from `start`; or their tangents."""
    n = tl.program_id(0).to(tl.int64)
    row = n + start
    k = tl.arange(0, KP)
    mk = k < K
    ix = tl.zeros([BE, KP], dtype=g1.dtype.element_ty)
    iy, iz = ix, ix
    for begin in range(0, V, BE):
        j = begin + tl.arange(0, BE)
        a, x, y, z, channel, left, ad, xd, yd, zd, along, left_d = channels(g2, h, s, g2d, hd, sd, n, V, j, k, K, SCALE, TURN, TANGENT)
        ix += turned_by(x, xd, channel, along, TANGENT)
        iy += turned_by(y, yd, channel, along, TANGENT)
        iz += turned_by(z, zd, channel, along, TANGENT)
    store_three(narrow, row, k, K, ix, iy, iz, mk)
    for first in range(0, d, BD):
        o = first + tl.arange(0, BD)
        mo = o < d
        matrix = rows_of(W, 0, k, o, d, mk[:, None] & mo[None, :])
        c = tl.zeros([BE, BD], dtype=g1.dtype.element_ty)
        tx, ty, tz = c, c, c
        for begin in range(0, V, BE):
            j = begin + tl.arange(0, BE)
            a, x, y, z, channel, left, ad, xd, yd, zd, along, left_d = channels(g2, h, s, g2d, hd, sd, n, V, j, k, K, SCALE, TURN, TANGENT)
            other = tl.load(neighbors + n * V + j, mask=j < V, other=0)
            jo = (j < V)[:, None] & mo[None, :]
            g = rows_of(g1, 0, other, o, d, jo)
            gd = g
            u = dot(left, matrix, PRECISION)
            if TANGENT:
                gd = rows_of(g1d, 0, other, o, d, jo)
                c += dot(left_d, matrix, PRECISION) * g + u * gd
            else:
                c += u * g
            tx += turned_by(x, xd, g, gd, TANGENT)
            ty += turned_by(y, yd, g, gd, TANGENT)
            tz += turned_by(z, zd, g, gd, TANGENT)
        tl.store(conv + row * d + o, tl.sum(c, 0), mask=mo)
        store_three(turned, row, o, d, tx, ty, tz, mo)


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
def through(g1, g1d, P, Ph, other, row, o, mask, d: tl.constexpr, JOINT: tl.constexpr):
    """g1 of the edges' ends, T_ and T^, in columns o."""
    mo = o < d
    g = rows_of(g1, 0, other, o, d, mask[:, None] & mo[None, :])
    t = g * tl.load(P + row * d + o, mask=mo, other=0.0)[None, :]
    hat = t
    if JOINT:
        up = tl.load(Ph + row * d + o, mask=mo, other=0.0)
        t += rows_of(g1d, 0, other, o, d, mask[:, None] & mo[None, :]) * up[None, :]
        hat = g * up[None, :]
    return g, t, hat


@triton.jit
def neighbors_edges(
    g1, g2, h, s, W, neighbors, P, Q, R, g1d, g2d, hd, sd, Ph, Qh, Rh, by_g2, by_h, by_s, sums, V, start, N,
    d: tl.constexpr, BD: tl.constexpr, K: tl.constexpr, KP: tl.constexpr, BE: tl.constexpr, SCALE: tl.constexpr, TURN: tl.constexpr,
    JOINT: tl.constexpr, GEOMETRY: tl.constexpr, WEIGHTS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write the cotangents of g2 and, with GEOMETRY, of h2 and s; with WEIGHTS this program's sums of W's."""
    k = tl.arange(0, KP)
    mk = k < K
    for atom in range(tl.program_id(0), N, tl.num_programs(0)):
        n = tl.cast(atom, tl.int64)
        row = n + start
        rx, ry, rz = three_of(R, row, k, K, mk)
        for begin in range(0, V, BE):
            j = begin + tl.arange(0, BE)
            mj, e = j < V, n * V + j
            a, x, y, z, channel, left, ad, xd, yd, zd, along, left_d = channels(g2, h, s, g2d, hd, sd, n, V, j, k, K, SCALE, TURN, JOINT)
            other = tl.load(neighbors + e, mask=mj, other=0)
            back = tl.zeros([BE, KP], dtype=channel.dtype)
            back_hat = back
            if GEOMETRY:
                by_x, by_y, by_z = tl.sum(channel * rx[None, :], 1), tl.sum(channel * ry[None, :], 1), tl.sum(channel * rz[None, :], 1)
            for first in range(0, d, BD):
                o = first + tl.arange(0, BD)
                mo = o < d
                matrix = tl.trans(rows_of(W, 0, k, o, d, mk[:, None] & mo[None, :]))
                g, t, hat = through(g1, g1d, P, Ph, other, row, o, mj, d, JOINT)
                back += dot(t, matrix, PRECISION)
                if JOINT:
                    back_hat += dot(hat, matrix, PRECISION)
                if GEOMETRY:
                    qx, qy, qz = three_of(Q, row, o, d, mo)
                    by_x += tl.sum(g * qx[None, :], 1)
                    by_y += tl.sum(g * qy[None, :], 1)
                    by_z += tl.sum(g * qz[None, :], 1)
            if GEOMETRY:
                weight, place = tl.load(s + e, mask=mj, other=0.0), h + e * 3
                hx, hy, hz = (
                    tl.load(place, mask=mj, other=0.0),
                    tl.load(place + 1, mask=mj, other=0.0),
                    tl.load(place + 2, mask=mj, other=0.0),
                )
                tl.store(by_s + e, SCALE * tl.sum(back * channel, 1) + TURN * (by_x * hx + by_y * hy + by_z * hz), mask=mj)
                tl.store(by_h + e * 3, by_x * weight * TURN, mask=mj)
                tl.store(by_h + e * 3 + 1, by_y * weight * TURN, mask=mj)
                tl.store(by_h + e * 3 + 2, by_z * weight * TURN, mask=mj)
            result = a[:, None] * back + x[:, None] * rx[None, :] + y[:, None] * ry[None, :] + z[:, None] * rz[None, :]
            if JOINT:
                ux, uy, uz = three_of(Rh, row, k, K, mk)
                result += ad[:, None] * back_hat + xd[:, None] * ux[None, :] + yd[:, None] * uy[None, :] + zd[:, None] * uz[None, :]
            store_rows(by_g2, n * V, j, k, K, result, mj[:, None] & mk[None, :])
    if WEIGHTS:
        own = sums + tl.program_id(0).to(tl.int64) * K * d
        for first in range(0, d, 2 * BD):
            o = first + tl.arange(0, 2 * BD)
            by_w = tl.zeros([KP, 2 * BD], dtype=g1.dtype.element_ty)
            for atom in range(tl.program_id(0), N, tl.num_programs(0)):
                n = tl.cast(atom, tl.int64)
                for begin in range(0, V, BE):
                    j = begin + tl.arange(0, BE)
                    a, x, y, z, channel, left, ad, xd, yd, zd, along, left_d = channels(
                        g2, h, s, g2d, hd, sd, n, V, j, k, K, SCALE, TURN, JOINT
                    )
                    other = tl.load(neighbors + n * V + j, mask=j < V, other=0)
                    g, t, hat = through(g1, g1d, P, Ph, other, n + start, o, j < V, d, JOINT)
                    by_w += dot(tl.trans(left), t, PRECISION)
                    if JOINT:
                        by_w += dot(tl.trans(left_d), hat, PRECISION)
            store_rows(own, 0, k, o, d, by_w, mk[:, None] & (o < d)[None, :])


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
    total = tl.zeros([BE, BD], dtype=matrix.dtype)
    for first in range(begin, end, BE):
        place = first + tl.arange(0, BE)
        me = place < end
        e = tl.load(order + place, mask=me, other=0)
        i = (e.to(tl.int32) // V).to(tl.int64) + start  # a division of 64 bits is a call
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
        total += sent
    result = tl.sum(total, 0)
    if ADD:
        result += tl.load(by_g1 + n * d + o, mask=mo, other=0.0)
    tl.store(by_g1 + n * d + o, result, mask=mo)
