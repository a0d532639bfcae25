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

from .maths import dot, rows_of, store_rows, tanh


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
    for first in tl.range(0, V, BI, disable_licm=True):
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
