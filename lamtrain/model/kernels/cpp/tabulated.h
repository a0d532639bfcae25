// A compressed DPA-1 (see dpa1_table.py and quintic.py): edges -> table -> moment -> invariants, with the derivative by the edges.
//
//   x = (s / (r + p) - mean) / std_0      G = sum_k H_k(u) node_k      F = 1 + fade P      M = R^T (G F) / nsel      D = M^T M[:, :axis]
//
// One atom at a time: what is within the cutoff is gathered, so that empty slots and those beyond it cost a distance; the radial functions and the
// polynomials of all its edges are computed side by side. No row of G is kept: a few columns of it are read from the nodes, weighted, and added to M in
// registers. With c the cotangent of M, they are read again, and an edge takes five numbers of them:
//
//   R'_j = (G F)_j c^T + [(dG/dx F)_j . R_j c, 0, 0, 0]      fade'_j = (G P)_j . R_j c
//
// and the type embedding, if it is asked for, stands behind the invariants of an atom.
// The derivative by the edge is that of environment.h.
#pragma once
#include "tile.h"

namespace lam::tabulated {

// What the block is made of: its sizes, numbers and arrays, in this order. T types, `tables` of K intervals, M the width m in whole vectors.
struct Block {
  int64_t T, tables, K, M, m, axis, nsel, pairs, extra;  // rows of `factors`, columns of `tebd`
  bool one_sided, smooth;
  double from, cutoff, protection, first, step;  // Å, Å, Å, argument of the first node
  Array mean, std, seen, nodes, factors, padding, tebd;

  explicit Block(Call& in)
      : T(in.size()), tables(in.size()), K(in.size()), M(in.size()), m(in.size()), axis(in.size()), nsel(in.size()), pairs(in.size()), extra(in.size()),
        one_sided(in.size()), smooth(in.size()), from(in.number()), cutoff(in.number()), protection(in.number()), first(in.number()), step(in.number()),
        mean(in.array(T)), std(in.array(T, 4)), seen(in.array(T, T)), nodes(in.array(tables, K + 1, 3, M)), factors(in.array(pairs, M)), padding(in.array(T * T, m)),
        tebd(in.array(T, extra)) {}
  int64_t width() const { return m * axis + extra; }
};

// Rows of a batch, and the block. The same inputs come before the others of both functions.
struct Model {
  int64_t N, W, start, A;
  int threads;
  Array vectors, neighbors, types, lead;
  Block block;

  explicit Model(Call& in)
      : N(in.size()), W(in.size()), start(in.size()), A(in.size()), threads(in.threads), vectors(in.array(N, W, 3)), neighbors(in.array(N, W)), types(in.array(A)),
        lead(in.array(A)), block(in) {}
  Array invariants(Call& in) const { return in.array(N, block.width()); }
  Array moments(Call& in) const { return in.array(N, 4, block.M); }
};

// The edges of one atom, each quantity of all of them side by side.
template <class T>
struct Edges {
  enum { X, Y, Z, DISTANCE, SWITCH, SWITCH_SLOPE, RADIAL_SLOPE, FACTOR, FACTOR_SLOPE, R, W = R + 4, SLOPE = W + 6, COTANGENT = SLOPE + 6, BY_X = COTANGENT + 1, BY_Y, BY_Z, COLUMNS = COTANGENT + 5 };
  const Block& in;
  const int64_t room;
  Buffer<T> all;
  std::vector<int64_t> slot, type;
  int64_t count = 0, within = 0, outside = 0, own = 0;

  Edges(const Block& in, int64_t most) : in(in), room(Lane<T>::padded(most)), all(COLUMNS * room), slot(room), type(room), lines(LINE * room), unfactored(in.M), factors(room) {}
  T* at(int column) { return all.data() + column * room; }
  const T* at(int column) const { return all.data() + column * room; }

  // Those of an atom of a type: of as many as are given by X, Y, Z, slot and type, in which a slot is for the caller to know it again, those within
  // the cutoff and seen.
  void begin(int64_t its_type, int64_t given) {
    const T *seen = data<T>(in.seen), cutoff = T(in.cutoff);
    T *x = at(X), *y = at(Y), *z = at(Z), *r = at(DISTANCE);
    own = its_type, within = 0;
#pragma omp simd reduction(+ : within)
    for (int64_t e = 0; e < given; ++e) r[e] = std::sqrt(x[e] * x[e] + y[e] * y[e] + z[e] * z[e]), within += r[e] < cutoff;
    count = given;
    if (within == given && !seen) return;
    count = 0;
    for (int64_t e = 0; e < given; ++e) {
      if (!(r[e] < cutoff) || (seen && seen[own * in.T + type[e]] == 0)) continue;
      slot[count] = slot[e], type[count] = type[e], x[count] = x[e], y[count] = y[e], z[count] = z[e], r[count++] = r[e];
    }
  }
  // Those of row n of a batch.
  void gather(const Model& of, int64_t n) {
    const T* d = data<T>(of.vectors) + 3 * of.W * n;
    const int64_t *near = data<int64_t>(of.neighbors) + of.W * n, *types = data<int64_t>(of.types);
    T *x = at(X), *y = at(Y), *z = at(Z);
    for (int64_t j = 0; j < of.W; ++j) slot[j] = j, type[j] = types[near[j]], x[j] = d[3 * j], y[j] = d[3 * j + 1], z[j] = d[3 * j + 2];
    begin(types[of.start + n], of.W);
  }

  // The environment matrix with its slopes.
  void evaluate() {
    const T *std = data<T>(in.std) + 4 * own, mean = data<T>(in.mean)[own], scale = 1 / std[0], sx = 1 / std[1], sy = 1 / std[2], sz = 1 / std[3];
    const T from = T(in.from), width = 1 / T(in.cutoff - in.from), protection = T(in.protection);
    const T *x = at(X), *y = at(Y), *z = at(Z), *r = at(DISTANCE);
    T *s = at(SWITCH), *s1 = at(SWITCH_SLOPE), *u1 = at(RADIAL_SLOPE), *q = at(FACTOR), *q1 = at(FACTOR_SLOPE);
    T *R0 = at(R), *R1 = at(R + 1), *R2 = at(R + 2), *R3 = at(R + 3);
#pragma omp simd
    for (int64_t e = 0; e < count; ++e) {
      const T full = (r[e] - from) * width, t = full < 0 ? T(0) : full > 1 ? T(1) : full, v = 1 / (r[e] + protection), rest = t * (t - 1);
      s[e] = t * t * t * (-6 * t * t + 15 * t - 10) + 1;
      s1[e] = -30 * rest * rest * width;
      const T u = s[e] * v, slope = (s1[e] - u) * v;
      u1[e] = slope * scale;
      q[e] = u * v, q1[e] = (slope - q[e]) * v;
      R0[e] = (u - mean) * scale, R1[e] = q[e] * x[e] * sx, R2[e] = q[e] * y[e] * sy, R3[e] = q[e] * z[e] * sz;
    }
  }

  // What all these come to by the components of every edge.
  void finish() {
    const T *std = data<T>(in.std) + 4 * own, sx = 1 / std[1], sy = 1 / std[2], sz = 1 / std[3], faded = in.smooth && in.factors ? T(1) : T(0);
    T *b = at(COTANGENT), *gx = at(BY_X), *gy = at(BY_Y), *gz = at(BY_Z), *f = at(COTANGENT + 4);
    const T *x = at(X), *y = at(Y), *z = at(Z), *r = at(DISTANCE), *s1 = at(SWITCH_SLOPE), *u1 = at(RADIAL_SLOPE), *q = at(FACTOR), *q1 = at(FACTOR_SLOPE);
#pragma omp simd
    for (int64_t e = 0; e < count; ++e) {
      const T px = gx[e] * sx, py = gy[e] * sy, pz = gz[e] * sz;
      const T along = (faded * f[e] * s1[e] + b[e] * u1[e] + (px * x[e] + py * y[e] + pz * z[e]) * q1[e]) / r[e];
      gx[e] = along * x[e] + q[e] * px, gy[e] = along * y[e] + q[e] * py, gz[e] = along * z[e] + q[e] * pz;
    }
  }

  // They, to the slots of `out` (W, 3).
  void scatter(T* out) const {
    for (int64_t e = 0; e < count; ++e)
      for (int a = 0; a < 3; ++a) out[3 * slot[e] + a] = at(BY_X + a)[e];
  }

 protected:
  static constexpr int64_t LINE = 16;  // columns from R to the end of SLOPE
  Buffer<T> lines, unfactored;         // of a model without factors: 1 + 0
  std::vector<const T*> factors;

  int64_t row(int64_t its_type) const { return in.one_sided ? its_type : its_type + in.T * own; }
  // What both passes read of an edge, side by side: R, and what a table has behind it.
  void line_up() {
    for (int64_t first = 0; first < count; first += Lane<T>::COUNT) transpose_block(at(R) + first, LINE, room, lines.data() + LINE * first);
    const T *all = data<T>(in.factors), *none = unfactored.data(), **to = factors.data();
    for (int64_t e = 0; e < count; ++e) to[e] = all ? all + row(type[e]) * in.M : none;
  }
  const T* line(int64_t e) const { return lines.data() + LINE * e; }
  T fade(int64_t e) const { return in.smooth ? at(SWITCH)[e] : T(1); }

  template <class, class>
  friend struct Passes;
};

// Those whose rows of G are read from a table.
template <class T>
struct TableEdges : Edges<T> {
  using Vec = typename Lane<T>::Vec;
  using Base = Edges<T>;
  using Base::at, Base::count, Base::in, Base::room, Base::W, Base::SLOPE, Base::R;

  TableEdges(const Block& in, int64_t most) : Base(in, most), interval(room), nodes(room) {}

  void collect() {
    weigh(), this->line_up();
    for (int64_t e = 0; e < count; ++e) nodes[e] = data<T>(in.nodes) + ((in.tables > 1 ? this->row(this->type[e]) : 0) * (in.K + 1) + interval[e]) * 3 * in.M;
  }
  // The vector of G of an edge from column `o` on, and that of dG/dx.
  Vec value(int64_t e, int64_t o) const {
    const T *node = nodes[e] + o, *w = this->line(e) + W - R;
    Vec sum = w[0] * vec(node);
    for (int64_t k = 1; k < 6; ++k) sum += w[k] * vec(node + k * in.M);
    return sum;
  }
  void both(int64_t e, int64_t o, Vec& value, Vec& slope) const {
    const T *node = nodes[e] + o, *w = this->line(e) + W - R, *dw = this->line(e) + SLOPE - R;
    value = w[0] * vec(node), slope = dw[0] * vec(node);
    for (int64_t k = 1; k < 6; ++k) {
      const Vec number = vec(node + k * in.M);
      value += w[k] * number, slope += dw[k] * number;
    }
  }

 private:
  std::vector<int32_t> interval;
  std::vector<const T*> nodes;  // of an edge, three numbers of the node before it and three of the one behind it

  // The place of each edge in the table, and the weights of the six numbers of its interval, each with its slope.
  void weigh() {
    const T first = T(in.first), per = T(1 / in.step), last = T(in.K - 1), end = T(in.first + in.step * in.K), *R0 = at(R);
    T *w = at(W), *dw = at(SLOPE);
    int32_t* k = interval.data();
    int64_t beyond = 0;
#pragma omp simd reduction(+ : beyond)
    for (int64_t e = 0; e < count; ++e) {
      const T place = (R0[e] - first) * per;
      T left = place > 0 ? place : T(0);
      left = left < last ? left : last;
      k[e] = int32_t(left);
      const T over = place - T(k[e]), more = over > 1 ? over - 1 : T(0), f = over > 1 ? T(1) : over, f2 = f * f, f3 = f2 * f;
      beyond += R0[e] > end;
      const T rise = f3 * (10 + f * (6 * f - 15)), steep = 30 * f2 * (1 - f) * (1 - f) * per;
      w[e] = 1 - rise, w[room + e] = f + f3 * (-6 + f * (8 - 3 * f)), w[2 * room + e] = T(0.5) * f2 + f3 * (T(-1.5) + f * (T(1.5) - T(0.5) * f));
      w[3 * room + e] = rise, w[4 * room + e] = f3 * (-4 + f * (7 - 3 * f)) + more, w[5 * room + e] = f3 * (T(0.5) + f * (T(0.5) * f - 1));
      dw[e] = -steep, dw[room + e] = (1 + f2 * (-18 + f * (32 - 15 * f))) * per, dw[2 * room + e] = f * (1 + f * (T(-4.5) + f * (6 - T(2.5) * f))) * per;
      dw[3 * room + e] = steep, dw[4 * room + e] = f2 * (-12 + f * (28 - 15 * f)) * per, dw[5 * room + e] = f2 * (T(1.5) + f * (-4 + T(2.5) * f)) * per;
    }
    this->outside = beyond;
  }
};

// From edges to their moment and back, each pass in registers. `Rows` are edges that give vectors of their rows of G.
template <class T, class Rows>
struct Passes {
  using Vec = typename Lane<T>::Vec;
  static constexpr int64_t L = Lane<T>::COUNT;
  static constexpr int MOST = REGISTERS == 16 ? 2 : 4;  // vectors of columns at once: each has four sums

  // out (4, M) = R^T (G F).
  static void sum(const Rows& edges, T* out) {
    for (int64_t o = 0, left = edges.in.M / L; left > 0; o += MOST * L, left -= MOST) {
      if (left >= MOST) columns<MOST>(edges, o, out);
      if constexpr (MOST > 2)
        if (left == 3) columns<3>(edges, o, out);
      if constexpr (MOST > 2)
        if (left == 2) columns<2>(edges, o, out);
      if (left == 1) columns<1>(edges, o, out);
    }
  }

  // Cotangents of R and of the fading of every edge, from that of the moment, c (4, M).
  static void reverse(Rows& edges, const T* c) {
    if (edges.in.M == 2 * L)
      back(edges, c, std::integral_constant<int64_t, 2 * L>{});  // that of the size `student` in single precision
    else
      back(edges, c, edges.in.M);
  }

 private:
  template <class Size>
  static void back(Rows& edges, const T* c, Size size) {
    const int64_t M = size;
    Vec parts[5][L]{};  // of the sums of as many edges as a vector has values
    for (int64_t first = 0; first < edges.count; first += L) {
      const int64_t some = std::min(L, edges.count - first);
      for (int64_t k = 0; k < some; ++k) {
        const int64_t e = first + k;
        const T *factor = edges.factors[e], fade = edges.fade(e), *R = edges.line(e);
        Vec by_R[4]{}, by_fade{};
        for (int64_t o = 0; o < M; o += L) {
          Vec G, slope;
          edges.both(e, o, G, slope);
          const Vec P = vec(factor + o), F = 1 + fade * P, GF = G * F;
          const Vec along = R[0] * vec(c + o) + R[1] * vec(c + M + o) + R[2] * vec(c + 2 * M + o) + R[3] * vec(c + 3 * M + o);
          by_R[0] += slope * F * along + GF * vec(c + o);
          for (int64_t a = 1; a < 4; ++a) by_R[a] += GF * vec(c + a * M + o);
          by_fade += G * P * along;
        }
        for (int64_t a = 0; a < 4; ++a) parts[a][k] = by_R[a];
        parts[4][k] = by_fade;
      }
      for (int64_t a = 0; a < 5; ++a) vec(edges.at(Rows::COTANGENT + a) + first) = totals(parts[a]);
    }
  }

  template <int B>
  static void columns(const Rows& edges, int64_t o, T* out) {
    Vec sum[4][B]{};
    for (int64_t e = 0; e < edges.count; ++e) {
      const T *factor = edges.factors[e] + o, fade = edges.fade(e), *R = edges.line(e);
      for (int b = 0; b < B; ++b) {
        const Vec G = edges.value(e, o + b * L), GF = G + fade * vec(factor + b * L) * G;
        for (int64_t a = 0; a < 4; ++a) sum[a][b] += R[a] * GF;
      }
    }
    for (int64_t a = 0; a < 4; ++a)
      for (int b = 0; b < B; ++b) vec(out + a * edges.in.M + o + b * L) = sum[a][b];
  }
};

// What the padded slots of an atom add to its moment (4, M), if means are subtracted, and the division by their number; see repinit.py.
template <class T>
void complete_moment(const Block& in, const Edges<T>& edges, int64_t lead, T* moment) {
  if (in.padding) {
    const T *one = data<T>(in.padding) + (lead + in.T * edges.own) * in.m, slots = T(in.nsel - edges.within);
    for (int64_t o = 0; o < in.m; ++o) moment[o] += slots * one[o];
  }
  for (int64_t k = 0; k < 4 * in.M; ++k) moment[k] *= T(1.0 / in.nsel);
}

// d (m * axis + extra,) of a moment, the embedding of a type behind it; `turned` has room for (axis, M).
template <class T>
void set_invariants(const Block& in, const T* moment, int64_t type, Buffer<T>& turned, T* d) {
  constexpr int64_t L = Lane<T>::COUNT;
  for (int64_t a = 0; a < in.axis; ++a)
    for (int64_t o = 0; o < in.M; o += L) {
      const T *right = moment + a, *left = moment + o;
      vec(&turned[a * in.M + o]) = right[0] * vec(left) + right[in.M] * vec(left + in.M) + right[2 * in.M] * vec(left + 2 * in.M) + right[3 * in.M] * vec(left + 3 * in.M);
    }
  for (int64_t a = 0; a < in.axis; ++a)
    for (int64_t o = 0; o < in.m; ++o) d[o * in.axis + a] = turned[a * in.M + o];
  std::copy_n(data<T>(in.tebd) + in.extra * type, in.extra, d + in.m * in.axis);
}

template <class T>
void evaluate(const Model& of, const Array& D, const Array& M, const Array& outside) {
  const Block& in = of.block;
  over_ranges(of.N, 4, of.threads, [&](int64_t first, int64_t last) {
    TableEdges<T> edges(in, of.W);
    Buffer<T> turned(in.axis * in.M);
    for (int64_t n = first; n < last; ++n) {
      edges.gather(of, n), edges.evaluate(), edges.collect();
      T* moment = into<T>(M) + 4 * in.M * n;
      Passes<T, TableEdges<T>>::sum(edges, moment);
      complete_moment(in, edges, data<int64_t>(of.lead)[of.start + n], moment);
      set_invariants(in, moment, edges.own, turned, into<T>(D) + in.width() * n);
      into<int64_t>(outside)[n] = edges.outside;
    }
  });
}

// c (4, M) = the cotangent of M from g (m, axis), that of the invariants.
template <class T>
void by_moment(const Block& in, const T* moment, const T* g, Buffer<T>& turned, T* c) {
  constexpr int64_t L = Lane<T>::COUNT;
  for (int64_t a = 0; a < in.axis; ++a)
    for (int64_t o = 0; o < in.m; ++o) turned[a * in.M + o] = g[o * in.axis + a];
  multiply(Left<T>{moment, in.M, 1}, 4, in.axis, turned.data(), in.M, c);
  for (int64_t x = 0; x < 4; ++x)
    for (int64_t first = 0; first < in.axis; first += L) {
      typename Lane<T>::Vec parts[L]{};
      for (int64_t a = first; a < std::min(first + L, in.axis); ++a)
        for (int64_t o = 0; o < in.M; o += L) parts[a - first] += vec(moment + x * in.M + o) * vec(&turned[a * in.M + o]);
      vec(c + x * in.M + first) += totals(parts);
    }
  for (int64_t k = 0; k < 4 * in.M; ++k) c[k] *= T(1.0 / in.nsel);
}

template <class T>
void reverse(const Model& of, const Array& M, const Array& g, const Array& out) {
  const Block& in = of.block;
  over_ranges(of.N, 4, of.threads, [&](int64_t first, int64_t last) {
    TableEdges<T> edges(in, of.W);
    Buffer<T> turned(in.axis * in.M), c(4 * in.M);
    zero_rows<T>(out, first, last);
    for (int64_t n = first; n < last; ++n) {
      edges.gather(of, n), edges.evaluate(), edges.collect();
      by_moment(in, data<T>(M) + 4 * in.M * n, data<T>(g) + in.width() * n, turned, c.data());
      Passes<T, TableEdges<T>>::reverse(edges, c.data()), edges.finish();
      edges.scatter(into<T>(out) + 3 * of.W * n);
    }
  });
}

template <class T>
void value(Call in) {
  const Model at(in);
  const Array D = at.invariants(in), M = at.moments(in), outside = in.array(at.N);
  in.done();
  evaluate<T>(at, D, M, outside);
}

template <class T>
void first(Call in) {
  const Model at(in);
  const Array M = at.moments(in), g = at.invariants(in), out = in.array(at.N, at.W, 3);
  in.done();
  reverse<T>(at, M, g, out);
}
}  // namespace lam::tabulated
