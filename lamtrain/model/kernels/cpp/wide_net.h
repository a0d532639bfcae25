// A wide net of one scalar, for some edges of an atom at once, with its slope and its reverse; lanes.h is the same for narrow nets.
//
//   h_1 = tanh(x w_0 + T[row])     h_k = tanh(h_{k-1} W_k + b_k) + skip(h_{k-1})     t_k = dh_k / dx
//
// A skip repeats the input once or twice where widths are equal or doubled. Values and slopes of a layer are stacked by rows, so that
// both take one product. Of an edge only y of the last layer is kept, by the caller; those of the narrow layers are faster computed than read.
#pragma once
#include "tile.h"

namespace lam {
constexpr int64_t TILE = 64;  // edges at once

template <class T>
struct WideNet {  // weights with rows of whole vectors; `weights`: tables (rows, n), first (n,), then matrix and bias of every further layer
  std::vector<int64_t> width, cols;
  Buffer<T> tables, first;
  std::vector<Buffer<T>> matrix, transposed, bias;  // (in, cols), (out, cols of in), (cols,)

  explicit WideNet(const Arrays& weights) {
    add_width(weights[1].numel());
    tables.resize(weights[0].size(0) * cols[0]), first.resize(cols[0]);
    copy_rows(data<T>(weights[0]), width[0], weights[0].size(0), width[0], tables.data(), cols[0]);
    copy_row(data<T>(weights[1]), width[0], first.data());
    matrix.emplace_back(), transposed.emplace_back(), bias.emplace_back();
    for (size_t w = 2; w < weights.size(); w += 2) {
      const int64_t in = width.back(), in_cols = cols.back(), out = weights[w + 1].numel();
      add_width(out);
      Buffer<T>&m = matrix.emplace_back(in * cols.back()), &t = transposed.emplace_back(out * in_cols);
      copy_rows(data<T>(weights[w]), out, in, out, m.data(), cols.back());
      for (int64_t i = 0; i < in; ++i)
        for (int64_t o = 0; o < out; ++o) t[o * in_cols + i] = m[i * cols.back() + o];
      copy_row(data<T>(weights[w + 1]), out, bias.emplace_back(cols.back()).data());
    }
  }
  int64_t layers() const { return width.size(); }
  int64_t skips(int64_t k) const { return width[k] == width[k - 1] ? 1 : width[k] == 2 * width[k - 1] ? 2 : 0; }
  int64_t widest() const { return *std::max_element(cols.begin(), cols.end()); }

 private:
  void add_width(int64_t n) { width.push_back(n), cols.push_back(Lane<T>::padded(n)); }
};

template <class T>
struct WideGradients {  // of the weights, as the net holds them
  Buffer<T> tables, first;
  std::vector<Buffer<T>> matrix, bias;
  explicit WideGradients(const WideNet<T>& net) : tables(net.tables.size()), first(net.first.size()) {
    for (int64_t k = 0; k < net.layers(); ++k) matrix.emplace_back(net.matrix[k].size()), bias.emplace_back(net.bias[k].size());
  }

  // Adds up those of all threads, in order.
  static void total(const std::vector<WideGradients>& parts, const WideNet<T>& net, const Arrays& to) {
    for (size_t w = 0; w < to.size(); ++w) {
      const int64_t k = w < 2 ? 0 : w / 2, n = net.width[k];
      std::fill_n(into<T>(to[w]), to[w].numel(), T(0));
      for (const auto& part : parts) {
        const Buffer<T>& from = w == 0 ? part.tables : w == 1 ? part.first : w % 2 ? part.bias[k] : part.matrix[k];
        add_unpadded(from.data(), to[w].numel() / n, n, into<T>(to[w]), net.cols[k]);
      }
    }
  }
};

template <class T>
struct WideTile {
  const WideNet<T>& net;
  std::vector<Buffer<T>> own, stack;  // of each layer but the last h - skip, and h with t below it
  T* last = nullptr;                  // h - skip of the last layer
  Buffer<T> g, down;                  // cotangents, stacked alike

  explicit WideTile(const WideNet<T>& net) : net(net), g(2 * TILE * net.widest()), down(g) {
    for (int64_t cols : net.cols) own.emplace_back(TILE * cols), stack.emplace_back(2 * TILE * cols);
  }
  T* y(int64_t k) { return k + 1 < net.layers() ? own[k].data() : last; }
  const T* h(int64_t k) const { return stack[k].data(); }
  const T* t(int64_t k, int64_t count) const { return h(k) + count * net.cols[k]; }
  const T* last_h() const { return h(net.layers() - 1); }
  const T* last_t(int64_t count) const { return t(net.layers() - 1, count); }

  // h and, if asked, t of `count` edges from their scalars (every fourth of R) and rows of the table; `kept` is or, if not known, gets y
  // of the last layer.
  void evaluate(const T* R, const int64_t* row, int64_t count, T* kept, bool known, bool slope) {
    last = kept;
    for (int64_t k = 0; k < net.layers(); ++k) {
      const int64_t cols = net.cols[k];
      T* out = y(k);
      if (!known || out != last) set_value(k, R, row, count, out);
      with_skip(k, count, h(k ? k - 1 : 0), stack[k].data(), [&](int64_t e, int64_t o) { return out[e * cols + o]; });
      if (slope) set_slope(k, count);
    }
  }

  // Cotangents of the last h (and t) are in `g` -> adds to the gradients of the weights, and writes that of x if asked.
  template <bool SLOPE>
  void reverse(const T* R, const int64_t* row, int64_t count, WideGradients<T>& grads, T* gx) {
    const int64_t rows = SLOPE ? 2 * count : count;
    for (int64_t k = net.layers() - 1; k > 0; --k) {
      const int64_t cols = net.cols[k], in = net.width[k - 1], in_cols = net.cols[k - 1], skips = net.skips(k);
      std::fill_n(down.data(), rows * in_cols, T(0));
      through<SLOPE>(k, count, skips);
      for (int64_t e = 0; e < count; ++e) {
        const T* from = &g[e * cols];
        T* to = grads.bias[k].data();
#pragma omp simd
        for (int64_t o = 0; o < cols; ++o) to[o] += from[o];
      }
      multiply(transpose_of(h(k - 1), in_cols), in, rows, g.data(), cols, grads.matrix[k].data(), true);
      multiply(rows_of(g.data(), cols), rows, net.width[k], net.transposed[k].data(), in_cols, down.data(), true);
      std::swap(g, down);
    }
    through<SLOPE>(0, count, 0);
    const int64_t cols = net.cols[0];
    for (int64_t e = 0; e < count; ++e) {
      const T x = R[4 * e], *a = &g[e * cols], *d = &g[(SLOPE ? count + e : e) * cols], *w = net.first.data();
      T *table = &grads.tables[row[e] * cols], *first = grads.first.data(), sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t o = 0; o < cols; ++o) {
        table[o] += a[o];
        first[o] += SLOPE ? x * a[o] + d[o] : x * a[o];
        sum += w[o] * a[o];
      }
      if (gx) gx[e] = sum;
    }
  }

 private:
  void set_value(int64_t k, const T* R, const int64_t* row, int64_t count, T* out) {
    const int64_t cols = net.cols[k];
    for (int64_t e = 0; e < count; ++e) {
      const T x = R[4 * e], *base = k ? net.bias[k].data() : &net.tables[row[e] * cols], *w = net.first.data();
      T* to = out + e * cols;
#pragma omp simd
      for (int64_t o = 0; o < cols; ++o) to[o] = k ? base[o] : base[o] + x * w[o];
    }
    if (k) multiply(rows_of(h(k - 1), net.cols[k - 1]), count, net.width[k - 1], net.matrix[k].data(), cols, out, true);
    tanh_all(out, count * cols);
  }
  void set_slope(int64_t k, int64_t count) {
    const int64_t cols = net.cols[k];
    T* out = &stack[k][count * cols];
    if (k) multiply(rows_of(t(k - 1, count), net.cols[k - 1]), count, net.width[k - 1], net.matrix[k].data(), cols, out);
    const T *from = k ? out : net.first.data(), *value = y(k);
    with_skip(k, count, t(k ? k - 1 : 0, count), out, [&](int64_t e, int64_t o) {
      const T v = value[e * cols + o];
      return (1 - v * v) * from[(k ? e * cols : 0) + o];
    });
  }
  // to = own + what of the layer below skips this one; `own` is a function of edge and column.
  template <class Own>
  void with_skip(int64_t k, int64_t count, const T* below, T* to, Own own) const {
    const int64_t cols = net.cols[k], skips = k ? net.skips(k) : 0, in = skips ? net.width[k - 1] : cols, step = skips ? net.cols[k - 1] : 0;
    for (int64_t e = 0; e < count; ++e)
      for (int64_t s = 0; s < std::max<int64_t>(1, skips); ++s)
        for (int64_t i = 0, o = s * in; i < in; ++i, ++o) to[e * cols + o] = own(e, o) + (skips ? below[e * step + i] : T(0));
  }

  // Cotangents of h (and t) of a layer -> those of its products: with s = 1 - y^2 and dy = t - skip, h' s - 2 y dy t' and t' s.
  // What the skip hands down goes to `down`.
  template <bool SLOPE>
  void through(int64_t k, int64_t count, int64_t skips) {
    const int64_t cols = net.cols[k], width = skips ? net.width[k - 1] : cols, below = skips ? net.cols[k - 1] : 0;
    for (int64_t e = 0; e < count; ++e)
      for (int64_t s = 0; s < std::max<int64_t>(1, skips); ++s) {
        const T *ye = y(k) + e * cols + s * width, *te = t(k, count) + e * cols + s * width, *low = skips ? t(k - 1, count) + e * below : nullptr;
        T *u = &g[e * cols + s * width], *v = &g[(count + e) * cols + s * width], *du = &down[e * below], *dv = &down[(count + e) * below];
        if (skips)
#pragma omp simd
          for (int64_t i = 0; i < width; ++i) {
            du[i] += u[i];
            if (SLOPE) dv[i] += v[i];
          }
#pragma omp simd
        for (int64_t i = 0; i < width; ++i) {
          const T slope = 1 - ye[i] * ye[i];
          if (SLOPE) {
            const T dy = skips ? te[i] - low[i] : te[i];
            u[i] = u[i] * slope - 2 * ye[i] * dy * v[i];
            v[i] *= slope;
          } else {
            u[i] *= slope;
          }
        }
      }
  }
};
}  // namespace lam
