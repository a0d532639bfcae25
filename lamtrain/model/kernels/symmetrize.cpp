// The invariants of sums over neighbours, side by side (see repformer_layer.py): S_ao = sum_x H_xa H_xo / 3 for a < axis.
//
// Each H is (A, 3, d) with a d of its own, S (A, axis * the sum of all d). Products this small cost a matrix library more in calls than
// in arithmetic. S is quadratic in H: with B(H, K) = sum_x (H_xa K_xo + K_xa H_xo) / 3 it is B(H, H) / 2, and its derivatives are B and
// its transpose.
#include "common.h"

namespace lam {
namespace {

// The columns of S that belong to one H.
template <class T>
struct Block {
  int64_t d, axis, offset, width;  // `width`: of a row of S

  T* row(const Tensor& S, int64_t i) const { return S.data_ptr<T>() + i * width + offset; }
};

// Calls body(H's index, its block, atom) for all of them, in parallel.
template <class T, class Body>
void over_atoms(const variable_list& H, int64_t axis, Body body) {
  int64_t width = 0, offset = 0;
  for (const auto& h : H) width += axis * h.size(2);
  for (size_t k = 0; k < H.size(); offset += axis * H[k++].size(2)) {
    const Block<T> block{H[k].size(2), axis, offset, width};
    at::parallel_for(0, H[k].size(0), 16, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) body(k, block, i);
    });
  }
}

// S = scale B(H, K)
template <class T>
void bilinear(const variable_list& H, const variable_list& K, int64_t axis, T scale, const Tensor& S) {
  over_atoms<T>(H, axis, [&](size_t k, const Block<T>& at, int64_t i) {
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
void transpose(const Tensor& g, const variable_list& H, int64_t axis, const variable_list& K) {
  over_atoms<T>(H, axis, [&](size_t k, const Block<T>& at, int64_t i) {
    const int64_t d = at.d;
    for (int64_t x = 0; x < 3; ++x) {
      const T *h = data<T>(H[k]) + (i * 3 + x) * d, *row = at.row(g, i);
      T* out = K[k].template data_ptr<T>() + (i * 3 + x) * d;
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

variable_list transposed(const Tensor& g, const variable_list& H, int64_t axis) {
  variable_list K;
  for (const auto& h : H) K.push_back(at::empty_like(h));
  AT_DISPATCH_FLOATING_TYPES(g.scalar_type(), "symmetrize_backward", [&] { transpose<scalar_t>(g, H, axis, K); });
  return K;
}

struct Backward : torch::autograd::Function<Backward> {  // (g, every H) -> every H'
  static variable_list forward(AutogradContext* ctx, Tensor g, at::TensorList H, int64_t axis) {
    variable_list saved{g};
    saved.insert(saved.end(), H.begin(), H.end());
    ctx->save_for_backward(saved);
    ctx->saved_data["axis"] = axis;
    return transposed(g, H.vec(), axis);
  }
  static variable_list backward(AutogradContext* ctx, variable_list cot) {
    const auto v = ctx->get_saved_variables();
    const int64_t axis = ctx->saved_data["axis"].toInt();
    const variable_list H(v.begin() + 1, v.end()), c = contiguous(cot);
    const Tensor g = v[0], gg = at::empty_like(g);
    AT_DISPATCH_FLOATING_TYPES(g.scalar_type(), "symmetrize_second", [&] { bilinear<scalar_t>(H, c, axis, 1, gg); });
    variable_list out{gg}, more = wanted(ctx, 1, H.size()) ? transposed(g, c, axis) : variable_list(H.size());
    out.insert(out.end(), more.begin(), more.end());
    out.emplace_back();
    return out;
  }
};

struct Forward : torch::autograd::Function<Forward> {  // (every H) -> S
  static Tensor forward(AutogradContext* ctx, at::TensorList H, int64_t axis) {
    ctx->save_for_backward(H.vec());
    ctx->saved_data["axis"] = axis;
    int64_t width = 0;
    for (const auto& h : H) width += axis * h.size(2);
    const Tensor S = at::empty({H[0].size(0), width}, H[0].options());
    AT_DISPATCH_FLOATING_TYPES(S.scalar_type(), "symmetrize", [&] { bilinear<scalar_t>(H.vec(), H.vec(), axis, scalar_t(0.5), S); });
    return S;
  }
  static variable_list backward(AutogradContext* ctx, variable_list cot) {
    const variable_list H = ctx->get_saved_variables();
    variable_list out = Backward::apply(cot[0].contiguous(), at::TensorList(H), ctx->saved_data["axis"].toInt());
    out.emplace_back();
    return out;
  }
};

}  // namespace

Tensor symmetrize(at::TensorList moments, int64_t axis) {
  TORCH_CHECK(moments[0].device().is_cpu(), "the cpp kernels work on CPU tensors");
  const variable_list plain = contiguous(moments);
  return Forward::apply(at::TensorList(plain), axis);
}
}  // namespace lam
