"""Edges -> what each block of the descriptor reads of them. One program an atom; all neighbour lists at once, as they share distances.

    s(r), 1 near and 0 from the cutoff on     u = s / (r + p)     q = s / (r + p)^2     R_0 = u / std_0     R_x = q d_x / std_x

With f, b, g_x the cotangents of s, R_0, R_x: d_x = (f s' + b u' / std_0 + sum_y g_y d_y / std_y q') d_x / r + q g_x / std_x; tangents likewise.
The source of the first derivative is cpp/environment.h.
"""

import triton
import triton.language as tl


@triton.jit
def radial(r, SMOOTH: tl.constexpr, CUTOFF: tl.constexpr, PROTECTION: tl.constexpr):
    """s, u, q and their slopes."""
    x = tl.minimum(tl.maximum((r - SMOOTH) * (1.0 / (CUTOFF - SMOOTH)), 0.0), 1.0)
    v, y = 1.0 / (r + PROTECTION), x * (x - 1.0)
    s, s1 = x * x * x * (-6.0 * x * x + 15.0 * x - 10.0) + 1.0, y * y * (-30.0 / (CUTOFF - SMOOTH))
    u = s * v
    u1 = (s1 - u) * v
    q = u * v
    return s, s1, u, u1, q, (u1 - q) * v


@triton.jit
def columns_of(pointer, e, STRIDE: tl.constexpr, FIRST: tl.constexpr, mask):
    """Three columns of what edges `e` have in rows `STRIDE` wide."""
    place = pointer + e * STRIDE + FIRST
    return tl.load(place, mask=mask, other=0.0), tl.load(place + 1, mask=mask, other=0.0), tl.load(place + 2, mask=mask, other=0.0)


@triton.jit
def store_columns(pointer, e, STRIDE: tl.constexpr, FIRST: tl.constexpr, x, y, z, mask):
    """As `columns_of`, to be written."""
    place = pointer + e * STRIDE + FIRST
    tl.store(place, x, mask=mask)
    tl.store(place + 1, y, mask=mask)
    tl.store(place + 2, z, mask=mask)


@triton.jit
def one_list(
    x, y, z, r, xd, yd, zd, std, type_, first, vectors, switch, V, n, j, ROW: tl.constexpr, START: tl.constexpr, FIRST: tl.constexpr,
    SWITCH: tl.constexpr, SMOOTH: tl.constexpr, CUTOFF: tl.constexpr, PROTECTION: tl.constexpr, MODE: tl.constexpr,
):  # fmt: skip
    """Of one neighbour list: write its columns (`value`), their tangents (`tangents`), or return the cotangent of d (`slopes`)."""
    mask = j < V
    e = n * V + j
    s, s1, u, u1, q, q1 = radial(r, SMOOTH, CUTOFF, PROTECTION)
    t0 = 1.0 / tl.load(std + type_ * 4)
    tx, ty, tz = 1.0 / tl.load(std + type_ * 4 + 1), 1.0 / tl.load(std + type_ * 4 + 2), 1.0 / tl.load(std + type_ * 4 + 3)
    out_x, out_y, out_z = x, y, z
    if MODE == "value":
        if FIRST:
            tl.store(first + e * START, u * t0, mask=mask)
        if SWITCH:
            tl.store(switch + e, s, mask=mask)
        store_columns(vectors, e, ROW, ROW - 3, q * x * tx, q * y * ty, q * z * tz, mask)
    elif MODE == "tangents":
        along = (x * xd + y * yd + z * zd) / r
        if FIRST:
            tl.store(first + e * START, u1 * along * t0, mask=mask)
        if SWITCH:
            tl.store(switch + e, s1 * along, mask=mask)
        turn = q1 * along
        store_columns(vectors, e, ROW, ROW - 3, (turn * x + q * xd) * tx, (turn * y + q * yd) * ty, (turn * z + q * zd) * tz, mask)
    else:
        gx, gy, gz = columns_of(vectors, e, ROW, ROW - 3, mask)
        gx, gy, gz = gx * tx, gy * ty, gz * tz
        total = (gx * x + gy * y + gz * z) * q1
        if FIRST:
            total += tl.load(first + e * START, mask=mask, other=0.0) * t0 * u1
        if SWITCH:
            total += tl.load(switch + e, mask=mask, other=0.0) * s1
        total = total / r
        out_x, out_y, out_z = total * x + q * gx, total * y + q * gy, total * z + q * gz
    return out_x, out_y, out_z


@triton.jit
def edges(
    d, types, std_wide, std_near, std_pair, dd, wide, near, first, h2, switch, by_d, W, V3, V, WP: tl.constexpr,
    SMOOTH: tl.constexpr, CUTOFF: tl.constexpr, SMOOTH3: tl.constexpr, CUTOFF3: tl.constexpr, SMOOTH2: tl.constexpr, CUTOFF2: tl.constexpr,
    PROTECTION: tl.constexpr, THREE: tl.constexpr, MODE: tl.constexpr,
):  # fmt: skip
    """Write wide (N, W, 4), near (N, V3, 3), first (N, V), h2 (N, V, 3), switch (N, V), or their tangents; or from their cotangents by_d (N, W, 3)."""
    n = tl.program_id(0).to(tl.int64)
    j = tl.arange(0, WP)
    mask = j < W
    e = n * W + j
    type_ = tl.load(types + n)
    place = d + e * 3
    x, y, z = tl.load(place, mask=mask, other=1.0), tl.load(place + 1, mask=mask, other=1.0), tl.load(place + 2, mask=mask, other=1.0)
    r = tl.sqrt(x * x + y * y + z * z)
    xd, yd, zd = x, y, z
    if MODE == "tangents":
        xd, yd, zd = columns_of(dd, e, 3, 0, mask)
    ax, ay, az = one_list(
        x, y, z, r, xd, yd, zd, std_wide, type_, wide, wide, switch, W, n, j, 4, 4, True, False, SMOOTH, CUTOFF, PROTECTION, MODE
    )
    bx, by, bz = one_list(
        x, y, z, r, xd, yd, zd, std_pair, type_, first, h2, switch, V, n, j, 3, 1, True, True, SMOOTH2, CUTOFF2, PROTECTION, MODE
    )
    if MODE == "slopes":
        ax, ay, az = ax + bx, ay + by, az + bz
    if THREE:
        bx, by, bz = one_list(
            x, y, z, r, xd, yd, zd, std_near, type_, near, near, switch, V3, n, j, 3, 1, False, False, SMOOTH3, CUTOFF3, PROTECTION, MODE
        )
        if MODE == "slopes":
            ax, ay, az = ax + bx, ay + by, az + bz
    if MODE == "slopes":
        store_columns(by_d, e, 3, 0, ax, ay, az, mask)
