// What the passes of pair_attention.h share: shapes, weights and their gradients, and what is computed first of each atom and head.
#pragma once
#include <limits>
#include "tile.h"

namespace lam::pair_attention {
template <class T>
struct Shape {
  int64_t N, slots, K, H, dims, V, cols;  // `V`: edges of an atom, at most `slots`; `dims`, `cols`: K and V in whole vectors

  Shape(const Array& x, const Array& M) : N(x.size(0)), slots(x.size(1)), K(x.size(2)), H(M.size(1) / K), dims(Lane<T>::padded(K)) { set_edges(slots); }
  void set_edges(int64_t count) { V = count, cols = Lane<T>::padded(count); }
  Buffer<T> square() const { return Buffer<T>(V * cols); }        // [j, i]
  Buffer<T> channel() const { return Buffer<T>(cols * dims); }    // [i, k], or [k, i] transposed
  Buffer<T> matrices() const { return Buffer<T>(H * K * dims); }  // one (K, dims) for each head
};

struct Options {
  double C, D;
  bool gated;
  int64_t phantom;
  int threads;
};

struct Inputs {
  Array x, M, Z, bias, f, k;
  Options options;
};

template <class T>
struct Squares {  // f and k, or cotangents or derivatives of them
  Buffer<T> f, k;
  explicit Squares(const Shape<T>& n) : f(n.square()), k(f) {}

  void load(const Array& fading, const Array& both, int64_t atom, const Shape<T>& n) {
    const int64_t at = atom * n.slots * n.slots;
    copy_rows(data<T>(fading) + at, n.slots, n.V, n.V, f.data(), n.cols), copy_rows(data<T>(both) + at, n.slots, n.V, n.V, k.data(), n.cols);
  }
  void clear() { std::fill(f.begin(), f.end(), T(0)), std::fill(k.begin(), k.end(), T(0)); }
  void write(const Array& fading, const Array& both, int64_t atom, const Shape<T>& n) const {
    const int64_t at = atom * n.slots * n.slots;
    fill_rows(f.data(), n.cols, n.V, n.V, into<T>(fading) + at, n.slots, n.slots), fill_rows(k.data(), n.cols, n.V, n.V, into<T>(both) + at, n.slots, n.slots);
  }
};

template <class T>
struct Matrices {  // M, Z and their transposes of each head, (K, dims)
  Buffer<T> m, mt, z, zt, bias;

  Matrices(const Shape<T>& n, const Inputs& in) : m(n.matrices()), mt(m), z(m), zt(m), bias(n.dims) {
    std::copy_n(data<T>(in.bias), n.K, bias.data());
    for (int64_t h = 0; h < n.H; ++h)
      for (int64_t k = 0; k < n.K; ++k)
        for (int64_t l = 0; l < n.K; ++l) {
          const int64_t kl = (h * n.K + k) * n.dims + l, lk = (h * n.K + l) * n.dims + k;
          m[kl] = mt[lk] = data<T>(in.M)[(k * n.H + h) * n.K + l];
          z[kl] = zt[lk] = data<T>(in.Z)[(h * n.K + k) * n.K + l];
        }
  }
};

template <class T>
struct Gradients {  // M' and Z' of each head, (K, dims), and bias', of the atoms of one thread
  Buffer<T> m, z, bias;
  explicit Gradients(const Shape<T>& n) : m(n.matrices()), z(m), bias(n.dims) {}

  // Adds up those of all threads, in order; gM, gZ, gb, each if asked.
  static void total(const std::vector<Gradients>& parts, const Shape<T>& n, const Array& gM, const Array& gZ, const Array& gb) {
    for (const Array& clean : {gM, gZ, gb})
      if (clean) zero_rows<T>(clean, 0, clean.size(0));
    T *pm = into<T>(gM), *pz = into<T>(gZ), *pb = into<T>(gb);
    for (const auto& part : parts) {
      for (int64_t k = 0; pb && k < n.K; ++k) pb[k] += part.bias[k];
      for (int64_t h = 0; pm && h < n.H; ++h)
        for (int64_t k = 0; k < n.K; ++k)
          for (int64_t l = 0; l < n.K; ++l) {
            pm[(k * n.H + h) * n.K + l] += part.m[(h * n.K + k) * n.dims + l];
            pz[(h * n.K + k) * n.K + l] += part.z[(h * n.K + k) * n.dims + l];
          }
    }
  }
};

template <class T>
struct Column {  // every `stride`th vector; a pointer of its own, since one that is read from a buffer is read again after each store
  T* first;
  int64_t stride;
  typename Lane<T>::Vec& operator[](int64_t j) const { return *reinterpret_cast<typename Lane<T>::Vec*>(first + j * stride); }
};

// The buffers of one atom, and what all passes compute first of each of its heads.
template <class T>
struct Atom {
  using Vec = typename Lane<T>::Vec;
  static constexpr int64_t L = Lane<T>::COUNT;
  Shape<T> n;
  const Matrices<T>& matrices;
  const T C, D, Cf, Ck;  // c = Cf f + Ck k, of which one is 0
  const bool gated;
  int64_t phantom;
  Buffer<T> x, xt;                      // of the atom
  Squares<T> squares;
  Buffer<T> qt, s, p, phantom_weights;  // of a head

  Atom(const Shape<T>& shape, const Matrices<T>& matrices, const Options& options)
      : n(shape), matrices(matrices), C(options.C), D(options.D), Cf(options.gated ? C : 0), Ck(options.gated ? 0 : C), gated(options.gated), x(n.channel()), xt(x), squares(n), qt(xt), s(n.square()), p(s), phantom_weights(n.cols) {}

  // Slots behind the last that is not faded out count as phantoms.
  void load(int64_t atom, const Inputs& in) {
    n.set_edges(used(data<T>(in.k) + atom * n.slots * n.slots, n.slots, n.slots + 1));
    phantom = in.options.phantom + n.slots - n.V;
    squares.load(in.f, in.k, atom, n);
    channel(in.x, atom, x), turn(x, xt);
  }
  void channel(const Array& from, int64_t atom, Buffer<T>& to) const { copy_rows(data<T>(from) + atom * n.slots * n.K, n.K, n.V, n.K, to.data(), n.dims); }
  void write(const Buffer<T>& from, int64_t atom, const Array& to) const {
    fill_rows(from.data(), n.dims, n.V, n.K, into<T>(to) + atom * n.slots * n.K, n.slots, n.K);
  }
  void turn(const Buffer<T>& channel, Buffer<T>& to) const { transpose(channel.data(), n.cols, n.dims, to.data()); }
  void turn_back(const Buffer<T>& transposed, Buffer<T>& to) const { transpose(transposed.data(), n.dims, n.cols, to.data()); }

  // out (+)= left matrix_h: channels.
  void times(const Buffer<T>& left, const Buffer<T>& matrix, int64_t h, Buffer<T>& out, bool add = false) const {
    multiply(rows_of(left.data(), n.dims), n.V, n.K, &matrix[h * n.K * n.dims], n.dims, out.data(), add);
  }
  // out = matrix_h^T right: transposed channels.
  void times_transposed(const Buffer<T>& matrix, int64_t h, const Buffer<T>& right, Buffer<T>& out) const {
    multiply(transpose_of(&matrix[h * n.K * n.dims], n.dims), n.K, n.K, right.data(), n.cols, out.data());
  }
  // out [j, i] (+)= left_j . right_i: a channel and a transposed one.
  void dots(const Buffer<T>& left, const Buffer<T>& right, Buffer<T>& out, bool add = false) const {
    multiply(rows_of(left.data(), n.dims), n.V, n.K, right.data(), n.cols, out.data(), add);
  }
  // out_i (+)= sum_j weights [j, i] values_j
  void weigh(const Buffer<T>& weights, const Buffer<T>& values, Buffer<T>& out, bool add = false) const {
    multiply(transpose_of(weights.data(), n.cols), n.V, n.V, values.data(), n.dims, out.data(), add);
  }
  // out_j += sum_i weights [j, i] values_i
  void spread(const Buffer<T>& weights, const Buffer<T>& values, Buffer<T>& out) const {
    multiply(rows_of(weights.data(), n.cols), n.V, n.V, values.data(), n.dims, out.data(), true);
  }
  // matrix_h += left^T right: channels.
  void outer(const Buffer<T>& left, const Buffer<T>& right, int64_t h, Buffer<T>& matrix) const {
    multiply(transpose_of(left.data(), n.dims), n.K, n.V, right.data(), n.dims, &matrix[h * n.K * n.dims], true);
  }

  // The vectors of edges `o ...` of a square: one for each j.
  Column<T> column(Buffer<T>& square, int64_t o) const { return {square.data() + o, n.cols}; }
  // Those that c is C times of.
  Column<T> gate(Squares<T>& of, int64_t o) const { return column(gated ? of.f : of.k, o); }

  // q, s and p of a head.
  void set_weights(int64_t h) {
    times_transposed(matrices.m, h, xt, qt);
    dots(x, qt, s);
    const int64_t V = n.V;
    for (int64_t o = 0; o < n.cols; o += L) {
      const Column<T> sj = column(s, o), gj = gate(squares, o), kj = column(squares.k, o), u = column(p, o);
      Vec top = Vec{} + (phantom ? T(-20) : -std::numeric_limits<T>::max());
      for (int64_t j = 0; j < V; ++j) {
        const Vec logit = C * sj[j] * gj[j] + T(20) * (kj[j] - T(1));
        u[j] = logit;
        top = logit > top ? logit : top;
      }
      for (int64_t j = 0; j < V; ++j) u[j] -= top;
      column(phantom_weights, o)[0] = T(-20) - top;
    }
    exp_all(p.data(), V * n.cols);
    if (phantom) exp_all(phantom_weights.data(), n.cols);
    for (int64_t o = 0; o < n.cols; o += L) {
      const Column<T> pj = column(p, o);
      Vec sum = phantom ? T(phantom) * column(phantom_weights, o)[0] : Vec{};
      for (int64_t j = 0; j < V; ++j) sum += pj[j];
      const Vec scale = T(1) / sum;
      for (int64_t j = 0; j < V; ++j) pj[j] *= scale;
    }
  }
};

// Runs a pass over all atoms, with buffers and sums of its own in each thread; returns the sums.
template <class T, template <class> class Pass, class Results>
std::vector<Gradients<T>> over_atoms(const Inputs& in, const Results& results) {
  const Shape<T> n(in.x, in.M);
  const Matrices<T> matrices(n, in);
  const int64_t parts = parts_of(n.N, in.options.threads);
  std::vector<Gradients<T>> sums(parts, Gradients<T>(n));
  over_parts(parts, in.options.threads, [&](int64_t part) {
    Atom<T> atom(n, matrices, in.options);
    Pass<T> pass(n);
    for (int64_t a = n.N * part / parts; a < n.N * (part + 1) / parts; ++a) {
      atom.load(a, in);
      pass(a, atom, results, sums[part]);
    }
  });
  return sums;
}
}  // namespace lam::pair_attention
