// Repinit's moment (see repinit.py): M = R^T G, with G_j = net(R_j0; types), as one operator.
//
// The net is a function of one scalar for each pair of types, so its slope G' is carried along with its value: forces then
// cost two small products an edge instead of a pass back through the net. With c the cotangent of M:
//
//   R'_j = G_j c^T + [R_j . (G'_j c^T), 0, 0, 0]
//
// R is (N, W, 4), row (N, W) of `tables`, M (N, 4, m). Of the second derivative only what training needs is
// written out: by c and by the weights, and by R. Slots behind an atom's last edge hold zeros and are left out: they add
// nothing to M, and their derivatives meet those of a switch that is 0 to the second order.
#include "stacked.h"
#include "tile.h"

namespace lam {
namespace {

constexpr int64_t EDGES = 768;  // edges of a block: the layers of a net stay in cache

// The edges of a chunk, one atom after the other: `slot` (P,) is atom * W + place, `ends` (N,) where the edges of each atom end.
struct Edges {
  Tensor slot, ends, R, row;  // R (P, 4), row (P,)

  // Of `R` (N, W, 4) and `row` (N, W).
  static Edges of(const Tensor& R, const Tensor& row) {
    const int64_t N = R.size(0), W = R.size(1);
    Tensor ends = at::empty({N}, row.options()), slot = at::empty({N * W}, row.options());
    AT_DISPATCH_FLOATING_TYPES(R.scalar_type(), "moment_edges", [&] {
      const scalar_t* r = R.const_data_ptr<scalar_t>();
      int64_t *s = slot.data_ptr<int64_t>(), *e = ends.data_ptr<int64_t>(), count = 0;
      for (int64_t n = 0; n < N; ++n) {
        int64_t last = W;
        for (const scalar_t* x = r + 4 * W * (n + 1); last && !(x[-4] != 0 || x[-3] != 0 || x[-2] != 0 || x[-1] != 0); x -= 4) --last;
        for (int64_t j = 0; j < last; ++j) s[count++] = n * W + j;
        e[n] = count;
      }
      slot = slot.narrow(0, 0, count);
    });
    return {slot, ends, R.view({N * W, 4}).index_select(0, slot), row.reshape(-1).index_select(0, slot)};
  }

  // Calls body(first atom, last atom, first edge, last edge) for a few atoms at a time.
  template <class Body>
  void blocks(Body body) const {
    const int64_t* e = ends.const_data_ptr<int64_t>();
    for (int64_t first = 0, last, N = ends.numel(); first < N; first = last) {
      const int64_t begin = first ? e[first - 1] : 0;
      for (last = first + 1; last < N && e[last] - begin <= EDGES; ++last) {
      }
      body(first, last, begin, e[last - 1]);
    }
  }

  // Calls body(atom, first edge, last edge) for some atoms, in parallel.
  template <class Body>
  void atoms(int64_t first, int64_t last, Body body) const {
    const int64_t* e = ends.const_data_ptr<int64_t>();
    at::parallel_for(first, last, 2, [&](int64_t from, int64_t to) {
      for (int64_t n = from; n < to; ++n) body(n, n ? e[n - 1] : 0, e[n]);
    });
  }
};

// Calls body(column, zero) for 0..m, a vector of columns at a time; the last one overlaps the one before.
template <class T, class Body>
void over_columns(int64_t m, Body body) {
  constexpr int64_t L = Lane<T>::COUNT;
  for (int64_t o = 0; m >= L && o < m; o += L) body(std::min(o, m - L), typename Lane<T>::Vec{});
  for (int64_t o = 0; m < L && o < m; ++o) body(o, T(0));
}

// M_n = sum_e R_e G_e over the edges of each atom; G begins at edge `begin`.
template <class T>
void sum_edges(const Edges& edges, int64_t first, int64_t last, int64_t begin, const Tensor& value, Tensor& M) {
  const int64_t m = value.size(1);
  const T *R = edges.R.const_data_ptr<T>(), *G = value.const_data_ptr<T>();
  T* out = M.data_ptr<T>();
  edges.atoms(first, last, [&](int64_t n, int64_t from, int64_t to) {
    over_columns<T>(m, [&](int64_t o, auto zero) {
      using V = decltype(zero);
      V sum[4] = {};
      for (int64_t e = from; e < to; ++e) {
        const V g = *reinterpret_cast<const V*>(G + (e - begin) * m + o);
        for (int a = 0; a < 4; ++a) sum[a] += R[4 * e + a] * g;
      }
      for (int a = 0; a < 4; ++a) *reinterpret_cast<V*>(out + (4 * n + a) * m + o) = sum[a];
    });
  });
}

// R'_e for each edge, into its slot.
template <class T>
void slope_edges(const Edges& edges, int64_t first, int64_t last, int64_t begin, const Tensor& layer, const Tensor& c, Tensor& out) {
  const int64_t m = layer.size(1), P = layer.size(0) / 2;
  const T *R = edges.R.const_data_ptr<T>(), *G = layer.const_data_ptr<T>(), *pc = c.const_data_ptr<T>();
  const int64_t* slot = edges.slot.const_data_ptr<int64_t>();
  T* to_slot = out.data_ptr<T>();
  edges.atoms(first, last, [&](int64_t n, int64_t from, int64_t to) {
    const T *x = pc + 4 * n * m, *y = x + m, *z = y + m, *v = z + m;
    for (int64_t e = from; e < to; ++e) {
      const T *h = G + (e - begin) * m, *t = h + P * m, *r = R + 4 * e;
      T a = 0, b = 0, f = 0, d = 0;
#pragma omp simd reduction(+ : a, b, f, d)
      for (int64_t o = 0; o < m; ++o) {
        a += h[o] * x[o] + t[o] * (r[0] * x[o] + r[1] * y[o] + r[2] * z[o] + r[3] * v[o]);
        b += h[o] * y[o], f += h[o] * z[o], d += h[o] * v[o];
      }
      T* g = to_slot + 4 * slot[e];
      g[0] = a, g[1] = b, g[2] = f, g[3] = d;
    }
  });
}

// Cotangents of the last h, sum_a A_a c_a, and of the last t, A_0 sum_a R_a c_a, stacked; of h alone unless `slope`, with A = R.
template <class T>
void seed(const Edges& edges, int64_t first, int64_t last, int64_t begin, const T* A, bool slope, const Tensor& c, Tensor& G) {
  const int64_t m = c.size(2), P = slope ? G.size(0) / 2 : G.size(0);
  const T *R = edges.R.const_data_ptr<T>(), *pc = c.const_data_ptr<T>();
  T* out = G.data_ptr<T>();
  edges.atoms(first, last, [&](int64_t n, int64_t from, int64_t to) {
    const T *x = pc + 4 * n * m, *y = x + m, *z = y + m, *v = z + m;
    for (int64_t e = from; e < to; ++e) {
      const T *a = A + 4 * e, *r = R + 4 * e;
      T *gh = out + (e - begin) * m, *gt = gh + P * m;
#pragma omp simd
      for (int64_t o = 0; o < m; ++o) gh[o] = a[0] * x[o] + a[1] * y[o] + a[2] * z[o] + a[3] * v[o];
      if (!slope) continue;
#pragma omp simd
      for (int64_t o = 0; o < m; ++o) gt[o] = a[0] * (r[0] * x[o] + r[1] * y[o] + r[2] * z[o] + r[3] * v[o]);
    }
  });
}

// By c: sum_e A_e G_e + A_e0 R_e G'_e. By R, without what passes through G: A_e0 G'_e c^T, into `gR` (P, 4) unless it is null.
template <class T>
void second_edges(const Edges& edges, int64_t first, int64_t last, int64_t begin, const T* A, const Tensor& layer, const Tensor& c, Tensor& gc, T* gR) {
  const int64_t m = layer.size(1), P = layer.size(0) / 2;
  const T *R = edges.R.const_data_ptr<T>(), *G = layer.const_data_ptr<T>(), *pc = c.const_data_ptr<T>();
  T* out = gc.data_ptr<T>();
  edges.atoms(first, last, [&](int64_t n, int64_t from, int64_t to) {
    over_columns<T>(m, [&](int64_t o, auto zero) {
      using V = decltype(zero);
      V sum[4] = {};
      for (int64_t e = from; e < to; ++e) {
        const V h = *reinterpret_cast<const V*>(G + (e - begin) * m + o), t = A[4 * e] * *reinterpret_cast<const V*>(G + (e - begin + P) * m + o);
        for (int a = 0; a < 4; ++a) sum[a] += A[4 * e + a] * h + R[4 * e + a] * t;
      }
      for (int a = 0; a < 4; ++a) *reinterpret_cast<V*>(out + (4 * n + a) * m + o) = sum[a];
    });
    const T *x = pc + 4 * n * m, *y = x + m, *z = y + m, *v = z + m;
    for (int64_t e = from; gR && e < to; ++e) {
      const T* t = G + (e - begin + P) * m;
      T a = 0, b = 0, f = 0, d = 0;
#pragma omp simd reduction(+ : a, b, f, d)
      for (int64_t o = 0; o < m; ++o) a += t[o] * x[o], b += t[o] * y[o], f += t[o] * z[o], d += t[o] * v[o];
      T* g = gR + 4 * e;
      g[0] = A[4 * e] * a, g[1] = A[4 * e] * b, g[2] = A[4 * e] * f, g[3] = A[4 * e] * d;
    }
  });
}

variable_list zeros_like_all(const variable_list& tensors) {
  variable_list out;
  for (const auto& each : tensors) out.push_back(at::zeros_like(each));
  return out;
}

// What both functions below keep for their backward: the layers are those of all blocks, one block after the other.
struct Saved {
  Edges edges;
  Tensor R, c;
  variable_list weights, layers;

  static void keep(AutogradContext* ctx, const Edges& edges, const Tensor& R, const Tensor& c, at::TensorList weights, at::TensorList layers) {
    variable_list all{edges.slot, edges.ends, edges.R, edges.row, R, c};
    all.insert(all.end(), weights.begin(), weights.end());
    all.insert(all.end(), layers.begin(), layers.end());
    ctx->save_for_backward(all);
    ctx->saved_data["weights"] = int64_t(weights.size());
  }
  explicit Saved(AutogradContext* ctx) {
    auto v = ctx->get_saved_variables();
    const auto split = v.begin() + 6 + ctx->saved_data["weights"].toInt();
    edges = {v[0], v[1], v[2], v[3]}, R = v[4], c = v[5];
    weights.assign(v.begin() + 6, split), layers.assign(split, v.end());
  }
  // The layers of block number `b`.
  variable_list block(int64_t b) const {
    const int64_t K = weights.size() / 2;
    return {layers.begin() + b * K, layers.begin() + (b + 1) * K};
  }
};

struct Slope : torch::autograd::Function<Slope> {  // (R, c, weights; edges, layers) -> R'
  static Tensor forward(AutogradContext* ctx, Tensor R, Tensor slot, Tensor ends, Tensor flat, Tensor row, Tensor c, at::TensorList weights, at::TensorList layers) {
    const Edges edges{slot, ends, flat, row};
    Saved::keep(ctx, edges, R, c, weights, layers);
    Tensor out = at::zeros_like(R);
    const int64_t K = weights.size() / 2;
    int64_t b = 0;
    edges.blocks([&](int64_t first, int64_t last, int64_t begin, int64_t) {
      const Tensor& layer = layers[++b * K - 1];
      AT_DISPATCH_FLOATING_TYPES(R.scalar_type(), "moment_slope", [&] { slope_edges<scalar_t>(edges, first, last, begin, layer, c, out); });
    });
    return out;
  }
  static variable_list backward(AutogradContext* ctx, variable_list g) {
    const Saved saved(ctx);
    const Edges& edges = saved.edges;
    const bool geometry = ctx->needs_input_grad(0), train = geometry || wanted(ctx, 6, saved.weights.size());
    const Tensor A = g[0].reshape({-1, 4}).index_select(0, edges.slot);
    variable_list grads = zeros_like_all(saved.weights);
    Tensor gc = at::empty_like(saved.c), gR = geometry ? at::empty_like(A) : Tensor();
    int64_t b = 0;
    edges.blocks([&](int64_t first, int64_t last, int64_t begin, int64_t end) {
      const variable_list layers = saved.block(b++);
      AT_DISPATCH_FLOATING_TYPES(A.scalar_type(), "moment_second", [&] {
        const scalar_t* a = A.const_data_ptr<scalar_t>();
        second_edges<scalar_t>(edges, first, last, begin, a, layers.back(), saved.c, gc, geometry ? gR.data_ptr<scalar_t>() : nullptr);
        if (!train) return;
        const Tensor R = edges.R.narrow(0, begin, end - begin), row = edges.row.narrow(0, begin, end - begin);
        Tensor G = at::empty_like(layers.back()), gx = geometry ? at::empty({end - begin}, A.options()) : Tensor();
        seed<scalar_t>(edges, first, last, begin, a, true, saved.c, G);
        reverse<scalar_t>(G, layers, R, row, saved.weights, true, grads, geometry ? &gx : nullptr);
        if (geometry) gR.select(1, 0).narrow(0, begin, end - begin) += gx;
      });
    });
    if (geometry) gR = at::zeros({saved.R.numel() / 4, 4}, A.options()).index_copy_(0, edges.slot, gR).view_as(saved.R);
    variable_list out{gR, Tensor(), Tensor(), Tensor(), Tensor(), gc};
    out.insert(out.end(), grads.begin(), grads.end());
    out.resize(out.size() + saved.layers.size());
    return out;
  }
};

struct Moment : torch::autograd::Function<Moment> {  // (R, weights; edges) -> M
  static Tensor forward(AutogradContext* ctx, Tensor R, Tensor slot, Tensor ends, Tensor flat, Tensor row, bool slope, at::TensorList weights) {
    const Edges edges{slot, ends, flat, row};
    Tensor M = at::empty({R.size(0), 4, weights.size() > 2 ? weights.back().numel() : weights[1].numel()}, R.options());
    variable_list kept;
    edges.blocks([&](int64_t first, int64_t last, int64_t begin, int64_t end) {
      variable_list layers = evaluate(flat.narrow(0, begin, end - begin), row.narrow(0, begin, end - begin), weights, slope);
      AT_DISPATCH_FLOATING_TYPES(R.scalar_type(), "moment", [&] { sum_edges<scalar_t>(edges, first, last, begin, layers.back(), M); });
      kept.insert(kept.end(), layers.begin(), layers.end());
    });
    Saved::keep(ctx, edges, R, Tensor(), weights, kept);
    return M;
  }
  static variable_list backward(AutogradContext* ctx, variable_list g) {
    const Saved saved(ctx);
    const Edges& edges = saved.edges;
    const Tensor c = g[0].contiguous();
    variable_list out(6), grads(saved.weights.size());
    if (ctx->needs_input_grad(0))
      out[0] = Slope::apply(saved.R, edges.slot, edges.ends, edges.R, edges.row, c, at::TensorList(saved.weights), at::TensorList(saved.layers));
    if (wanted(ctx, 5, grads.size())) {
      TORCH_CHECK(!at::GradMode::is_enabled(), "the fused moment has no second derivative by its weights; use the plain kernels");
      grads = zeros_like_all(saved.weights);
      int64_t b = 0;
      edges.blocks([&](int64_t first, int64_t last, int64_t begin, int64_t end) {
        AT_DISPATCH_FLOATING_TYPES(c.scalar_type(), "moment_backward", [&] {
          Tensor G = at::empty({end - begin, c.size(2)}, c.options());
          seed<scalar_t>(edges, first, last, begin, edges.R.const_data_ptr<scalar_t>(), false, c, G);
          reverse<scalar_t>(G, saved.block(b++), edges.R.narrow(0, begin, end - begin), edges.row.narrow(0, begin, end - begin), saved.weights, false, grads, nullptr);
        });
      });
    }
    out.insert(out.end(), grads.begin(), grads.end());
    return out;
  }
};

}  // namespace

Tensor moment(const Tensor& R, const Tensor& row, at::TensorList weights) {
  TORCH_CHECK(R.device().is_cpu(), "the cpp kernels work on CPU tensors");
  const variable_list plain = contiguous(weights);
  const Tensor matrix = R.contiguous();
  const Edges edges = Edges::of(matrix.detach(), row);
  const bool slope = R.requires_grad() && at::GradMode::is_enabled();
  return Moment::apply(matrix, edges.slot, edges.ends, edges.R, edges.row, slope, at::TensorList(plain));
}
}  // namespace lam
