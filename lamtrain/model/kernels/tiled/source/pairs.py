"""The pair channel of an edge: what it takes from itself and from the other edges of its centre. One program an atom, some rows of edges at a time.

    out = x + r tanh(x W + b) [+ w norm(z) + c]      z = sum_h o_h Z_h + bias      o_h = A_h x

For edges i, j of the atom, with h2 their vectors and s the switch: k = s_i s_j, f = h2_i . h2_j k, and for each head with q = x M

    A_ij = p_ij D f_ij      p = softmax_j(C q_i . x_j gate + 20 (k - 1)), with phantom columns of -20      gate = f, or k without a gate

Dots are tangents, a hat is the cotangent of a tangent (that of the slopes), a bar the cotangent of the value when both are given: the gradient of
<bar, out> + <hat, out'>. With P h = h - <h> - n <h n>, n = norm(z), rho = 1 / spread, and for a head w = o^ x^T, d = D f, c = C gate:

    t^ = g^ r s           t_ = g_ r s - 2 y s (x' W) r g^              s = 1 - tanh^2
    z^ = rho P (g^ w)     z_ = rho P (g_ w) - rho^2 (n (<z'h> - <z'><h> - 3 <z'n><hn>) + (z' - <z'>) <hn> + (h - <h>) <z'n>)      h = g^ w
    u = p (w d - <w d>)   v = C (t gate + (q x^T) gate') + 20 k'       t = q' x^T + q x'^T       p' = p (v - <v>)
    y = (w d - <w d>) v - w d <v> + D f' w + (o^ x'^T) d               r = p (y - <y>) + p (w_ d - <w_ d>)
    S = r c + C u gate'   T = p (d (v - <v>) + D f')
    x_ = g_ + t_ W^T + T^T o^ + A^T o_ + S^T q + (u c)^T q' + (S x + u c x') M^T
    W' = x^T t_ + x'^T t^   M' = x'^T (u c x) + x^T (S x + u c x')   Z' = (T x + A x')^T z^ + (A x)^T z_

The source of the second derivative is cpp/pair_attention.h and cpp/pair_update.h, whose two passes are one here.
"""

import triton
import triton.language as tl

from .maths import add_to, dot, gather_to, rows_of, store_rows, tanh


@triton.jit
def vectors_of(h, s, n, V, i, mask):
    """The three columns of h2 and the switch of edges `i` of atom n."""
    place = h + (n * V + i) * 3
    x, y, z = tl.load(place, mask=mask, other=0.0), tl.load(place + 1, mask=mask, other=0.0), tl.load(place + 2, mask=mask, other=0.0)
    return x, y, z, tl.load(s + n * V + i, mask=mask, other=0.0)


@triton.jit
def products(ax, ay, az, bx, by, bz):
    """a_i . b_j"""
    return ax[:, None] * bx[None, :] + ay[:, None] * by[None, :] + az[:, None] * bz[None, :]


@triton.jit
def softmax(u, column, phantom):
    """Over the columns that there are, and `phantom` ones of -20."""
    u = tl.where(column, u, float("-inf"))
    top = tl.max(u, 1)
    top = tl.where(phantom > 0, tl.maximum(top, -20.0), top)
    e = tl.exp(u - top[:, None])
    total = tl.sum(e, 1) + tl.where(phantom > 0, phantom * tl.exp(-20.0 - top), 0.0)
    return e / total[:, None]


@triton.jit
def norm(z, mask, K: tl.constexpr, EPS: tl.constexpr):
    """The normed rows, and the inverse of their spread."""
    above = tl.where(mask, z - (tl.sum(z, 1) / K)[:, None], 0.0)
    rho = 1.0 / tl.sqrt(tl.sum(above * above, 1) / K + EPS)
    return above * rho[:, None], rho


@triton.jit
def project(h, n, rho, mask, K: tl.constexpr):
    """rho P h"""
    return tl.where(mask, rho[:, None] * (h - (tl.sum(h, 1) / K)[:, None] - n * (tl.sum(h * n, 1) / K)[:, None]), 0.0)


@triton.jit
def gates(bx, by, bz, si, ax, ay, az, sj, bxd, byd, bzd, sid, axd, ayd, azd, sjd, GATED: tl.constexpr, DOTS: tl.constexpr):
    """h2_i . h2_j, k, f and the gate of all pairs; with DOTS the tangents of k, f and the gate."""
    inner, both = products(bx, by, bz, ax, ay, az), si[:, None] * sj[None, :]
    f = inner * both
    gate = f if GATED else both
    bothd, fd = both, f
    if DOTS:
        bothd = sid[:, None] * sj[None, :] + si[:, None] * sjd[None, :]
        fd = (products(bxd, byd, bzd, ax, ay, az) + products(bx, by, bz, axd, ayd, azd)) * both + inner * bothd
    gated = fd if GATED else bothd
    return inner, both, f, gate, bothd, fd, gated


@triton.jit
def pairs_forward(
    x, h, s, M, Z, bias, W, b, r, w, c, xd, hd, sd, z, to, out, V, heads, phantom,
    K: tl.constexpr, KP: tl.constexpr, VP: tl.constexpr, BI: tl.constexpr, H: tl.constexpr, GATED: tl.constexpr,
    C: tl.constexpr, D: tl.constexpr, EPS: tl.constexpr, TANGENT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write out and, where attended (H > 0), z to `to`; or, with TANGENT, read z, and write out' and z' to `to`."""
    n = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, KP)
    j = tl.arange(0, VP)
    mk, mj = k < K, j < V
    kk = mk[:, None] & mk[None, :]
    jk = mj[:, None] & mk[None, :]
    matrix = rows_of(W, 0, k, k, K, kk)
    shift, scale = tl.load(b + k, mask=mk, other=0.0), tl.load(r + k, mask=mk, other=0.0)
    for first in range(0, V, BI):
        i = first + tl.arange(0, BI)
        mi = i < V
        ik = mi[:, None] & mk[None, :]
        xi = rows_of(x, n * V, i, k, K, ik)
        y = tanh(dot(xi, matrix, PRECISION) + shift[None, :])
        if TANGENT:
            xdi = rows_of(xd, n * V, i, k, K, ik)
            result = xdi + scale[None, :] * (1.0 - y * y) * dot(xdi, matrix, PRECISION)
        else:
            result = xi + scale[None, :] * y
        if H > 0:
            xj = rows_of(x, n * V, j, k, K, jk)
            hx, hy, hz, si = vectors_of(h, s, n, V, i, mi)
            gx, gy, gz, sj = vectors_of(h, s, n, V, j, mj)
            xdj, hxd, hyd, hzd, sid, gxd, gyd, gzd, sjd = xj, hx, hy, hz, si, gx, gy, gz, sj
            if TANGENT:
                xdj = rows_of(xd, n * V, j, k, K, jk)
                hxd, hyd, hzd, sid = vectors_of(hd, sd, n, V, i, mi)
                gxd, gyd, gzd, sjd = vectors_of(hd, sd, n, V, j, mj)
            inner, both, f, gate, bothd, fd, gated = gates(
                hx, hy, hz, si, gx, gy, gz, sj, hxd, hyd, hzd, sid, gxd, gyd, gzd, sjd, GATED, TANGENT
            )
            taken = tl.zeros([BI, KP], dtype=xi.dtype)
            for head in range(heads):
                m = rows_of(M, 0, k, head * K + k, H * K, kk)
                zm = rows_of(Z, head * K, k, k, K, kk)
                q = dot(xi, m, PRECISION)
                logit = dot(q, tl.trans(xj), PRECISION)
                p = softmax(C * logit * gate + 20.0 * (both - 1.0), mj[None, :], phantom)
                if TANGENT:
                    t = dot(dot(xdi, m, PRECISION), tl.trans(xj), PRECISION) + dot(q, tl.trans(xdj), PRECISION)
                    v = C * (t * gate + logit * gated) + 20.0 * bothd
                    turned = p * D * (f * (v - tl.sum(p * v, 1)[:, None]) + fd)
                    o = dot(turned, xj, PRECISION) + dot(p * D * f, xdj, PRECISION)
                else:
                    o = dot(p * D * f, xj, PRECISION)
                taken += dot(o, zm, PRECISION)
            factor = tl.load(w + k, mask=mk, other=0.0)
            if TANGENT:
                normed, rho = norm(rows_of(z, n * V, i, k, K, ik), ik, K, EPS)
                store_rows(to, n * V, i, k, K, taken, ik)
                result += factor[None, :] * project(taken, normed, rho, ik, K)
            else:
                taken = tl.where(ik, taken + tl.load(bias + k, mask=mk, other=0.0)[None, :], 0.0)
                store_rows(to, n * V, i, k, K, taken, ik)
                normed, rho = norm(taken, ik, K, EPS)
                result += factor[None, :] * normed + tl.load(c + k, mask=mk, other=0.0)[None, :]
        store_rows(out, n * V, i, k, K, result, ik)


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
def joint_head(
    xdi, xj, xdj, q, logit, p, u, z_hat, m, zm, f, gate, bothd, fd, gated, C: tl.constexpr, D: tl.constexpr, PRECISION: tl.constexpr
):  # fmt: skip
    """Of a head: S, u c and T, and q' and o^."""
    qd, o_hat = dot(xdi, m, PRECISION), dot(z_hat, tl.trans(zm), PRECISION)
    turn = dot(qd, tl.trans(xj), PRECISION) + dot(q, tl.trans(xdj), PRECISION)
    v = C * (turn * gate + logit * gated) + 20.0 * bothd
    drift = tl.sum(p * v, 1)
    v -= drift[:, None]
    w_hat = dot(o_hat, tl.trans(xj), PRECISION)
    above = w_hat * (D * f)
    mean = tl.sum(p * above, 1)
    above -= mean[:, None]
    yy = above * v - (mean * drift)[:, None] + D * (fd * w_hat + f * dot(o_hat, tl.trans(xdj), PRECISION))
    u += p * (yy - tl.sum(p * yy, 1)[:, None])
    bent = C * p * above
    return C * u * gate + bent * gated, bent * gate, p * D * (f * v + fd), qd, o_hat


@triton.jit
def reverse_heads(
    x, xd, by_z, z_hat, f, gate, both, bothd, fd, gated, M, Z, turns, taken, right, back, across, n, i, mi, j, mj, k, mk, V, N, heads, phantom,
    K: tl.constexpr, H: tl.constexpr, GATED: tl.constexpr, C: tl.constexpr, D: tl.constexpr, JOINT: tl.constexpr,
    GEOMETRY: tl.constexpr, WEIGHTS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """`back` and `across`, the cotangents of the rows and of all edges, with what every head gives to them, and the cotangents of f and of k; with WEIGHTS the rows of M's
    and Z's products are written."""
    kk = mk[:, None] & mk[None, :]
    ik, jk = mi[:, None] & mk[None, :], mj[:, None] & mk[None, :]
    by_f, by_k = f * 0.0, f * 0.0
    for head in range(heads):
        xi, xj = rows_of(x, n * V, i, k, K, ik), rows_of(x, n * V, j, k, K, jk)  # read for each head: to keep them there are no registers
        xdi, xdj = xi, xj
        if JOINT:
            xdi, xdj = rows_of(xd, n * V, i, k, K, ik), rows_of(xd, n * V, j, k, K, jk)
        bar, hat = by_z, z_hat
        if WEIGHTS:
            bar = rows_of(right, n * V, i, k, K, ik)
            if JOINT:
                hat = rows_of(right, (N + n) * V, i, k, K, ik)
        m = rows_of(M, 0, k, head * K + k, H * K, kk)
        zm = rows_of(Z, head * K, k, k, K, kk)
        q = dot(xi, m, PRECISION)
        logit = dot(q, tl.trans(xj), PRECISION)
        p = softmax(C * logit * gate + 20.0 * (both - 1.0), mj[None, :], phantom)
        p = tl.where(mi[:, None], p, 0.0)
        o = dot(bar, tl.trans(zm), PRECISION)
        raw = dot(o, tl.trans(xj), PRECISION)
        weight = raw * (D * f)
        u = p * (weight - tl.sum(p * weight, 1)[:, None])
        if GEOMETRY:
            by_k += 20.0 * u + (0.0 if GATED else C) * u * logit
            by_f += (C if GATED else 0.0) * u * logit + D * p * raw
        across += dot(tl.trans(p * D * f), o, PRECISION)
        if JOINT:
            slope, bent, turned, qd, o_hat = joint_head(
                xdi, xj, xdj, q, logit, p, u, hat, m, zm, f, gate, bothd, fd, gated, C, D, PRECISION
            )
            by_q = dot(slope, xj, PRECISION) + dot(bent, xdj, PRECISION)
            across += dot(tl.trans(turned), o_hat, PRECISION) + dot(tl.trans(bent), qd, PRECISION)
        else:
            slope = C * u * gate
            by_q = dot(slope, xj, PRECISION)
        across += dot(tl.trans(slope), q, PRECISION)
        back += dot(by_q, tl.trans(m), PRECISION)
        if WEIGHTS:
            columns = head * K + k
            store_rows(turns, n * V, i, columns, H * K, by_q, ik)
            store_rows(taken, n * V, i, columns, H * K, dot(p * D * f, xj, PRECISION), ik)
            if JOINT:
                store_rows(turns, (N + n) * V, i, columns, H * K, dot(bent, xj, PRECISION), ik)
                od = dot(turned, xj, PRECISION) + dot(p * D * f, xdj, PRECISION)
                store_rows(taken, (N + n) * V, i, columns, H * K, od, ik)
    return back, across, by_f, by_k


@triton.jit
def reverse_self(
    xi, up, xdi, hat, matrix, shift, scale, own, k, mk, ik, again, K: tl.constexpr, JOINT: tl.constexpr, WEIGHTS: tl.constexpr, PRECISION: tl.constexpr
):  # fmt: skip
    """The cotangent of x by x + r tanh(x W + b); with WEIGHTS those of W, b and r are added to this program's sums, which begin with them."""
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
    xi, up, xdi, hat, z, zd, w, left, right, own, n, i, k, mk, ik, again, V, N, K: tl.constexpr, EPS: tl.constexpr, JOINT: tl.constexpr,
    WEIGHTS: tl.constexpr,
):  # fmt: skip
    """z_ and z^ of the norm that the heads end in; with WEIGHTS the rows of M's and Z's products are written, and bias's, w's and c's are added to sums that begin at `own`."""
    zi = rows_of(z, n * V, i, k, K, ik)
    zdi = zi
    if JOINT:
        zdi = rows_of(zd, n * V, i, k, K, ik)
    by_z, z_hat, by_s = through_norm(zi, zdi, up, hat, tl.load(w + k, mask=mk, other=0.0), ik, K, EPS, JOINT)
    if WEIGHTS:
        store_rows(left, n * V, i, k, K, xi, ik)
        store_rows(right, n * V, i, k, K, by_z, ik)
        if JOINT:
            store_rows(left, (N + n) * V, i, k, K, xdi, ik)
            store_rows(right, (N + n) * V, i, k, K, z_hat, ik)
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
    jk = mj[:, None] & mk[None, :]
    matrix = rows_of(W, 0, k, k, K, mk[:, None] & mk[None, :])
    shift, scale = tl.load(b + k, mask=mk, other=0.0), tl.load(r + k, mask=mk, other=0.0)
    own = sums + tl.program_id(0).to(tl.int64) * SIZE
    for atom in range(tl.program_id(0), N, tl.num_programs(0)):
        n = tl.cast(atom, tl.int64)
        if H > 0:
            ax, ay, az, sj = vectors_of(h, s, n, V, j, mj)
            axd, ayd, azd, sjd = ax, ay, az, sj
            across = tl.zeros([VP, KP], dtype=x.dtype.element_ty)
            if JOINT:
                axd, ayd, azd, sjd = vectors_of(hd, sd, n, V, j, mj)
            if GEOMETRY:
                to_x, to_y, to_z, to_s = sj * 0.0, sj * 0.0, sj * 0.0, sj * 0.0
        for first in range(0, V, BI):
            again = (atom > tl.program_id(0)) | (first > 0)
            i = first + tl.arange(0, BI)
            mi = i < V
            ik = mi[:, None] & mk[None, :]
            xi, up = rows_of(x, n * V, i, k, K, ik), rows_of(g, n * V, i, k, K, ik)
            xdi, hat = xi, up
            if JOINT:
                xdi, hat = rows_of(xd, n * V, i, k, K, ik), rows_of(gh, n * V, i, k, K, ik)
            back = reverse_self(xi, up, xdi, hat, matrix, shift, scale, own, k, mk, ik, again, K, JOINT, WEIGHTS, PRECISION)
            if ADD:
                back += rows_of(gx, n * V, i, k, K, ik)
            if H > 0:
                by_z, z_hat = reverse_last(
                    xi, up, xdi, hat, z, zd, w, left, right, own + K * K + 2 * K, n, i, k, mk, ik, again, V, N, K, EPS, JOINT, WEIGHTS
                )
                if WEIGHTS:
                    tl.debug_barrier()  # the heads read them back
                bx, by, bz, si = vectors_of(h, s, n, V, i, mi)
                bxd, byd, bzd, sid = bx, by, bz, si
                if JOINT:
                    bxd, byd, bzd, sid = vectors_of(hd, sd, n, V, i, mi)
                inner, both, f, gate, bothd, fd, gated = gates(
                    bx, by, bz, si, ax, ay, az, sj, bxd, byd, bzd, sid, axd, ayd, azd, sjd, GATED, JOINT
                )
                back, across, by_f, by_k = reverse_heads(
                    x, xd, by_z, z_hat, f, gate, both, bothd, fd, gated, M, Z, turns, taken, right, back, across, n, i, mi, j, mj, k, mk, V, N, heads,
                    phantom, K, H, GATED, C, D, JOINT, GEOMETRY, WEIGHTS, PRECISION,
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
            store_rows(gx, n * V, i, k, K, back, ik)
        if H > 0:
            tl.debug_barrier()
            add_to(gx + (n * V + j)[:, None] * K + k[None, :], across, jk)
            if GEOMETRY:
                add_vectors(gv, gs, n * V + j, to_x, to_y, to_z, to_s, mj)
