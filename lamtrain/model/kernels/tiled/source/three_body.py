"""The three-body sum over pairs of edges, with a net of widths m, 2m, 4m on the product of their directions. One program an atom, some rows at a time.

    e_jk = d_j . d_k      D = scale sum_jk e_jk net(e_jk; A[t_j] + B[t_k])

The net is as in moment.py, but so narrow that its numbers are scalars and its layers tiles of pairs. With c the cotangent of D and t the slopes of the
net by e: e_jk = scale sum_o c_o (G_o + e t_o), and jointly u = c_ e + c^ e' and v = c^ e' e are the cotangents of G and t.
"""

import triton
import triton.language as tl

from .edges import columns_of
from .maths import add_to, tanh
from .moment import back


@triton.jit
def tile_of(d, n, V, j, k, mask_j, mask_k):
    """e of rows j and columns k, with the vectors."""
    ax, ay, az = columns_of(d, n * V + j, 3, 0, mask_j)
    bx, by, bz = columns_of(d, n * V + k, 3, 0, mask_k)
    return ax[:, None] * bx[None, :] + ay[:, None] * by[None, :] + az[:, None] * bz[None, :], ax, ay, az, bx, by, bz


@triton.jit
def dense(h, t, W, b, WIDTH: tl.constexpr, IN: tl.constexpr, SLOPE: tl.constexpr):
    """A layer with its skips: y, slope of z, output and its slope, each a tuple of tiles."""
    ys, zs, hs, ts = (), (), (), ()
    for o in tl.static_range(WIDTH):
        z = h[0] * tl.load(W + o) + tl.load(b + o)
        zt = h[0]
        if SLOPE:
            zt = t[0] * tl.load(W + o)
        for i in tl.static_range(1, IN):
            z += h[i] * tl.load(W + i * WIDTH + o)
            if SLOPE:
                zt += t[i] * tl.load(W + i * WIDTH + o)
        y = tanh(z)
        ys, zs, hs = ys + (y,), zs + (zt,), hs + (y + h[o % IN],)
        if SLOPE:
            ts = ts + ((1.0 - y * y) * zt + t[o % IN],)
        else:
            ts = ts + (y,)
    return ys, zs, hs, ts


@triton.jit
def net(e, own, other, w, first, second, W2, b2, W3, b3, mask_j, mask_k, M: tl.constexpr, SLOPE: tl.constexpr):
    """All layers: (y, slope of z, output, its slope) of each."""
    ys, zs, ts = (), (), ()
    for o in tl.static_range(M):
        weight = tl.load(w + o)
        table = (
            tl.load(first + own * M + o, mask=mask_j, other=0.0)[:, None] + tl.load(second + other * M + o, mask=mask_k, other=0.0)[None, :]
        )
        y = tanh(e * weight + table)
        ys, zs, ts = ys + (y,), zs + (weight,), ts + ((1.0 - y * y) * weight,)
    y2, z2, h2, t2 = dense(ys, ts, W2, b2, 2 * M, M, SLOPE)
    y3, z3, h3, t3 = dense(h2, t2, W3, b3, 4 * M, 2 * M, SLOPE)
    return ys, zs, ts, y2, z2, h2, t2, y3, z3, h3, t3


@triton.jit
def three_forward(
    d, types, w, first, second, W2, b2, W3, b3, dd, out, V,
    M: tl.constexpr, VP: tl.constexpr, BJ: tl.constexpr, SCALE: tl.constexpr, TANGENT: tl.constexpr,
):  # fmt: skip
    """Write D (N, 4m), or its tangent."""
    n = tl.program_id(0).to(tl.int64)
    k, o = tl.arange(0, VP), tl.arange(0, 4 * M)
    mk = k < V
    other = tl.load(types + n * V + k, mask=mk, other=0)
    total = tl.zeros([4 * M], dtype=d.dtype.element_ty)
    for begin in range(0, V, BJ):
        j = begin + tl.arange(0, BJ)
        mj = j < V
        own = tl.load(types + n * V + j, mask=mj, other=0)
        e, ax, ay, az, bx, by, bz = tile_of(d, n, V, j, k, mj, mk)
        ys, zs, ts, y2, z2, h2, t2, y3, z3, h3, t3 = net(e, own, other, w, first, second, W2, b2, W3, b3, mj, mk, M, TANGENT)
        if TANGENT:
            cx, cy, cz = columns_of(dd, n * V + j, 3, 0, mj)
            gx, gy, gz = columns_of(dd, n * V + k, 3, 0, mk)
            along = cx[:, None] * bx[None, :] + cy[:, None] * by[None, :] + cz[:, None] * bz[None, :]
            along += ax[:, None] * gx[None, :] + ay[:, None] * gy[None, :] + az[:, None] * gz[None, :]
        for q in tl.static_range(4 * M):
            part = along * (h3[q] + e * t3[q]) if TANGENT else e * h3[q]
            total += tl.where(o == q, tl.sum(tl.sum(part, 1), 0), 0.0)
    tl.store(out + n * 4 * M + o, SCALE * total)


@triton.jit
def three_slopes(
    d, types, w, first, second, W2, b2, W3, b3, c, by_d, V, M: tl.constexpr, VP: tl.constexpr, BJ: tl.constexpr, SCALE: tl.constexpr
):  # fmt: skip
    """Write the cotangent of d."""
    n = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, VP)
    mk = k < V
    other = tl.load(types + n * V + k, mask=mk, other=0)
    to_x, to_y, to_z = (
        tl.zeros([VP], dtype=d.dtype.element_ty),
        tl.zeros([VP], dtype=d.dtype.element_ty),
        tl.zeros([VP], dtype=d.dtype.element_ty),
    )
    for begin in range(0, V, BJ):
        j = begin + tl.arange(0, BJ)
        mj = j < V
        own = tl.load(types + n * V + j, mask=mj, other=0)
        e, ax, ay, az, bx, by, bz = tile_of(d, n, V, j, k, mj, mk)
        ys, zs, ts, y2, z2, h2, t2, y3, z3, h3, t3 = net(e, own, other, w, first, second, W2, b2, W3, b3, mj, mk, M, True)
        slope = e * 0.0
        for q in tl.static_range(4 * M):
            slope += tl.load(c + n * 4 * M + q) * (h3[q] + e * t3[q])
        slope = tl.where(mj[:, None] & mk[None, :], slope * SCALE, 0.0)
        place = by_d + (n * V + j) * 3
        tl.store(place, tl.sum(slope * bx[None, :], 1), mask=mj)
        tl.store(place + 1, tl.sum(slope * by[None, :], 1), mask=mj)
        tl.store(place + 2, tl.sum(slope * bz[None, :], 1), mask=mj)
        to_x += tl.sum(slope * ax[:, None], 0)
        to_y += tl.sum(slope * ay[:, None], 0)
        to_z += tl.sum(slope * az[:, None], 0)
    tl.debug_barrier()
    place = by_d + (n * V + k) * 3
    add_to(place, to_x, mk)
    add_to(place + 1, to_y, mk)
    add_to(place + 2, to_z, mk)


@triton.jit
def add_sum(place, tile):
    """Add the sum of a tile."""
    tl.store(place, tl.load(place) + tl.sum(tl.sum(tile, 1), 0))


@triton.jit
def dense_back(us, vs, ys, zs, hs, ts, W, sum_w, sum_b, WIDTH: tl.constexpr, IN: tl.constexpr, JOINT: tl.constexpr):
    """Cotangents of the layer's input and its slope from those of its output; adds to the sums of W and b."""
    uz, vz = (), ()
    for o in tl.static_range(WIDTH):
        z, zt = back(ys[o], zs[o], us[o], vs[o], JOINT)
        uz, vz = uz + (z,), vz + (zt,)
        add_sum(sum_b + o, z)
    ui, vi = (), ()
    for i in tl.static_range(IN):
        u, v = us[i] + us[i + IN], vs[i] + vs[i + IN]
        for o in tl.static_range(WIDTH):
            weight, product = tl.load(W + i * WIDTH + o), hs[i] * uz[o]
            u += uz[o] * weight
            if JOINT:
                v += vz[o] * weight
                product += ts[i] * vz[o]
            add_sum(sum_w + i * WIDTH + o, product)
        ui, vi = ui + (u,), vi + (v,)
    return ui, vi


@triton.jit
def three_gradients(
    d, types, w, first, second, W2, b2, W3, b3, c, dd, ch, sums, V, N, kinds,
    M: tl.constexpr, VP: tl.constexpr, BJ: tl.constexpr, SCALE: tl.constexpr, T: tl.constexpr, JOINT: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """Add to this program's sums: of w, first, second, W2, b2, W3, b3."""
    k = tl.arange(0, VP)
    mk = k < V
    sum_w = sums + tl.program_id(0).to(tl.int64) * SIZE
    sum_first = sum_w + M
    sum_second = sum_first + T * M
    sum_w2 = sum_second + T * M
    sum_b2 = sum_w2 + 2 * M * M
    sum_w3 = sum_b2 + 2 * M
    sum_b3 = sum_w3 + 8 * M * M
    for atom in range(tl.program_id(0), N, tl.num_programs(0)):
        n = tl.cast(atom, tl.int64)
        other = tl.load(types + n * V + k, mask=mk, other=0)
        for begin in range(0, V, BJ):
            j = begin + tl.arange(0, BJ)
            mj = j < V
            own = tl.load(types + n * V + j, mask=mj, other=0)
            e, ax, ay, az, bx, by, bz = tile_of(d, n, V, j, k, mj, mk)
            ys, zs, ts, y2, z2, h2, t2, y3, z3, h3, t3 = net(e, own, other, w, first, second, W2, b2, W3, b3, mj, mk, M, JOINT)
            along = e
            if JOINT:
                cx, cy, cz = columns_of(dd, n * V + j, 3, 0, mj)
                gx, gy, gz = columns_of(dd, n * V + k, 3, 0, mk)
                along = cx[:, None] * bx[None, :] + cy[:, None] * by[None, :] + cz[:, None] * bz[None, :]
                along += ax[:, None] * gx[None, :] + ay[:, None] * gy[None, :] + az[:, None] * gz[None, :]
            us, vs = (), ()
            for q in tl.static_range(4 * M):
                u = SCALE * tl.load(c + n * 4 * M + q) * e
                v = u
                if JOINT:
                    hat = SCALE * tl.load(ch + n * 4 * M + q) * along
                    u += hat
                    v = hat * e
                us, vs = us + (u,), vs + (v,)
            us, vs = dense_back(us, vs, y3, z3, h2, t2, W3, sum_w3, sum_b3, 4 * M, 2 * M, JOINT)
            us, vs = dense_back(us, vs, y2, z2, ys, ts, W2, sum_w2, sum_b2, 2 * M, M, JOINT)
            for o in tl.static_range(M):
                z, zt = back(ys[o], zs[o], us[o], vs[o], JOINT)
                product = e * z
                if JOINT:
                    product += zt
                add_sum(sum_w + o, product)
                rows, columns = tl.sum(z, 1), tl.sum(z, 0)
                for some in range(0, kinds, 16):
                    kind = some + tl.arange(0, 16)
                    by_row = tl.sum(tl.where(kind[:, None] == own[None, :], rows[None, :], 0.0), 1)
                    by_column = tl.sum(tl.where(kind[:, None] == other[None, :], columns[None, :], 0.0), 1)
                    add_to(sum_first + kind * M + o, by_row, kind < T)
                    add_to(sum_second + kind * M + o, by_column, kind < T)
