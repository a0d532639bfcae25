// The invariants of sums over neighbours, side by side (see repformer_layer.py): S_ao = sum_x H_xa H_xo / 3 for a < axis.
//
// Each H is (A, 3, d) with a d of its own, S (A, axis * the sum of all d). Products this small cost a matrix library more in calls than
// in arithmetic. S is quadratic in H: with B(H, K) = sum_x (H_xa K_xo + K_xa H_xo) / 3 it is B(H, H) / 2, and its derivatives are B and
// its transpose.
#pragma once
#include "common.h"

namespace lam::symmetrize {

// The columns of S that belong to one H.
template <class T>
struct Block {
  int64_t d, axis, offset, width;  // `width`: of a row of S

  T* row(const Array& S, int64_t i) const { return into<T>(S) + i * width + offset; }
};

// Calls body(H's index, its block, atom) for all of them, in parallel.
template <class T, class Body>
void over_atoms(const Arrays& H, int64_t axis, int threads, Body body) {
  int64_t width = 0, offset = 0;
  for (const auto& h : H) width += axis * h.size(2);
  for (size_t k = 0; k < H.size(); offset += axis * H[k++].size(2)) {
    const Block<T> block{H[k].size(2), axis, offset, width};
    over_ranges(H[k].size(0), 64, threads, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) body(k, block, i);
    });
  }
}

// S = scale B(H, K)
template <class T>
void bilinear(const Arrays& H, const Arrays& K, int64_t axis, T scale, const Array& S, int threads) {
  over_atoms<T>(H, axis, threads, [&](size_t k, const Block<T>& at, int64_t i) {
    const int64_t d = at.d;
    const T *h = data<T>(H[k]) + i * 3 * d, *g = data<T>(K[k]) + i * 3 * d, w = scale / 3;
    for (int64_t a = 0; a < axis; ++a) {
      const T x = w * h[a], y = w * h[d + a], z = w * h[2 * d + a], u = w * g[a], v = w * g[d + a], t = w * g[2 * d + a];
      T* out = at.row(S, i) + a * d;
#pragma omp simd
      for (int64_t o = 0; o < d; ++o) out[o] = x * g[o] + y * g[d + o] + z * g[2 * d + o] + u * h[o] + v * h[d + o] + t * h[2 * d + o];
    }
  });
}

// The gradient of sum g B(H, K) by K, for each H: K'_xo = sum_a H_xa g_ao / 3, plus K'_xa += sum_o g_ao H_xo / 3.
template <class T>
void transpose(const Array& g, const Arrays& H, int64_t axis, const Arrays& K, int threads) {
  over_atoms<T>(H, axis, threads, [&](size_t k, const Block<T>& at, int64_t i) {
    const int64_t d = at.d;
    for (int64_t x = 0; x < 3; ++x) {
      const T *h = data<T>(H[k]) + (i * 3 + x) * d, *row = at.row(g, i);
      T* out = into<T>(K[k]) + (i * 3 + x) * d;
      std::fill_n(out, d, T(0));
      for (int64_t a = 0; a < axis; ++a) {
        const T *ga = row + a * d, w = h[a] / 3;
        T sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t o = 0; o < d; ++o) out[o] += w * ga[o], sum += ga[o] * h[o];
        out[a] += sum / 3;
      }
    }
  });
}

// Sizes: atoms, axis, how many H there are, the d of each.
struct Inputs {
  int64_t A, axis;
  std::vector<int64_t> d;

  explicit Inputs(Call& in) : A(in.size()), axis(in.size()), d(in.size()) {
    for (int64_t& width : d) width = in.size();
  }
  Arrays moments(Call& in) const {
    Arrays all;
    for (int64_t width : d) all.push_back(in.array(A, 3, width));
    return all;
  }
  Array invariants(Call& in) const {
    int64_t width = 0;
    for (int64_t one : d) width += axis * one;
    return in.array(A, width);
  }
};

template <class T>
void bilinear(Call in) {
  const Inputs at(in);
  const double scale = in.number();
  const Arrays H = at.moments(in), K = at.moments(in);
  const Array S = at.invariants(in);
  in.done();
  bilinear<T>(H, K, at.axis, T(scale), S, in.threads);
}

template <class T>
void transpose(Call in) {
  const Inputs at(in);
  const Array g = at.invariants(in);
  const Arrays H = at.moments(in), K = at.moments(in);
  in.done();
  transpose<T>(g, H, at.axis, K, in.threads);
}
}  // namespace lam::symmetrize
