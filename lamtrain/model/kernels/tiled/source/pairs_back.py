"""The pair channel of an edge, back: the slopes, and the gradients of both; the formulas stand in `pairs.py`.

There are no registers for all that a head needs: between barriers a part of it is read, again where need be.
"""

import triton
import triton.language as tl

from .maths import add_rows, add_to, apart, dot, gather_to, rows_of, store_rows, tanh
from .pairs import gates, norm, project, softmax, vectors_of


@triton.jit
def through_norm(z, zd, up, hat, factor, mask, K: tl.constexpr, EPS: tl.constexpr, JOINT: tl.constexpr):
    """z_ and z^, and what the rows give to w."""
    normed, rho = norm(z, mask, K, EPS)
    by_z, by_s = project(up * factor[None, :], normed, rho, mask, K), up * normed
    z_hat = by_z
    if JOINT:
        to = hat * factor[None, :]
        z_hat = project(to, normed, rho, mask, K)
        m_z, m_h, zn, hn = tl.sum(zd, 1) / K, tl.sum(to, 1) / K, tl.sum(zd * normed, 1) / K, tl.sum(to * normed, 1) / K
        more = normed * (tl.sum(zd * to, 1) / K - m_z * m_h - 3.0 * zn * hn)[:, None]
        more += (zd - m_z[:, None]) * hn[:, None] + (to - m_h[:, None]) * zn[:, None]
        by_z -= tl.where(mask, (rho * rho)[:, None] * more, 0.0)
        by_s += hat * project(zd, normed, rho, mask, K)
    return by_z, z_hat, by_s


@triton.jit
def add_vectors(gv, gs, rows, x, y, z, s, mask):
    """Add to the cotangents of the vectors and switches of some edges."""
    place = gv + rows * 3
    add_to(place, x, mask)
    add_to(place + 1, y, mask)
    add_to(place + 2, z, mask)
    add_to(gs + rows, s, mask)


@triton.jit
def queries(
    x, xd, by_z, right, M, Z, head, at, behind, i, k, ik, K: tl.constexpr, H: tl.constexpr, JOINT: tl.constexpr, WEIGHTS: tl.constexpr, PRECISION: tl.constexpr
):  # fmt: skip
    """q, q', o = z_ Z^T and o^ of a head."""
    kk = (k < K)[:, None] & (k < K)[None, :]
    m = rows_of(M, 0, k, head * K + k, H * K, kk)
    q = dot(rows_of(x, at, i, k, K, ik), m, PRECISION)
    qd = q
    if JOINT:
        tl.debug_barrier()
        qd = dot(rows_of(xd, at, i, k, K, ik), m, PRECISION)
    tl.debug_barrier()
    if WEIGHTS:
        by_z = rows_of(right, at, i, k, K, ik)
    zm = rows_of(Z, head * K, k, k, K, kk)
    o = dot(by_z, tl.trans(zm), PRECISION)
    o_hat = o
    if JOINT:
        tl.debug_barrier()
        o_hat = dot(rows_of(right, behind, i, k, K, ik), tl.trans(zm), PRECISION)
    tl.debug_barrier()
    return q, qd, o, o_hat


@triton.jit
def pulls(
    x, xd, q, qd, o, o_hat, by_f, by_k, f, gate, both, bothd, fd, gated, at, i, j, k, jk, V, phantom,
    K: tl.constexpr, GATED: tl.constexpr, C: tl.constexpr, D: tl.constexpr, JOINT: tl.constexpr, GEOMETRY: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """S, u c, T and A of a head; and the cotangents of f and of k, with what it gives to them."""
    xj = rows_of(x, at, j, k, K, jk)
    logit = dot(q, tl.trans(xj), PRECISION)
    p = softmax(C * logit * gate + 20.0 * (both - 1.0), (j < V)[None, :], phantom)
    p = tl.where((i < V)[:, None], p, 0.0)
    raw = dot(o, tl.trans(xj), PRECISION)
    weight = raw * (D * f)
    u = p * (weight - tl.sum(p * weight, 1)[:, None])
    if GEOMETRY:
        by_k += 20.0 * u + (0.0 if GATED else C) * u * logit
        by_f += (C if GATED else 0.0) * u * logit + D * p * raw
    a = p * D * f
    slope, bent, turned = C * u * gate, a, a
    if JOINT:
        w_hat = dot(o_hat, tl.trans(xj), PRECISION)
        above = w_hat * (D * f)
        mean = tl.sum(p * above, 1)
        above -= mean[:, None]
        turn = dot(apart(qd), tl.trans(xj), PRECISION)
        tl.debug_barrier()
        xdj = rows_of(xd, at, j, k, K, jk)
        turn += dot(apart(q), tl.trans(xdj), PRECISION)
        v = C * (turn * gate + logit * gated) + 20.0 * bothd
        drift = tl.sum(p * v, 1)
        v -= drift[:, None]
        more = dot(apart(o_hat), tl.trans(xdj), PRECISION)
        yy = above * v - (mean * drift)[:, None] + D * (fd * w_hat + f * more)
        u += p * (yy - tl.sum(p * yy, 1)[:, None])
        bent = C * p * above
        slope, bent, turned = C * u * gate + bent * gated, bent * gate, p * D * (f * v + fd)
    tl.debug_barrier()
    return slope, bent, turned, a, by_f, by_k


@triton.jit
def add_across(gx, q, qd, o, o_hat, slope, bent, turned, a, at, j, k, jk, K: tl.constexpr, JOINT: tl.constexpr, PRECISION: tl.constexpr):
    """What a head gives to the cotangents of all edges of the atom. Product by product: the compiler puts off what goes into a sum, and has no registers for the factors of four."""
    add_rows(gx, at, j, k, K, dot(tl.trans(a), apart(o), PRECISION), jk)
    tl.debug_barrier()
    if JOINT:
        add_rows(gx, at, j, k, K, dot(tl.trans(turned), apart(o_hat), PRECISION), jk)
        tl.debug_barrier()
        add_rows(gx, at, j, k, K, dot(tl.trans(bent), apart(qd), PRECISION), jk)
        tl.debug_barrier()
    add_rows(gx, at, j, k, K, dot(tl.trans(slope), apart(q), PRECISION), jk)
    tl.debug_barrier()


@triton.jit
def reverse_heads(
    x, xd, by_z, f, gate, both, bothd, fd, gated, M, Z, turns, taken, right, gx, n, i, j, k, V, N, heads, phantom,
    K: tl.constexpr, H: tl.constexpr, GATED: tl.constexpr, C: tl.constexpr, D: tl.constexpr, JOINT: tl.constexpr,
    GEOMETRY: tl.constexpr, WEIGHTS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The cotangents of f and of k; what every head gives to those of the rows and of all edges is added to gx, and with WEIGHTS the rows of M's and Z's products are written."""
    mk = k < K
    kk, ik, jk = mk[:, None] & mk[None, :], (i < V)[:, None] & mk[None, :], (j < V)[:, None] & mk[None, :]
    by_f, by_k = f * 0.0, f * 0.0
    for head in range(heads):
        # H is the number of heads, which the compiler does not know: so it keeps no places through the loop
        at = n * V + head * (heads - H)
        behind, columns = at + N * V, head * K + k
        q, qd, o, o_hat = queries(x, xd, by_z, right, M, Z, head, at, behind, i, k, ik, K, H, JOINT, WEIGHTS, PRECISION)
        slope, bent, turned, a, by_f, by_k = pulls(
            x, xd, q, qd, o, o_hat, by_f, by_k, f, gate, both, bothd, fd, gated, at, i, j, k, jk, V, phantom,
            K, GATED, C, D, JOINT, GEOMETRY, PRECISION,
        )  # fmt: skip
        add_across(gx, q, qd, o, o_hat, slope, bent, turned, a, at, j, k, jk, K, JOINT, PRECISION)
        xj = rows_of(x, at, j, k, K, jk)
        taking = a
        if WEIGHTS:
            store_rows(taken, at, i, columns, H * K, dot(apart(a), xj, PRECISION), ik)
            if JOINT:
                store_rows(turns, behind, i, columns, H * K, dot(apart(bent), xj, PRECISION), ik)
                taking = dot(apart(turned), xj, PRECISION)
        by_q = dot(slope, xj, PRECISION)
        if JOINT:
            tl.debug_barrier()
            xdj = rows_of(xd, at, j, k, K, jk)
            by_q += dot(apart(bent), xdj, PRECISION)
            if WEIGHTS:
                store_rows(taken, behind, i, columns, H * K, taking + dot(apart(a), xdj, PRECISION), ik)
        if WEIGHTS:
            store_rows(turns, at, i, columns, H * K, by_q, ik)
        tl.debug_barrier()
        m = rows_of(M, 0, k, columns, H * K, kk)
        add_rows(gx, at, i, k, K, dot(by_q, tl.trans(m), PRECISION), ik)
    return by_f, by_k


@triton.jit
def reverse_self(
    xi, up, xdi, hat, W, b, r, own, k, mk, ik, again, K: tl.constexpr, JOINT: tl.constexpr, WEIGHTS: tl.constexpr, PRECISION: tl.constexpr
):  # fmt: skip
    """The cotangent of x by x + r tanh(x W + b); with WEIGHTS those of W, b and r are added to this program's sums, which begin with them."""
    matrix = rows_of(W, 0, k, k, K, mk[:, None] & mk[None, :])
    shift, scale = tl.load(b + k, mask=mk, other=0.0), tl.load(r + k, mask=mk, other=0.0)
    y = tanh(dot(xi, matrix, PRECISION) + shift[None, :])
    bend = tl.where(ik, 1.0 - y * y, 0.0)
    t = up * scale[None, :] * bend
    if JOINT:
        along = dot(xdi, matrix, PRECISION)
        t -= 2.0 * y * bend * along * scale[None, :] * hat
        t_hat = hat * scale[None, :] * bend
    if WEIGHTS:
        by_w = dot(tl.trans(xi), t, PRECISION)
        by_r = up * y
        if JOINT:
            by_w += dot(tl.trans(xdi), t_hat, PRECISION)
            by_r += hat * bend * along
        gather_to(own + k[:, None] * K + k[None, :], by_w, mk[:, None] & mk[None, :], again)
        gather_to(own + K * K + k, tl.sum(t, 0), mk, again)
        gather_to(own + K * K + K + k, tl.sum(by_r, 0), mk, again)
    return up + dot(t, tl.trans(matrix), PRECISION)


@triton.jit
def reverse_last(
    up, hat, z, zd, w, own, n, i, k, mk, ik, again, V, K: tl.constexpr, EPS: tl.constexpr, JOINT: tl.constexpr, WEIGHTS: tl.constexpr
):  # fmt: skip
    """z_ and z^ of the norm that the heads end in; with WEIGHTS bias's, w's and c's cotangents are added to this program's sums, which begin at `own`."""
    zi = rows_of(z, n * V, i, k, K, ik)
    zdi = zi
    if JOINT:
        zdi = rows_of(zd, n * V, i, k, K, ik)
    by_z, z_hat, by_s = through_norm(zi, zdi, up, hat, tl.load(w + k, mask=mk, other=0.0), ik, K, EPS, JOINT)
    if WEIGHTS:
        gather_to(own + k, tl.sum(by_z, 0), mk, again)
        gather_to(own + K + k, tl.sum(by_s, 0), mk, again)
        gather_to(own + 2 * K + k, tl.sum(up, 0), mk, again)
    return by_z, z_hat


@triton.jit
def pairs_reverse(
    x, h, s, M, Z, bias, W, b, r, w, c, z, zd, g, xd, hd, sd, gh, gx, gv, gs, sums, left, turns, taken, right, V, N, heads, phantom,
    K: tl.constexpr, KP: tl.constexpr, VP: tl.constexpr, BI: tl.constexpr, H: tl.constexpr, GATED: tl.constexpr,
    C: tl.constexpr, D: tl.constexpr, EPS: tl.constexpr, JOINT: tl.constexpr, GEOMETRY: tl.constexpr, WEIGHTS: tl.constexpr, SIZE: tl.constexpr,
    ADD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """From g (and, joint, its hat gh and the tangents) write, or add to, x's cotangent gx; add those of h2 and s to gv, gs; with WEIGHTS add W's, b's, r's, bias's, w's and c's
    to this program's sums, and write the rows whose products are M's and Z's: left^T turns and taken^T right; joint, those of tangents behind."""
    k, j = tl.arange(0, KP), tl.arange(0, VP)
    mk, mj = k < K, j < V
    own = sums + tl.program_id(0).to(tl.int64) * SIZE
    for atom in tl.range(tl.program_id(0), N, tl.num_programs(0), disable_licm=True):
        n = tl.cast(atom, tl.int64)
        for first in tl.range(0, V, BI, disable_licm=True):
            again = (atom > tl.program_id(0)) | (first > 0)
            i = first + tl.arange(0, BI)
            ik = (i < V)[:, None] & mk[None, :]
            xi, up = rows_of(x, n * V, i, k, K, ik), rows_of(g, n * V, i, k, K, ik)
            xdi, hat = xi, up
            if JOINT:
                xdi, hat = rows_of(xd, n * V, i, k, K, ik), rows_of(gh, n * V, i, k, K, ik)
            back = reverse_self(xi, up, xdi, hat, W, b, r, own, k, mk, ik, again, K, JOINT, WEIGHTS, PRECISION)
            if ADD:
                back += rows_of(gx, n * V, i, k, K, ik)
            store_rows(gx, n * V, i, k, K, back, ik)
            if (H > 0) & WEIGHTS:
                by_z, z_hat = reverse_last(up, hat, z, zd, w, own + K * K + 2 * K, n, i, k, mk, ik, again, V, K, EPS, JOINT, WEIGHTS)
                store_rows(left, n * V, i, k, K, xi, ik)
                store_rows(right, n * V, i, k, K, by_z, ik)
                if JOINT:
                    store_rows(left, (N + n) * V, i, k, K, xdi, ik)
                    store_rows(right, (N + n) * V, i, k, K, z_hat, ik)
        if H > 0:
            tl.debug_barrier()  # other threads read what was written
            if GEOMETRY:
                sj = tl.load(s + n * V + j, mask=mj, other=0.0)
                to_x, to_y, to_z, to_s = sj * 0.0, sj * 0.0, sj * 0.0, sj * 0.0
            for first in tl.range(0, V, BI, disable_licm=True):
                i = first + tl.arange(0, BI)
                mi = i < V
                ik = mi[:, None] & mk[None, :]
                by_z = rows_of(g, n * V, i, k, K, ik)
                if not WEIGHTS:  # else each head reads it
                    by_z, z_hat = reverse_last(by_z, by_z, z, zd, w, own, n, i, k, mk, ik, False, V, K, EPS, JOINT, WEIGHTS)
                ax, ay, az, sj = vectors_of(h, s, n, V, j, mj)
                bx, by, bz, si = vectors_of(h, s, n, V, i, mi)
                axd, ayd, azd, sjd, bxd, byd, bzd, sid = ax, ay, az, sj, bx, by, bz, si
                if JOINT:
                    axd, ayd, azd, sjd = vectors_of(hd, sd, n, V, j, mj)
                    bxd, byd, bzd, sid = vectors_of(hd, sd, n, V, i, mi)
                inner, both, f, gate, bothd, fd, gated = gates(
                    bx, by, bz, si, ax, ay, az, sj, bxd, byd, bzd, sid, axd, ayd, azd, sjd, GATED, JOINT
                )
                by_f, by_k = reverse_heads(
                    x, xd, by_z, f, gate, both, bothd, fd, gated, M, Z, turns, taken, right, gx, n, i, j, k, V, N, heads, phantom,
                    K, H, GATED, C, D, JOINT, GEOMETRY, WEIGHTS, PRECISION,
                )  # fmt: skip
                if GEOMETRY:
                    by_inner, by_both = by_f * both, by_k + by_f * inner
                    of_x, of_y = tl.sum(by_inner * ax[None, :], 1), tl.sum(by_inner * ay[None, :], 1)
                    of_z, of_s = tl.sum(by_inner * az[None, :], 1), tl.sum(by_both * sj[None, :], 1)
                    add_vectors(gv, gs, n * V + i, of_x, of_y, of_z, of_s, mi)
                    to_x += tl.sum(by_inner * bx[:, None], 0)
                    to_y += tl.sum(by_inner * by[:, None], 0)
                    to_z += tl.sum(by_inner * bz[:, None], 0)
                    to_s += tl.sum(by_both * si[:, None], 0)
            if GEOMETRY:
                tl.debug_barrier()
                add_vectors(gv, gs, n * V + j, to_x, to_y, to_z, to_s, mj)
