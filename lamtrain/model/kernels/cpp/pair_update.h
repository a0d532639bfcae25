// What the channel of an edge takes from itself and from its attention (see repformer_layer.py), as one operator on rows x (..., K):
//
//   out = x + r tanh(x W + b) [+ w norm(z) + c]
//
// With y = tanh(x W + b), s = 1 - y^2, n = norm(z) = (z - <z>) rho, rho = (<(z - <z>)^2> + eps)^-1/2, <.> the mean over a row,
// P h = h - <h> - n <h n>, and g the cotangent of out, t = g r s and h = g w, the first derivative is
//
//   x' = g + t W^T    z' = rho P h    W' = x^T t    b' = sum t    r' = sum g y    w' = sum g n    c' = sum g
//
// The second, with X and Z the cotangents of x' and z', A = X W and a = -2 y s r A g:
//
//   g'' = X + A r s + w rho P Z    x'' = a W^T    z'' = -rho^2 (n (<Zh> - <Z><h> - 3 <Zn><hn>) + (Z - <Z>) <hn> + (h - <h>) <Zn>)
//   W'' = X^T t + x^T a    b'' = sum a    r'' = sum A s g    w'' = sum g rho P Z
//
// Of a row only y is kept, since a tanh is dear; the rest is computed again, some rows at a time, in cache.
#pragma once
#include "tile.h"

namespace lam::pair_update {
constexpr int64_t ROWS = 32;  // at once

struct Inputs {
  Array x, W, b, r, z, w, c;
  double eps;
  int threads;
  bool attended() const { return bool(w); }  // else z, w and c are not there either
  int64_t rows() const { return x.size(0); }
};

template <class T>
struct Weights {  // W (K, dims), its transpose and the vectors, in whole vectors
  int64_t K, dims;
  Buffer<T> W, Wt, b, r, w, c;

  explicit Weights(const Inputs& in) : K(in.r.numel()), dims(Lane<T>::padded(K)), W(K * dims), Wt(W), b(dims), r(b), w(b), c(b) {
    copy_rows(data<T>(in.W), K, K, K, W.data(), dims);
    for (int64_t k = 0; k < K; ++k)
      for (int64_t o = 0; o < K; ++o) Wt[o * dims + k] = W[k * dims + o];
    copy_row(data<T>(in.b), K, b.data()), copy_row(data<T>(in.r), K, r.data());
    if (in.attended()) copy_row(data<T>(in.w), K, w.data()), copy_row(data<T>(in.c), K, c.data());
  }
  Buffer<T> tile() const { return Buffer<T>(ROWS * dims); }
};

template <class T>
struct Gradients {  // of the weights, from the rows of one thread
  Buffer<T> W, b, r, w, c;
  explicit Gradients(const Weights<T>& n) : W(n.K * n.dims), b(n.dims), r(b), w(b), c(b) {}

  // W', b', r', w', c', each if asked: those of all threads, added up in order.
  static void total(const std::vector<Gradients>& parts, const Arrays& to, const Weights<T>& n) {
    const std::array<Buffer<T> Gradients::*, 5> all{&Gradients::W, &Gradients::b, &Gradients::r, &Gradients::w, &Gradients::c};
    for (size_t k = 0; k < to.size(); ++k) {
      if (!to[k]) continue;
      std::fill_n(into<T>(to[k]), to[k].numel(), T(0));
      for (const auto& part : parts) add_unpadded((part.*all[k]).data(), to[k].numel() / n.K, n.K, into<T>(to[k]), n.dims);
    }
  }
};

// Some rows of the operator's tensors, with the weights.
template <class T>
struct Tile {
  const Weights<T>& n;
  int64_t begin = 0, count = 0;

  void load(const Array& from, Buffer<T>& to) const { copy_rows(data<T>(from) + begin * n.K, n.K, count, n.K, to.data(), n.dims); }
  void store(const Buffer<T>& from, const Array& to) const { copy_rows(from.data(), n.dims, count, n.K, into<T>(to) + begin * n.K, n.K); }
  T* rows(const Array& padded) const { return into<T>(padded) + begin * n.dims; }
  // out (+)= left matrix
  void times(const T* left, const Buffer<T>& matrix, T* out, bool add) const { multiply(rows_of(left, n.dims), count, n.K, matrix.data(), n.dims, out, add); }
  // matrix += left^T right
  void outer(const Buffer<T>& left, const Buffer<T>& right, Buffer<T>& matrix) const {
    multiply(transpose_of(left.data(), n.dims), n.K, count, right.data(), n.dims, matrix.data(), true);
  }
};

// Calls body(tile, pass of this thread, its sums) for all rows; returns the sums.
template <class T, class Pass, class Results>
std::vector<Gradients<T>> over_rows(const Inputs& in, const Weights<T>& n, const Results& results) {
  const int64_t rows = in.rows(), parts = parts_of(rows / ROWS, in.threads);
  std::vector<Gradients<T>> sums(parts, Gradients<T>(n));
  over_parts(parts, in.threads, [&](int64_t part) {
    Pass pass(n);
    for (int64_t begin = rows * part / parts, end = rows * (part + 1) / parts; begin < end; begin += ROWS)
      pass(Tile<T>{n, begin, std::min(ROWS, end - begin)}, in, results, sums[part]);
  });
  return sums;
}

// The mean of a row and the inverse of its spread.
template <class T>
struct Spread {
  T mean = 0, rho;
  Spread(const T* z, int64_t K, T eps) {
    T square = 0;
#pragma omp simd reduction(+ : mean)
    for (int64_t o = 0; o < K; ++o) mean += z[o];
    mean /= K;
#pragma omp simd reduction(+ : square)
    for (int64_t o = 0; o < K; ++o) square += (z[o] - mean) * (z[o] - mean);
    rho = 1 / std::sqrt(square / K + eps);
  }
};

struct ValueResults {
  Array y, out;
};

template <class T>
struct Value {
  Buffer<T> x, z;
  explicit Value(const Weights<T>& n) : x(n.tile()), z(x) {}

  void operator()(const Tile<T>& tile, const Inputs& in, const ValueResults& to, Gradients<T>&) {
    const Weights<T>& n = tile.n;
    T* y = tile.rows(to.y);
    tile.load(in.x, x);
    for (int64_t e = 0; e < tile.count; ++e) std::copy_n(n.b.data(), n.dims, y + e * n.dims);
    tile.times(x.data(), n.W, y, true);
    tanh_all(y, tile.count * n.dims);
    for (int64_t e = 0; e < tile.count; ++e)
#pragma omp simd
      for (int64_t o = 0; o < n.dims; ++o) x[e * n.dims + o] += n.r[o] * y[e * n.dims + o];
    if (in.attended()) add_norm(tile, in);
    tile.store(x, to.out);
  }
  void add_norm(const Tile<T>& tile, const Inputs& in) {
    const Weights<T>& n = tile.n;
    tile.load(in.z, z);
    for (int64_t e = 0; e < tile.count; ++e) {
      const T* row = &z[e * n.dims];
      const Spread<T> spread(row, n.K, in.eps);
#pragma omp simd
      for (int64_t o = 0; o < n.dims; ++o) x[e * n.dims + o] += n.w[o] * ((row[o] - spread.mean) * spread.rho) + n.c[o];
    }
  }
};

struct FirstResults {
  Array y, g;  // kept; the cotangent
  Array x, z;  // x' and z'
  bool weights;
};

template <class T>
struct First {
  Buffer<T> x, g, t, z;
  explicit First(const Weights<T>& n) : x(n.tile()), g(x), t(x), z(x) {}

  void operator()(const Tile<T>& tile, const Inputs& in, const FirstResults& to, Gradients<T>& sums) {
    const Weights<T>& n = tile.n;
    const T* y = tile.rows(to.y);
    tile.load(to.g, g);
    for (int64_t e = 0; e < tile.count * n.dims; e += n.dims)
#pragma omp simd
      for (int64_t o = 0; o < n.dims; ++o) t[e + o] = g[e + o] * n.r[o] * (1 - y[e + o] * y[e + o]);
    if (to.weights) {
      tile.load(in.x, x), tile.outer(x, t, sums.W);
      for (int64_t e = 0; e < tile.count * n.dims; e += n.dims)
#pragma omp simd
        for (int64_t o = 0; o < n.dims; ++o) sums.b[o] += t[e + o], sums.r[o] += g[e + o] * y[e + o], sums.c[o] += g[e + o];
    }
    if (in.attended()) norm(tile, in, to, sums);
    tile.times(t.data(), n.Wt, g.data(), true);
    tile.store(g, to.x);
  }
  void norm(const Tile<T>& tile, const Inputs& in, const FirstResults& to, Gradients<T>& sums) {
    const Weights<T>& n = tile.n;
    tile.load(in.z, z);
    for (int64_t e = 0; e < tile.count; ++e) {
      T *row = &z[e * n.dims], h = 0, hn = 0;
      const T* grad = &g[e * n.dims];
      const Spread<T> spread(row, n.K, in.eps);
#pragma omp simd reduction(+ : h, hn)
      for (int64_t o = 0; o < n.K; ++o) {
        row[o] = (row[o] - spread.mean) * spread.rho;
        h += grad[o] * n.w[o], hn += grad[o] * n.w[o] * row[o];
      }
      h /= n.K, hn /= n.K;
      for (int64_t o = 0; to.weights && o < n.K; ++o) sums.w[o] += grad[o] * row[o];
#pragma omp simd
      for (int64_t o = 0; o < n.K; ++o) row[o] = spread.rho * (grad[o] * n.w[o] - h - row[o] * hn);
    }
    tile.store(z, to.z);
  }
};

struct SecondResults {
  Array y, g, X, Z;  // kept; the cotangents of out, x' and z'
  Array gg, x, z;    // g'', x'', z''
  bool weights;
};

template <class T>
struct Second {
  Buffer<T> x, g, X, A, t, a, z, Z;
  explicit Second(const Weights<T>& n) : x(n.tile()), g(x), X(x), A(x), t(x), a(x), z(x), Z(x) {}

  void operator()(const Tile<T>& tile, const Inputs& in, const SecondResults& to, Gradients<T>& sums) {
    const Weights<T>& n = tile.n;
    const T* y = tile.rows(to.y);
    tile.load(to.g, g), tile.load(to.X, X);
    tile.times(X.data(), n.W, A.data(), false);
    for (int64_t e = 0; e < tile.count * n.dims; e += n.dims)
#pragma omp simd
      for (int64_t o = 0; o < n.dims; ++o) {
        const T s = 1 - y[e + o] * y[e + o], As = A[e + o] * s;
        t[e + o] = g[e + o] * n.r[o] * s;
        A[e + o] = X[e + o] + As * n.r[o];
        a[e + o] = -2 * y[e + o] * As * n.r[o] * g[e + o];
        sums.b[o] += a[e + o], sums.r[o] += As * g[e + o];
      }
    if (to.weights) tile.load(in.x, x), tile.outer(X, t, sums.W), tile.outer(x, a, sums.W);
    if (in.attended()) norm(tile, in, to, sums);
    tile.store(A, to.gg);
    tile.times(a.data(), n.Wt, t.data(), false), tile.store(t, to.x);
  }
  void norm(const Tile<T>& tile, const Inputs& in, const SecondResults& to, Gradients<T>& sums) {
    const Weights<T>& n = tile.n;
    tile.load(in.z, z), tile.load(to.Z, Z);
    for (int64_t e = 0; e < tile.count; ++e) {
      T *row = &z[e * n.dims], *up = &A[e * n.dims], mZ = 0, mh = 0, Zh = 0, Zn = 0, hn = 0;
      const T *grad = &g[e * n.dims], *cot = &Z[e * n.dims];
      const Spread<T> spread(row, n.K, in.eps);
#pragma omp simd reduction(+ : mZ, mh, Zh, Zn, hn)
      for (int64_t o = 0; o < n.K; ++o) {
        const T h = grad[o] * n.w[o];
        row[o] = (row[o] - spread.mean) * spread.rho;
        mZ += cot[o], mh += h, Zh += cot[o] * h, Zn += cot[o] * row[o], hn += h * row[o];
      }
      mZ /= n.K, mh /= n.K, Zh /= n.K, Zn /= n.K, hn /= n.K;
      const T rho = spread.rho, along = Zh - mZ * mh - 3 * Zn * hn;
#pragma omp simd
      for (int64_t o = 0; o < n.K; ++o) {
        const T above = cot[o] - mZ, projected = rho * (above - row[o] * Zn);
        up[o] += n.w[o] * projected;
        sums.w[o] += grad[o] * projected;
        row[o] = -rho * rho * (row[o] * along + above * hn + (grad[o] * n.w[o] - mh) * Zn);
      }
    }
    tile.store(z, to.z);
  }
};

// Sizes: rows, K. Number: eps. Arrays: x, W, b, r, z, w, c; then those of each function.
struct Shape {
  int64_t rows, K;

  Array channel(Call& in) const { return in.array(rows, K); }
  template <class T>
  Array kept(Call& in) const {
    return in.array(rows, Lane<T>::padded(K));
  }
  Inputs inputs(Call& in) const {
    return {channel(in), in.array(K, K), in.array(K), in.array(K), channel(in), in.array(K), in.array(K), in.number(), in.threads};
  }
  // W', b', r', w' and, of the first derivative, c'
  Arrays weights(Call& in, bool last) const {
    Arrays all{in.array(K, K), in.array(K), in.array(K), in.array(K)};
    if (last) all.push_back(in.array(K));
    return all;
  }
};

template <class T>
void value(Call in) {
  const Shape shape{in.size(), in.size()};
  const Inputs at = shape.inputs(in);
  const ValueResults to{shape.kept<T>(in), shape.channel(in)};
  in.done();
  over_rows<T, Value<T>>(at, Weights<T>(at), to);
}

template <class T>
void first(Call in) {
  const Shape shape{in.size(), in.size()};
  const Inputs at = shape.inputs(in);
  FirstResults to{shape.kept<T>(in), shape.channel(in), shape.channel(in), shape.channel(in)};
  const Arrays grads = shape.weights(in, true);
  in.done();
  to.weights = bool(grads[0]);
  const Weights<T> n(at);
  Gradients<T>::total(over_rows<T, First<T>>(at, n, to), grads, n);
}

template <class T>
void second(Call in) {
  const Shape shape{in.size(), in.size()};
  const Inputs at = shape.inputs(in);
  SecondResults to{shape.kept<T>(in), shape.channel(in), shape.channel(in), shape.channel(in), shape.channel(in), shape.channel(in), shape.channel(in)};
  const Arrays grads = shape.weights(in, false);
  in.done();
  to.weights = bool(grads[0]);
  const Weights<T> n(at);
  Gradients<T>::total(over_rows<T, Second<T>>(at, n, to), grads, n);
}
}  // namespace lam::pair_update
