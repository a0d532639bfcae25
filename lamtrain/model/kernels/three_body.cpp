// The three-body sum (see three_body.py): D_m = sum_jk e_jk G_m(e_jk; types of j and k), nothing of the size of e but e kept.
//
// First derivative, with c the cotangent of D: e'_jk = sum_m c_m (G_m + e_jk G'_m), G' the slope of the net.
// e is (N, V, V), R R^T and so equal to its transpose; types (N, V); table row of a pair is type_j + ntypes * type_k.
// Two edges whose atoms are of one type are a pair that is computed once and counted twice: the derivative stands at one
// of (j, k) and (k, j), and nothing at the other. A slot with e_jj = 0 is empty: nothing of it reaches D, nor, behind the switch, a derivative.
#include <algorithm>
#include "lanes.h"

namespace lam {
namespace {

// Up to LANES pairs of one atom. Lanes past the end count 0 times.
template <class T>
struct Batch {
  int64_t atom, count = 0;
  alignas(64) T x[LANES], times[LANES];
  int64_t place[LANES];  // in e
  Runs runs;

  void add(T value, T how_often, int64_t row, int64_t where) {
    x[count] = value, times[count] = how_often, place[count] = where;
    runs.add(count++, row);
  }
};

// Calls body(lanes, batch) for the pairs of the atoms `first:last`, those of two types one after the other.
template <class T, class Body>
void over_pairs(const Tensor& e, const Tensor& types, int64_t ntypes, const Net<T>& net, int64_t first, int64_t last, bool slope, Body body) {
  const int64_t V = e.size(1);
  Lanes<T> lanes(net);
  Batch<T> batch;
  std::vector<int64_t> slots;
  const auto flush = [&] {
    for (int64_t l = batch.count; l < LANES; ++l) batch.x[l] = batch.times[l] = 0;
    batch.runs.end[batch.runs.count - 1] = LANES;
    lanes.evaluate(net, batch.x, batch.runs, slope);
    body(lanes, batch);
    batch.count = batch.runs.count = 0;
  };
  for (int64_t n = first; n < last; ++n) {
    const T* x = e.const_data_ptr<T>() + n * V * V;
    const int64_t* t = types.const_data_ptr<int64_t>() + n * V;
    slots.clear();
    for (int64_t j = 0; j < V; ++j)
      if (x[j * V + j] != 0) slots.push_back(j);
    std::stable_sort(slots.begin(), slots.end(), [&](int64_t j, int64_t k) { return t[j] < t[k]; });
    batch.atom = n;
    const auto after = [&](auto from) { return std::find_if(from, slots.end(), [&](int64_t k) { return t[k] != t[*from]; }); };
    for (auto a = slots.begin(), a_end = a; a != slots.end(); a = a_end) {
      a_end = after(a);
      for (auto b = slots.begin(), b_end = b; b != slots.end(); b = b_end) {
        b_end = after(b);
        const int64_t row = t[*a] + ntypes * t[*b];
        for (auto j = a; j != a_end; ++j)
          for (auto k = a == b ? j : b; k != b_end; ++k) {
            batch.add(x[*j * V + *k], a == b && k != j ? 2 : 1, row, (n * V + *j) * V + *k);
            if (batch.count == LANES) flush();
          }
      }
    }
    if (batch.count) flush();
  }
}

template <class T>
void sum_pairs(const Tensor& e, const Tensor& types, int64_t ntypes, at::TensorList weights, Tensor& D) {
  const Net<T> net(weights);
  T* d = D.data_ptr<T>();
  const int64_t m = net.last();
  at::parallel_for(0, e.size(0), 4, [&](int64_t first, int64_t last) {
    over_pairs<T>(e, types, ntypes, net, first, last, false, [&](Lanes<T>& lanes, const Batch<T>& batch) {
      for (int64_t o = 0; o < m; ++o) {
        const T* h = &lanes.h.back()[o * LANES];
        T sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t l = 0; l < LANES; ++l) sum += batch.times[l] * batch.x[l] * h[l];
        d[batch.atom * m + o] += sum;
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
    over_pairs<T>(e, types, ntypes, net, first, last, true, [&](Lanes<T>& lanes, const Batch<T>& batch) {
      T sum[LANES] = {};
      for (int64_t o = 0; o < m; ++o) {
        const T *h = &lanes.h.back()[o * LANES], *t = &lanes.t.back()[o * LANES], w = pc[batch.atom * m + o];
#pragma omp simd
        for (int64_t l = 0; l < LANES; ++l) sum[l] += w * (h[l] + batch.x[l] * t[l]);
      }
      for (int64_t l = 0; l < batch.count; ++l) g[batch.place[l]] = batch.times[l] * sum[l];
    });
  });
}

// Reverse of sum_jk a_jk e'_jk if `a` is given, else of sum_m c_m D_m. Fills what is not null: gradients of the weights, of c, of e.
template <class T>
std::vector<Tensor> reverse_pairs(const Tensor& e, const Tensor& types, int64_t ntypes, at::TensorList weights, const Tensor& c, const Tensor* a,
                                  Tensor* gc, Tensor* ge) {
  const Net<T> net(weights);
  const T *pc = c.const_data_ptr<T>(), *pa = a ? a->const_data_ptr<T>() : nullptr;
  const int64_t m = net.last(), N = e.size(0), parts = parts_of(N);
  std::vector<Gradients<T>> grads;
  for (int64_t k = 0; k < parts; ++k) grads.emplace_back(weights);
  over_parts(parts, [&](int64_t k) {
    over_pairs<T>(e, types, ntypes, net, N * k / parts, N * (k + 1) / parts, a != nullptr, [&](Lanes<T>& lanes, const Batch<T>& batch) {
      const T* x = batch.x;
      T w[LANES] = {}, extra[LANES] = {}, gx[LANES];
      for (int64_t l = 0; l < batch.count; ++l) w[l] = batch.times[l] * (a ? pa[batch.place[l]] : x[l]);
      for (int64_t o = 0; o < m; ++o) {
        const T *h = &lanes.h.back()[o * LANES], *t = &lanes.t.back()[o * LANES], co = pc[batch.atom * m + o];
        T *u = &lanes.up[o * LANES], *v = &lanes.up_t[o * LANES], sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t l = 0; l < LANES; ++l) {
          u[l] = w[l] * co;
          v[l] = w[l] * x[l] * co;
          sum += w[l] * (h[l] + x[l] * t[l]);
          extra[l] += w[l] * co * t[l];
        }
        if (gc) gc->data_ptr<T>()[batch.atom * m + o] += sum;
      }
      if (a)
        lanes.template reverse<true>(net, grads[k], x, batch.runs, ge ? gx : nullptr);
      else
        lanes.template reverse<false>(net, grads[k], x, batch.runs, ge ? gx : nullptr);
      for (int64_t l = 0; ge && l < batch.count; ++l) ge->data_ptr<T>()[batch.place[l]] = gx[l] + extra[l];
    });
  });
  std::vector<Tensor> total = grads[0].all();
  for (int64_t k = 1; k < parts; ++k) {
    const std::vector<Tensor> more = grads[k].all();
    for (size_t w = 0; w < weights.size(); ++w) total[w] += more[w];
  }
  return total;
}

struct Slope : torch::autograd::Function<Slope> {  // (e, c, weights) -> e'
  static Tensor forward(AutogradContext* ctx, Tensor e, Tensor types, int64_t ntypes, Tensor c, at::TensorList weights) {
    variable_list saved{e, types, c};
    saved.insert(saved.end(), weights.begin(), weights.end());
    ctx->save_for_backward(saved);
    ctx->saved_data["ntypes"] = ntypes;
    Tensor ge = at::zeros_like(e);
    AT_DISPATCH_FLOATING_TYPES(e.scalar_type(), "three_body_slope", [&] { slope_pairs<scalar_t>(e, types, ntypes, weights, c, ge); });
    return ge;
  }
  static variable_list backward(AutogradContext* ctx, variable_list g) {
    auto v = ctx->get_saved_variables();
    variable_list weights(v.begin() + 3, v.end());
    Tensor a = g[0].contiguous(), gc = at::zeros_like(v[2]), ge;
    const bool geometry = ctx->needs_input_grad(0);
    if (geometry) ge = at::zeros_like(v[0]);
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
  const variable_list plain = contiguous(weights);
  return Sum::apply(e.contiguous(), types.contiguous(), ntypes, at::TensorList(plain));
}
}  // namespace lam
