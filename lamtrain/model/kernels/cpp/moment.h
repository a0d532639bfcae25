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
#pragma once
#include "wide_net.h"

namespace lam::moment {

// The edges of a chunk, one atom after the other: `slot` (P,) is atom * W + place, `ends` (N,) where the edges of each atom end.
struct Edges {
  Array slot, ends, R, row;  // R (P, 4), row (P,)
  int threads;

  int64_t atoms() const { return ends.numel(); }
};

// Of `R` (N, W, 4) and `row` (N, W), into arrays that have room for all slots.
template <class T>
void find_edges(const Array& R, const Array& row, const Edges& to) {
  const int64_t N = R.size(0), W = R.size(1);
  const T* r = data<T>(R);
  T* flat = into<T>(to.R);
  int64_t *slot = into<int64_t>(to.slot), *ends = into<int64_t>(to.ends), *rows = into<int64_t>(to.row), count = 0;
  for (int64_t n = 0; n < N; ++n) {
    int64_t last = W;
    for (const T* x = r + 4 * W * (n + 1); last && !(x[-4] != 0 || x[-3] != 0 || x[-2] != 0 || x[-1] != 0); x -= 4) --last;
    std::copy_n(r + 4 * W * n, 4 * last, flat + 4 * count);
    std::copy_n(data<int64_t>(row) + W * n, last, rows + count);
    for (int64_t j = 0; j < last; ++j) slot[count++] = n * W + j;
    ends[n] = count;
  }
}

// Some edges of one atom.
struct Piece {
  int64_t begin, count;
};

template <class T>
struct Atom {
  static constexpr int64_t FOUR = std::max<int64_t>(4, Lane<T>::COUNT);  // columns of R in whole vectors
  const Edges& edges;
  const WideNet<T>& net;
  WideTile<T> tile;
  const int64_t m;            // columns of G
  Buffer<T> c, ct, RC, dots;  // c (4, m) and its transpose (m, FOUR) of the atom; R c (count, m) and products with c (count, FOUR) of a piece

  Atom(const Edges& edges, const WideNet<T>& net)
      : edges(edges), net(net), tile(net), m(net.cols.back()), c(4 * m), ct(m * FOUR), RC(TILE * m), dots(TILE * FOUR) {}

  const T* R(const Piece& at) const { return data<T>(edges.R) + 4 * at.begin; }
  const int64_t* row(const Piece& at) const { return data<int64_t>(edges.row) + at.begin; }
  void load(const Array& cotangent, int64_t atom) {
    const int64_t width = net.width.back();
    copy_rows(data<T>(cotangent) + atom * 4 * width, width, 4, width, c.data(), m);
    for (int64_t a = 0; a < 4; ++a)
      for (int64_t o = 0; o < m; ++o) ct[o * FOUR + a] = c[a * m + o];
  }
  void evaluate(const Piece& at, const Array& y, bool known, bool slope) {
    tile.evaluate(R(at), row(at), at.count, into<T>(y) + at.begin * m, known, slope);
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
void over_atoms(const Edges& edges, const WideNet<T>& net, int64_t parts, Body body) {
  const int64_t N = edges.atoms(), *ends = data<int64_t>(edges.ends);
  over_parts(parts, edges.threads, [&](int64_t part) {
    Atom<T> atom(edges, net);
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
void moments(const Edges& edges, const Arrays& weights, const Array& y, const Array& M) {
  const WideNet<T> net(weights);
  over_atoms<T>(edges, net, parts_of(edges.atoms(), edges.threads), [&](int64_t, Atom<T>& atom, int64_t n, const std::vector<Piece>& pieces) {
    Buffer<T> sum(4 * atom.m);
    for (const Piece& at : pieces) {
      atom.evaluate(at, y, false, false);
      atom.sum(atom.R(at), at.count, atom.tile.last_h(), sum.data());
    }
    atom.write(sum, M, n);
  });
}

// R' of every edge, into its slot.
template <class T>
void slopes(const Edges& edges, const Arrays& weights, const Array& y, const Array& c, const Array& out) {
  const WideNet<T> net(weights);
  const int64_t* slot = data<int64_t>(edges.slot);
  T* to = into<T>(out);
  over_atoms<T>(edges, net, parts_of(edges.atoms(), edges.threads), [&](int64_t, Atom<T>& atom, int64_t n, const std::vector<Piece>& pieces) {
    atom.load(c, n);
    for (const Piece& at : pieces) {
      atom.evaluate(at, y, true, true);
      atom.dot(atom.tile.last_h(), at.count);
      atom.spread(atom.R(at), at.count, atom.RC.data());
      for (int64_t e = 0; e < at.count; ++e) {
        const T *t = atom.tile.last_t(at.count) + e * atom.m, *rc = &atom.RC[e * atom.m], *dots = &atom.dots[e * atom.FOUR];
        T more = 0, *g = to + 4 * slot[at.begin + e];
#pragma omp simd reduction(+ : more)
        for (int64_t o = 0; o < atom.m; ++o) more += t[o] * rc[o];
        for (int64_t a = 0; a < 4; ++a) g[a] = dots[a] + (a ? T(0) : more);
      }
    }
  });
}

// Gradients of the weights, of the moment.
template <class T>
void by_weights(const Edges& edges, const Arrays& weights, const Array& y, const Array& c, const Arrays& to) {
  const WideNet<T> net(weights);
  std::vector<WideGradients<T>> grads(parts_of(edges.atoms(), edges.threads), WideGradients<T>(net));
  over_atoms<T>(edges, net, grads.size(), [&](int64_t part, Atom<T>& atom, int64_t n, const std::vector<Piece>& pieces) {
    atom.load(c, n);
    for (const Piece& at : pieces) {
      atom.evaluate(at, y, true, false);
      atom.spread(atom.R(at), at.count, atom.tile.g.data());
      atom.tile.template reverse<false>(atom.R(at), atom.row(at), at.count, grads[part], nullptr);
    }
  });
  WideGradients<T>::total(grads, net, to);
}

// Derivatives of sum_e A_e R'_e, A (N, W, 4): `gc` (N, 4, m) and, if asked, those by R (N, W, 4) and by the weights.
template <class T>
void second(const Edges& edges, const Arrays& weights, const Array& y, const Array& c, const Array& A, const Array& gc, const Array& gR, const Arrays& to) {
  const bool train = bool(to[0]);
  const int64_t* slot = data<int64_t>(edges.slot);
  if (gR) zero_rows<T>(gR, 0, gR.size(0));
  const WideNet<T> net(weights);
  std::vector<WideGradients<T>> grads(parts_of(edges.atoms(), edges.threads), WideGradients<T>(net));
  over_atoms<T>(edges, net, grads.size(), [&](int64_t part, Atom<T>& atom, int64_t n, const std::vector<Piece>& pieces) {
    const int64_t m = atom.m;
    atom.load(c, n);
    Buffer<T> sum(4 * m), turn(4 * TILE), AR(4 * TILE), gx(TILE);
    for (const Piece& at : pieces) {
      const T *a = turn.data(), *r = atom.R(at);
      for (int64_t k = 0; k < 4 * at.count; ++k) turn[k] = data<T>(A)[4 * slot[at.begin + k / 4] + k % 4];
      atom.evaluate(at, y, true, true);
      for (int64_t k = 0; k < 4 * at.count; ++k) AR[k] = a[k / 4 * 4] * r[k];
      atom.sum(a, at.count, atom.tile.last_h(), sum.data()), atom.sum(AR.data(), at.count, atom.tile.last_t(at.count), sum.data());
      if (gR) atom.dot(atom.tile.last_t(at.count), at.count);
      if (train || gR) {
        atom.spread(a, at.count, atom.tile.g.data()), atom.spread(AR.data(), at.count, &atom.tile.g[at.count * m]);
        atom.tile.template reverse<true>(r, atom.row(at), at.count, grads[part], gx.data());
      }
      for (int64_t k = 0; gR && k < 4 * at.count; ++k)
        into<T>(gR)[4 * slot[at.begin + k / 4] + k % 4] = a[k / 4 * 4] * atom.dots[k / 4 * atom.FOUR + k % 4] + (k % 4 ? T(0) : gx[k / 4]);
    }
    atom.write(sum, gc, n);
  });
  if (train) WideGradients<T>::total(grads, net, to);
}

// Sizes: atoms, edges, slots of an atom, then those of the net. Arrays of the edges and of the net.
struct Inputs {
  int64_t N, P, W;
  NetShape net;
  Edges edges;
  Arrays weights;

  explicit Inputs(Call& in)
      : N(in.size()), P(in.size()), W(in.size()), net(in), edges{in.array(P), in.array(N), in.array(P, 4), in.array(P), in.threads}, weights(net.weights(in)) {}
  Array moments(Call& in) const { return in.array(N, 4, net.width.back()); }
  Array matrices(Call& in) const { return in.array(N, W, 4); }
  template <class T>
  Array kept(Call& in) const {
    return in.array(P, Lane<T>::padded(net.width.back()));
  }
};

template <class T>
void edges(Call in) {
  const int64_t N = in.size(), W = in.size();
  const Array R = in.array(N, W, 4), row = in.array(N, W);
  const Edges to{in.array(N * W), in.array(N), in.array(N * W, 4), in.array(N * W), in.threads};
  in.done();
  find_edges<T>(R, row, to);
}

template <class T>
void value(Call in) {
  const Inputs at(in);
  const Array y = at.kept<T>(in), M = at.moments(in);
  in.done();
  moments<T>(at.edges, at.weights, y, M);
}

template <class T>
void slope(Call in) {
  const Inputs at(in);
  const Array y = at.kept<T>(in), c = at.moments(in), out = at.matrices(in);
  in.done();
  zero_rows<T>(out, 0, at.N);
  slopes<T>(at.edges, at.weights, y, c, out);
}

template <class T>
void by_weights(Call in) {
  const Inputs at(in);
  const Array y = at.kept<T>(in), c = at.moments(in);
  const Arrays grads = at.net.weights(in);
  in.done();
  by_weights<T>(at.edges, at.weights, y, c, grads);
}

template <class T>
void second(Call in) {
  const Inputs at(in);
  const Array y = at.kept<T>(in), c = at.moments(in), A = at.matrices(in), gc = at.moments(in), gR = at.matrices(in);
  const Arrays grads = at.net.weights(in);
  in.done();
  second<T>(at.edges, at.weights, y, c, A, gc, gR, grads);
}
}  // namespace lam::moment
