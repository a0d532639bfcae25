// Repinit's moment (see repinit.py): M = R^T G, with G_j = net(R_j0; types), as one operator.
//
// The net is a function of one scalar for each pair of types, so its slope G' is carried along with its value: forces then
// cost two small products an edge instead of a pass back through the net. Value and slope of a layer are stacked, so that
// each layer is one matrix product over twice the edges. With c the cotangent of M:
//
//   R'_j = G_j c^T + [R_j . (G'_j c^T), 0, 0, 0]
//
// R is (N, W, 4), row (N, W) of `tables`, G (N, W, m), M (N, 4, m). Of the second derivative only what training needs is
// written out: by c and by the weights, and by R.
#include "common.h"

namespace lam {
namespace {

constexpr int64_t EDGES = 768;  // edges of a block

int64_t skips(int64_t in, int64_t out) { return out == in ? 1 : out == 2 * in ? 2 : 0; }

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
template <class T>
void finish_layer(Tensor& A, const Tensor& below, const Tensor& bias, int64_t P, bool slope) {
  const int64_t in = below.size(1), out = A.size(1), skip = skips(in, out);
  const T *b = bias.const_data_ptr<T>(), *lower = below.const_data_ptr<T>();
  T* a = A.data_ptr<T>();
  at::parallel_for(0, P, 256, [&](int64_t from, int64_t to) {
    for (int64_t p = from; p < to; ++p)
#pragma omp simd
      for (int64_t o = 0; o < out; ++o) a[p * out + o] += b[o];
    tanh_all(a + from * out, (to - from) * out);
    for (int64_t p = from; p < to; ++p) {
      T *h = a + p * out, *t = a + (P + p) * out;
      if (slope)
#pragma omp simd
        for (int64_t o = 0; o < out; ++o) t[o] *= 1 - h[o] * h[o];
      for (int64_t k = 0; k < skip; ++k)
#pragma omp simd
        for (int64_t i = 0; i < in; ++i) h[k * in + i] += lower[p * in + i];
      for (int64_t k = 0; slope && k < skip; ++k)
#pragma omp simd
        for (int64_t i = 0; i < in; ++i) t[k * in + i] += lower[(P + p) * in + i];
    }
  });
}

// h (and t) of every layer, stacked by rows: (P or 2P, width).
variable_list evaluate(const Tensor& R, const Tensor& row, at::TensorList weights, bool slope) {
  const int64_t P = row.numel();
  variable_list layers{at::empty({slope ? 2 * P : P, weights[1].numel()}, R.options())};
  AT_DISPATCH_FLOATING_TYPES(R.scalar_type(), "moment_net", [&] {
    first_layer<scalar_t>(R, row, weights[0], weights[1], layers[0], slope);
    for (size_t k = 2; k < weights.size(); k += 2) {
      Tensor A = at::mm(layers.back(), weights[k]);
      finish_layer<scalar_t>(A, layers.back(), weights[k + 1], P, slope);
      layers.push_back(A);
    }
  });
  return layers;
}

// Cotangents of h (and t) of a layer -> those of its products, in place: with y, dy free of the skip and s = 1 - y^2,
// A <- h' s - 2 y dy t' and A' <- t' s. What the skip hands down is written to `carried` first.
template <class T>
void reverse_layer(Tensor& G, const Tensor& here, const Tensor* below, int64_t P, bool slope, Tensor* carried) {
  const int64_t out = G.size(1), in = below ? below->size(1) : 0, skip = below ? skips(in, out) : 0;
  const T *h = here.const_data_ptr<T>(), *lower = below ? below->const_data_ptr<T>() : nullptr;
  T *g = G.data_ptr<T>(), *down = carried ? carried->data_ptr<T>() : nullptr;
  at::parallel_for(0, P, 256, [&](int64_t from, int64_t to) {
    std::vector<T> y(out), dy(out);
    for (int64_t p = from; p < to; ++p) {
      std::copy(h + p * out, h + (p + 1) * out, y.begin());
      for (int64_t k = 0; k < skip; ++k)
        for (int64_t i = 0; i < in; ++i) y[k * in + i] -= lower[p * in + i];
      T *gh = g + p * out, *gt = g + (P + p) * out;
      for (int64_t k = 0; down && k < skip; ++k)
        for (int64_t i = 0; i < in; ++i) {
          down[p * in + i] = (k ? down[p * in + i] : T(0)) + gh[k * in + i];
          if (slope) down[(P + p) * in + i] = (k ? down[(P + p) * in + i] : T(0)) + gt[k * in + i];
        }
      if (slope) {
        std::copy(h + (P + p) * out, h + (P + p + 1) * out, dy.begin());
        for (int64_t k = 0; k < skip; ++k)
          for (int64_t i = 0; i < in; ++i) dy[k * in + i] -= lower[(P + p) * in + i];
      }
#pragma omp simd
      for (int64_t o = 0; o < out; ++o) {
        const T s = 1 - y[o] * y[o];
        gh[o] = gh[o] * s - (slope ? 2 * y[o] * dy[o] * gt[o] : T(0));
        if (slope) gt[o] *= s;
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

// Cotangents of the last h (and t), which are used up -> gradients of the weights, and of x if asked.
variable_list reverse(Tensor G, const variable_list& layers, const Tensor& R, const Tensor& row, at::TensorList weights, bool slope, Tensor* gx) {
  const int64_t P = row.numel(), K = layers.size();
  variable_list grads(weights.size());
  AT_DISPATCH_FLOATING_TYPES(R.scalar_type(), "moment_weights", [&] {
    for (int64_t k = K - 1; k > 0; --k) {
      const Tensor below = slope ? layers[k - 1] : layers[k - 1].narrow(0, 0, P);
      const int64_t in = below.size(1), skip = skips(in, G.size(1));
      Tensor carried = skip ? at::empty({G.size(0), in}, G.options()) : Tensor();
      reverse_layer<scalar_t>(G, layers[k], &layers[k - 1], P, slope, skip ? &carried : nullptr);
      grads[2 * k] = at::mm(below.t(), G);
      grads[2 * k + 1] = G.narrow(0, 0, P).sum(0);
      G = skip ? carried.addmm_(G, weights[2 * k].t()) : at::mm(G, weights[2 * k].t());
    }
    reverse_layer<scalar_t>(G, layers[0], nullptr, P, slope, nullptr);
    grads[0] = at::zeros_like(weights[0]), grads[1] = at::zeros_like(weights[1]);
    reverse_first<scalar_t>(G, R, row, weights[1], slope, grads[0], grads[1], gx);
  });
  return grads;
}

// (N, W, m) views of the value and the slope of the last layer.
Tensor value_of(const variable_list& layers, const Tensor& row) { return layers.back().narrow(0, 0, row.numel()).view({row.size(0), row.size(1), -1}); }
Tensor slope_of(const variable_list& layers, const Tensor& row) {
  return layers.back().narrow(0, row.numel(), row.numel()).view({row.size(0), row.size(1), -1});
}

// Cotangents of the last h, sum_a A_a c_a, and of the last t, A_0 sum_a R_a c_a, stacked; of h alone if `R` is null.
template <class T>
void seed(const Tensor& A, const Tensor* R, const Tensor& c, Tensor& G) {
  const int64_t N = A.size(0), W = A.size(1), m = c.size(2);
  const T *pa = A.const_data_ptr<T>(), *pr = R ? R->const_data_ptr<T>() : nullptr, *pc = c.const_data_ptr<T>();
  T* g = G.data_ptr<T>();
  at::parallel_for(0, N * W, 256, [&](int64_t from, int64_t to) {
    for (int64_t p = from; p < to; ++p) {
      const T *a = pa + 4 * p, *r = pr + 4 * p, *x = pc + (p / W) * 4 * m, *y = x + m, *z = y + m, *v = z + m;
#pragma omp simd
      for (int64_t o = 0; o < m; ++o) g[p * m + o] = a[0] * x[o] + a[1] * y[o] + a[2] * z[o] + a[3] * v[o];
      if (!R) continue;
#pragma omp simd
      for (int64_t o = 0; o < m; ++o) g[(N * W + p) * m + o] = a[0] * (r[0] * x[o] + r[1] * y[o] + r[2] * z[o] + r[3] * v[o]);
    }
  });
}

struct Slope : torch::autograd::Function<Slope> {  // (R, row, c, weights, layers) -> R'
  static Tensor forward(AutogradContext* ctx, Tensor R, Tensor row, Tensor c, at::TensorList weights, at::TensorList layers) {
    variable_list saved{R, row, c};
    saved.insert(saved.end(), weights.begin(), weights.end());
    saved.insert(saved.end(), layers.begin(), layers.end());
    ctx->save_for_backward(saved);
    ctx->saved_data["weights"] = int64_t(weights.size());
    const variable_list kept(layers.begin(), layers.end());
    Tensor along = at::bmm(slope_of(kept, row), c.transpose(1, 2));
    Tensor out = at::bmm(value_of(kept, row), c.transpose(1, 2));
    out.select(2, 0) += (R * along).sum(2);
    return out;
  }
  static variable_list backward(AutogradContext* ctx, variable_list g) {
    auto v = ctx->get_saved_variables();
    const int64_t count = ctx->saved_data["weights"].toInt();
    const Tensor R = v[0], row = v[1], c = v[2], a = g[0].contiguous(), a0 = a.narrow(2, 0, 1);
    const variable_list weights(v.begin() + 3, v.begin() + 3 + count), layers(v.begin() + 3 + count, v.end());
    const bool geometry = ctx->needs_input_grad(0), train = wanted(ctx, 3, count);
    Tensor gR, gx, weighted = a0 * R;
    Tensor gc = at::bmm(a.transpose(1, 2), value_of(layers, row)).baddbmm_(weighted.transpose(1, 2), slope_of(layers, row));
    variable_list grads(count);
    if (train || geometry) {
      Tensor G = at::empty_like(layers.back());
      AT_DISPATCH_FLOATING_TYPES(R.scalar_type(), "moment_second", [&] { seed<scalar_t>(a, &R, c, G); });
      if (geometry) gx = at::empty_like(row, R.options());
      grads = reverse(G, layers, R, row, weights, true, geometry ? &gx : nullptr);
    }
    if (geometry) {
      gR = a0 * at::bmm(slope_of(layers, row), c.transpose(1, 2));
      gR.select(2, 0) += gx;
    }
    variable_list out{gR, Tensor(), gc};
    out.insert(out.end(), grads.begin(), grads.end());
    out.resize(out.size() + layers.size());
    return out;
  }
};

struct Moment : torch::autograd::Function<Moment> {  // (R, row, weights) -> M
  static Tensor forward(AutogradContext* ctx, Tensor R, Tensor row, bool slope, at::TensorList weights) {
    variable_list layers = evaluate(R, row, weights, slope), saved{R, row};
    saved.insert(saved.end(), weights.begin(), weights.end());
    saved.insert(saved.end(), layers.begin(), layers.end());
    ctx->save_for_backward(saved);
    ctx->saved_data["weights"] = int64_t(weights.size());
    return at::bmm(R.transpose(1, 2), value_of(layers, row));
  }
  static variable_list backward(AutogradContext* ctx, variable_list g) {
    auto v = ctx->get_saved_variables();
    const int64_t count = ctx->saved_data["weights"].toInt();
    const Tensor R = v[0], row = v[1], c = g[0].contiguous();
    const variable_list weights(v.begin() + 2, v.begin() + 2 + count), layers(v.begin() + 2 + count, v.end());
    variable_list out{ctx->needs_input_grad(0) ? Slope::apply(R, row, c, at::TensorList(weights), at::TensorList(layers)) : Tensor(), Tensor(), Tensor()}, grads(count);
    if (wanted(ctx, 2, count)) {
      TORCH_CHECK(!at::GradMode::is_enabled(), "the fused moment has no second derivative by its weights; use the plain kernels");
      Tensor G = at::empty({row.numel(), c.size(2)}, c.options());
      AT_DISPATCH_FLOATING_TYPES(R.scalar_type(), "moment_backward", [&] { seed<scalar_t>(R, nullptr, c, G); });
      grads = reverse(G, layers, R, row, weights, false, nullptr);
    }
    out.insert(out.end(), grads.begin(), grads.end());
    return out;
  }
};

}  // namespace

// Atoms are taken a few at a time, so that the layers of their edges stay in cache.
Tensor moment(const Tensor& R, const Tensor& row, at::TensorList weights) {
  TORCH_CHECK(R.device().is_cpu(), "the cpp kernels work on CPU tensors");
  const bool slope = R.requires_grad() && at::GradMode::is_enabled();
  const int64_t few = std::max<int64_t>(1, EDGES / std::max<int64_t>(1, R.size(1)));
  variable_list plain, parts;
  for (const auto& w : weights) plain.push_back(w.contiguous());
  for (int64_t first = 0; first < R.size(0); first += few) {
    const int64_t count = std::min(few, R.size(0) - first);
    const Tensor edges = R.narrow(0, first, count).contiguous(), rows = row.narrow(0, first, count).contiguous();
    parts.push_back(Moment::apply(edges, rows, slope, at::TensorList(plain)));
  }
  return at::cat(parts);
}
}  // namespace lam
