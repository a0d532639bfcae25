// The three-body sum (see three_body.py): D_m = sum_jk e_jk G_m(e_jk; types of j and k), nothing of the size of e but e kept.
//
// First derivative, with c the cotangent of D: e'_jk = sum_m c_m (G_m + e_jk G'_m), G' the slope of the net.
// e is (N, V, V); types (N, V); table row of a pair is type_j + ntypes * type_k.
#include "lanes.h"

namespace lam {
namespace {

// Calls body(atom, lanes, x, row, first pair, count) for every block of pairs of the atoms `first:last`.
template <class T, class Body>
void over_blocks(const Tensor& e, const Tensor& types, int64_t ntypes, const Net<T>& net, int64_t first, int64_t last, bool slope, Body body) {
  const int64_t V = e.size(1);
  const T* pe = e.const_data_ptr<T>();
  const int64_t* pt = types.const_data_ptr<int64_t>();
  Lanes<T> lanes(net);
  T x[LANES];
  int64_t row[LANES];
  for (int64_t n = first; n < last; ++n)
    for (int64_t p = 0; p < V * V; p += LANES) {
      const int64_t count = std::min(LANES, V * V - p);
      for (int64_t l = 0; l < LANES; ++l) {
        const int64_t q = p + std::min(l, count - 1);
        x[l] = l < count ? pe[n * V * V + q] : T(0);
        row[l] = pt[n * V + q / V] + ntypes * pt[n * V + q % V];
      }
      lanes.evaluate(net, x, row, slope);
      body(n, lanes, x, row, n * V * V + p, count);
    }
}

template <class T>
void sum_pairs(const Tensor& e, const Tensor& types, int64_t ntypes, at::TensorList weights, Tensor& D) {
  const Net<T> net(weights);
  T* d = D.data_ptr<T>();
  const int64_t m = net.last();
  at::parallel_for(0, e.size(0), 4, [&](int64_t first, int64_t last) {
    over_blocks<T>(e, types, ntypes, net, first, last, false, [&](int64_t n, Lanes<T>& lanes, const T* x, const int64_t*, int64_t, int64_t) {
      for (int64_t o = 0; o < m; ++o) {
        const T* h = &lanes.h.back()[o * LANES];
        T sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t l = 0; l < LANES; ++l) sum += x[l] * h[l];  // lanes past the end have x = 0
        d[n * m + o] += sum;
      }
    });
  });
}

template <class T>
void slope_pairs(const Tensor& e, const Tensor& types, int64_t ntypes, at::TensorList weights, const Tensor& c, Tensor& ge) {
  const Net<T> net(weights);
  const T* pc = c.const_data_ptr<T>();
  T* g = ge.data_ptr<T>();
  const int64_t m = net.last();
  at::parallel_for(0, e.size(0), 4, [&](int64_t first, int64_t last) {
    over_blocks<T>(e, types, ntypes, net, first, last, true,
                   [&](int64_t n, Lanes<T>& lanes, const T* x, const int64_t*, int64_t p, int64_t count) {
                     T sum[LANES] = {};
                     for (int64_t o = 0; o < m; ++o) {
                       const T *h = &lanes.h.back()[o * LANES], *t = &lanes.t.back()[o * LANES], w = pc[n * m + o];
#pragma omp simd
                       for (int64_t l = 0; l < LANES; ++l) sum[l] += w * (h[l] + x[l] * t[l]);
                     }
                     std::copy(sum, sum + count, g + p);
                   });
  });
}

// Reverse of sum_jk a_jk e'_jk if `a` is given, else of sum_m c_m D_m. Fills what is not null: gradients of the weights, of c, of e.
template <class T>
std::vector<Tensor> reverse_pairs(const Tensor& e, const Tensor& types, int64_t ntypes, at::TensorList weights, const Tensor& c, const Tensor* a,
                                  Tensor* gc, Tensor* ge) {
  const Net<T> net(weights);
  const T *pc = c.const_data_ptr<T>(), *pa = a ? a->const_data_ptr<T>() : nullptr;
  const int64_t m = net.last(), N = e.size(0), parts = std::min<int64_t>(N, at::get_num_threads());
  std::vector<Gradients<T>> grads;
  for (int64_t k = 0; k < parts; ++k) grads.emplace_back(weights);
  at::parallel_for(0, parts, 1, [&](int64_t from, int64_t to) {
    for (int64_t k = from; k < to; ++k)
      over_blocks<T>(e, types, ntypes, net, N * k / parts, N * (k + 1) / parts, a != nullptr,
                     [&](int64_t n, Lanes<T>& lanes, const T* x, const int64_t* row, int64_t p, int64_t count) {
                       T w[LANES] = {}, extra[LANES] = {}, gx[LANES];
                       for (int64_t l = 0; l < count; ++l) w[l] = a ? pa[p + l] : x[l];
                       for (int64_t o = 0; o < m; ++o) {
                         const T *h = &lanes.h.back()[o * LANES], *t = &lanes.t.back()[o * LANES], co = pc[n * m + o];
                         T *u = &lanes.up[o * LANES], *v = &lanes.up_t[o * LANES], sum = 0;
#pragma omp simd reduction(+ : sum)
                         for (int64_t l = 0; l < LANES; ++l) {
                           u[l] = w[l] * co;
                           v[l] = w[l] * x[l] * co;
                           sum += w[l] * (h[l] + x[l] * t[l]);
                           extra[l] += w[l] * co * t[l];
                         }
                         if (gc) gc->data_ptr<T>()[n * m + o] += sum;
                       }
                       lanes.reverse(net, grads[k], x, row, a != nullptr, ge ? gx : nullptr);
                       for (int64_t l = 0; ge && l < count; ++l) ge->data_ptr<T>()[p + l] = gx[l] + extra[l];
                     });
  });
  for (int64_t k = 1; k < parts; ++k)
    for (size_t w = 0; w < weights.size(); ++w) grads[0].all[w] += grads[k].all[w];
  return grads[0].all;
}

struct Slope : torch::autograd::Function<Slope> {  // (e, c, weights) -> e'
  static Tensor forward(AutogradContext* ctx, Tensor e, Tensor types, int64_t ntypes, Tensor c, at::TensorList weights) {
    variable_list saved{e, types, c};
    saved.insert(saved.end(), weights.begin(), weights.end());
    ctx->save_for_backward(saved);
    ctx->saved_data["ntypes"] = ntypes;
    Tensor ge = at::empty_like(e);
    AT_DISPATCH_FLOATING_TYPES(e.scalar_type(), "three_body_slope", [&] { slope_pairs<scalar_t>(e, types, ntypes, weights, c, ge); });
    return ge;
  }
  static variable_list backward(AutogradContext* ctx, variable_list g) {
    auto v = ctx->get_saved_variables();
    variable_list weights(v.begin() + 3, v.end());
    Tensor a = g[0].contiguous(), gc = at::zeros_like(v[2]), ge;
    const bool geometry = ctx->needs_input_grad(0);
    if (geometry) ge = at::empty_like(v[0]);
    variable_list out{ge, Tensor(), Tensor(), gc};
    AT_DISPATCH_FLOATING_TYPES(v[0].scalar_type(), "three_body_second", [&] {
      for (auto& w : reverse_pairs<scalar_t>(v[0], v[1], ctx->saved_data["ntypes"].toInt(), weights, v[2], &a, &gc, geometry ? &ge : nullptr))
        out.push_back(w);
    });
    return out;
  }
};

struct Sum : torch::autograd::Function<Sum> {  // (e, weights) -> D
  static Tensor forward(AutogradContext* ctx, Tensor e, Tensor types, int64_t ntypes, at::TensorList weights) {
    variable_list saved{e, types};
    saved.insert(saved.end(), weights.begin(), weights.end());
    ctx->save_for_backward(saved);
    ctx->saved_data["ntypes"] = ntypes;
    Tensor D = at::zeros({e.size(0), weights.back().numel()}, e.options());
    AT_DISPATCH_FLOATING_TYPES(e.scalar_type(), "three_body", [&] { sum_pairs<scalar_t>(e, types, ntypes, weights, D); });
    return D;
  }
  static variable_list backward(AutogradContext* ctx, variable_list g) {
    auto v = ctx->get_saved_variables();
    variable_list weights(v.begin() + 2, v.end());
    const int64_t ntypes = ctx->saved_data["ntypes"].toInt();
    Tensor c = g[0].contiguous();
    variable_list out{ctx->needs_input_grad(0) ? Slope::apply(v[0], v[1], ntypes, c, at::TensorList(weights)) : Tensor(), Tensor(), Tensor()};
    if (!wanted(ctx, 2, weights.size())) {
      out.resize(out.size() + weights.size());
      return out;
    }
    TORCH_CHECK(!at::GradMode::is_enabled(), "the fused three-body sum has no second derivative by its weights; use the plain kernels");
    AT_DISPATCH_FLOATING_TYPES(v[0].scalar_type(), "three_body_weights", [&] {
      for (auto& w : reverse_pairs<scalar_t>(v[0], v[1], ntypes, weights, c, nullptr, nullptr, nullptr)) out.push_back(w);
    });
    return out;
  }
};

}  // namespace

Tensor three_body(const Tensor& e, const Tensor& types, int64_t ntypes, at::TensorList weights) {
  TORCH_CHECK(e.device().is_cpu(), "the cpp kernels work on CPU tensors");
  variable_list plain;
  for (const auto& w : weights) plain.push_back(w.contiguous());
  return Sum::apply(e.contiguous(), types.contiguous(), ntypes, at::TensorList(plain));
}
}  // namespace lam
