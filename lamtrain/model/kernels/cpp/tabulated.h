// A compressed DPA-1 (see dpa1_table.py and quintic.py): edges -> table -> moment -> invariants, with the derivative by the edges.
//
//   x = (s / (r + p) - mean) / std_0      G = sum_k H_k(u) node_k      F = 1 + fade P      M = R^T (G F) / nsel      D = M^T M[:, :axis]
//
// One atom at a time: what is within the cutoff is gathered, so that empty slots and those beyond it cost a distance; the radial functions and the
// polynomials of all its edges are computed side by side. G is never formed: as it is linear in the nodes, of which the edges of an atom are between few,
// what multiplies each node is summed over edges first, and M is one product. With c the cotangent of M, so is every node times c, and an edge takes
// six numbers of it:
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
  Buffer<T> all, distance;
  std::vector<int64_t> slot, type;
  std::vector<int32_t> interval;
  int64_t count = 0, within = 0, outside = 0, own = 0;

  Edges(const Block& in, int64_t most)
      : in(in), room(Lane<T>::padded(most)), all(COLUMNS * room), distance(room), slot(room), type(room), interval(room), kind(room), kind_of(in.T, -1),
        place(in.tables * (in.K + 1), -1), node(2 * room), between(2 * room) {}
  T* at(int column) { return all.data() + column * room; }
  const T* at(int column) const { return all.data() + column * room; }

  void begin(int64_t its_type) { own = its_type, count = within = 0; }
  // An edge by its components and their length, if it is within the cutoff and seen; `where` is for the caller to know it again.
  void take(int64_t where, int64_t its_type, T x, T y, T z, T r) {
    if (!(r < T(in.cutoff))) return;
    ++within;
    const T* seen = data<T>(in.seen);
    if (seen && seen[own * in.T + its_type] == 0) return;
    slot[count] = where, type[count] = its_type;
    at(X)[count] = x, at(Y)[count] = y, at(Z)[count] = z, at(DISTANCE)[count++] = r;
  }
  // Those of row n of a batch.
  void gather(const Model& of, int64_t n) {
    const T* d = data<T>(of.vectors) + 3 * of.W * n;
    const int64_t *near = data<int64_t>(of.neighbors) + of.W * n, *types = data<int64_t>(of.types);
    begin(types[of.start + n]);
    T* r = distance.data();
#pragma omp simd
    for (int64_t j = 0; j < of.W; ++j) r[j] = std::sqrt(d[3 * j] * d[3 * j] + d[3 * j + 1] * d[3 * j + 1] + d[3 * j + 2] * d[3 * j + 2]);
    for (int64_t j = 0; j < of.W; ++j) take(j, types[near[j]], d[3 * j], d[3 * j + 1], d[3 * j + 2], r[j]);
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
    outside = beyond;
  }

  // Lists the nodes that these edges are between, each once, and copies them into rows of their own.
  void collect() {
    weigh(), find_kinds();
    used = 0;
    for (int64_t e = 0; e < count; ++e) {
      const int64_t first = (in.tables > 1 ? row(type[e]) : 0) * (in.K + 1) + interval[e];
      for (int64_t side = 0; side < 2; ++side) {
        if (place[first + side] < 0) place[first + side] = used, node[used++] = first + side;
        between[2 * e + side] = place[first + side];
      }
    }
    make_room(3 * used);
    for (int64_t k = 0; k < used; ++k) std::copy_n(data<T>(in.nodes) + node[k] * 3 * in.M, 3 * in.M, rows.data() + k * 3 * in.M), place[node[k]] = -1;
  }

  // out (4, M) = R^T (G F): sums of R over the edges at each node, then one product with the nodes.
  void sum(T* out) {
    set_lines();
    std::fill_n(spread.data(), 3 * used * cols, T(0));
    const T* w = at(W);
    for (int64_t e = 0; e < count; ++e)
      for (int64_t o = 0; o < cols; o += Lane<T>::COUNT) {
        const Vec line = vec(&lines[e * cols + o]);
        for (int64_t k = 0; k < 6; ++k) vec(&spread[(3 * between[2 * e + k / 3] + k % 3) * cols + o]) += w[k * room + e] * line;
      }
    multiply_factors(spread.data(), 3 * used, out);
  }

  // Cotangents of R and of the fading of every edge, from that of the moment, c (4, M): products of all nodes with c, then six numbers an edge.
  void reverse(const T* c) {
    multiply_cotangent(c, 3 * used);
    const T *w = at(W), *dw = at(SLOPE);
    for (int64_t e = 0; e < count; ++e)
      for (int64_t o = 0; o < cols; o += Lane<T>::COUNT) {
        Vec value{}, slope{};
        for (int64_t k = 0; k < 6; ++k) {
          const Vec from = vec(&spread[(3 * between[2 * e + k / 3] + k % 3) * cols + o]);
          value += w[k * room + e] * from, slope += dw[k * room + e] * from;
        }
        vec(&lines[e * cols + o]) = value, vec(&lines[(count + e) * cols + o]) = slope;
      }
    keep(lines.data());
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
  typedef T Four __attribute__((vector_size(4 * sizeof(T)), aligned(sizeof(T)), may_alias));
  std::vector<int64_t> kind, kind_of, kinds;  // of an edge and of a type its factor, of a factor its type
  Buffer<T> rows, spread, parts, turned;      // (rows, M), (rows, cols), (cols, M) and its transpose
  Buffer<T> lines;                            // (2 count, cols) of edges
  int64_t groups = 1, cols = 0;               // of four columns: without a factor, then with each kind of it

  using Vec = typename Lane<T>::Vec;

  static Four& four(T* at) { return *reinterpret_cast<Four*>(at); }
  static const Four& four(const T* at) { return *reinterpret_cast<const Four*>(at); }
  static Vec& vec(T* at) { return *reinterpret_cast<Vec*>(at); }
  int64_t row(int64_t its_type) const { return in.one_sided ? its_type : its_type + in.T * own; }
  T fade(int64_t e) const { return in.smooth ? at(SWITCH)[e] : T(1); }
  Four matrix(int64_t e) const { return Four{at(R)[e], at(R + 1)[e], at(R + 2)[e], at(R + 3)[e]}; }

  void find_kinds() {
    kinds.clear();
    for (int64_t e = 0; e < count; ++e) {
      if (kind_of[type[e]] < 0) kind_of[type[e]] = kinds.size(), kinds.push_back(type[e]);
      kind[e] = in.factors ? kind_of[type[e]] : 0;
    }
    for (const int64_t t : kinds) kind_of[t] = -1;
    groups = in.factors ? 1 + kinds.size() : 1, cols = Lane<T>::padded(4 * groups);
  }
  // For so many rows, and for lines of all edges.
  void make_room(int64_t most) {
    if (int64_t(rows.size()) < most * in.M) rows.resize(most * in.M);
    if (int64_t(spread.size()) < most * cols) spread.resize(most * cols);
    if (int64_t(lines.size()) < 2 * count * cols) lines.resize(2 * count * cols);
    if (int64_t(parts.size()) < cols * in.M) parts.resize(cols * in.M), turned.resize(cols * in.M);
  }
  // A line of an edge: its R without a factor, and faded where its kind is.
  void set_lines() {
    std::fill_n(lines.data(), count * cols, T(0));
    for (int64_t e = 0; e < count; ++e) {
      T* to = &lines[e * cols];
      four(to) = matrix(e);
      if (in.factors) four(to + 4 + 4 * kind[e]) = fade(e) * matrix(e);
    }
  }
  // out (4, M) = the sum over groups of their factor times left^T rows, left (count, cols).
  void multiply_factors(const T* left, int64_t count, T* out) {
    multiply(Left<T>{left, 1, cols}, 4 * groups, count, rows.data(), in.M, parts.data());
    std::copy_n(parts.data(), 4 * in.M, out);
    for (int64_t g = 1; g < groups; ++g)
      for (int64_t a = 0; a < 4; ++a) {
        const T *factor = factors(g), *part = parts.data() + (4 * g + a) * in.M;
#pragma omp simd
        for (int64_t o = 0; o < in.M; ++o) out[a * in.M + o] += factor[o] * part[o];
      }
  }
  // spread = rows (factor c)^T of every group.
  void multiply_cotangent(const T* c, int64_t count) {
    std::fill_n(parts.data(), cols * in.M, T(0));
    std::copy_n(c, 4 * in.M, parts.data());
    for (int64_t g = 1; g < groups; ++g)
      for (int64_t a = 0; a < 4; ++a) {
        const T *factor = factors(g), *from = c + a * in.M;
        T* part = parts.data() + (4 * g + a) * in.M;
#pragma omp simd
        for (int64_t o = 0; o < in.M; ++o) part[o] = factor[o] * from[o];
      }
    transpose(parts.data(), cols, in.M, turned.data());
    multiply(rows_of(rows.data(), in.M), count, in.M, turned.data(), cols, spread.data());
  }
  // The cotangents of all edges, from lines of G (factor c)^T and then of dG/dx (factor c)^T.
  void keep(const T* from) {
    for (int64_t e = 0; e < count; ++e) {
      const T *value = from + e * cols, *slope = value + count * cols;
      const int64_t own = 4 + 4 * kind[e];
      const Four R4 = matrix(e), factored = in.factors ? four(value + own) : Four{}, f = R4 * factored;
      const Four plain = four(value) + fade(e) * factored, x = R4 * (in.factors ? four(slope) + fade(e) * four(slope + own) : four(slope));
      for (int a = 0; a < 4; ++a) at(COTANGENT + a)[e] = plain[a];
      at(COTANGENT)[e] += x[0] + x[1] + x[2] + x[3], at(COTANGENT + 4)[e] = f[0] + f[1] + f[2] + f[3];
    }
  }

 private:
  std::vector<int64_t> place, node, between;  // of a node its row, of a row its node, of an edge its rows
  int64_t used = 0;

  const T* factors(int64_t group) const { return data<T>(in.factors) + row(kinds[group - 1]) * in.M; }
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

// d (m * axis + extra,) of a moment, the embedding of a type behind it.
template <class T>
void set_invariants(const Block& in, const T* moment, int64_t type, T* d) {
  for (int64_t o = 0; o < in.m; ++o) {
    const T *right = moment, p = moment[o], x = moment[in.M + o], y = moment[2 * in.M + o], z = moment[3 * in.M + o];
#pragma omp simd
    for (int64_t a = 0; a < in.axis; ++a) d[o * in.axis + a] = p * right[a] + x * right[in.M + a] + y * right[2 * in.M + a] + z * right[3 * in.M + a];
  }
  std::copy_n(data<T>(in.tebd) + in.extra * type, in.extra, d + in.m * in.axis);
}

template <class T>
void evaluate(const Model& of, const Array& D, const Array& M, const Array& outside) {
  const Block& in = of.block;
  over_ranges(of.N, 4, of.threads, [&](int64_t first, int64_t last) {
    Edges<T> edges(in, of.W);
    for (int64_t n = first; n < last; ++n) {
      edges.gather(of, n), edges.evaluate(), edges.collect();
      T* moment = into<T>(M) + 4 * in.M * n;
      edges.sum(moment);
      complete_moment(in, edges, data<int64_t>(of.lead)[of.start + n], moment);
      set_invariants(in, moment, edges.own, into<T>(D) + in.width() * n);
      into<int64_t>(outside)[n] = edges.outside;
    }
  });
}

// c (4, M) = the cotangent of M from g (m, axis), that of the invariants; `turned` and `flat` have room for it with rows of whole vectors.
template <class T>
void by_moment(const Block& in, const T* moment, const T* g, Buffer<T>& flat, Buffer<T>& turned, T* c) {
  const int64_t wide = Lane<T>::padded(in.axis);
  fill_rows(g, in.axis, in.m, in.axis, flat.data(), in.M, wide);
  transpose(flat.data(), in.M, wide, turned.data());
  multiply(Left<T>{moment, in.M, 1}, 4, in.axis, turned.data(), in.M, c);
  for (int64_t x = 0; x < 4; ++x)
    for (int64_t o = 0; o < in.m; ++o) {
      const T its = moment[x * in.M + o];
#pragma omp simd
      for (int64_t a = 0; a < in.axis; ++a) c[x * in.M + a] += its * g[o * in.axis + a];
    }
  for (int64_t k = 0; k < 4 * in.M; ++k) c[k] *= T(1.0 / in.nsel);
}

template <class T>
void reverse(const Model& of, const Array& M, const Array& g, const Array& out) {
  const Block& in = of.block;
  over_ranges(of.N, 4, of.threads, [&](int64_t first, int64_t last) {
    Edges<T> edges(in, of.W);
    Buffer<T> flat(in.M * Lane<T>::padded(in.axis)), turned(flat), c(4 * in.M);
    zero_rows<T>(out, first, last);
    for (int64_t n = first; n < last; ++n) {
      edges.gather(of, n), edges.evaluate(), edges.collect();
      by_moment(in, data<T>(M) + 4 * in.M * n, data<T>(g) + in.width() * n, flat, turned, c.data());
      edges.reverse(c.data()), edges.finish();
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
