// Repinit's moment (see repinit.py): M = R^T G, with G_j = net(R_j0; types), as one operator.
//
// The net is a function of one scalar for each pair of types, so its slope G' is carried along with its value: forces then
// cost two small products an edge instead of a pass back through the net. With c the cotangent of M:
//
//   R'_j = G_j c^T + [R_j . (G'_j c^T), 0, 0, 0]
//
// R is (N, W, 4), row (N, W) of `tables`, M (N, 4, m). Of the second derivative only what training needs is
// written out: by c and by the weights, and by R. Slots behind an atom's last edge hold zeros and are left out: they add
// nothing to M, and their derivatives meet those of a switch that is 0 to the second order.
//
// In mode `strip` the net knows no types, and F_j = 1 + f_j P[row] multiplies it, with f the fading, or 1: G_j = h_j F_j, and f'_j = (h_j P) . (R_j c).
#pragma once
#include "wide_net.h"

namespace lam::moment {

// The edges of a chunk, one atom after the other: `slot` (P,) is atom * W + place, `ends` (N,) where the edges of each atom end.
struct Edges {
  Array slot, ends, R, row, fade;  // R (P, 4), row and fade (P,)
  int threads;

  int64_t atoms() const { return ends.numel(); }
};

// Of `R` (N, W, 4), `row` and `fade` (N, W), into arrays that have room for all slots.
template <class T>
void find_edges(const Array& R, const Array& row, const Array& fade, const Edges& to) {
  const int64_t N = R.size(0), W = R.size(1);
  const T* r = data<T>(R);
  T* flat = into<T>(to.R);
  int64_t *slot = into<int64_t>(to.slot), *ends = into<int64_t>(to.ends), *rows = into<int64_t>(to.row), count = 0;
  for (int64_t n = 0; n < N; ++n) {
    int64_t last = W;
    for (const T* x = r + 4 * W * (n + 1); last && !(x[-4] != 0 || x[-3] != 0 || x[-2] != 0 || x[-1] != 0); x -= 4) --last;
    std::copy_n(r + 4 * W * n, 4 * last, flat + 4 * count);
    std::copy_n(data<int64_t>(row) + W * n, last, rows + count);
    if (fade) std::copy_n(data<T>(fade) + W * n, last, into<T>(to.fade) + count);
    for (int64_t j = 0; j < last; ++j) slot[count++] = n * W + j;
    ends[n] = count;
  }
}

// Some edges of one atom.
struct Piece {
  int64_t begin, count;
};

// P (pairs, m) in whole vectors; without rows where types are in the net.
template <class T>
struct Factors {
  int64_t width, cols;
  Buffer<T> values;

  Factors(const Array& from, const WideNet<T>& net) : width(net.width.back()), cols(net.cols.back()) {
    if (!from) return;
    values.resize(from.size(0) * cols);
    copy_rows(data<T>(from), width, from.size(0), width, values.data(), cols);
  }
  explicit operator bool() const { return !values.empty(); }

  // Adds up gradients of all threads, in order.
  void total(const std::vector<Buffer<T>>& parts, const Array& to) const {
    if (!to) return;
    std::fill_n(into<T>(to), to.numel(), T(0));
    for (const auto& part : parts) add_unpadded(part.data(), to.size(0), width, into<T>(to), cols);
  }
};

template <class T>
struct Atom {
  static constexpr int64_t FOUR = std::max<int64_t>(4, Lane<T>::COUNT);  // columns of R in whole vectors
  const Edges& edges;
  const WideNet<T>& net;
  WideTile<T> tile;
  const int64_t m;            // columns of G
  Buffer<T> c, ct, RC, dots;  // c (4, m) and its transpose (m, FOUR) of the atom; R c (count, m) and products with c (count, FOUR) of a piece
  const Factors<T>& factors;
  Buffer<T> value, slope, factored;  // of strip, of a piece: G and dG/dx, h P (count, m)
  std::vector<int64_t> no_types;

  Atom(const Edges& edges, const WideNet<T>& net, const Factors<T>& factors)
      : edges(edges), net(net), tile(net), m(net.cols.back()), c(4 * m), ct(m * FOUR), RC(TILE * m), dots(TILE * FOUR), factors(factors) {
    if (factors) value.resize(TILE * m), slope.resize(TILE * m), factored.resize(TILE * m), no_types.resize(TILE);
  }

  const T* R(const Piece& at) const { return data<T>(edges.R) + 4 * at.begin; }
  const int64_t* row(const Piece& at) const { return factors ? no_types.data() : data<int64_t>(edges.row) + at.begin; }
  int64_t pair(const Piece& at, int64_t e) const { return data<int64_t>(edges.row)[at.begin + e]; }
  const T* factor(const Piece& at, int64_t e) const { return factors.values.data() + pair(at, e) * m; }
  T fade(const Piece& at, int64_t e) const { return edges.fade ? data<T>(edges.fade)[at.begin + e] : T(1); }
  const T* G() const { return factors ? value.data() : tile.last_h(); }
  const T* dG(int64_t count) const { return factors ? slope.data() : tile.last_t(count); }
  void load(const Array& cotangent, int64_t atom) {
    const int64_t width = net.width.back();
    copy_rows(data<T>(cotangent) + atom * 4 * width, width, 4, width, c.data(), m);
    for (int64_t a = 0; a < 4; ++a)
      for (int64_t o = 0; o < m; ++o) ct[o * FOUR + a] = c[a * m + o];
  }
  void evaluate(const Piece& at, const Array& y, bool known, bool slope) {
    tile.evaluate(R(at), row(at), at.count, into<T>(y) + at.begin * m, known, slope);
    for (int64_t e = 0; factors && e < at.count; ++e) {
      const T *P = factor(at, e), *h = tile.last_h() + e * m, *t = tile.last_t(at.count) + e * m, f = fade(at, e);
#pragma omp simd
      for (int64_t o = 0; o < m; ++o) {
        factored[e * m + o] = h[o] * P[o];
        value[e * m + o] = h[o] + f * factored[e * m + o];
        if (slope) this->slope[e * m + o] = t[o] * (1 + f * P[o]);
      }
    }
  }
  // Cotangents of G (and dG/dx), in `tile.g`, become those of h (and t), with what comes from f', of which `b` are the cotangents and RC holds R c.
  // Adds to the gradient of the factors, and writes that of the fading if asked.
  template <bool SLOPE>
  void through_factors(const Piece& at, const T* b, Buffer<T>& grads, T* by_fade) {
    for (int64_t e = 0; factors && e < at.count; ++e) {
      const T *P = factor(at, e), *h = tile.last_h() + e * m, *t = tile.last_t(at.count) + e * m, *rc = &RC[e * m], f = fade(at, e), more = b ? b[e] : T(0);
      T *u = &tile.g[e * m], *v = &tile.g[(SLOPE ? at.count + e : e) * m], *to = &grads[pair(at, e) * m], sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t o = 0; o < m; ++o) {
        const T both = SLOPE ? h[o] * u[o] + t[o] * v[o] : h[o] * u[o];
        to[o] += SLOPE ? f * both + more * h[o] * rc[o] : f * both;
        sum += P[o] * both;
        u[o] = SLOPE ? u[o] * (1 + f * P[o]) + more * P[o] * rc[o] : u[o] * (1 + f * P[o]);
        if (SLOPE) v[o] *= 1 + f * P[o];
      }
      if (by_fade) by_fade[e] = sum;
    }
  }
  void write(const Buffer<T>& from, const Array& to, int64_t atom) const {
    const int64_t width = net.width.back();
    copy_rows(from.data(), m, 4, width, into<T>(to) + atom * 4 * width, width);
  }
  // out (4, m) += A^T rows
  void sum(const T* A, int64_t count, const T* rows, T* out) const { multiply(transpose_of(A, 4), 4, count, rows, m, out, true); }
  // out (count, m) = A c
  void spread(const T* A, int64_t count, T* out) const { multiply(rows_of(A, 4), count, 4, c.data(), m, out); }
  // dots (count, FOUR) = rows c^T
  void dot(const T* rows, int64_t count) { multiply(rows_of(rows, m), count, m, ct.data(), FOUR, dots.data()); }
};

// Calls body(part, its buffers, atom, edges of the atom a piece at a time) in parallel, one part for each thread.
template <class T, class Body>
void over_atoms(const Edges& edges, const WideNet<T>& net, const Factors<T>& factors, int64_t parts, Body body) {
  const int64_t N = edges.atoms(), *ends = data<int64_t>(edges.ends);
  over_parts(parts, edges.threads, [&](int64_t part) {
    Atom<T> atom(edges, net, factors);
    for (int64_t n = N * part / parts; n < N * (part + 1) / parts; ++n) {
      const int64_t begin = n ? ends[n - 1] : 0, count = ends[n] - begin, pieces = (count + TILE - 1) / TILE;
      std::vector<Piece> all;
      for (int64_t k = 0; k < pieces; ++k) all.push_back({begin + count * k / pieces, count * (k + 1) / pieces - count * k / pieces});
      body(part, atom, n, all);
    }
  });
}

// M, and y (P, cols) of the last layer.
template <class T>
void moments(const Edges& edges, const Arrays& weights, const Array& P, const Array& y, const Array& M) {
  const WideNet<T> net(weights);
  const Factors<T> factors(P, net);
  over_atoms<T>(edges, net, factors, parts_of(edges.atoms(), edges.threads), [&](int64_t, Atom<T>& atom, int64_t n, const std::vector<Piece>& pieces) {
    Buffer<T> sum(4 * atom.m);
    for (const Piece& at : pieces) {
      atom.evaluate(at, y, false, false);
      atom.sum(atom.R(at), at.count, atom.G(), sum.data());
    }
    atom.write(sum, M, n);
  });
}

// R' and f' of every edge, into its slot.
template <class T>
void slopes(const Edges& edges, const Arrays& weights, const Array& P, const Array& y, const Array& c, const Array& out, const Array& by_fade) {
  const WideNet<T> net(weights);
  const Factors<T> factors(P, net);
  const int64_t* slot = data<int64_t>(edges.slot);
  T* to = into<T>(out);
  over_atoms<T>(edges, net, factors, parts_of(edges.atoms(), edges.threads), [&](int64_t, Atom<T>& atom, int64_t n, const std::vector<Piece>& pieces) {
    atom.load(c, n);
    for (const Piece& at : pieces) {
      atom.evaluate(at, y, true, true);
      atom.dot(atom.G(), at.count);
      atom.spread(atom.R(at), at.count, atom.RC.data());
      for (int64_t e = 0; e < at.count; ++e) {
        const T *t = atom.dG(at.count) + e * atom.m, *rc = &atom.RC[e * atom.m], *dots = &atom.dots[e * atom.FOUR];
        T more = 0, *g = to + 4 * slot[at.begin + e];
#pragma omp simd reduction(+ : more)
        for (int64_t o = 0; o < atom.m; ++o) more += t[o] * rc[o];
        for (int64_t a = 0; a < 4; ++a) g[a] = dots[a] + (a ? T(0) : more);
        if (!by_fade) continue;
        T sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t o = 0; o < atom.m; ++o) sum += atom.factored[e * atom.m + o] * rc[o];
        into<T>(by_fade)[slot[at.begin + e]] = sum;
      }
    }
  });
}

// Gradients of the weights and of the factors, of the moment.
template <class T>
void by_weights(const Edges& edges, const Arrays& weights, const Array& P, const Array& y, const Array& c, const Arrays& to, const Array& by_factors) {
  const WideNet<T> net(weights);
  const Factors<T> factors(P, net);
  std::vector<WideGradients<T>> grads(parts_of(edges.atoms(), edges.threads), WideGradients<T>(net));
  std::vector<Buffer<T>> more(grads.size(), Buffer<T>(factors.values.size()));
  over_atoms<T>(edges, net, factors, grads.size(), [&](int64_t part, Atom<T>& atom, int64_t n, const std::vector<Piece>& pieces) {
    atom.load(c, n);
    for (const Piece& at : pieces) {
      atom.evaluate(at, y, true, false);
      atom.spread(atom.R(at), at.count, atom.tile.g.data());
      atom.template through_factors<false>(at, nullptr, more[part], nullptr);
      atom.tile.template reverse<false>(atom.R(at), atom.row(at), at.count, grads[part], nullptr);
    }
  });
  WideGradients<T>::total(grads, net, to);
  factors.total(more, by_factors);
}

// Derivatives of sum_e A_e R'_e + b_e f'_e, A (N, W, 4) and b (N, W): `gc` (N, 4, m) and, if asked, those by R (N, W, 4) and the fading (N, W), by the
// weights and by the factors.
template <class T>
void second(const Edges& edges, const Arrays& weights, const Array& P, const Array& y, const Array& c, const Array& A, const Array& b, const Array& gc,
            const Array& gR, const Array& gf, const Arrays& to, const Array& by_factors) {
  const bool train = bool(to[0]);
  const int64_t* slot = data<int64_t>(edges.slot);
  if (gR) zero_rows<T>(gR, 0, gR.size(0));
  if (gf) zero_rows<T>(gf, 0, gf.size(0));
  const WideNet<T> net(weights);
  const Factors<T> factors(P, net);
  std::vector<WideGradients<T>> grads(parts_of(edges.atoms(), edges.threads), WideGradients<T>(net));
  std::vector<Buffer<T>> more(grads.size(), Buffer<T>(factors.values.size()));
  over_atoms<T>(edges, net, factors, grads.size(), [&](int64_t part, Atom<T>& atom, int64_t n, const std::vector<Piece>& pieces) {
    const int64_t m = atom.m;
    atom.load(c, n);
    Buffer<T> sum(4 * m), turn(4 * TILE), AR(4 * TILE), BR(4 * TILE), gx(TILE), by_fade(TILE), B(TILE);
    for (const Piece& at : pieces) {
      const T *a = turn.data(), *r = atom.R(at);
      for (int64_t k = 0; k < 4 * at.count; ++k) turn[k] = data<T>(A)[4 * slot[at.begin + k / 4] + k % 4];
      for (int64_t e = 0; b && e < at.count; ++e) B[e] = data<T>(b)[slot[at.begin + e]];
      atom.evaluate(at, y, true, true);
      for (int64_t k = 0; k < 4 * at.count; ++k) AR[k] = a[k / 4 * 4] * r[k], BR[k] = B[k / 4] * r[k];
      atom.sum(a, at.count, atom.G(), sum.data()), atom.sum(AR.data(), at.count, atom.dG(at.count), sum.data());
      if (b) atom.sum(BR.data(), at.count, atom.factored.data(), sum.data()), atom.spread(r, at.count, atom.RC.data());
      if (gR) atom.dot(atom.dG(at.count), at.count);
      if (train || gR) {
        atom.spread(a, at.count, atom.tile.g.data()), atom.spread(AR.data(), at.count, &atom.tile.g[at.count * m]);
        atom.template through_factors<true>(at, b ? B.data() : nullptr, more[part], by_fade.data());
        atom.tile.template reverse<true>(r, atom.row(at), at.count, grads[part], gx.data());
      }
      for (int64_t k = 0; gR && k < 4 * at.count; ++k)
        into<T>(gR)[4 * slot[at.begin + k / 4] + k % 4] = a[k / 4 * 4] * atom.dots[k / 4 * atom.FOUR + k % 4] + (k % 4 ? T(0) : gx[k / 4]);
      for (int64_t e = 0; gf && e < at.count; ++e) into<T>(gf)[slot[at.begin + e]] = by_fade[e];
      if (gR && b) atom.dot(atom.factored.data(), at.count);
      for (int64_t k = 0; gR && b && k < 4 * at.count; ++k) into<T>(gR)[4 * slot[at.begin + k / 4] + k % 4] += B[k / 4] * atom.dots[k / 4 * atom.FOUR + k % 4];
    }
    atom.write(sum, gc, n);
  });
  if (train) WideGradients<T>::total(grads, net, to), factors.total(more, by_factors);
}

// Sizes: atoms, edges, slots of an atom, then those of the net, and rows of factors. Arrays of the edges, of the net, and factors.
struct Inputs {
  int64_t N, P, W;
  NetShape net;
  int64_t pairs;
  Edges edges;
  Arrays weights;
  Array factors;

  explicit Inputs(Call& in)
      : N(in.size()), P(in.size()), W(in.size()), net(in), pairs(in.size()), edges{in.array(P), in.array(N), in.array(P, 4), in.array(P), in.array(P), in.threads},
        weights(net.weights(in)), factors(in.array(pairs, net.width.back())) {}
  Array moments(Call& in) const { return in.array(N, 4, net.width.back()); }
  Array matrices(Call& in) const { return in.array(N, W, 4); }
  Array slots(Call& in) const { return in.array(N, W); }
  Array rows(Call& in) const { return in.array(pairs, net.width.back()); }
  template <class T>
  Array kept(Call& in) const {
    return in.array(P, Lane<T>::padded(net.width.back()));
  }
};

template <class T>
void edges(Call in) {
  const int64_t N = in.size(), W = in.size();
  const Array R = in.array(N, W, 4), row = in.array(N, W), fade = in.array(N, W);
  const Edges to{in.array(N * W), in.array(N), in.array(N * W, 4), in.array(N * W), in.array(N * W), in.threads};
  in.done();
  find_edges<T>(R, row, fade, to);
}

template <class T>
void value(Call in) {
  const Inputs at(in);
  const Array y = at.kept<T>(in), M = at.moments(in);
  in.done();
  moments<T>(at.edges, at.weights, at.factors, y, M);
}

template <class T>
void slope(Call in) {
  const Inputs at(in);
  const Array y = at.kept<T>(in), c = at.moments(in), out = at.matrices(in), by_fade = at.slots(in);
  in.done();
  zero_rows<T>(out, 0, at.N);
  if (by_fade) zero_rows<T>(by_fade, 0, at.N);
  slopes<T>(at.edges, at.weights, at.factors, y, c, out, by_fade);
}

template <class T>
void by_weights(Call in) {
  const Inputs at(in);
  const Array y = at.kept<T>(in), c = at.moments(in);
  const Arrays grads = at.net.weights(in);
  const Array by_factors = at.rows(in);
  in.done();
  by_weights<T>(at.edges, at.weights, at.factors, y, c, grads, by_factors);
}

template <class T>
void second(Call in) {
  const Inputs at(in);
  const Array y = at.kept<T>(in), c = at.moments(in), A = at.matrices(in), b = at.slots(in), gc = at.moments(in), gR = at.matrices(in), gf = at.slots(in);
  const Arrays grads = at.net.weights(in);
  const Array by_factors = at.rows(in);
  in.done();
  second<T>(at.edges, at.weights, at.factors, y, c, A, b, gc, gR, gf, grads, by_factors);
}
}  // namespace lam::moment
