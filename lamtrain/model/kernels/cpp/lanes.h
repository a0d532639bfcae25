// A small net of one scalar, evaluated for 64 scalars side by side, with its slope and its reverse: all in registers and L1.
//
//   h_1 = tanh(x w_0 + T[row])     h_k = tanh(h_{k-1} W_k + b_k) + skip(h_{k-1})     t_k = dh_k / dx
//
// A skip repeats the input once or twice where widths are equal or doubled. Arrays are [unit][lane]. Lanes come in runs that share a
// row of the table.
#pragma once
#include "tile.h"

namespace lam {
constexpr int64_t LANES = 64;

template <class T>
struct Net {  // weights as plain arrays: `first` (width[0],), `matrix[k]` (width[k-1], width[k]), `bias[k]`
  int64_t rows;  // of the table
  std::vector<int64_t> width;
  const T *tables, *first;
  std::vector<const T*> matrix, bias;

  // `weights`: tables (rows, width[0]), first, then matrix and bias of every further layer
  explicit Net(const Arrays& weights) : rows(weights[0].size(0)) {
    tables = data<T>(weights[0]);
    first = data<T>(weights[1]);
    width.push_back(weights[1].numel());
    matrix.push_back(nullptr), bias.push_back(nullptr);
    for (size_t k = 2; k < weights.size(); k += 2) {
      matrix.push_back(data<T>(weights[k]));
      bias.push_back(data<T>(weights[k + 1]));
      width.push_back(weights[k + 1].numel());
    }
  }
  int64_t layers() const { return width.size(); }
  int64_t last() const { return width.back(); }
  bool skips(int64_t k) const { return width[k] == width[k - 1] || width[k] == 2 * width[k - 1]; }
};

struct Runs {  // run k has row `row[k]` and ends before lane `end[k]`
  int64_t count = 0, row[LANES], end[LANES];

  // Appends one lane, the `lane`th.
  void add(int64_t lane, int64_t its_row) {
    if (!count || row[count - 1] != its_row) row[count++] = its_row;
    end[count - 1] = lane + 1;
  }
};

// Gradients of the weights: sums over lanes are kept as vectors, one for each weight, until `all` adds them up.
template <class T>
struct Gradients {
  using Vec = typename Lane<T>::Vec;
  static constexpr int64_t L = Lane<T>::COUNT;
  Buffer<T> tables;
  std::vector<Buffer<T>> sums;  // for first, then matrix and bias of every further layer

  explicit Gradients(const Net<T>& net) : tables(net.rows * net.width[0]) {
    sums.emplace_back(net.width[0] * L);
    for (int64_t k = 1; k < net.layers(); ++k) sums.emplace_back(net.width[k - 1] * net.width[k] * L), sums.emplace_back(net.width[k] * L);
  }
  Vec& first(int64_t o) { return at(0, o); }
  Vec& matrix(int64_t k, int64_t place) { return at(2 * k - 1, place); }
  Vec& bias(int64_t k, int64_t o) { return at(2 * k, o); }

  // Adds up those of all threads, in order.
  static void total(const std::vector<Gradients>& parts, const Arrays& to) {
    for (size_t k = 0; k < to.size(); ++k) {
      T* sum = into<T>(to[k]);
      std::fill_n(sum, to[k].numel(), T(0));
      for (const Gradients& part : parts)
        for (int64_t i = 0; i < to[k].numel(); ++i)
          for (int64_t l = 0; l < (k ? L : 1); ++l) sum[i] += k ? part.sums[k - 1][i * L + l] : part.tables[i];
    }
  }

 private:
  Vec& at(int64_t k, int64_t place) { return *reinterpret_cast<Vec*>(sums[k].data() + place * L); }
};

template <class T>
struct Lanes {  // the state of one block of lanes
  using Vec = typename Lane<T>::Vec;
  static constexpr int64_t VECTORS = LANES / Lane<T>::COUNT, BLOCK = std::min<int64_t>(VECTORS, 4);  // vectors at once, in registers
  std::vector<Buffer<T>> h, y, t, dy;  // value with and without the skip, and slope with and without it
  Buffer<T> up, down, up_t, down_t;

  explicit Lanes(const Net<T>& net) {
    int64_t widest = 0;
    for (int64_t w : net.width) {
      for (auto* a : {&h, &y, &t, &dy}) a->emplace_back(w * LANES, T(0));
      widest = std::max(widest, w);
    }
    for (auto* a : {&up, &down, &up_t, &down_t}) a->assign(widest * LANES, T(0));
  }

  static Vec* unit(Buffer<T>& a, int64_t o) { return reinterpret_cast<Vec*>(a.data() + o * LANES); }

  void evaluate(const Net<T>& net, const T* x, const Runs& runs, bool slope) {
    const int64_t n = net.width[0];
    for (int64_t o = 0; o < n; ++o) {
      T* a = &y[0][o * LANES];
      for (int64_t k = 0, l = 0; k < runs.count; ++k) {
        const T base = net.tables[runs.row[k] * n + o];
        for (; l < runs.end[k]; ++l) a[l] = base;
      }
#pragma omp simd
      for (int64_t l = 0; l < LANES; ++l) a[l] += x[l] * net.first[o];
    }
    tanh_all(y[0].data(), n * LANES);
    for (int64_t k = 0; slope && k < n * LANES; ++k) dy[0][k] = (1 - y[0][k] * y[0][k]) * net.first[k / LANES];
    h[0] = y[0], t[0] = dy[0];
    for (int64_t k = 1; k < net.layers(); ++k)
      if (slope)
        layer<true>(net, k);
      else
        layer<false>(net, k);
  }

  template <bool SLOPE>
  void layer(const Net<T>& net, int64_t k) {
    const int64_t in = net.width[k - 1], out = net.width[k];
    for (int64_t b = 0; b < VECTORS; b += BLOCK)
      for (int64_t o = 0; o < out; ++o) {
        Vec value[BLOCK], slope[BLOCK] = {};
        for (int64_t v = 0; v < BLOCK; ++v) value[v] = Vec{} + net.bias[k][o];
        for (int64_t i = 0; i < in; ++i) {
          const T w = net.matrix[k][i * out + o];
          const Vec *hi = unit(h[k - 1], i) + b, *ti = unit(t[k - 1], i) + b;
          for (int64_t v = 0; v < BLOCK; ++v) {
            value[v] += w * hi[v];
            if (SLOPE) slope[v] += w * ti[v];
          }
        }
        for (int64_t v = 0; v < BLOCK; ++v) {
          unit(y[k], o)[b + v] = value[v];
          if (SLOPE) unit(dy[k], o)[b + v] = slope[v];
        }
      }
    tanh_all(y[k].data(), out * LANES);
    const T keeps = net.skips(k) ? 1 : 0;
    for (int64_t o = 0; o < out; ++o) {
      const Vec *hs = unit(h[k - 1], o % in), *ts = unit(t[k - 1], o % in);
      for (int64_t v = 0; v < VECTORS; ++v) {
        const Vec value = unit(y[k], o)[v];
        unit(h[k], o)[v] = value + keeps * hs[v];
        if (!SLOPE) continue;
        const Vec slope = (T(1) - value * value) * unit(dy[k], o)[v];
        unit(dy[k], o)[v] = slope;
        unit(t[k], o)[v] = slope + keeps * ts[v];
      }
    }
  }

  // Cotangents of the last h and t are in `up` and `up_t`; adds to the gradients and, if asked, writes that of x.
  // With s = 1 - y^2: a' = s h' - 2 y dy t' and (da)' = s t'.
  template <bool SLOPE>
  void reverse(const Net<T>& net, Gradients<T>& grad, const T* x, const Runs& runs, T* gx) {
    for (int64_t k = net.layers() - 1; k > 0; --k) reverse_layer<SLOPE>(net, grad, k);
    const int64_t n = net.width[0];
    T* tables = grad.tables.data();
    Vec by_x[VECTORS] = {};
    for (int64_t o = 0; o < n; ++o) {
      const T w = net.first[o];
      for (int64_t v = 0; v < VECTORS; ++v) {
        const Vec s = through<SLOPE>(0, o, v);
        grad.first(o) += reinterpret_cast<const Vec*>(x)[v] * unit(up, o)[v];
        if (SLOPE) grad.first(o) += s * unit(up_t, o)[v];
        by_x[v] += w * unit(up, o)[v];
      }
      for (int64_t k = 0, l = 0; k < runs.count; ++k) {
        T sum = 0;
        for (; l < runs.end[k]; ++l) sum += up[o * LANES + l];
        tables[runs.row[k] * n + o] += sum;
      }
    }
    if (gx) std::memcpy(gx, by_x, sizeof(by_x));
  }

  // Turns the cotangents of unit `o` of layer `k` into those of its sum, but leaves that of the first layer's slope; returns 1 - y^2.
  template <bool SLOPE>
  Vec through(int64_t k, int64_t o, int64_t v) {
    Vec &u = unit(up, o)[v], &w = unit(up_t, o)[v];
    const Vec a = unit(y[k], o)[v], s = T(1) - a * a;
    u = SLOPE ? u * s - T(2) * a * unit(dy[k], o)[v] * w : u * s;
    if (SLOPE && k) w *= s;
    return s;
  }

  template <bool SLOPE>
  void reverse_layer(const Net<T>& net, Gradients<T>& grad, int64_t k) {
    const int64_t in = net.width[k - 1], out = net.width[k];
    std::fill(down.begin(), down.begin() + in * LANES, T(0));
    if (SLOPE) std::fill(down_t.begin(), down_t.begin() + in * LANES, T(0));
    const T keeps = net.skips(k) ? 1 : 0;
    for (int64_t o = 0; o < out; ++o)
      for (int64_t v = 0; v < VECTORS; ++v) {
        unit(down, o % in)[v] += keeps * unit(up, o)[v];
        if (SLOPE) unit(down_t, o % in)[v] += keeps * unit(up_t, o)[v];
        through<SLOPE>(k, o, v);
        grad.bias(k, o) += unit(up, o)[v];
      }
    for (int64_t b = 0; b < VECTORS; b += BLOCK)
      for (int64_t i = 0; i < in; ++i) {
        Vec *di = unit(down, i) + b, *dti = unit(down_t, i) + b;
        const Vec *hi = unit(h[k - 1], i) + b, *ti = unit(t[k - 1], i) + b;
        Vec below[BLOCK], below_t[BLOCK] = {};
        for (int64_t v = 0; v < BLOCK; ++v) {
          below[v] = di[v];
          if (SLOPE) below_t[v] = dti[v];
        }
        for (int64_t o = 0; o < out; ++o) {
          const T w = net.matrix[k][i * out + o];
          const Vec *uo = unit(up, o) + b, *uto = unit(up_t, o) + b;
          Vec sum = grad.matrix(k, i * out + o);
          for (int64_t v = 0; v < BLOCK; ++v) {
            sum += hi[v] * uo[v], below[v] += w * uo[v];
            if (SLOPE) sum += ti[v] * uto[v], below_t[v] += w * uto[v];
          }
          grad.matrix(k, i * out + o) = sum;
        }
        for (int64_t v = 0; v < BLOCK; ++v) {
          di[v] = below[v];
          if (SLOPE) dti[v] = below_t[v];
        }
      }
    std::swap(up, down), std::swap(up_t, down_t);
  }
};
}  // namespace lam
