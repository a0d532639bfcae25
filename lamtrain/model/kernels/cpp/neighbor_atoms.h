// What the passes of neighbor_sums.h share: shapes, W and the gradients, and what is computed of the edges of one atom.
#pragma once
#include "tile.h"

namespace lam::neighbor_sums {
struct Inputs {
  Array g1, W;
  Arrays g2, a, h, n;
  int threads;
};

template <class T>
struct Shape {
  int64_t A, d, K, wide, dims, most;  // `wide`, `dims`: d and K in whole vectors; `most`: slots of the widest chunk

  explicit Shape(const Inputs& in) : A(in.g1.size(0)), d(in.g1.size(1)), K(in.W.size(0)), wide(Lane<T>::padded(d)), dims(Lane<T>::padded(K)), most(0) {
    for (const auto& n : in.n) most = std::max(most, n.size(1));
  }
  Buffer<T> atoms() const { return Buffer<T>(most * wide); }  // a row of g1's width for each edge
  Buffer<T> edges() const { return Buffer<T>(most * dims); }  // a row of g2's width for each edge
};

// Where the edges of an atom are: row `i` of chunk `chunk`, row `row` of all; it has `V` in `slots`, the others are empty.
struct Place {
  size_t chunk;
  int64_t i, row, V, slots;
};

template <class T>
const T* row_of(const Array& tensor, int64_t i) {
  return data<T>(tensor) + i * (tensor.numel() / tensor.size(0));
}
template <class T>
T* mutable_row(const Array& tensor, int64_t i) {
  return into<T>(tensor) + i * (tensor.numel() / tensor.size(0));
}

// W and its transpose, and the buffers of one atom that all passes fill first.
template <class T>
struct Atom {
  using Vec = typename Lane<T>::Vec;
  static constexpr int64_t L = Lane<T>::COUNT;
  const Inputs& in;
  const Shape<T>& n;
  Buffer<T> W, Wt;         // (K, wide), (wide, dims)
  Buffer<T> g1, g2, y, u;  // of each edge: the neighbour's g1, g2, a g2, and that times W
  Buffer<T> a, h;          // (V,), (3, V)
  int64_t V = 0;
  const int64_t* neighbors = nullptr;

  Atom(const Inputs& in, const Shape<T>& n)
      : in(in), n(n), W(n.K * n.wide), Wt(n.wide * n.dims), g1(n.atoms()), g2(n.edges()), y(g2), u(g1), a(n.most), h(3 * n.most) {
    copy_rows(data<T>(in.W), n.d, n.K, n.d, W.data(), n.wide);
    for (int64_t k = 0; k < n.K; ++k)
      for (int64_t o = 0; o < n.d; ++o) Wt[o * n.dims + k] = W[k * n.wide + o];
  }

  void load(const Place& at) {
    V = at.V, neighbors = row_of<int64_t>(in.n[at.chunk], at.i);
    gather(in.g1, g1), channel(in.g2, at, g2);
    factors(in.a, in.h, at, a, h);
    scale(a, g2, y, false);
    times_w(y, u);
  }
  void channel(const Arrays& from, const Place& at, Buffer<T>& to) const { copy_rows(row_of<T>(from[at.chunk], at.i), n.K, V, n.K, to.data(), n.dims); }
  void factors(const Arrays& from_a, const Arrays& from_h, const Place& at, Buffer<T>& to_a, Buffer<T>& to_h) const {
    copy_row(row_of<T>(from_a[at.chunk], at.i), V, to_a.data());
    copy_rows(row_of<T>(from_h[at.chunk], at.i), at.slots, 3, V, to_h.data(), V);
  }
  void write(const Buffer<T>& from, const Place& at, const Arrays& to) const {
    fill_rows(from.data(), n.dims, V, n.K, mutable_row<T>(to[at.chunk], at.i), at.slots, n.K);
  }
  void write_factors(const Buffer<T>& from_a, const Buffer<T>& from_h, const Place& at, const Arrays& to_a, const Arrays& to_h) const {
    fill_rows(from_a.data(), V, 1, V, mutable_row<T>(to_a[at.chunk], at.i), 1, at.slots);
    fill_rows(from_h.data(), V, 3, V, mutable_row<T>(to_h[at.chunk], at.i), 3, at.slots);
  }
  void gather(const Array& from, Buffer<T>& to) const {
    for (int64_t j = 0; j < V; ++j) copy_row(data<T>(from) + neighbors[j] * n.d, n.d, &to[j * n.wide]);
  }

  // out_j (+)= by_j rows_j
  void scale(const Buffer<T>& by, const Buffer<T>& rows, Buffer<T>& out, bool add) const {
    for (int64_t j = 0; j < V; ++j) {
      const T factor = by[j], *from = &rows[j * n.dims];
      T* to = &out[j * n.dims];
#pragma omp simd
      for (int64_t k = 0; k < n.dims; ++k) to[k] = (add ? to[k] : T(0)) + factor * from[k];
    }
  }
  void times_w(const Buffer<T>& left, Buffer<T>& out) const { multiply(rows_of(left.data(), n.dims), V, n.K, W.data(), n.wide, out.data()); }
  void times_wt(const Buffer<T>& left, Buffer<T>& out) const { multiply(rows_of(left.data(), n.wide), V, n.wide, Wt.data(), n.dims, out.data()); }
  void add_w(const Buffer<T>& left, const Buffer<T>& right, Buffer<T>& sums) const {
    multiply(transpose_of(left.data(), n.dims), n.K, V, right.data(), n.wide, sums.data(), true);
  }

  // product (+)= sum_j left_j * right_j and turned (+)= sum_j by_j right_j^T, of g1's width.
  void sum(const Buffer<T>& left, const Buffer<T>& by, const Buffer<T>& right, T* product, T* turned, bool add) const {
    const T *x = by.data(), *y = x + V, *z = y + V;
    for (int64_t o = 0; o < n.wide; o += L) {
      Vec s[4] = {};
      for (int64_t j = 0; j < V; ++j) {
        const Vec r = *reinterpret_cast<const Vec*>(&right[j * n.wide + o]);
        s[0] += *reinterpret_cast<const Vec*>(&left[j * n.wide + o]) * r;
        s[1] += x[j] * r, s[2] += y[j] * r, s[3] += z[j] * r;
      }
      for (int64_t k = 0; k < 4; ++k) {
        Vec& to = *reinterpret_cast<Vec*>(k ? turned + (k - 1) * n.wide + o : product + o);
        to = add ? to + s[k] : s[k];
      }
    }
  }
  // turned (3, dims) (+)= sum_j by_j rows_j^T, of g2's width.
  void sum_narrow(const Buffer<T>& by, const Buffer<T>& rows, T* turned, bool add) const {
    multiply(rows_of(by.data(), V), 3, V, rows.data(), n.dims, turned, add);
  }

  // rows_j * by for every edge, of g1's width.
  void product(const Buffer<T>& rows, const T* by, Buffer<T>& out) const {
    for (int64_t j = 0; j < V; ++j) {
      const T* from = &rows[j * n.wide];
      T* to = &out[j * n.wide];
#pragma omp simd
      for (int64_t o = 0; o < n.wide; ++o) to[o] = from[o] * by[o];
    }
  }
  // to_n(j) += rows_j * P + by_j Q
  void scatter(const Buffer<T>& rows, const T* P, const Buffer<T>& by, const T* Q, T* to) const {
    const T *x = by.data(), *y = x + V, *z = y + V;
    for (int64_t j = 0; j < V; ++j) {
      const T *from = &rows[j * n.wide], hx = x[j], hy = y[j], hz = z[j];
      T* row = to + neighbors[j] * n.wide;
#pragma omp simd
      for (int64_t o = 0; o < n.wide; ++o) row[o] += from[o] * P[o] + hx * Q[o] + hy * Q[n.wide + o] + hz * Q[2 * n.wide + o];
    }
  }
  // out (3, V) = turned . rows_j + narrow . channel_j
  void dots(const T* turned, const Buffer<T>& rows, const T* narrow, const Buffer<T>& channel, Buffer<T>& out) const {
    for (int64_t j = 0; j < V; ++j) {
      const T *r = &rows[j * n.wide], *c = &channel[j * n.dims];
      T s[3] = {};
      add_dots(turned, r, n.wide, s), add_dots(narrow, c, n.dims, s);
      for (int64_t k = 0; k < 3; ++k) out[k * V + j] = s[k];
    }
  }
  static void add_dots(const T* three, const T* row, int64_t width, T* s) {
    T x = 0, y = 0, z = 0;
#pragma omp simd reduction(+ : x, y, z)
    for (int64_t o = 0; o < width; ++o) x += three[o] * row[o], y += three[width + o] * row[o], z += three[2 * width + o] * row[o];
    s[0] += x, s[1] += y, s[2] += z;
  }
  // out_j (+)= left_j . right_j, of g2's width.
  void dot_rows(const Buffer<T>& left, const Buffer<T>& right, Buffer<T>& out, bool add) const {
    for (int64_t j = 0; j < V; ++j) {
      const T *l = &left[j * n.dims], *r = &right[j * n.dims];
      T s = 0;
#pragma omp simd reduction(+ : s)
      for (int64_t k = 0; k < n.dims; ++k) s += l[k] * r[k];
      out[j] = add ? out[j] + s : s;
    }
  }
  // out_j += by_j three
  void add_turned(const Buffer<T>& by, const T* three, Buffer<T>& out) const {
    multiply(transpose_of(by.data(), V), V, 3, three, n.dims, out.data(), true);
  }
};

// What a thread adds up: g1' (A, wide) and W' (K, wide).
template <class T>
struct Sums {
  Buffer<T> g1, W;
  Sums(const Shape<T>& n, bool atoms, bool weights) : g1(atoms ? n.A * n.wide : 0), W(weights ? n.K * n.wide : 0) {}

  static void total(const std::vector<Sums>& parts, Buffer<T> Sums::*which, const Shape<T>& n, const Array& to) {
    if (!to) return;
    zero_rows<T>(to, 0, to.size(0));
    for (const auto& part : parts) add_unpadded((part.*which).data(), to.size(0), n.d, into<T>(to), n.wide);
  }
};

// Cotangents of conv, H, I of one atom.
template <class T>
struct Cotangents {
  Buffer<T> P, Q, R;
  explicit Cotangents(const Shape<T>& n) : P(n.wide), Q(3 * n.wide), R(3 * n.dims) {}
  void load(const Array& p, const Array& q, const Array& r, int64_t row, const Shape<T>& n) {
    copy_row(row_of<T>(p, row), n.d, P.data());
    copy_rows(row_of<T>(q, row), n.d, 3, n.d, Q.data(), n.wide), copy_rows(row_of<T>(r, row), n.K, 3, n.K, R.data(), n.dims);
  }
  void write(const Array& p, const Array& q, const Array& r, int64_t row, const Shape<T>& n) const {
    copy_row(P.data(), n.d, mutable_row<T>(p, row));
    copy_rows(Q.data(), n.wide, 3, n.d, mutable_row<T>(q, row), n.d), copy_rows(R.data(), n.dims, 3, n.K, mutable_row<T>(r, row), n.K);
  }
};

// Runs a pass over all atoms, with buffers and sums of its own in each thread; returns the sums.
template <class T, template <class> class Pass, class Results>
std::vector<Sums<T>> over_atoms(const Inputs& in, const Results& results) {
  const Shape<T> n(in);
  int64_t rows = 0;
  for (const auto& neighbors : in.n) rows += neighbors.size(0);
  const int64_t parts = parts_of(rows, in.threads);
  std::vector<Sums<T>> sums(parts, Sums<T>(n, results.atoms, results.weights));
  over_parts(parts, in.threads, [&](int64_t part) {
    Atom<T> atom(in, n);
    Pass<T> pass(n);
    int64_t start = 0;
    for (size_t k = 0; k < in.n.size(); start += in.n[k++].size(0)) {
      const int64_t N = in.n[k].size(0);
      for (int64_t i = N * part / parts; i < N * (part + 1) / parts; ++i) {
        const int64_t slots = in.n[k].size(1);
        const Place at{k, i, start + i, used(row_of<T>(in.a[k], i), slots), slots};
        atom.load(at);
        pass(at, atom, results, sums[part]);
      }
    }
  });
  return sums;
}
}  // namespace lam::neighbor_sums
