// A wide net of one scalar, for many edges at once, with its slope and its reverse. Values and slopes of a layer are stacked by rows,
// so that each layer is one matrix product over twice the edges; the net is that of lanes.h, which is for narrow ones.
//
// The scalar is the first column of `R` (P, 4); `weights` are tables (rows, n), first (n,), then matrix and bias of every further layer.
#pragma once
#include <type_traits>
#include "common.h"

namespace lam {
inline int64_t skips(int64_t in, int64_t out) { return out == in ? 1 : out == 2 * in ? 2 : 0; }

// h (and t) of the first layer: h = tanh(x w + T[row]), t = (1 - h^2) w. `R` has stride 4; rows P.. of `out` hold t.
template <class T>
void first_layer(const Tensor& R, const Tensor& row, const Tensor& tables, const Tensor& first, Tensor& out, bool slope) {
  const int64_t P = row.numel(), n = first.numel();
  const T *x = R.const_data_ptr<T>(), *tab = tables.const_data_ptr<T>(), *w = first.const_data_ptr<T>();
  const int64_t* r = row.const_data_ptr<int64_t>();
  T* h = out.data_ptr<T>();
  at::parallel_for(0, P, 512, [&](int64_t from, int64_t to) {
    for (int64_t p = from; p < to; ++p) {
      const T s = x[4 * p], *t = tab + r[p] * n;
#pragma omp simd
      for (int64_t o = 0; o < n; ++o) h[p * n + o] = s * w[o] + t[o];
    }
    tanh_all(h + from * n, (to - from) * n);
    for (int64_t p = from; slope && p < to; ++p)
#pragma omp simd
      for (int64_t o = 0; o < n; ++o) h[(P + p) * n + o] = (1 - h[p * n + o] * h[p * n + o]) * w[o];
  });
}

// Turns the products A (rows :P value, P: slope) into h and t in place: y = tanh(A + b), dy = (1 - y^2) A', plus skips.
template <class T, int SKIP, bool SLOPE>
void finish_layer(Tensor& A, const Tensor& below, const Tensor& bias, int64_t P) {
  const int64_t out = A.size(1), in = below.size(1), width = SKIP ? in : out;
  const T *b = bias.const_data_ptr<T>(), *lower = below.const_data_ptr<T>();
  T* a = A.data_ptr<T>();
  at::parallel_for(0, P, 256, [&](int64_t from, int64_t to) {
    for (int64_t p = from; p < to; ++p)
#pragma omp simd
      for (int64_t o = 0; o < out; ++o) a[p * out + o] += b[o];
    tanh_all(a + from * out, (to - from) * out);
    for (int64_t p = from; p < to; ++p) {
      const T *lh = lower + p * in, *lt = lower + (P + p) * in;
      T *h = a + p * out, *t = a + (P + p) * out;
      for (int64_t o = 0; o < out; o += width)
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) {
          const T y = h[o + i];
          if (SLOPE) t[o + i] = (1 - y * y) * t[o + i] + (SKIP ? lt[i] : T(0));
          if (SKIP) h[o + i] = y + lh[i];
        }
    }
  });
}

// Calls body(skip, slope), as constants.
template <class Body>
void with_constants(int64_t skip, bool slope, Body body) {
  const auto with_skip = [&](auto constant) {
    if (slope)
      body(constant, std::true_type());
    else
      body(constant, std::false_type());
  };
  if (skip == 0) with_skip(std::integral_constant<int, 0>());
  if (skip == 1) with_skip(std::integral_constant<int, 1>());
  if (skip == 2) with_skip(std::integral_constant<int, 2>());
}

// h (and t) of every layer, stacked by rows: (P or 2P, width).
inline variable_list evaluate(const Tensor& R, const Tensor& row, at::TensorList weights, bool slope) {
  const int64_t P = row.numel();
  variable_list layers{at::empty({slope ? 2 * P : P, weights[1].numel()}, R.options())};
  AT_DISPATCH_FLOATING_TYPES(R.scalar_type(), "moment_net", [&] {
    first_layer<scalar_t>(R, row, weights[0], weights[1], layers[0], slope);
    for (size_t k = 2; k < weights.size(); k += 2) {
      Tensor A = at::mm(layers.back(), weights[k]);
      with_constants(skips(layers.back().size(1), A.size(1)), slope, [&](auto skip, auto with_slope) {
        finish_layer<scalar_t, skip(), with_slope()>(A, layers.back(), weights[k + 1], P);
      });
      layers.push_back(A);
    }
  });
  return layers;
}

// Cotangents of h (and t) of a layer -> those of its products, in place: with y, dy free of the skip and s = 1 - y^2,
// A <- h' s - 2 y dy t' and A' <- t' s. What the skip hands down is written to `carried`.
template <class T, int SKIP, bool SLOPE>
void reverse_layer(Tensor& G, const Tensor& here, const Tensor& below, int64_t P, Tensor& carried) {
  const int64_t out = G.size(1), width = out / (SKIP ? SKIP : 1);
  const T *h = here.const_data_ptr<T>(), *lower = SKIP ? below.const_data_ptr<T>() : nullptr;
  T *g = G.data_ptr<T>(), *down = SKIP ? carried.data_ptr<T>() : nullptr;
  at::parallel_for(0, P, 256, [&](int64_t from, int64_t to) {
    for (int64_t p = from; p < to; ++p) {
      const int64_t q = P + p;
      const T *hy = h + p * out, *ht = h + q * out, *ly = lower + p * width, *lt = lower + q * width;
      T *gh = g + p * out, *gt = g + q * out, *dh = down + p * width, *dt = down + q * width;
#pragma omp simd
      for (int64_t i = 0; i < width; ++i) {
        const T low = SKIP ? ly[i] : T(0), low_t = SKIP && SLOPE ? lt[i] : T(0);
        T sum = 0, sum_t = 0;
        for (int64_t k = 0, o = i; k < (SKIP ? SKIP : 1); ++k, o += width) {
          const T y = hy[o] - low, s = 1 - y * y, u = gh[o], v = SLOPE ? gt[o] : T(0);
          sum += u, sum_t += v;
          gh[o] = SLOPE ? u * s - 2 * y * (ht[o] - low_t) * v : u * s;
          if (SLOPE) gt[o] = v * s;
        }
        if (SKIP) dh[i] = sum;
        if (SKIP && SLOPE) dt[i] = sum_t;
      }
    }
  });
}

// The first layer's gradients from those of its products: w' = sum x A + A', T'[row] += A, x' = A w.
template <class T>
void reverse_first(const Tensor& G, const Tensor& R, const Tensor& row, const Tensor& first, bool slope, Tensor& tables, Tensor& gw, Tensor* gx) {
  const int64_t P = row.numel(), n = first.numel();
  const T *g = G.const_data_ptr<T>(), *x = R.const_data_ptr<T>(), *w = first.const_data_ptr<T>();
  const int64_t* r = row.const_data_ptr<int64_t>();
  T *gt = tables.data_ptr<T>(), *pw = gw.data_ptr<T>(), *px = gx ? gx->data_ptr<T>() : nullptr;
  for (int64_t p = 0; p < P; ++p) {
    const T s = x[4 * p], *a = g + p * n, *d = g + (P + p) * n;
    T *t = gt + r[p] * n, sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t o = 0; o < n; ++o) {
      t[o] += a[o];
      pw[o] += s * a[o] + (slope ? d[o] : T(0));
      sum += w[o] * a[o];
    }
    if (px) px[p] = sum;
  }
}

// Cotangents of the last h (and t), which are used up -> adds to the gradients of the weights, and writes that of x if asked.
template <class T>
void reverse(Tensor G, const variable_list& layers, const Tensor& R, const Tensor& row, at::TensorList weights, bool slope, variable_list& grads, Tensor* gx) {
  const int64_t P = row.numel(), K = layers.size();
  for (int64_t k = K - 1; k > 0; --k) {
    const Tensor below = slope ? layers[k - 1] : layers[k - 1].narrow(0, 0, P);
    const int64_t in = below.size(1), skip = skips(in, G.size(1));
    Tensor carried = skip ? at::empty({G.size(0), in}, G.options()) : Tensor();
    with_constants(skip, slope, [&](auto s, auto t) { reverse_layer<T, s(), t()>(G, layers[k], layers[k - 1], P, carried); });
    grads[2 * k].addmm_(below.t(), G);
    grads[2 * k + 1] += G.narrow(0, 0, P).sum(0);
    G = skip ? carried.addmm_(G, weights[2 * k].t()) : at::mm(G, weights[2 * k].t());
  }
  Tensor none;
  with_constants(0, slope, [&](auto s, auto t) { reverse_layer<T, s(), t()>(G, layers[0], none, P, none); });
  reverse_first<T>(G, R, row, weights[1], slope, grads[0], grads[1], gx);
}
}  // namespace lam
