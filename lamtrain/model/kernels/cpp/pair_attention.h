// What an edge takes from the other edges of its centre, as one operator. For edge i and head h, with x the pair channel:
//
//   q_h = x M_h    s_hj = q_h . x_j    p_hj = softmax_j(s_hj c_j + b_j), with phantom columns    A_hj = p_hj d_j
//   o_h = sum_j A_hj x_j    y = sum_h o_h Z_h + bias
//
// x, y are (N, V, K); M (K, H K) and Z (H K, K) the merged matrices. Gate, shift and weight are those of pairs.py, shared by the heads:
// c = C f (or C k, without the gate), b = 20 (k - 1), d = D f, with f the fading products and k the fading, (N, V, V) and symmetric.
// With Y the cotangent of y, o' = Y Z^T, w_hj = o'_h . x_j and <a> = sum_j p_j a_j, the first derivative is
//
//   u = p (w d - <w d>)    q' = (u c) x    x' = A^T o' + (u c)^T q + q' M^T    c' = sum_h u s    b' = sum_h u    d' = sum_h p w
//   M' = x^T q'    Z' = o^T Y
//
// The second, with X, e, f, g the cotangents of x', c', b', d' and Q = X M:
//
//   t = Q x^T + q X^T    v = t c + s e + f    z = (w d - <w d>) v - w d <v> + g w + (o' X^T) d    r = p (z - <z>)
//   S = r c + u e        W = p (d (v - <v>) + g)
//   q'' = S x + (u c) X    o'' = W x + A X    x'' = W^T o' + S^T q + (u c)^T Q + q'' M^T    Y'' = o'' Z
//   M'' = X^T q' + x^T q''    Z'' = o''^T Y    c'' = sum_h (r s + u t)    b'' = sum_h r    d'' = sum_h p (w (v - <v>) + o' X^T)
//
// Slots behind an atom's last k_jj that is not 0 are empty: to the others they are phantoms, y is 0 there, and so are derivatives, since a
// switch that is 0 has no slope.
// Squares are held as [j, i]: a vector is of edges i, and sums over j run from vector to vector. Nothing but the inputs is kept
// between the passes: all is computed again in cache, which is cheaper than to read it back.
#pragma once
#include "pair_atoms.h"

namespace lam::pair_attention {

template <class T>
struct Value {
  Buffer<T> o, y;
  explicit Value(const Shape<T>& n) : o(n.channel()), y(o) {}

  void operator()(int64_t a, Atom<T>& atom, const Array& out, Gradients<T>&) {
    const Shape<T>& n = atom.n;
    for (int64_t i = 0; i < n.V; ++i) std::copy_n(atom.matrices.bias.data(), n.dims, &y[i * n.dims]);
    for (int64_t h = 0; h < n.H; ++h) {
      atom.set_weights(h);
      const T* f = atom.squares.f.data();
      T* p = atom.p.data();
      for (int64_t k = 0; k < n.V * n.cols; ++k) p[k] *= atom.D * f[k];
      atom.weigh(atom.p, atom.x, o);
      atom.times(o, atom.matrices.z, h, y, true);
    }
    atom.write(y, a, out);
  }
};

struct FirstResults {
  Array Y;        // the cotangent
  Array x, f, k;  // x' and, if wanted, f', k'
  Options options;
  bool geometry, weights;
};

template <class T>
struct First {
  Buffer<T> Y, Yt, gx;  // of the atom
  Squares<T> g;
  Buffer<T> oy, oyt, q, gq, o, w, A, slope;  // of a head
  explicit First(const Shape<T>& n)
      : Y(n.channel()), Yt(Y), gx(Y), g(n), oy(Y), oyt(Yt), q(Y), gq(Y), o(Y), w(n.square()), A(w), slope(w) {}

  void operator()(int64_t a, Atom<T>& atom, const FirstResults& out, Gradients<T>& sums) {
    const auto& [m, mt, z, zt, bias] = atom.matrices;
    const Shape<T>& n = atom.n;
    atom.channel(out.Y, a, Y), atom.turn(Y, Yt);
    std::fill(gx.begin(), gx.end(), T(0)), g.clear();
    for (int64_t h = 0; h < n.H; ++h) {
      atom.set_weights(h);
      atom.times_transposed(zt, h, Yt, oyt);
      atom.turn_back(atom.qt, q), atom.turn_back(oyt, oy);
      atom.dots(atom.x, oyt, w);
      out.geometry ? slopes<true>(atom) : slopes<false>(atom);
      atom.weigh(slope, atom.x, gq);
      atom.spread(A, oy, gx), atom.spread(slope, q, gx);
      atom.times(gq, mt, h, gx, true);
      if (!out.weights) continue;
      atom.weigh(A, atom.x, o);
      atom.outer(atom.x, gq, h, sums.m), atom.outer(o, Y, h, sums.z);
    }
    atom.write(gx, a, out.x);
    if (out.geometry) g.write(out.f, out.k, a, n);
    for (int64_t i = 0; out.weights && i < n.V; ++i)
      for (int64_t k = 0; k < n.dims; ++k) sums.bias[k] += Y[i * n.dims + k];
  }

  // A and u c of a head, and what f' and k' get from it.
  template <bool GEOMETRY>
  void slopes(Atom<T>& at) {
    using Vec = typename Lane<T>::Vec;
    const T C = at.C, D = at.D, Cf = at.Cf, Ck = at.Ck;
    for (int64_t o = 0, V = at.n.V; o < at.n.cols; o += at.L) {
      const Column<T> s = at.column(at.s, o), p = at.column(at.p, o), gate = at.gate(at.squares, o), f = at.column(at.squares.f, o), wj = at.column(w, o);
      const Column<T> gf = at.column(g.f, o), gk = at.column(g.k, o), Aj = at.column(A, o), slopej = at.column(slope, o);
      Vec mean = {};
      for (int64_t j = 0; j < V; ++j) mean += p[j] * wj[j] * (D * f[j]);
      for (int64_t j = 0; j < V; ++j) {
        const Vec pj = p[j], d = D * f[j], u = pj * (wj[j] * d - mean), us = u * s[j], pd = pj * d, uc = C * u * gate[j];
        if (GEOMETRY) gf[j] += Cf * us + D * (pj * wj[j]), gk[j] += T(20) * u + Ck * us;
        Aj[j] = pd, slopej[j] = uc;
      }
    }
  }
};

struct SecondResults {
  Array Y, X, F, G;  // the cotangent of y, and those of x', f', k'
  Array x, y, f, k;  // x'', Y'' and, if wanted, f'', k''
  Options options;
  bool geometry, weights;
};

template <class T>
struct Second {
  Buffer<T> Y, Yt, X, Xt, gx, gy;  // of the atom
  Squares<T> cot, g;
  Buffer<T> oy, oyt, q, Q, Qt, gq, gqq, goy, w, t, y, A, slope, S, W, v;  // of a head
  explicit Second(const Shape<T>& n)
      : Y(n.channel()), Yt(Y), X(Y), Xt(Yt), gx(Y), gy(Y), cot(n), g(n), oy(Y), oyt(Yt), q(Y), Q(Y), Qt(Yt), gq(Y), gqq(Y),
        goy(Y), w(n.square()), t(w), y(w), A(w), slope(w), S(w), W(w), v(w) {}

  void operator()(int64_t a, Atom<T>& atom, const SecondResults& out, Gradients<T>& sums) {
    const auto& [m, mt, z, zt, bias] = atom.matrices;
    const Buffer<T>& x = atom.x;
    atom.channel(out.Y, a, Y), atom.turn(Y, Yt), atom.channel(out.X, a, X), atom.turn(X, Xt);
    cot.load(out.F, out.G, a, atom.n);
    std::fill(gx.begin(), gx.end(), T(0)), std::fill(gy.begin(), gy.end(), T(0)), g.clear();
    for (int64_t h = 0; h < atom.n.H; ++h) {
      atom.set_weights(h);
      atom.times_transposed(m, h, Xt, Qt), atom.times_transposed(zt, h, Yt, oyt);
      atom.turn_back(atom.qt, q), atom.turn_back(Qt, Q), atom.turn_back(oyt, oy);
      atom.dots(x, oyt, w), atom.dots(X, oyt, y), atom.dots(x, Qt, t), atom.dots(X, atom.qt, t, true);
      out.geometry ? slopes<true>(atom) : slopes<false>(atom);
      atom.weigh(S, x, gqq), atom.weigh(slope, X, gqq, true);
      atom.weigh(W, x, goy), atom.weigh(A, X, goy, true);
      atom.spread(W, oy, gx), atom.spread(S, q, gx), atom.spread(slope, Q, gx);
      atom.times(gqq, mt, h, gx, true), atom.times(goy, z, h, gy, true);
      if (!out.weights) continue;
      atom.weigh(slope, x, gq);
      atom.outer(X, gq, h, sums.m), atom.outer(x, gqq, h, sums.m), atom.outer(goy, Y, h, sums.z);
    }
    atom.write(gy, a, out.y), atom.write(gx, a, out.x);
    if (out.geometry) g.write(out.f, out.k, a, atom.n);
  }

  // A, u c, S and W of a head, and what f'' and k'' get from it.
  template <bool GEOMETRY>
  void slopes(Atom<T>& at) {
    using Vec = typename Lane<T>::Vec;
    const T C = at.C, D = at.D, Cf = at.Cf, Ck = at.Ck;
    for (int64_t o = 0, V = at.n.V; o < at.n.cols; o += at.L) {
      const Column<T> s = at.column(at.s, o), p = at.column(at.p, o), gate = at.gate(at.squares, o), f = at.column(at.squares.f, o);
      const Column<T> wj = at.column(w, o), tj = at.column(t, o), yj = at.column(y, o), cot_gate = at.gate(cot, o), F = at.column(cot.f, o), G = at.column(cot.k, o);
      const Column<T> vj = at.column(v, o), Aj = at.column(A, o), slopej = at.column(slope, o), Sj = at.column(S, o), Wj = at.column(W, o);
      const Column<T> gf = at.column(g.f, o), gk = at.column(g.k, o);
      Vec mean = {}, drift = {}, total = {};
      for (int64_t j = 0; j < V; ++j) {
        const Vec pj = p[j], turn = C * (tj[j] * gate[j] + s[j] * cot_gate[j]) + T(20) * G[j];
        mean += pj * wj[j] * (D * f[j]);
        drift += pj * turn;
        vj[j] = turn;
      }
      for (int64_t j = 0; j < V; ++j) {
        const Vec d = D * f[j], wd = wj[j] * d, z = (wd - mean) * vj[j] - wd * drift + D * F[j] * wj[j] + yj[j] * d;
        total += p[j] * z;
        Sj[j] = z;
      }
      for (int64_t j = 0; j < V; ++j) {
        const Vec pj = p[j], c = C * gate[j], d = D * f[j], wij = wj[j], u = pj * (wij * d - mean), r = pj * (Sj[j] - total), above = vj[j] - drift;
        const Vec S = r * c + C * u * cot_gate[j], W = pj * (d * above + D * F[j]);
        if (GEOMETRY) {
          const Vec more_c = r * s[j] + u * tj[j], more_d = pj * (wij * above + yj[j]);
          gf[j] += Cf * more_c + D * more_d, gk[j] += T(20) * r + Ck * more_c;
        }
        Sj[j] = S, Wj[j] = W, slopej[j] = u * c, Aj[j] = pj * d;
      }
    }
  }
};

// Sizes: atoms, slots, K, heads, whether gated, phantoms. Numbers: C, D. Arrays: x, M, Z, bias, f, k; then those of each function.
struct Reader {
  int64_t N, slots, K, H;
  Options options;

  explicit Reader(Call& in) : N(in.size()), slots(in.size()), K(in.size()), H(in.size()) {
    options.gated = in.size() != 0, options.phantom = in.size();
    options.C = in.number(), options.D = in.number(), options.threads = in.threads;
  }
  Array channel(Call& in) const { return in.array(N, slots, K); }
  Array squares(Call& in) const { return in.array(N, slots, slots); }
  Array queries(Call& in) const { return in.array(K, H * K); }
  Array values(Call& in) const { return in.array(H * K, K); }
  Inputs inputs(Call& in) const { return {channel(in), queries(in), values(in), in.array(K), squares(in), squares(in), options}; }
};

template <class T>
void value(Call in) {
  const Reader at(in);
  const Inputs inputs = at.inputs(in);
  const Array y = at.channel(in);
  in.done();
  over_atoms<T, Value>(inputs, y);
}

template <class T>
void first(Call in) {
  const Reader at(in);
  const Inputs inputs = at.inputs(in);
  FirstResults to{at.channel(in), at.channel(in), at.squares(in), at.squares(in), at.options};
  const Array gM = at.queries(in), gZ = at.values(in), gb = in.array(at.K);
  in.done();
  to.geometry = bool(to.f), to.weights = bool(gM);
  Gradients<T>::total(over_atoms<T, First>(inputs, to), Shape<T>(inputs.x, inputs.M), gM, gZ, gb);
}

template <class T>
void second(Call in) {
  const Reader at(in);
  const Inputs inputs = at.inputs(in);
  SecondResults to{at.channel(in), at.channel(in), at.squares(in), at.squares(in), at.channel(in), at.channel(in), at.squares(in), at.squares(in), at.options};
  const Array gM = at.queries(in), gZ = at.values(in);
  in.done();
  to.geometry = bool(to.f), to.weights = bool(gM);
  Gradients<T>::total(over_atoms<T, Second>(inputs, to), Shape<T>(inputs.x, inputs.M), gM, gZ, Array());
}
}  // namespace lam::pair_attention
