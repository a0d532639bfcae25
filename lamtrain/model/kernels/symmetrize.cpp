// The invariant of a sum over neighbours (see repformer_layer.py): S_ao = sum_x H_xa H_xo / 3 for a < axis.
//
// H is (A, 3, d), S (A, axis * d). Products this small cost a matrix library more in calls than in arithmetic.
// S is quadratic in H, so its derivatives are the bilinear form B(H, K) = sum_x (H_xa K_xo + K_xa H_xo) / 3 and its transpose.
#include "common.h"

namespace lam {
namespace {

// Adds w sum_x H_xa K_xo to S.
template <class T>
void product(const Tensor& H, const Tensor& K, T w, Tensor& S) {
  const int64_t A = H.size(0), d = H.size(2), axis = S.size(1) / d;
  const T *h = H.const_data_ptr<T>(), *k = K.const_data_ptr<T>();
  T* s = S.data_ptr<T>();
  at::parallel_for(0, A, 16, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i)
      for (int64_t a = 0; a < axis; ++a) {
        const T *hi = h + i * 3 * d + a, *ki = k + i * 3 * d, x = w * hi[0], y = w * hi[d], z = w * hi[2 * d];
        T* out = s + (i * axis + a) * d;
#pragma omp simd
        for (int64_t o = 0; o < d; ++o) out[o] += x * ki[o] + y * ki[d + o] + z * ki[2 * d + o];
      }
  });
}

// The gradient of sum g S by H: H'_xo = sum_a H_xa g_ao / 3, plus H'_xa += sum_o g_ao H_xo / 3.
template <class T>
void transpose(const Tensor& g, const Tensor& H, Tensor& out) {
  const int64_t A = H.size(0), d = H.size(2), axis = g.size(1) / d;
  const T *pg = g.const_data_ptr<T>(), *h = H.const_data_ptr<T>();
  T* p = out.data_ptr<T>();
  at::parallel_for(0, A, 16, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i)
      for (int64_t x = 0; x < 3; ++x) {
        const T* hx = h + (i * 3 + x) * d;
        T* px = p + (i * 3 + x) * d;
        for (int64_t a = 0; a < axis; ++a) {
          const T *ga = pg + (i * axis + a) * d, w = hx[a] / T(3);
          T sum = 0;
#pragma omp simd reduction(+ : sum)
          for (int64_t o = 0; o < d; ++o) {
            px[o] += w * ga[o];
            sum += ga[o] * hx[o];
          }
          px[a] += sum / T(3);
        }
      }
  });
}

Tensor transposed(const Tensor& g, const Tensor& H) {
  Tensor out = at::zeros_like(H);
  AT_DISPATCH_FLOATING_TYPES(H.scalar_type(), "symmetrize_backward", [&] { transpose<scalar_t>(g, H, out); });
  return out;
}

struct Backward : torch::autograd::Function<Backward> {  // (g, H) -> H'
  static Tensor forward(AutogradContext* ctx, Tensor g, Tensor H) {
    ctx->save_for_backward({g, H});
    return transposed(g, H);
  }
  static variable_list backward(AutogradContext* ctx, variable_list cot) {
    auto v = ctx->get_saved_variables();
    const Tensor g = v[0], H = v[1], c = cot[0].contiguous();
    Tensor gg = at::zeros_like(g);
    AT_DISPATCH_FLOATING_TYPES(H.scalar_type(), "symmetrize_second", [&] {
      product<scalar_t>(H, c, scalar_t(1) / 3, gg);
      product<scalar_t>(c, H, scalar_t(1) / 3, gg);
    });
    return {gg, ctx->needs_input_grad(1) ? transposed(g, c) : Tensor()};
  }
};

struct Forward : torch::autograd::Function<Forward> {  // (H, axis) -> S
  static Tensor forward(AutogradContext* ctx, Tensor H, int64_t axis) {
    ctx->save_for_backward({H});
    Tensor S = at::zeros({H.size(0), axis * H.size(2)}, H.options());
    AT_DISPATCH_FLOATING_TYPES(H.scalar_type(), "symmetrize", [&] { product<scalar_t>(H, H, scalar_t(1) / 3, S); });
    return S;
  }
  static variable_list backward(AutogradContext* ctx, variable_list cot) {
    return {Backward::apply(cot[0].contiguous(), ctx->get_saved_variables()[0]), Tensor()};
  }
};

}  // namespace

Tensor symmetrize(const Tensor& moment, int64_t axis) {
  TORCH_CHECK(moment.device().is_cpu(), "the cpp kernels work on CPU tensors");
  return Forward::apply(moment.contiguous(), axis);
}
}  // namespace lam
