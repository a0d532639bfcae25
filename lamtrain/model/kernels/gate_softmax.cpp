// The gated softmax of the pair attention (see gate_softmax.py for the formula): one pass over each row of edges.
//
//   u_j = S_j C_j + B_j     p_j = exp(u_j) / (sum exp(u) + phantom exp(-20))     A_j = p_j D_j
//
// S, A are (N, I, H, J); C, B, D are (N, I, J), shared by the heads. Nothing of the size of S is kept but S itself: both
// derivatives compute p again, which is cheaper than reading it back.
#include <limits>
#include "common.h"

namespace lam {
namespace {

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

// Calls body(row, head offset, p) for every (n, i) row and head, with p the softmax of that row.
template <class T, class Begin, class Body>
void over_rows(const Tensor& S, const Tensor& C, const Tensor& B, double phantom, Begin begin, Body body) {
  const int64_t rows = S.size(0) * S.size(1), H = S.size(2), J = S.size(3);
  const T *s = S.const_data_ptr<T>(), *c = C.const_data_ptr<T>(), *b = B.const_data_ptr<T>();
  at::parallel_for(0, rows, 16, [&](int64_t first, int64_t last) {
    std::vector<T> p(H * J + H), scratch(J);
    for (int64_t r = first; r < last; ++r) {
      begin(r * J);
      softmax_row(s + r * H * J, c + r * J, b + r * J, p.data(), H, J, T(phantom));
      for (int64_t h = 0; h < H; ++h) body(r * J, (r * H + h) * J, p.data() + h * J, scratch.data());
    }
  });
}

template <class T>
void forward_rows(const Tensor& S, const Tensor& C, const Tensor& B, const Tensor& D, double phantom, Tensor& A) {
  const T* d = D.const_data_ptr<T>();
  T* a = A.data_ptr<T>();
  const int64_t J = S.size(3);
  over_rows<T>(S, C, B, phantom, [](int64_t) {}, [=](int64_t k, int64_t o, const T* p, T*) {
#pragma omp simd
    for (int64_t j = 0; j < J; ++j) a[o + j] = p[j] * d[k + j];
  });
}

// With W the cotangent of A: u'_j = p_j (W_j D_j - sum p W D); S' = u' C; C' = sum_h u' S; B' = sum_h u'; D' = sum_h p W.
template <class T>
void backward_rows(const Tensor& S, const Tensor& C, const Tensor& B, const Tensor& D, const Tensor& W, double phantom, Tensor& gS, Tensor& gC,
                   Tensor& gB, Tensor& gD) {
  const T *s = S.const_data_ptr<T>(), *c = C.const_data_ptr<T>(), *d = D.const_data_ptr<T>(), *w = W.const_data_ptr<T>();
  T *gs = gS.data_ptr<T>(), *gc = gC.data_ptr<T>(), *gb = gB.data_ptr<T>(), *gd = gD.data_ptr<T>();
  const int64_t J = S.size(3);
  over_rows<T>(
      S, C, B, phantom,
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
  Tensor a, x, y, z, gS, gC, gB, gD, gW;
};

template <class T>
void second_rows(const Tensor& S, const Tensor& C, const Tensor& B, const Tensor& D, const Tensor& W, double phantom, Second& t, bool geometry) {
  const T *s = S.const_data_ptr<T>(), *c = C.const_data_ptr<T>(), *d = D.const_data_ptr<T>(), *w = W.const_data_ptr<T>();
  const T *a = t.a.const_data_ptr<T>(), *x = t.x.const_data_ptr<T>(), *y = t.y.const_data_ptr<T>(), *z = t.z.const_data_ptr<T>();
  T *gs = t.gS.data_ptr<T>(), *gw = t.gW.data_ptr<T>();
  T *gc = geometry ? t.gC.data_ptr<T>() : nullptr, *gb = geometry ? t.gB.data_ptr<T>() : nullptr, *gd = geometry ? t.gD.data_ptr<T>() : nullptr;
  const int64_t J = S.size(3);
  over_rows<T>(
      S, C, B, phantom,
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

struct Backward : torch::autograd::Function<Backward> {
  static variable_list forward(AutogradContext* ctx, Tensor S, Tensor C, Tensor B, Tensor D, Tensor W, double phantom) {
    ctx->save_for_backward({S, C, B, D, W});
    ctx->saved_data["phantom"] = phantom;
    ctx->set_materialize_grads(false);
    Tensor gS = at::empty_like(S), gC = at::empty_like(C), gB = at::empty_like(C), gD = at::empty_like(C);
    AT_DISPATCH_FLOATING_TYPES(S.scalar_type(), "gate_softmax_backward",
                               [&] { backward_rows<scalar_t>(S, C, B, D, W, phantom, gS, gC, gB, gD); });
    return {gS, gC, gB, gD};
  }
  static variable_list backward(AutogradContext* ctx, variable_list g) {
    auto v = ctx->get_saved_variables();
    const bool geometry = ctx->needs_input_grad(1) || ctx->needs_input_grad(2) || ctx->needs_input_grad(3);
    Second t{filled(g[0], v[0]), filled(g[1], v[1]), filled(g[2], v[1]), filled(g[3], v[1])};
    t.gS = at::empty_like(v[0]);
    t.gW = at::empty_like(v[0]);
    if (geometry) t.gC = at::empty_like(v[1]), t.gB = at::empty_like(v[1]), t.gD = at::empty_like(v[1]);
    AT_DISPATCH_FLOATING_TYPES(v[0].scalar_type(), "gate_softmax_second",
                               [&] { second_rows<scalar_t>(v[0], v[1], v[2], v[3], v[4], ctx->saved_data["phantom"].toDouble(), t, geometry); });
    return {t.gS, t.gC, t.gB, t.gD, t.gW, Tensor()};
  }
};

struct Forward : torch::autograd::Function<Forward> {
  static Tensor forward(AutogradContext* ctx, Tensor S, Tensor C, Tensor B, Tensor D, double phantom) {
    ctx->save_for_backward({S, C, B, D});
    ctx->saved_data["phantom"] = phantom;
    Tensor A = at::empty_like(S);
    AT_DISPATCH_FLOATING_TYPES(S.scalar_type(), "gate_softmax", [&] { forward_rows<scalar_t>(S, C, B, D, phantom, A); });
    return A;
  }
  static variable_list backward(AutogradContext* ctx, variable_list g) {
    auto v = ctx->get_saved_variables();
    auto out = Backward::apply(v[0], v[1], v[2], v[3], g[0].contiguous(), ctx->saved_data["phantom"].toDouble());
    return {out[0], out[1], out[2], out[3], Tensor()};
  }
};

}  // namespace

Tensor gate_softmax(const Tensor& s, const Tensor& c, const Tensor& b, const Tensor& d, int64_t phantom) {
  TORCH_CHECK(s.device().is_cpu(), "the cpp kernels work on CPU tensors");
  return Forward::apply(s.contiguous(), c.contiguous(), b.contiguous(), d.contiguous(), double(phantom));
}
}  // namespace lam
