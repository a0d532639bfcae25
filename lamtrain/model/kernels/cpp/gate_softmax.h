// The gated softmax of the pair attention (see gate_softmax.py for the formula): one pass over each row of edges.
//
//   u_j = S_j C_j + B_j     p_j = exp(u_j) / (sum exp(u) + phantom exp(-20))     A_j = p_j D_j
//
// S, A are (N, I, H, J); C, B, D are (N, I, J), shared by the heads. Nothing of the size of S is kept but S itself: both
// derivatives compute p again, which is cheaper than reading it back.
#pragma once
#include <limits>
#include "common.h"

namespace lam::gate_softmax {

// p (H, J) of one row of edges.
template <class T>
void softmax_row(const T* S, const T* C, const T* B, T* p, int64_t H, int64_t J, T phantom) {
  for (int64_t h = 0; h < H; ++h) {
    T top = phantom > 0 ? T(-20) : -std::numeric_limits<T>::max();
#pragma omp simd reduction(max : top)
    for (int64_t j = 0; j < J; ++j) {
      p[h * J + j] = S[h * J + j] * C[j] + B[j];
      top = p[h * J + j] > top ? p[h * J + j] : top;
    }
#pragma omp simd
    for (int64_t j = 0; j < J; ++j) p[h * J + j] -= top;
    p[H * J + h] = T(-20) - top;  // logit of a phantom column
  }
  exp_all(p, H * J + (phantom > 0 ? H : 0));
  for (int64_t h = 0; h < H; ++h) {
    T sum = phantom > 0 ? phantom * p[H * J + h] : T(0);
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < J; ++j) sum += p[h * J + j];
    const T scale = T(1) / sum;
#pragma omp simd
    for (int64_t j = 0; j < J; ++j) p[h * J + j] *= scale;
  }
}

struct Inputs {
  int64_t rows, H, J;
  double phantom;
  int threads;
  Array S, C, B, D;

  static Inputs of(Call& in) {
    Inputs at{in.size(), in.size(), in.size(), in.number(), in.threads};
    at.S = at.logits(in), at.C = at.edges(in), at.B = at.edges(in), at.D = at.edges(in);
    return at;
  }
  Array logits(Call& in) const { return in.array(rows, H, J); }
  Array edges(Call& in) const { return in.array(rows, J); }
};

// Calls body(row, head offset, p) for every (n, i) row and head, with p the softmax of that row.
template <class T, class Begin, class Body>
void over_rows(const Inputs& in, Begin begin, Body body) {
  const auto& [rows, H, J, phantom, threads, S, C, B, D] = in;
  const T *s = data<T>(S), *c = data<T>(C), *b = data<T>(B);
  over_ranges(rows, 64, threads, [&, H = H, J = J, phantom = phantom](int64_t first, int64_t last) {
    std::vector<T> p(H * J + H), scratch(J);
    for (int64_t r = first; r < last; ++r) {
      begin(r * J);
      softmax_row(s + r * H * J, c + r * J, b + r * J, p.data(), H, J, T(phantom));
      for (int64_t h = 0; h < H; ++h) body(r * J, (r * H + h) * J, p.data() + h * J, scratch.data());
    }
  });
}

template <class T>
void forward_rows(const Inputs& in, const Array& A) {
  const T* d = data<T>(in.D);
  T* a = into<T>(A);
  const int64_t J = in.J;
  over_rows<T>(in, [](int64_t) {}, [=](int64_t k, int64_t o, const T* p, T*) {
#pragma omp simd
    for (int64_t j = 0; j < J; ++j) a[o + j] = p[j] * d[k + j];
  });
}

// With W the cotangent of A: u'_j = p_j (W_j D_j - sum p W D); S' = u' C; C' = sum_h u' S; B' = sum_h u'; D' = sum_h p W.
template <class T>
void backward_rows(const Inputs& in, const Array& W, const Array& gS, const Array& gC, const Array& gB, const Array& gD) {
  const T *s = data<T>(in.S), *c = data<T>(in.C), *d = data<T>(in.D), *w = data<T>(W);
  T *gs = into<T>(gS), *gc = into<T>(gC), *gb = into<T>(gB), *gd = into<T>(gD);
  const int64_t J = in.J;
  over_rows<T>(
      in,
      [=](int64_t k) {
        for (int64_t j = 0; j < J; ++j) gc[k + j] = gb[k + j] = gd[k + j] = 0;
      },
      [=](int64_t k, int64_t o, const T* p, T*) {
        T mean = 0;
#pragma omp simd reduction(+ : mean)
        for (int64_t j = 0; j < J; ++j) mean += p[j] * w[o + j] * d[k + j];
#pragma omp simd
        for (int64_t j = 0; j < J; ++j) {
          const T u = p[j] * (w[o + j] * d[k + j] - mean);
          gs[o + j] = u * c[k + j];
          gc[k + j] += u * s[o + j];
          gb[k + j] += u;
          gd[k + j] += p[j] * w[o + j];
        }
      });
}

struct Second {  // cotangents of (S', C', B', D') go in as a, x, y, z; those of (S, C, B, D, W) come out
  Array a, x, y, z, gS, gC, gB, gD, gW;
};

template <class T>
void second_rows(const Inputs& in, const Array& W, const Second& t) {
  const bool geometry = bool(t.gC);
  const T *s = data<T>(in.S), *c = data<T>(in.C), *d = data<T>(in.D), *w = data<T>(W);
  const T *a = data<T>(t.a), *x = data<T>(t.x), *y = data<T>(t.y), *z = data<T>(t.z);
  T *gs = into<T>(t.gS), *gw = into<T>(t.gW);
  T *gc = into<T>(t.gC), *gb = into<T>(t.gB), *gd = into<T>(t.gD);
  const int64_t J = in.J;
  over_rows<T>(
      in,
      [=](int64_t k) {
        for (int64_t j = 0; geometry && j < J; ++j) gc[k + j] = gb[k + j] = gd[k + j] = 0;
      },
      [=](int64_t k, int64_t o, const T* p, T* v) {
        T mean = 0, drift = 0;
#pragma omp simd reduction(+ : mean, drift)
        for (int64_t j = 0; j < J; ++j) {
          v[j] = a[o + j] * c[k + j] + s[o + j] * x[k + j] + y[k + j];
          mean += p[j] * w[o + j] * d[k + j];
          drift += p[j] * v[j];
        }
        T total = 0;
#pragma omp simd reduction(+ : total)
        for (int64_t j = 0; j < J; ++j) {
          const T wd = w[o + j] * d[k + j];
          total += p[j] * ((wd - mean) * v[j] - wd * drift + z[k + j] * w[o + j]);
        }
#pragma omp simd
        for (int64_t j = 0; j < J; ++j) {
          const T wd = w[o + j] * d[k + j], u = p[j] * (wd - mean);
          const T q = p[j] * ((wd - mean) * v[j] - wd * drift + z[k + j] * w[o + j] - total);
          gs[o + j] = q * c[k + j] + u * x[k + j];
          gw[o + j] = p[j] * (d[k + j] * (v[j] - drift) + z[k + j]);
        }
        if (!geometry) return;
#pragma omp simd
        for (int64_t j = 0; j < J; ++j) {
          const T wd = w[o + j] * d[k + j], u = p[j] * (wd - mean);
          const T q = p[j] * ((wd - mean) * v[j] - wd * drift + z[k + j] * w[o + j] - total);
          gc[k + j] += q * s[o + j] + u * a[o + j];
          gb[k + j] += q;
          gd[k + j] += w[o + j] * p[j] * (v[j] - drift);
        }
      });
}

template <class T>
void value(Call in) {
  const Inputs at = Inputs::of(in);
  const Array A = at.logits(in);
  in.done();
  forward_rows<T>(at, A);
}

template <class T>
void first(Call in) {
  const Inputs at = Inputs::of(in);
  const Array W = at.logits(in), gS = at.logits(in), gC = at.edges(in), gB = at.edges(in), gD = at.edges(in);
  in.done();
  backward_rows<T>(at, W, gS, gC, gB, gD);
}

template <class T>
void second(Call in) {
  const Inputs at = Inputs::of(in);
  const Array W = at.logits(in);
  Second t{at.logits(in), at.edges(in), at.edges(in), at.edges(in)};
  t.gS = at.logits(in), t.gC = at.edges(in), t.gB = at.edges(in), t.gD = at.edges(in), t.gW = at.logits(in);
  in.done();
  second_rows<T>(at, W, t);
}
}  // namespace lam::gate_softmax
