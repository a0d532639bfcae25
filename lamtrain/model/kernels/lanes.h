// A small net of one scalar, evaluated for 64 scalars side by side, with its slope and its reverse: all in registers and L1.
//
//   h_1 = tanh(x w_0 + T[row])     h_k = tanh(h_{k-1} W_k + b_k) + skip(h_{k-1})     t_k = dh_k / dx
//
// A skip repeats the input once or twice where widths are equal or doubled. Arrays are [unit][lane].
#pragma once
#include "common.h"

namespace lam {
constexpr int64_t LANES = 64;

template <class T>
struct Net {  // weights as plain arrays: `first` (width[0],), `matrix[k]` (width[k-1], width[k]), `bias[k]`
  std::vector<int64_t> width;
  const T *tables, *first;
  std::vector<const T*> matrix, bias;

  // `weights`: tables (rows, width[0]), first, then matrix and bias of every further layer
  explicit Net(at::TensorList weights) {
    tables = weights[0].const_data_ptr<T>();
    first = weights[1].const_data_ptr<T>();
    width.push_back(weights[1].numel());
    matrix.push_back(nullptr), bias.push_back(nullptr);
    for (size_t k = 2; k < weights.size(); k += 2) {
      matrix.push_back(weights[k].const_data_ptr<T>());
      bias.push_back(weights[k + 1].const_data_ptr<T>());
      width.push_back(weights[k + 1].numel());
    }
  }
  int64_t layers() const { return width.size(); }
  int64_t last() const { return width.back(); }
};

template <class T>
struct Gradients {  // the same shapes as the weights, to be added to
  std::vector<Tensor> all;
  T *tables, *first;
  std::vector<T*> matrix, bias;

  explicit Gradients(at::TensorList weights) {
    for (const auto& w : weights) all.push_back(at::zeros_like(w));
    tables = all[0].data_ptr<T>(), first = all[1].data_ptr<T>();
    matrix.push_back(nullptr), bias.push_back(nullptr);
    for (size_t k = 2; k < all.size(); k += 2) matrix.push_back(all[k].data_ptr<T>()), bias.push_back(all[k + 1].data_ptr<T>());
  }
};

template <class T>
struct Lanes {  // the state of one block of lanes
  std::vector<std::vector<T>> h, y, t, dy;  // value with and without the skip, and slope with and without it
  std::vector<T> up, down, up_t, down_t;

  explicit Lanes(const Net<T>& net) {
    int64_t widest = 0;
    for (int64_t w : net.width) {
      for (auto* a : {&h, &y, &t, &dy}) a->emplace_back(w * LANES);
      widest = std::max(widest, w);
    }
    for (auto* a : {&up, &down, &up_t, &down_t}) a->resize(widest * LANES);
  }

  void evaluate(const Net<T>& net, const T* x, const int64_t* row, bool slope) {
    const int64_t n = net.width[0];
    for (int64_t o = 0; o < n; ++o) {
      T *a = &h[0][o * LANES], *b = &t[0][o * LANES];
      const T w = net.first[o], *table = net.tables + o;
      for (int64_t l = 0; l < LANES; ++l) a[l] = table[row[l] * n];
#pragma omp simd
      for (int64_t l = 0; l < LANES; ++l) a[l] += x[l] * w;
      tanh_all(a, LANES);
      if (slope)
#pragma omp simd
        for (int64_t l = 0; l < LANES; ++l) b[l] = (1 - a[l] * a[l]) * w;
    }
    y[0] = h[0], dy[0] = t[0];
    for (int64_t k = 1; k < net.layers(); ++k) layer(net, k, slope);
  }

  void layer(const Net<T>& net, int64_t k, bool slope) {
    const int64_t in = net.width[k - 1], out = net.width[k];
    const bool skip = out == in || out == 2 * in;
    for (int64_t o = 0; o < out; ++o) {
      T *v = &y[k][o * LANES], *d = &dy[k][o * LANES], *hv = &h[k][o * LANES], *tv = &t[k][o * LANES];
      const T b = net.bias[k][o];
#pragma omp simd
      for (int64_t l = 0; l < LANES; ++l) v[l] = b, d[l] = 0;
      for (int64_t i = 0; i < in; ++i) {
        const T w = net.matrix[k][i * out + o], *hi = &h[k - 1][i * LANES], *ti = &t[k - 1][i * LANES];
#pragma omp simd
        for (int64_t l = 0; l < LANES; ++l) v[l] += w * hi[l];
        if (slope)
#pragma omp simd
          for (int64_t l = 0; l < LANES; ++l) d[l] += w * ti[l];
      }
      const T *hs = &h[k - 1][(o % in) * LANES], *ts = &t[k - 1][(o % in) * LANES];
      tanh_all(v, LANES);
#pragma omp simd
      for (int64_t l = 0; l < LANES; ++l) hv[l] = v[l] + (skip ? hs[l] : T(0));
      if (slope)
#pragma omp simd
        for (int64_t l = 0; l < LANES; ++l) {
          d[l] *= 1 - v[l] * v[l];
          tv[l] = d[l] + (skip ? ts[l] : T(0));
        }
    }
  }

  // Cotangents of the last h and t are in `up` and `up_t`; adds to the gradients and, if asked, writes that of x.
  // With s = 1 - y^2: a' = s h' - 2 y dy t' and (da)' = s t'.
  void reverse(const Net<T>& net, Gradients<T>& grad, const T* x, const int64_t* row, bool slope, T* gx) {
    for (int64_t k = net.layers() - 1; k > 0; --k) reverse_layer(net, grad, k, slope);
    const int64_t n = net.width[0];
    if (gx) std::fill(gx, gx + LANES, T(0));
    for (int64_t o = 0; o < n; ++o) {
      T *u = &up[o * LANES], *v = &up_t[o * LANES], *a = &y[0][o * LANES], *d = &dy[0][o * LANES];
      const T w = net.first[o];
      T sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t l = 0; l < LANES; ++l) {
        const T s = 1 - a[l] * a[l];
        u[l] = u[l] * s - (slope ? 2 * a[l] * d[l] * v[l] : T(0));
        sum += x[l] * u[l] + (slope ? s * v[l] : T(0));
      }
      grad.first[o] += sum;
      for (int64_t l = 0; l < LANES; ++l) grad.tables[row[l] * n + o] += u[l];
      if (gx)
#pragma omp simd
        for (int64_t l = 0; l < LANES; ++l) gx[l] += w * u[l];
    }
  }

  void reverse_layer(const Net<T>& net, Gradients<T>& grad, int64_t k, bool slope) {
    const int64_t in = net.width[k - 1], out = net.width[k];
    const bool skip = out == in || out == 2 * in;
    std::fill(down.begin(), down.begin() + in * LANES, T(0));
    std::fill(down_t.begin(), down_t.begin() + in * LANES, T(0));
    for (int64_t o = 0; o < out; ++o) {
      T *u = &up[o * LANES], *v = &up_t[o * LANES], *a = &y[k][o * LANES], *d = &dy[k][o * LANES];
      T *ds = &down[(o % in) * LANES], *dts = &down_t[(o % in) * LANES];
      T sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t l = 0; l < LANES; ++l) {
        const T s = 1 - a[l] * a[l], cu = u[l], cv = slope ? v[l] : T(0);
        if (skip) ds[l] += cu, dts[l] += cv;
        u[l] = cu * s - (slope ? 2 * a[l] * d[l] * cv : T(0));
        if (slope) v[l] = cv * s;
        sum += u[l];
      }
      grad.bias[k][o] += sum;
    }
    for (int64_t i = 0; i < in; ++i) {
      T *di = &down[i * LANES], *dti = &down_t[i * LANES], *hi = &h[k - 1][i * LANES], *ti = &t[k - 1][i * LANES];
      for (int64_t o = 0; o < out; ++o) {
        const T *u = &up[o * LANES], *v = &up_t[o * LANES], w = net.matrix[k][i * out + o];
        T sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t l = 0; l < LANES; ++l) sum += hi[l] * u[l], di[l] += w * u[l];
        if (slope)
#pragma omp simd reduction(+ : sum)
          for (int64_t l = 0; l < LANES; ++l) sum += ti[l] * v[l], dti[l] += w * v[l];
        grad.matrix[k][i * out + o] += sum;
      }
    }
    std::swap(up, down), std::swap(up_t, down_t);
  }
};
}  // namespace lam
